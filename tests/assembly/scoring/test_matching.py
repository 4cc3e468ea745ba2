"""PM at the best assignment: zero for the truth however numbered, and the true minimum where it can be enumerated."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from scipy.optimize import quadratic_assignment
from scipy.spatial.distance import cdist
from scipy.spatial.transform import Rotation

from kflow_sci.assembly.scoring.matching import assignment, matched_pm
from kflow_sci.assembly.scoring.published import packing_matching
from kflow_sci.errors import ScoreError


def grid(count: int) -> np.ndarray:
    points = np.array(np.meshgrid(*[np.arange(-2, 3)] * 3), dtype=float).reshape(3, -1).T * 5
    return points[np.argsort(np.linalg.norm(points, axis=1), kind="stable")[:count]]


def moved(points: np.ndarray, rng: np.random.Generator, hand: int = 1) -> np.ndarray:
    turn = Rotation.from_quat(rng.normal(size=4)).as_matrix()
    return hand * points[rng.permutation(len(points))] @ turn.T + rng.normal(size=3)


@pytest.mark.parametrize("count", [2, 3, 4, 5, 17, 60, 200])
@pytest.mark.parametrize("hand", [1, -1])
def test_renumbered_turned_or_mirrored_truth_is_exactly_zero(count: int, hand: int) -> None:
    rng = np.random.default_rng(count)
    ref = 8 * rng.normal(size=(count, 3))
    for _ in range(3):
        assert matched_pm(moved(ref, rng, hand), ref) < 1e-9


@pytest.mark.parametrize("count", [7, 8, 13, 17, 19, 27, 57])
def test_regular_lattices_with_many_equal_distances_are_zero_too(count: int) -> None:
    rng = np.random.default_rng(count)
    ref = grid(count)
    for _ in range(3):
        assert matched_pm(moved(ref, rng), ref) < 1e-9


def test_flat_and_straight_clusters_are_zero_too() -> None:
    rng = np.random.default_rng(0)
    sheet = np.array([[i, j, 0] for i in range(4) for j in range(4)], dtype=float) * 4
    chain = np.array([[i, 0, 0] for i in range(9)], dtype=float) * 4
    for ref in (sheet, chain):
        assert matched_pm(moved(ref, rng), ref) < 1e-9


def test_assignment_names_the_counterparts() -> None:
    rng = np.random.default_rng(5)
    ref = 8 * rng.normal(size=(9, 3))
    shuffle = rng.permutation(9)
    assert np.array_equal(shuffle[assignment(ref[shuffle], ref)], np.arange(9))


def test_small_sets_reach_the_minimum_over_all_permutations() -> None:
    rng = np.random.default_rng(11)
    for _ in range(10):
        pred, ref = 5 * rng.normal(size=(2, 6, 3))
        least = min(packing_matching(pred[list(order)], ref) for order in permutations(range(6)))
        assert matched_pm(pred, ref) == pytest.approx(least, rel=0.03)
        assert matched_pm(pred, ref) >= least - 1e-12


def test_seventeen_are_on_average_as_good_as_many_restarts_of_a_general_solver() -> None:
    rng = np.random.default_rng(2)
    ours, theirs = [], []
    for _ in range(5):
        pred, ref = 6 * rng.normal(size=(2, 17, 3))
        d_pred, d_ref = cdist(pred, pred), cdist(ref, ref)
        least = np.inf
        for k in range(10):
            options = {"maximize": True, "rng": np.random.default_rng(k)}
            order = quadratic_assignment(d_ref, d_pred, method="2opt", options=options).col_ind
            least = min(least, packing_matching(pred[order], ref))
        ours.append(matched_pm(pred, ref))
        theirs.append(least)
    assert np.mean(ours) <= np.mean(theirs) + 0.02


def test_never_above_the_published_number() -> None:
    rng = np.random.default_rng(4)
    for _ in range(10):
        pred, ref = 6 * rng.normal(size=(2, 17, 3))
        assert matched_pm(pred, ref) <= packing_matching(pred, ref) + 1e-12


def test_not_finite_is_nan_and_unequal_sizes_are_refused() -> None:
    ref = grid(5)
    pred = ref.copy()
    pred[2, 1] = np.nan
    assert np.isnan(matched_pm(pred, ref))
    with pytest.raises(ScoreError, match="4 centroids cannot be matched to 5"):
        matched_pm(ref[:4], ref)
