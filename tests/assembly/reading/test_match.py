"""Conformers get one atom order."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from kflow_sci.assembly.reading.match import match_conformers

# C(CF3)4 without hydrogens: 24 orders of the groups times 6 orders of each group, more than are tried one by one.
ARMS = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / np.sqrt(3)


def neopentane_like() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    numbers, positions, bonds = [6], [np.zeros(3)], []
    for k, arm in enumerate(ARMS):
        carbon = len(numbers)
        numbers.append(6)
        positions.append((1.5 + 0.05 * k) * arm)
        bonds.append((0, carbon))
        side = np.cross(arm, [0.3, 0.5, 0.8])
        for turn in (0.0, 120.0, 240.0):
            arrow = Rotation.from_rotvec(np.radians(turn + 17 * k) * arm).apply(side / np.linalg.norm(side))
            bonds.append((carbon, len(numbers)))
            numbers.append(9)
            positions.append(positions[carbon] + 0.45 * arm + 1.25 * arrow)
    return np.array(numbers), np.array(positions), np.array(bonds)


@pytest.mark.parametrize("limit", [5000, 10], ids=["all matches", "skeleton only"])
@pytest.mark.parametrize("parity", [1, -1])
def test_a_turned_and_renumbered_copy_is_found(limit: int, parity: int) -> None:
    numbers, a, bonds = neopentane_like()
    rng = np.random.default_rng(3)
    shuffle = rng.permutation(len(numbers))
    turn = Rotation.random(random_state=7).as_matrix()
    b = np.empty_like(a)
    b[shuffle] = parity * a @ turn.T + [1, 2, 3]
    numbers_b = np.empty_like(numbers)
    numbers_b[shuffle] = numbers
    match = match_conformers(numbers, a, bonds, numbers_b, b, shuffle[bonds], limit)
    assert match is not None
    assert match.largest < 1e-6 and match.parity == parity
    assert (numbers_b[match.order] == numbers).all()
    assert match.rotation == pytest.approx(turn, abs=1e-6)
    assert (match.order == shuffle).all()


def test_other_bonds_are_another_molecule() -> None:
    line = np.array([[0.0, 0, 0], [1.2, 0, 0], [2.4, 0, 0]])
    bonds = np.array([[0, 1], [1, 2]])
    assert match_conformers(np.array([7, 7, 8]), line, bonds, np.array([7, 8, 7]), line, bonds) is None
    assert match_conformers(np.array([7, 7]), line[:2], bonds[:1], np.array([7, 7, 8]), line, bonds) is None
