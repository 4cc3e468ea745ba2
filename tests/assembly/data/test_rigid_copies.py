"""Templates and poses from atoms."""

from __future__ import annotations

import numpy as np
import pytest

from kflow_sci.assembly.data.rigid_copies import SAME, as_rigid_copies, fit_copies, repose
from kflow_sci.assembly.superpose import superpose_either_hand
from tests.cluster17_by_hand import moved
from tests.crystals_by_hand import CHFCLBR

NUMBERS = np.tile([6, 1, 9, 17, 35], (8, 1))


def test_copies_share_one_template_and_come_back() -> None:
    positions = moved(CHFCLBR, 0, copies=8)
    positions[2:5] = -positions[2:5]
    cluster, error = as_rigid_copies(NUMBERS, positions)
    assert len(cluster.molecules) == 1 and error.max() < 1e-9
    assert np.abs(cluster.positions.reshape(8, 5, 3) - positions).max() < 1e-9
    assert (cluster.parity * cluster.parity[0] == [1, 1, -1, -1, -1, 1, 1, 1]).all()
    assert np.linalg.det(cluster.rotation) == pytest.approx(np.ones(8))
    # 4 bonds of the carbon, told by distance
    assert cluster.molecules[0].bonds.tolist() == [[0, 1], [0, 2], [0, 3], [0, 4]]


def test_a_copy_beyond_the_tolerance_gets_a_template_of_its_own() -> None:
    positions = moved(CHFCLBR, 1, copies=8)
    stretched = CHFCLBR.copy()
    stretched[4] *= 1 + 4 * SAME  # 0.08 Å further out
    positions[5] = moved(stretched, 2, copies=1)[0]
    cluster, error = as_rigid_copies(NUMBERS, positions)
    assert cluster.kind.tolist() == [0, 0, 0, 0, 0, 1, 0, 0]
    assert error.max() < 1e-9
    assert np.abs(cluster.positions.reshape(8, 5, 3) - positions).max() < 1e-9


def test_rounded_coordinates_are_one_shape() -> None:
    positions = np.round(moved(CHFCLBR, 3, copies=8), 3)  # errors up to 0.0009 Å
    cluster, error = as_rigid_copies(NUMBERS, positions)
    assert len(cluster.molecules) == 1 and 0 < error.max() < 0.003
    assert np.abs(cluster.positions.reshape(8, 5, 3) - positions).max() < 0.003


@pytest.mark.parametrize("shape", ["flat", "linear", "atom"])
def test_flat_linear_and_single_atoms_have_proper_poses(shape: str) -> None:
    molecule = {
        "flat": CHFCLBR * [1, 1, 0],
        "linear": np.array([[0.0, 0, 0], [0, 0, 1.16], [0, 0, -1.16]]),
        "atom": np.zeros((1, 3)),
    }[shape]
    positions = moved(molecule, 4, copies=6)
    numbers = np.tile([6, 8, 8, 1, 1][: len(molecule)], (6, 1))
    cluster, _ = as_rigid_copies(numbers, positions)
    assert len(cluster.molecules) == 1 and (cluster.parity == 1).all()
    assert np.linalg.det(cluster.rotation) == pytest.approx(np.ones(6))
    assert np.abs(cluster.positions.reshape(positions.shape) - positions).max() < 1e-7


def test_another_state_of_the_same_molecules() -> None:
    final, start = moved(CHFCLBR, 5, copies=8), moved(CHFCLBR, 6, copies=8)
    start[3] = -start[3]
    bent = start.copy()
    bent[6, 4] += [0.3, 0, 0]
    cluster, _ = as_rigid_copies(NUMBERS, final)
    moved_to, rmsd = repose(cluster, start)
    assert rmsd.max() < 1e-9 and np.abs(moved_to.positions - start.reshape(-1, 3)).max() < 1e-9
    _, rmsd = repose(cluster, bent)
    assert np.flatnonzero(rmsd > 0.01).tolist() == [6]


def test_fits_of_many_equal_fits_of_one() -> None:
    targets = moved(CHFCLBR, 7, copies=8)
    targets[::3] *= -1
    targets -= targets.mean(axis=1, keepdims=True)
    source = CHFCLBR - CHFCLBR.mean(axis=0)
    fit = fit_copies(source, targets)
    for k, target in enumerate(targets):
        parity, rotation, left = superpose_either_hand(source, target)
        assert fit.parity[k] == parity
        assert fit.rotation[k] == pytest.approx(rotation)
        assert fit.largest[k] == pytest.approx(left.max(), abs=1e-12)
