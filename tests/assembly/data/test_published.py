"""What the published code keeps, and how it divides: held against its rules worked out by hand."""

from __future__ import annotations

import random

import numpy as np
import pytest

from kflow_sci.assembly.data.published import KEPT, VERDICTS, published_split, published_verdict
from tests.cluster17_by_hand import moved, pair
from tests.crystals_by_hand import CHFCLBR

# An octahedron with arms a, b, c (and one atom off all planes, which gives the signs of the axes away).
# Mean moments: (b² + c²), (a² + c²), (a² + b²), times 2/7, plus those of the last atom, which lies near the centre.
ARMS = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [-1, 0, 0], [0, -1, 0], [0, 0, -1]], dtype=float)


def octahedron(a: float, b: float, c: float) -> np.ndarray:
    return np.concatenate([ARMS * [a, b, c], [[0.05, 0.04, 0.03]]])


def test_rigid_copies_in_general_position_are_kept() -> None:
    final, start = pair(0)
    assert published_verdict(start, final) == KEPT


def test_mirror_images_are_kept_because_the_signs_of_axes_are_chosen_one_by_one() -> None:
    final, start = pair(0)
    start[3] = -start[3]
    assert published_verdict(start, final) == KEPT


def test_a_flat_molecule_drops_the_whole_cluster() -> None:
    final, start = pair(0)
    flat = CHFCLBR * [1, 1, 0]
    final[7] = start[7] = flat
    assert published_verdict(start, final) == "flat"


def test_rank_is_that_of_single_precision() -> None:
    # 1e-3 Å out of the plane is seen; 1e-8 Å is below what single precision resolves of 2 Å.
    for height, verdict in ((1e-3, KEPT), (1e-8, "flat")):
        molecule = CHFCLBR * [1, 1, height]
        states = np.repeat(molecule[None], 3, axis=0)
        assert published_verdict(states, states) == verdict


def test_axes_that_are_not_unique_fail_unless_the_molecule_was_not_turned() -> None:
    # Three equal arms about z, none of them in a plane of x, y, z: the axes across z are whatever rounding makes them.
    angle = 0.2 + 2 * np.pi / 3 * np.arange(3)
    arms = np.stack([2 * np.cos(angle), 2 * np.sin(angle), np.full(3, 0.4)], axis=1)
    top = np.concatenate([arms, [[0, 0, 3]]])
    assert published_verdict(top[None], top[None]) == KEPT
    turned = [moved(top, seed, copies=1) for seed in range(20)]
    dropped = [published_verdict(state, top[None]) != KEPT for state in turned]
    assert sum(dropped) >= 15  # a few of the random axes fit by chance


def test_moments_that_tie_in_one_state_alone_drop_it() -> None:
    # arms 2 and 2.0005: the moments differ by 2/7 (2.0005² − 2²) = 0.0006 Å² < 0.001; with 2.01 by 0.011.
    near, apart = octahedron(2.0005, 2.0, 3.0)[None], octahedron(2.01, 2.0, 3.0)[None]
    assert published_verdict(near, apart) == "tie"
    assert published_verdict(apart, apart) == KEPT


def test_an_atom_at_the_centre_must_be_there_in_both_states() -> None:
    centred = ARMS * [2, 2.5, 3]
    with_centre = np.concatenate([centred, [[0, 0, 0]]])[None]
    off = with_centre.copy()
    off[0, -1] = [0.01, 0, 0]
    assert published_verdict(with_centre, off) == "centre"


def test_molecules_whose_atoms_all_lie_on_the_axes_give_no_signs() -> None:
    cross = (ARMS * [2, 2.5, 3])[None]
    assert published_verdict(cross, cross) == "anchor"


@pytest.mark.parametrize(("shift", "verdict"), [(0.02, KEPT), (3.0, "residue")])
def test_molecules_that_are_not_rigid_copies_are_dropped_beyond_the_limit(shift: float, verdict: str) -> None:
    final, start = pair(1)
    start[0, 4] += [0, shift, 0]
    assert published_verdict(start, final) == verdict


def test_every_verdict_is_explained() -> None:
    assert all(VERDICTS.values()) and KEPT in VERDICTS
    assert published_verdict(moved(CHFCLBR, 0), moved(CHFCLBR, 1)) in VERDICTS


@pytest.mark.parametrize("seed", [0, 42, 123])
@pytest.mark.parametrize("n", [1, 9, 10, 254])
def test_the_split_is_that_of_the_seeded_standard_generator(n: int, seed: int) -> None:
    random.seed(seed)  # as the published script does, with the generator that all share
    order = list(range(n))
    random.shuffle(order)
    part = published_split(n, seed)
    train, val = int(0.8 * n), int(0.1 * n)
    assert sorted(order[:train]) == np.flatnonzero(part == 0).tolist()
    assert sorted(order[train : train + val]) == np.flatnonzero(part == 1).tolist()
    assert sorted(order[train + val :]) == np.flatnonzero(part == 2).tolist()


def test_shares_of_the_whole_set() -> None:
    # 0.8 · 106,423 = 85,138.4 and 0.1 · 106,423 = 10,642.3, both cut; the rest is tested.
    assert np.bincount(published_split(106_423, 0)).tolist() == [85_138, 10_642, 10_643]
