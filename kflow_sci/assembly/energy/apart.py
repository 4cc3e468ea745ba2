"""The inner loop of ``relax``, compiled: one cluster, a few linearised steps that undo its overlaps.

The one idea: a cluster of twenty-atom molecules has some ten thousand pairs of atoms of neighbouring molecules. Looking
at each of them anew costs some ten microseconds, less than any list of neighbours would, so there is none to keep up
to date, and a contact step is cheap beside a call of the network.

numba compiles at the first call and keeps the result beside this file (or in the user's cache). The functions let go
of the interpreter's lock, so several threads may each work on a cluster.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int
from numba import njit

INNER_STEPS = 8
# Atoms in the same place have no direction to part in; their molecules are left to the other pairs.
_SAME_PLACE = 1e-9


@njit(cache=True, nogil=True)
def step_apart(
    centroid: Float[np.ndarray, "copies 3"],
    arm: Float[np.ndarray, "atoms 3"],
    first: Int[np.ndarray, " copies+1"],
    radius: Float[np.ndarray, " atoms"],
    polar: Bool[np.ndarray, " atoms"],
    acceptor: Bool[np.ndarray, " atoms"],
    limits: tuple[float, float, float],
    damping: tuple[float, float, float],
    spring: float,
    longest: float,
    iterations: int,
) -> tuple[Float[np.ndarray, "copies 3"], Float[np.ndarray, "copies 3 3"]]:
    """Levenberg–Marquardt steps on ``Σ max(0, m l − d)² + (spring √n (Rg − Rg⁰))²`` until no pair clashes.

    Args:
        centroid: Å.
        arm: Atoms about their centroids, Å.
        first: First atom of each copy, and the number of atoms.
        radius: Van der Waals radius of each atom, Å.
        polar: Hydrogens that make hydrogen bonds.
        acceptor: Atoms that accept them.
        limits: Share of the sum of radii below which a pair clashes, that of a hydrogen bond, and m.
        damping: At the start, least and most.
        spring: Of the radius of gyration.
        longest: Longest move (Å) or turn (rad) of one step.
        iterations: Most steps.

    Returns:
        Centroids, and the rotation that each copy turns by.
    """
    copies = len(centroid)
    turn = np.zeros((copies, 3, 3))
    for i in range(copies):
        turn[i] = np.eye(3)
    rest = _gyration(centroid)
    strength = spring * np.sqrt(copies)
    atoms, depth, direction, clashing = overlaps(centroid, arm, first, radius, polar, acceptor, limits)
    penalty = np.sum(depth * depth)
    damp, now_arm = damping[0], arm
    for _ in range(iterations):
        if not clashing:
            break
        pull = strength * (_gyration(centroid) - rest)
        move = _least_motion(centroid, now_arm, first, atoms, depth, direction, damp, spring, pull)
        size = 0.0
        for i in range(copies):
            size = max(size, np.sqrt(np.sum(move[i, :3] ** 2)), np.sqrt(np.sum(move[i, 3:] ** 2)))
        move *= min(1.0, longest / max(size, longest))
        tried = centroid + move[:, :3]
        tried_turn, tried_arm = np.empty_like(turn), np.empty_like(arm)
        for i in range(copies):
            tried_turn[i] = _product(_rotation(move[i, 3:]), turn[i])
            for a in range(first[i], first[i + 1]):
                for k in range(3):
                    tried_arm[a, k] = (
                        tried_turn[i, k, 0] * arm[a, 0]
                        + tried_turn[i, k, 1] * arm[a, 1]
                        + tried_turn[i, k, 2] * arm[a, 2]
                    )
        there = overlaps(tried, tried_arm, first, radius, polar, acceptor, limits)
        tried_penalty = np.sum(there[1] * there[1]) + (strength * (_gyration(tried) - rest)) ** 2
        if tried_penalty < penalty:
            centroid, turn, now_arm, penalty = tried, tried_turn, tried_arm, tried_penalty
            atoms, depth, direction, clashing = there
            damp = max(0.5 * damp, damping[1])
        else:
            damp = min(3.0 * damp, damping[2])
    return centroid, turn


@njit(cache=True, nogil=True)
def overlaps(
    centroid: np.ndarray,
    arm: np.ndarray,
    first: np.ndarray,
    radius: np.ndarray,
    polar: np.ndarray,
    acceptor: np.ndarray,
    limits: tuple[float, float, float],
) -> tuple[np.ndarray, np.ndarray, np.ndarray, bool]:
    """Pairs closer than m of their limit: (atom, atom, copy, copy), depth, unit vector; and whether any clashes."""
    copies = len(centroid)
    share, bonding, margin = limits
    reach, largest = np.zeros(copies), radius.max()
    for i in range(copies):
        for a in range(first[i], first[i + 1]):
            reach[i] = max(reach[i], arm[a, 0] ** 2 + arm[a, 1] ** 2 + arm[a, 2] ** 2)
        reach[i] = np.sqrt(reach[i])
    room, count, clashing = 64, 0, False
    atoms, depth, direction = np.empty((room, 4), np.int64), np.empty(room), np.empty((room, 3))
    for i in range(copies):
        for j in range(i + 1, copies):
            cx = centroid[i, 0] - centroid[j, 0]
            cy = centroid[i, 1] - centroid[j, 1]
            cz = centroid[i, 2] - centroid[j, 2]
            far = reach[i] + reach[j] + 2.0 * share * margin * largest
            if cx * cx + cy * cy + cz * cz > far * far:
                continue
            for a in range(first[i], first[i + 1]):
                ax, ay, az = cx + arm[a, 0], cy + arm[a, 1], cz + arm[a, 2]
                widest = reach[j] + share * margin * (radius[a] + largest)
                if ax * ax + ay * ay + az * az > widest * widest:
                    continue
                for b in range(first[j], first[j + 1]):
                    x, y, z = ax - arm[b, 0], ay - arm[b, 1], az - arm[b, 2]
                    squared = x * x + y * y + z * z
                    outer = share * margin * (radius[a] + radius[b])
                    if squared >= outer * outer:
                        continue
                    limit = share * (radius[a] + radius[b])
                    if (polar[a] and acceptor[b]) or (acceptor[a] and polar[b]):
                        limit = bonding * (radius[a] + radius[b])
                    distance = np.sqrt(squared)
                    if distance >= margin * limit or distance <= _SAME_PLACE:
                        continue
                    if count == room:
                        room *= 2
                        more, deeper, ways = (
                            np.empty((room, 4), np.int64),
                            np.empty(room),
                            np.empty((room, 3)),
                        )
                        more[:count], deeper[:count], ways[:count] = atoms, depth, direction
                        atoms, depth, direction = more, deeper, ways
                    atoms[count, 0], atoms[count, 1], atoms[count, 2], atoms[count, 3] = a, b, i, j
                    depth[count] = margin * limit - distance
                    direction[count, 0] = x / distance
                    direction[count, 1] = y / distance
                    direction[count, 2] = z / distance
                    clashing = clashing or distance < limit
                    count += 1
    return atoms[:count], depth[:count], direction[:count], clashing


@njit(cache=True, nogil=True)
def _least_motion(
    centroid: np.ndarray,
    arm: np.ndarray,
    first: np.ndarray,
    atoms: np.ndarray,
    depth: np.ndarray,
    direction: np.ndarray,
    damp: float,
    spring: float,
    pull: float,
) -> np.ndarray:
    """Small motion (move, turn) of each copy that undoes the linearised overlaps.

    Minimises ``Σ (depth − J q)² + (pull + s q)² + damp qᵀ M q`` by conjugate gradients with the 6 × 6 blocks of each
    copy as preconditioner. M weighs a turn by the mean square distance of the atoms from its axis, so that a move and
    a turn that shift the atoms equally far cost the same.
    """
    copies, pairs = len(centroid), len(depth)
    metric = _metric(arm, first)
    radius = max(_gyration(centroid), 1e-9)
    middle = _middle(centroid)
    springs = np.zeros((copies, 6))
    for i in range(copies):
        springs[i, :3] = spring * (centroid[i] - middle) / (np.sqrt(copies) * radius)
    rows = np.empty((pairs, 2, 6))  # derivative of each distance by the motion of its two copies
    blocks = damp * metric
    residual = -pull * springs
    for p in range(pairs):
        for side in range(2):
            u, r = direction[p], arm[atoms[p, side]]
            sign = 1.0 - 2.0 * side
            rows[p, side, 0], rows[p, side, 1], rows[p, side, 2] = sign * u[0], sign * u[1], sign * u[2]
            rows[p, side, 3] = sign * (r[1] * u[2] - r[2] * u[1])
            rows[p, side, 4] = sign * (r[2] * u[0] - r[0] * u[2])
            rows[p, side, 5] = sign * (r[0] * u[1] - r[1] * u[0])
            i = atoms[p, 2 + side]
            for k in range(6):
                residual[i, k] += depth[p] * rows[p, side, k]
                for m in range(6):
                    blocks[i, k, m] += rows[p, side, k] * rows[p, side, m]
    for i in range(copies):
        _cholesky(blocks[i])
    motion = np.zeros((copies, 6))
    ahead = _solve_blocks(blocks, residual)
    search = ahead.copy()
    size = np.sum(residual * ahead)
    for _ in range(INNER_STEPS):
        along = np.sum(springs * search)
        applied = along * springs
        for i in range(copies):
            for k in range(6):
                for m in range(6):
                    applied[i, k] += damp * metric[i, k, m] * search[i, m]
        for p in range(pairs):
            change = 0.0
            for side in range(2):
                for k in range(6):
                    change += rows[p, side, k] * search[atoms[p, 2 + side], k]
            for side in range(2):
                for k in range(6):
                    applied[atoms[p, 2 + side], k] += change * rows[p, side, k]
        curvature = np.sum(search * applied)
        if curvature <= 0.0:
            break
        length = size / curvature
        motion += length * search
        residual -= length * applied
        ahead = _solve_blocks(blocks, residual)
        last, size = size, np.sum(residual * ahead)
        if last <= 0.0:
            break
        search = ahead + size / last * search
    return motion


@njit(cache=True, nogil=True)
def _metric(arm: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Mean square shift of a copy's atoms as a form in (move, turn); 0.5 Å² is for the axis of a linear one."""
    copies = len(first) - 1
    metric = np.zeros((copies, 6, 6))
    for i in range(copies):
        count = first[i + 1] - first[i]
        for k in range(3):
            metric[i, k, k], metric[i, 3 + k, 3 + k] = 1.0, 0.5
        for a in range(first[i], first[i + 1]):
            squared = arm[a, 0] ** 2 + arm[a, 1] ** 2 + arm[a, 2] ** 2
            for k in range(3):
                metric[i, 3 + k, 3 + k] += squared / count
                for m in range(3):
                    metric[i, 3 + k, 3 + m] -= arm[a, k] * arm[a, m] / count
    return metric


@njit(cache=True, nogil=True)
def _middle(centroid: np.ndarray) -> np.ndarray:
    middle = np.zeros(3)
    for i in range(len(centroid)):
        middle += centroid[i] / len(centroid)
    return middle


@njit(cache=True, nogil=True)
def _gyration(centroid: np.ndarray) -> float:
    """Radius of gyration, Å."""
    return float(np.sqrt(np.sum((centroid - _middle(centroid)) ** 2) / len(centroid)))


@njit(cache=True, nogil=True)
def _rotation(vector: np.ndarray) -> np.ndarray:
    """Rodrigues' formula."""
    x, y, z = vector
    squared = x * x + y * y + z * z
    angle = np.sqrt(squared)
    if angle < 1e-4:  # where 1 − cos loses its digits
        a, b = 1.0 - squared / 6.0, 0.5 - squared / 24.0
    else:
        a, b = np.sin(angle) / angle, (1.0 - np.cos(angle)) / squared
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return np.eye(3) + a * cross + b * _product(cross, cross)


@njit(cache=True, nogil=True)
def _product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """3 × 3; without the call of a library that takes longer than the product."""
    out = np.zeros((3, 3))
    for i in range(3):
        for j in range(3):
            for k in range(3):
                out[i, j] += a[i, k] * b[k, j]
    return out


@njit(cache=True, nogil=True)
def _cholesky(block: np.ndarray) -> None:
    """Lower factor of a positive 6 × 6 block, in its place."""
    for k in range(6):
        for m in range(k + 1):
            total = block[k, m]
            for n in range(m):
                total -= block[k, n] * block[m, n]
            block[k, m] = np.sqrt(total) if k == m else total / block[m, m]


@njit(cache=True, nogil=True)
def _solve_blocks(factors: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Solution for every copy, from the factors of ``_cholesky``."""
    out = right.copy()
    for i in range(len(factors)):
        for k in range(6):
            for m in range(k):
                out[i, k] -= factors[i, k, m] * out[i, m]
            out[i, k] /= factors[i, k, k]
        for k in range(5, -1, -1):
            for m in range(k + 1, 6):
                out[i, k] -= factors[i, m, k] * out[i, m]
            out[i, k] /= factors[i, k, k]
    return out
