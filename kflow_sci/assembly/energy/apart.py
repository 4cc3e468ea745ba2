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


@njit(cache=True, nogil=True, error_model="numpy")
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
    centroid = centroid.copy()
    now_arm, tried_arm = arm.copy(), np.empty_like(arm)
    tried = np.empty_like(centroid)
    turn, tried_turn = np.zeros((copies, 3, 3)), np.empty((copies, 3, 3))
    for i in range(copies):
        for k in range(3):
            turn[i, k, k] = 1.0
    rest = _gyration(centroid)
    strength = spring * np.sqrt(copies)
    atoms, depth, direction, clashing = overlaps(centroid, arm, first, radius, polar, acceptor, limits)
    penalty = _squares(depth)
    damp = damping[0]
    for _ in range(iterations):
        if not clashing:
            break
        pull = strength * (_gyration(centroid) - rest)
        move = _least_motion(centroid, now_arm, first, atoms, depth, direction, damp, spring, pull)
        _carry(centroid, turn, arm, first, move, longest, tried, tried_turn, tried_arm)
        there = overlaps(tried, tried_arm, first, radius, polar, acceptor, limits)
        pull = strength * (_gyration(tried) - rest)
        tried_penalty = _squares(there[1]) + pull * pull
        if tried_penalty < penalty:
            centroid, tried = tried, centroid
            turn, tried_turn = tried_turn, turn
            now_arm, tried_arm = tried_arm, now_arm
            penalty = tried_penalty
            atoms, depth, direction, clashing = there
            damp = max(0.5 * damp, damping[1])
        else:
            damp = min(3.0 * damp, damping[2])
    return centroid, turn


@njit(cache=True, nogil=True, error_model="numpy")
def _carry(
    centroid: np.ndarray,
    turn: np.ndarray,
    arm: np.ndarray,
    first: np.ndarray,
    move: np.ndarray,
    longest: float,
    tried: np.ndarray,
    tried_turn: np.ndarray,
    tried_arm: np.ndarray,
) -> None:
    """Fill the last three with where the copies are after the motion, which is shortened to the longest allowed."""
    copies = len(centroid)
    longest_squared = 0.0
    for i in range(copies):
        for half in (0, 3):
            size = move[i, half] ** 2 + move[i, half + 1] ** 2 + move[i, half + 2] ** 2
            longest_squared = max(longest_squared, size)
    shorten = longest / max(np.sqrt(longest_squared), longest)
    rotation = np.empty((3, 3))
    for i in range(copies):
        _rotate(shorten * move[i, 3], shorten * move[i, 4], shorten * move[i, 5], rotation)
        for k in range(3):
            tried[i, k] = centroid[i, k] + shorten * move[i, k]
            for m in range(3):
                tried_turn[i, k, m] = 0.0
                for n in range(3):
                    tried_turn[i, k, m] += rotation[k, n] * turn[i, n, m]
        for a in range(first[i], first[i + 1]):
            for k in range(3):
                tried_arm[a, k] = 0.0
                for m in range(3):
                    tried_arm[a, k] += tried_turn[i, k, m] * arm[a, m]


@njit(cache=True, nogil=True, error_model="numpy")
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
    reach, largest = np.zeros(copies), 0.0
    for size in radius:
        largest = max(largest, size)
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


@njit(cache=True, nogil=True, error_model="numpy")
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
    radius, middle = max(_gyration(centroid), 1e-9), _middle(centroid)
    springs, residual, blocks = np.zeros((copies, 6)), np.zeros((copies, 6)), np.empty((copies, 6, 6))
    for i in range(copies):
        for k in range(3):
            springs[i, k] = spring * (centroid[i, k] - middle[k]) / (np.sqrt(copies) * radius)
            residual[i, k] = -pull * springs[i, k]
        for k in range(6):
            for m in range(6):
                blocks[i, k, m] = damp * metric[i, k, m]
    rows = np.empty((pairs, 2, 6))  # derivative of each distance by the motion of its two copies
    for p in range(pairs):
        for side in range(2):
            i, a, sign = atoms[p, 2 + side], atoms[p, side], 1.0 - 2.0 * side
            for k in range(3):
                m, n = (k + 1) % 3, (k + 2) % 3
                rows[p, side, k] = sign * direction[p, k]
                rows[p, side, 3 + k] = sign * (arm[a, m] * direction[p, n] - arm[a, n] * direction[p, m])
            for k in range(6):
                residual[i, k] += depth[p] * rows[p, side, k]
                for m in range(6):
                    blocks[i, k, m] += rows[p, side, k] * rows[p, side, m]
    for i in range(copies):
        _cholesky(blocks, i)
    motion, applied, ahead = np.zeros((copies, 6)), np.empty((copies, 6)), np.empty((copies, 6))
    _solve_blocks(blocks, residual, ahead)
    search = ahead.copy()
    size = _dot(residual, ahead)
    for _ in range(INNER_STEPS):
        along = _dot(springs, search)
        for i in range(copies):
            for k in range(6):
                applied[i, k] = along * springs[i, k]
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
        curvature = _dot(search, applied)
        if curvature <= 0.0:
            break
        for i in range(copies):
            for k in range(6):
                motion[i, k] += size / curvature * search[i, k]
                residual[i, k] -= size / curvature * applied[i, k]
        _solve_blocks(blocks, residual, ahead)
        last, size = size, _dot(residual, ahead)
        if last <= 0.0:
            break
        for i in range(copies):
            for k in range(6):
                search[i, k] = ahead[i, k] + size / last * search[i, k]
    return motion


@njit(cache=True, nogil=True, error_model="numpy")
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


@njit(cache=True, nogil=True, error_model="numpy")
def _middle(centroid: np.ndarray) -> np.ndarray:
    middle = np.zeros(3)
    for i in range(len(centroid)):
        for k in range(3):
            middle[k] += centroid[i, k] / len(centroid)
    return middle


@njit(cache=True, nogil=True, error_model="numpy")
def _gyration(centroid: np.ndarray) -> float:
    """Radius of gyration, Å."""
    middle, total = _middle(centroid), 0.0
    for i in range(len(centroid)):
        for k in range(3):
            total += (centroid[i, k] - middle[k]) ** 2
    return float(np.sqrt(total / len(centroid)))


@njit(cache=True, nogil=True, error_model="numpy")
def _squares(values: np.ndarray) -> float:
    total = 0.0
    for value in values:
        total += value * value
    return total


@njit(cache=True, nogil=True, error_model="numpy")
def _dot(a: np.ndarray, b: np.ndarray) -> float:
    """Of two motions."""
    total = 0.0
    for i in range(len(a)):
        for k in range(6):
            total += a[i, k] * b[i, k]
    return total


@njit(cache=True, nogil=True, error_model="numpy")
def _rotate(x: float, y: float, z: float, out: np.ndarray) -> None:
    """Rotation matrix of a rotation vector (Rodrigues)."""
    squared = x * x + y * y + z * z
    angle = np.sqrt(squared)
    if angle < 1e-4:  # where 1 − cos loses its digits
        a, b = 1.0 - squared / 6.0, 0.5 - squared / 24.0
    else:
        a, b = np.sin(angle) / angle, (1.0 - np.cos(angle)) / squared
    c = 1.0 - b * squared
    out[0, 0], out[0, 1], out[0, 2] = c + b * x * x, b * x * y - a * z, b * x * z + a * y
    out[1, 0], out[1, 1], out[1, 2] = b * x * y + a * z, c + b * y * y, b * y * z - a * x
    out[2, 0], out[2, 1], out[2, 2] = b * x * z - a * y, b * y * z + a * x, c + b * z * z


@njit(cache=True, nogil=True, error_model="numpy")
def _cholesky(blocks: np.ndarray, i: int) -> None:
    """Lower factor of the i-th positive 6 × 6 block, in its place."""
    for k in range(6):
        for m in range(k + 1):
            total = blocks[i, k, m]
            for n in range(m):
                total -= blocks[i, k, n] * blocks[i, m, n]
            blocks[i, k, m] = np.sqrt(total) if k == m else total / blocks[i, m, m]


@njit(cache=True, nogil=True, error_model="numpy")
def _solve_blocks(factors: np.ndarray, right: np.ndarray, out: np.ndarray) -> None:
    """Solution for every copy, from the factors of ``_cholesky``."""
    for i in range(len(factors)):
        for k in range(6):
            out[i, k] = right[i, k]
            for m in range(k):
                out[i, k] -= factors[i, k, m] * out[i, m]
            out[i, k] /= factors[i, k, k]
        for k in range(5, -1, -1):
            for m in range(k + 1, 6):
                out[i, k] -= factors[i, m, k] * out[i, m]
            out[i, k] /= factors[i, k, k]
