"""Proposals: a trial depends on its number alone; what cannot be proposed is refused."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from kflow_sci.assembly.proposals.library import GROUPS, Library
from kflow_sci.assembly.proposals.model import ProposalModel
from kflow_sci.assembly.proposals.named import make_proposal
from kflow_sci.assembly.proposals.propose import (
    FlowProposal,
    ResampledProposal,
    default_weights,
    flow_proposal,
    header_of,
    learned_random,
    load_proposals,
)
from kflow_sci.assembly.search.setup import Problem, make_problem
from kflow_sci.checkpoint import save_checkpoint
from kflow_sci.errors import CheckpointError, PackingError
from tests.assembly.proposals.conftest import chiral, water


@pytest.fixture(scope="module")
def weights(model: ProposalModel, library: Library, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "w.safetensors"
    save_checkpoint(path, model.state_dict(), header_of(model, library.group_shares()))
    return path


@pytest.fixture(scope="module")
def problem() -> Problem:
    return make_problem((chiral(),), (), "P21/c,P-1,P212121")


def same(one: object, other: object) -> bool:
    return all(np.array_equal(getattr(one, x), getattr(other, x)) for x in ("cell", "place", "rotation"))


def test_a_trial_is_the_same_in_any_order_and_in_another_process(problem: Problem, weights: Path) -> None:
    flow = flow_proposal(problem, weights)
    first = flow(3)
    flow(100)
    assert same(flow(3), first)
    other = pickle.loads(pickle.dumps(flow))  # noqa: S301 - our own bytes
    assert isinstance(other, FlowProposal) and same(other(3), first)
    assert other.settings == flow.settings


def test_mixed_trials_are_random_every_second_time(problem: Problem, weights: Path) -> None:
    mixed = make_proposal(problem, "mixed", weights)
    assert isinstance(mixed, FlowProposal)
    assert same(mixed(5), mixed.random(5)) and not same(mixed(4), mixed.random(4))


def test_settings_tell_flow_from_mixed(problem: Problem, weights: Path) -> None:
    assert (
        make_proposal(problem, "flow", weights).settings != make_proposal(problem, "mixed", weights).settings
    )


def test_two_independent_molecules_are_refused(weights: Path) -> None:
    problem = make_problem((water(),), (), "P21/c", z_prime=2)
    with pytest.raises(PackingError, match="1 independent molecule, not 2"):
        make_proposal(problem, "flow", weights)


@pytest.mark.skipif(default_weights().is_file(), reason="weights come with the package")
def test_without_weights_the_mend_is_told(problem: Problem) -> None:
    with pytest.raises(PackingError, match="give --weights"):
        make_proposal(problem, "flow")


def test_an_unknown_name_is_refused_with_those_there_are(problem: Problem) -> None:
    with pytest.raises(PackingError, match="random, flow, mixed"):
        make_proposal(problem, "guess")


def test_other_weights_are_refused(tmp_path: Path, model: ProposalModel) -> None:
    path = tmp_path / "other.safetensors"
    save_checkpoint(path, model.state_dict(), {"kind": "something else"})
    with pytest.raises(CheckpointError, match="something else"):
        load_proposals(path)


def test_resampling_lays_a_molecule_into_the_cell_of_its_own_crystal(library: Library) -> None:
    # One chiral molecule is known in P21/c with one packing; without noise its cell comes back up to the volume.
    problem = make_problem((chiral(),), (), "P21/c")
    counts = {name: np.zeros(len(GROUPS)) for name in library.group_shares()}
    proposal = ResampledProposal(learned_random(problem, counts), library, noise=0.0)
    entry = library.entries[0]
    shapes = [cell / np.linalg.det(cell) ** (1 / 3) for cell in entry.ways.cell]
    for trial in range(3):
        cell = proposal(trial).cell
        unit = cell / np.linalg.det(cell) ** (1 / 3)
        assert min(np.abs(unit - shape).max() for shape in shapes) < 1e-6
