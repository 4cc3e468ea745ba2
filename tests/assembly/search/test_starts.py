"""Random starts: what they are drawn from, and that a trial is the same whoever asks for it."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from kflow_sci.assembly.lattice.packing import SpaceGroup
from kflow_sci.assembly.molecule import Molecule
from kflow_sci.assembly.search.starts import (
    COMMON,
    RandomProposal,
    check_start,
    choose_groups,
    random_cell,
    random_rotations,
)
from kflow_sci.errors import KFlowError, PackingError
from tests.assembly.lattice.test_packing import water


def proposal(molecule: Molecule, **changes: object) -> RandomProposal:
    groups, weights = choose_groups("common", molecule)
    return RandomProposal((molecule,), groups, weights, **changes)  # type: ignore[arg-type]


def test_a_trial_is_the_same_in_any_order_and_in_another_process() -> None:
    first, second = proposal(water()), pickle.loads(pickle.dumps(proposal(water())))  # noqa: S301
    expected = [first(t) for t in range(5)]
    for t in (4, 2, 0):
        again = second(t)
        np.testing.assert_array_equal(again.cell, expected[t].cell)
        np.testing.assert_array_equal(again.place, expected[t].place)
        np.testing.assert_array_equal(again.rotation, expected[t].rotation)
    assert not np.array_equal(proposal(water(), seed=1)(0).cell, expected[0].cell)


def test_settings_change_with_everything_a_start_depends_on() -> None:
    plain = proposal(water()).settings
    assert plain == proposal(water()).settings
    for changes in ({"seed": 1}, {"z_prime": 2}, {"densest": 1.0}, {"strain": (1.0,)}):
        assert proposal(water(), **changes).settings != plain


def test_groups_come_as_often_as_their_weight_and_volumes_lie_where_they_should() -> None:
    starts = [proposal(water())(t) for t in range(600)]
    share = np.mean([start.group.number == 14 for start in starts])
    expected = (COMMON["P21/c"] + COMMON["P21/n"]) / sum(COMMON.values())
    assert abs(share - expected) < 3 * np.sqrt(expected * (1 - expected) / 600)
    ratio = np.array([start.volume for start in starts]) / water().crystal_volume
    assert 1.15 <= ratio.min() < 1.2 and 1.65 < ratio.max() <= 1.7


@pytest.mark.parametrize("name", ["P-1", "P21/c", "C2/c", "Pbca", "P41", "R3", "Pa-3", "P 1 1 21/b"])
def test_a_random_cell_has_the_symmetry_and_the_volume(name: str) -> None:
    group = SpaceGroup.named(name)
    for seed in range(20):
        cell = random_cell(group, 500.0, 0.35, np.random.default_rng(seed))
        assert np.linalg.det(cell) == pytest.approx(500.0)
        np.testing.assert_allclose(group.symmetric_cell(cell), cell, atol=1e-9)
        lengths = np.linalg.norm(cell, axis=1)
        cosines = (cell @ cell.T) / np.outer(lengths, lengths)
        assert np.abs(cosines - np.eye(3)).max() < 0.55  # no angle beyond 120 degrees


def test_rotations_are_uniform_and_proper() -> None:
    rotations = random_rotations(4000, np.random.default_rng(0))
    np.testing.assert_allclose(np.linalg.det(rotations), 1, atol=1e-12)
    # Entries of a uniform rotation have mean 0 and mean square 1/3.
    assert np.abs(rotations.mean(axis=0)).max() < 0.04
    assert np.abs((rotations**2).mean(axis=0) - 1 / 3).max() < 0.03


def test_two_independent_molecules_may_differ_in_hand_unless_the_molecule_has_one() -> None:
    free = [proposal(water(), z_prime=2)(t) for t in range(40)]
    assert {tuple(start.parity.tolist()) for start in free} == {(1, 1), (1, -1)}
    handed = Molecule(water().numbers, water().positions, name="handed", handed=True)
    fixed = [proposal(handed, z_prime=2)(t) for t in range(40)]
    assert {tuple(start.parity.tolist()) for start in fixed} == {(1, 1)}
    assert not any(start.group.hands for start in fixed)


def test_a_group_with_both_hands_is_refused_for_a_molecule_of_one_hand() -> None:
    handed = Molecule(water().numbers, water().positions, name="handed", handed=True)
    with pytest.raises(PackingError, match="holds both hands"):
        choose_groups("P21/c", handed)
    assert choose_groups("P21,P212121", handed)[1] == (COMMON["P21"], COMMON["P212121"])


@pytest.mark.parametrize(
    ("names", "message"), [("", "no space group"), ("P21/c,P77", "no space group 'P77'")]
)
def test_unknown_groups_are_refused(names: str, message: str) -> None:
    with pytest.raises(PackingError, match=message):
        choose_groups(names, water())


def test_more_independent_molecules_than_two_and_crowded_cells_are_refused() -> None:
    with pytest.raises(PackingError, match="z-prime is 3"):
        check_start(water(), [SpaceGroup.named("P1")], 3)
    with pytest.raises(PackingError, match="in the cell"):
        check_start(water(), [SpaceGroup.named("Fd-3m")], 1)
    lithium = Molecule(np.array([3, 1]), np.array([[0.0, 0, 0], [1.6, 0, 0]]))
    with pytest.raises(KFlowError, match="Li"):
        check_start(lithium, [SpaceGroup.named("P1")], 1)
