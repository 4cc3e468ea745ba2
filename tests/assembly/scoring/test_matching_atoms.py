"""PM-atom at the best assignment: zero for the truth however numbered, the minimum where that can be enumerated."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest

from kflow_sci.assembly.baselines import random_ball, renumbered
from kflow_sci.assembly.cluster import Cluster
from kflow_sci.assembly.molecule import Molecule
from kflow_sci.assembly.reading.crystal import cluster_from_crystal, read_crystal
from kflow_sci.assembly.scoring.frame import Frame
from kflow_sci.assembly.scoring.matching import matched_pm
from kflow_sci.assembly.scoring.matching_atoms import matched_pm_atom
from kflow_sci.assembly.scoring.published import packing_matching
from kflow_sci.errors import ScoreError

CHIRAL = (np.array([6, 9, 17, 35]), np.array([[0, 0, 0], [1.35, 0, 0], [-0.5, 1.7, 0], [-0.6, -0.7, 1.7]]))
CARBON_DIOXIDE = (np.array([6, 8, 8]), np.array([[0, 0, 0], [0, 0, 1.16], [0, 0, -1.16]]))
RING = np.arange(6) * np.pi / 3
BENZENE = (
    np.array([6] * 6 + [1] * 6),
    np.concatenate([r * np.stack([np.cos(RING), np.sin(RING), 0 * RING], axis=1) for r in (1.39, 2.47)]),
)
SHAPES = pytest.mark.parametrize(
    "template", [CHIRAL, CARBON_DIOXIDE, BENZENE], ids=["chiral", "linear", "planar"]
)


def ball(template: tuple[np.ndarray, np.ndarray], seed: int, count: int = 17) -> Cluster:
    return random_ball.propose(Molecule.build(*template)[0], count, 1, seed, 120.0)[0]


def carried_onto_itself(cluster: Cluster, seed: int) -> Cluster:
    """Every molecule after a random operation of its own point group."""
    symmetry = cluster.molecules[0].symmetry
    operations = np.concatenate([symmetry.proper, symmetry.improper])
    chosen = operations[np.random.default_rng(seed).integers(len(operations), size=len(cluster))]
    parity = np.sign(np.linalg.det(chosen)).astype(int)
    return replace(
        cluster,
        rotation=cluster.rotation @ (parity[:, None, None] * chosen),
        parity=cluster.parity * parity,
    )


@SHAPES
@pytest.mark.parametrize("hand", [1, -1])
def test_renumbered_turned_or_mirrored_truth_is_zero(
    template: tuple[np.ndarray, np.ndarray], hand: int
) -> None:
    truth = ball(template, 0)
    for sample in renumbered.propose(truth, 2, 1):
        frame = Frame.of(sample)
        assert matched_pm_atom(replace(frame, positions=hand * frame.positions), Frame.of(truth)) < 1e-9


@SHAPES
def test_molecules_carried_onto_themselves_cost_nothing(template: tuple[np.ndarray, np.ndarray]) -> None:
    truth = ball(template, 1)
    same = carried_onto_itself(renumbered.propose(truth, 1, 2)[0], 3)
    assert matched_pm_atom(Frame.of(same), Frame.of(truth)) < 1e-9
    assert packing_matching(same.positions, truth.positions) > 1


def by_enumeration(pred: Frame, ref: Frame, orders: list[list[int]]) -> float:
    members = pred.members
    return min(
        packing_matching(
            pred.positions[
                np.concatenate([members[m][list(turn)] for m, turn in zip(owners, turns, strict=True)])
            ],
            ref.positions,
        )
        for owners in permutations(range(len(members)))
        for turns in product(orders, repeat=len(members))
    )


@pytest.mark.parametrize("seed", range(4))
def test_small_clusters_reach_the_minimum_over_all_assignments_and_orders(seed: int) -> None:
    pred, ref = Frame.of(ball(CARBON_DIOXIDE, seed, 4)), Frame.of(ball(CARBON_DIOXIDE, seed + 50, 4))
    least = by_enumeration(pred, ref, [[0, 1, 2], [0, 2, 1]])
    assert matched_pm_atom(pred, ref) == pytest.approx(least, abs=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_the_search_that_larger_clusters_need_comes_close_to_the_minimum(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kflow_sci.assembly.scoring.matching_atoms.ENUMERATED", 0)
    pred, ref = Frame.of(ball(CARBON_DIOXIDE, seed, 4)), Frame.of(ball(CARBON_DIOXIDE, seed + 50, 4))
    least = by_enumeration(pred, ref, [[0, 1, 2], [0, 2, 1]])
    found = matched_pm_atom(pred, ref)
    assert least - 1e-6 <= found <= 1.05 * least


def test_never_above_the_published_number_and_the_same_however_the_prediction_is_numbered() -> None:
    truth, other = ball(CHIRAL, 0), ball(CHIRAL, 9)
    pred, ref = Frame.of(other), Frame.of(truth)
    found = matched_pm_atom(pred, ref)
    assert found <= packing_matching(pred.positions, ref.positions) + 1e-9
    assert found > 0.5
    again = [matched_pm_atom(Frame.of(sample), ref) for sample in renumbered.propose(other, 3, 4)]
    assert np.ptp([found, *again]) < 0.06 * found, "a search, so not to the last digit"


def test_small_errors_give_small_numbers() -> None:
    truth = ball(BENZENE, 0)
    rng = np.random.default_rng(0)
    moved = replace(truth, centroid=truth.centroid + 0.1 * rng.normal(size=(17, 3)))
    sample = carried_onto_itself(renumbered.propose(moved, 1, 5)[0], 6)
    direct = packing_matching(moved.positions, truth.positions)
    assert matched_pm_atom(Frame.of(sample), Frame.of(truth)) == pytest.approx(direct, rel=1e-3)


def test_too_much_for_a_table_is_still_zero_for_the_truth(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kflow_sci.assembly.scoring.matching_atoms.TABLE", 0)
    truth = ball(BENZENE, 0)
    assert matched_pm_atom(Frame.of(renumbered.propose(truth, 1, 1)[0]), Frame.of(truth)) < 1e-9
    other = Frame.of(ball(BENZENE, 8))
    assert matched_pm_atom(other, Frame.of(truth)) <= packing_matching(other.positions, truth.positions)


def test_unlike_molecules_never_stand_for_each_other() -> None:
    first, second = ball(CHIRAL, 0), Molecule.build(*CARBON_DIOXIDE)[0]
    kind = np.arange(17) % 2
    truth = replace(first, molecules=(first.molecules[0], second), kind=kind)
    sample = renumbered.propose(truth, 1, 3)[0]
    assert matched_pm_atom(Frame.of(sample), Frame.of(truth)) < 1e-9
    other = replace(truth, centroid=ball(CHIRAL, 5).centroid)
    assert 0.5 < matched_pm_atom(Frame.of(other), Frame.of(truth)) < 20
    swapped = replace(truth, centroid=truth.centroid[::-1], kind=kind)
    kinds = (kind, kind)
    assert matched_pm(swapped.centroid, truth.centroid) < 1e-9
    assert matched_pm(swapped.centroid, truth.centroid, kinds) < 1e-9, "17 is odd: the ends are of one kind"
    assert matched_pm(truth.centroid[np.r_[1:17, 0]], truth.centroid) < 1e-9
    assert matched_pm(truth.centroid[np.r_[1:17, 0]], truth.centroid, kinds) > 0.1


def test_not_finite_is_nan_and_unequal_clusters_are_refused() -> None:
    truth = Frame.of(ball(CHIRAL, 0))
    positions = truth.positions.copy()
    positions[3, 0] = np.nan
    assert np.isnan(matched_pm_atom(replace(truth, positions=positions), truth))
    with pytest.raises(ScoreError, match="64 atoms in 16 molecules cannot be matched to 68 atoms"):
        matched_pm_atom(Frame.of(ball(CHIRAL, 0, 16)), truth)
    with pytest.raises(ScoreError, match="other kinds"):
        matched_pm(np.eye(3), np.eye(3), (np.array([0, 0, 1]), np.array([0, 1, 1])))


def test_every_true_crystal_is_at_distance_zero_from_itself(crystals: Path) -> None:
    for name in sorted((crystals / "experimental").glob("*.cif"))[::9]:
        truth = cluster_from_crystal(read_crystal(name), 17)
        sample = Frame.of(renumbered.propose(truth, 1, 0)[0])
        assert matched_pm_atom(sample, Frame.of(truth)) < 1e-6, name.stem
        assert matched_pm(sample.centroids, truth.centroid) < 1e-6, name.stem
