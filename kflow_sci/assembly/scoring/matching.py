"""Which molecule of a prediction stands for which of the reference.

The one idea: identical molecules have no names, so a distance-matrix measure is taken at its best assignment. That is
a quadratic assignment problem. Up to seven molecules all assignments are tried. More are solved by laying the two sets
of centroids over each other in many ways (each gives a linear assignment), and improving every such start by the best
swap of two molecules until none helps: exact for a renumbered truth, an upper bound otherwise.
"""

from __future__ import annotations

from itertools import permutations

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from kflow_sci.errors import ScoreError

STARTS = 10  # superpositions tried for each of the base triangles and each hand
TRIANGLES = 2
WORK = 20_000  # the number of starts that are improved, times the squared number of molecules
ENUMERATED = 7  # molecules up to which all assignments are tried
EXACT = 1e-9  # a start this good, in Å, ends the search
_MAX_SWEEPS = 400
_NEVER = 1e12

Kinds = tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"]]


def matched_pm(
    pred: Float[np.ndarray, "n 3"], ref: Float[np.ndarray, "n 3"], kinds: Kinds | None = None
) -> float:
    """PM-center at the best assignment of molecules.

    Args:
        pred: Centroids of the prediction, Å.
        ref: Centroids of the reference, Å, as many.
        kinds: Which kind of molecule each of the predicted and of the reference ones is; only like ones are matched.
            All are alike if None.

    Returns:
        Root mean square difference of the two centroid distance matrices, diagonal included, Å; lower is better.
        Exactly 0 (rounding apart) for a renumbered, moved or mirrored truth: distances do not see the hand.
        The minimum for up to seven molecules, otherwise an upper bound, as the search is a heuristic; NaN if a
        coordinate is not finite.

    Raises:
        ScoreError: the two sets differ in size or in kinds.
    """
    order = assignment(pred, ref, kinds)
    return float(np.sqrt(np.square(cdist(pred[order], pred[order]) - cdist(ref, ref)).mean()))


def assignment(
    pred: Float[np.ndarray, "n 3"], ref: Float[np.ndarray, "n 3"], kinds: Kinds | None = None
) -> Int[np.ndarray, " n"]:
    """The order of the predicted centroids that fits the reference best.

    Args:
        pred: Å.
        ref: Å.
        kinds: See ``matched_pm``.

    Returns:
        ``order`` such that ``pred[order[i]]`` stands for ``ref[i]``. If a coordinate is not finite, kind by kind in the
        order given.

    Raises:
        ScoreError: the two sets differ in size or in kinds.
    """
    if pred.shape != ref.shape:
        raise ScoreError(
            f"{len(pred)} centroids cannot be matched to {len(ref)}: give as many molecules in both"
        )
    mine, theirs = kinds if kinds is not None else (np.zeros(len(ref), dtype=np.int64),) * 2
    if not np.array_equal(np.sort(mine), np.sort(theirs)):
        raise ScoreError(
            f"{len(ref)} molecules of other kinds cannot be matched: give as many of each kind in both"
        )
    given = np.empty(len(ref), dtype=np.int64)
    given[np.argsort(theirs, kind="stable")] = np.argsort(mine, kind="stable")
    if len(ref) < 3 or not (np.isfinite(pred).all() and np.isfinite(ref).all()):
        return given
    unlike = theirs[:, None] != mine
    pred, ref = pred - pred.mean(axis=0), ref - ref.mean(axis=0)
    distance_pred, distance_ref = cdist(pred, pred), cdist(ref, ref)
    if len(ref) <= ENUMERATED:
        starts = np.array(list(permutations(range(len(ref)))))
        starts = starts[~unlike[np.arange(len(ref)), starts].any(axis=1)]
        misfits = np.square(distance_pred[starts[:, :, None], starts[:, None]] - distance_ref).sum(
            axis=(1, 2)
        )
        return starts[int(misfits.argmin())]
    found = [given, _by_profile(distance_pred, distance_ref, unlike)]
    found += _by_superposition(pred, ref, distance_pred, distance_ref, unlike)
    orders = np.unique(np.stack(found), axis=0)
    misfit = np.array(
        [np.square(distance_pred[np.ix_(order, order)] - distance_ref).mean() for order in orders]
    )
    if misfit.min() < EXACT**2:
        return orders[int(misfit.argmin())]
    promising = np.argsort(misfit, kind="stable")[: max(2, WORK // len(ref) ** 2)]
    return _swap(distance_pred, distance_ref, orders[promising], mine)


def _by_profile(
    pred: Float[np.ndarray, "n n"], ref: Float[np.ndarray, "n n"], unlike: Bool[np.ndarray, "n n"]
) -> Int[np.ndarray, " n"]:
    """Match molecules whose sorted distances to all others agree."""
    return linear_sum_assignment(cdist(np.sort(ref), np.sort(pred), "sqeuclidean") + _NEVER * unlike)[1]


def _by_superposition(
    pred: Float[np.ndarray, "n 3"],
    ref: Float[np.ndarray, "n 3"],
    distance_pred: Float[np.ndarray, "n n"],
    distance_ref: Float[np.ndarray, "n n"],
    unlike: Bool[np.ndarray, "n n"],
) -> list[Int[np.ndarray, " n"]]:
    """Lay centroid–molecule–molecule triangles of both sets over each other, in both hands, and match what is near."""
    radius_pred, radius_ref = np.linalg.norm(pred, axis=1), np.linalg.norm(ref, axis=1)
    area = np.linalg.norm(np.cross(ref[:, None], ref[None]), axis=-1)
    n = len(ref)
    orders: list[Int[np.ndarray, " n"]] = []
    used: set[int] = set()
    for _ in range(min(TRIANGLES, n // 2)):
        free = np.array([i not in used for i in range(n)])
        b, c = np.unravel_index(int(np.where(free[:, None] & free, area, -1.0).argmax()), area.shape)
        used |= {int(b), int(c)}
        misfit = (
            np.abs(radius_pred - radius_ref[b])[:, None]
            + np.abs(radius_pred - radius_ref[c])
            + np.abs(distance_pred - distance_ref[b, c])
        )
        np.fill_diagonal(misfit, np.inf)
        # All exact fits are tried (a regular cluster has many), then the nearest ones.
        count = min(n * (n - 1), max(STARTS, min(10 * STARTS, int(np.count_nonzero(misfit < 1e-6)))))
        best = np.argpartition(misfit, count - 1, axis=None)[:count]
        best = best[np.argsort(misfit.ravel()[best], kind="stable")]
        j, k = np.unravel_index(best, misfit.shape)
        source, target = _frame(ref[[b]], ref[[c]]), _frame(pred[j], pred[k])
        for hand in (1.0, -1.0):
            moved = ref @ source[0] @ (target * np.array([1.0, 1.0, hand])).transpose(0, 2, 1)
            orders += [
                linear_sum_assignment(cdist(points, pred, "sqeuclidean") + _NEVER * unlike)[1]
                for points in moved
            ]
    return orders


def _frame(a: Float[np.ndarray, "m 3"], b: Float[np.ndarray, "m 3"]) -> Float[np.ndarray, "m 3 3"]:
    """Frames with x along a and y towards b, axes as columns; of points on a line, any y."""
    x = a / np.maximum(np.linalg.norm(a, axis=1, keepdims=True), 1e-12)
    y = b - (b * x).sum(axis=1, keepdims=True) * x
    flat = np.linalg.norm(y, axis=1) < 1e-9
    y[flat] = np.cross(x[flat], np.eye(3)[np.abs(x[flat]).argmin(axis=1)])
    y /= np.maximum(np.linalg.norm(y, axis=1, keepdims=True), 1e-12)
    return np.stack([x, y, np.cross(x, y)], axis=-1)


def _swap(
    pred: Float[np.ndarray, "n n"],
    ref: Float[np.ndarray, "n n"],
    orders: Int[np.ndarray, "s n"],
    kind: Int[np.ndarray, " n"],
) -> Int[np.ndarray, " n"]:
    """Improve every start by its best swap until none helps; return the best of all.

    The sum of squared differences falls exactly as the overlap ``g = Σ ref_ij pred_p(i)p(j)`` rises, and swapping r
    and s changes g by ``4 (M_rs + M_sr − M_rr − M_ss + 2 ref_rs E_rs) / 2`` with E the permuted matrix, M = ref E.
    """
    orders = orders.copy()
    active = np.arange(len(orders))
    n = len(ref)
    for _ in range(_MAX_SWEEPS):
        permuted = pred[orders[active][:, :, None], orders[active][:, None, :]]
        product = ref @ permuted
        diagonal = np.diagonal(product, axis1=1, axis2=2)
        gain = (
            product
            + product.transpose(0, 2, 1)
            - diagonal[:, :, None]
            - diagonal[:, None]
            + 2 * ref * permuted
        )
        held = kind[orders[active]]
        gain[held[:, :, None] != held[:, None]] = 0.0
        best = gain.reshape(len(active), -1).argmax(axis=1)
        improves = np.take_along_axis(gain.reshape(len(active), -1), best[:, None], axis=1)[:, 0] > 1e-9
        if not improves.any():
            break
        active, best = active[improves], best[improves]
        r, s = np.unravel_index(best, (n, n))
        orders[active, r], orders[active, s] = orders[active, s], orders[active, r]
    overlap = [float((ref * pred[np.ix_(order, order)]).sum()) for order in orders]
    return orders[int(np.argmax(overlap))]
