"""Resolve the clashes of finished clusters: a short rigid relaxation of a penalty that is zero without them.

The one idea: a relaxation in a force field would pull a finite cluster apart, so nothing physical is
minimised. Each iteration linearises the distances of the overlapping pairs and takes the smallest rigid
motion that undoes the overlaps (Levenberg–Marquardt, conjugate gradients inside). A cluster without clashes
is left exactly as it is, one with clashes stops as soon as they are gone, and a spring on the radius of
gyration keeps the density.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.sparse import csr_matrix
from scipy.spatial.transform import Rotation

from kflow_sci.assembly.cluster import Cluster
from kflow_sci.assembly.contacts import CLASH_FRACTION, Stack, clashing_pairs
from kflow_sci.errors import ConfigError

# The penalty reaches a little beyond the clash limit, so that clashes end after finitely many iterations.
MARGIN = 1.03
# Spring on the radius of gyration per root of a molecule; 2 holds the volume within 1 %, without it random balls swell
# by 20 to 40 %.
SPRING = 2.0
# Longest move of a centroid (Å) or turn of a molecule (rad) in one iteration.
LONGEST_STEP = 1.0
INNER_STEPS = 8
# Damping at the start and its limits: the larger, the shorter the moves. Much less than 0.3 jams: long moves meet new
# neighbours and are refused.
DAMPING, LEAST_DAMPING, MOST_DAMPING = 5.0, 0.3, 1e4
# Neighbours are searched this much farther than needed (Å), and again once an atom has moved half of it.
SKIN = 0.6


def resolve_clashes(clusters: Sequence[Cluster], iterations: int = 20) -> list[Cluster]:
    """Move molecules as rigid bodies, and as little as possible, until none clash.

    The penalty of a cluster is ``Σ max(0, 1.03 l_ab − d_ab)²`` over pairs of atoms of different molecules,
    with l the clash limit of ``contacts.clashing_pairs`` (0.8 of the van der Waals radii, 0.55 in a hydrogen
    bond), plus ``n (2 (Rg − Rg⁰))²``, which holds the radius of gyration of the n centroids. Clusters may differ
    in size and molecules; each is treated as if it were alone, and turning, reflecting, moving or renumbering
    it turns, reflects, moves or renumbers the answer.

    Args:
        clusters: Any number of clusters.
        iterations: Most linearisations, >= 0; each costs one evaluation and at most 8 conjugate-gradient
            steps. More than 20 are rarely used: what has not come free by then is interlocked.

    Returns:
        New clusters in the same order. ``info`` gains ``clashing_pairs_start`` and ``clashing_pairs`` (per
        molecule, before and after) and ``relax_shift`` (root mean square move of the centroids, Å). A cluster
        whose clashes cannot be removed comes back in its best state, with ``clashing_pairs`` above zero.

    Raises:
        ConfigError: ``iterations`` is negative.
        ClusterError: an empty cluster, or a pose that is not finite.
    """
    if iterations < 0:
        raise ConfigError(
            f"iterations is {iterations}, but must be 0 or more: give 20 for the usual relaxation"
        )
    if not clusters:
        return []
    moved = step_apart(clusters, iterations)
    before, after = clashing_pairs(clusters), clashing_pairs(moved)
    for k, cluster in enumerate(moved):
        cluster.info["clashing_pairs_start"] = float(before[k])
        cluster.info["clashing_pairs"] = float(after[k])
        shift = cluster.centroid - clusters[k].centroid
        cluster.info["relax_shift"] = float(np.sqrt((shift**2).sum(1).mean()))
    return moved


def step_apart(clusters: Sequence[Cluster], iterations: int) -> list[Cluster]:
    """The poses after some iterations of ``resolve_clashes``, without the counts."""
    stack = Stack.of(clusters)
    centroid, turn = _relax(stack, iterations)
    ends = np.cumsum([len(cluster) for cluster in clusters])
    return [
        Cluster(
            c.molecules,
            c.kind,
            centroid[end - len(c) : end],
            turn[end - len(c) : end] @ c.rotation,
            c.parity,
            dict(c.info),
        )
        for c, end in zip(clusters, ends, strict=True)
    ]


def clash_penalty(
    cluster: Cluster,
) -> tuple[float, Float[np.ndarray, "n 3"], Float[np.ndarray, "n 3"]]:
    """Overlap penalty of one cluster and its exact gradient.

    Returns:
        ``Σ max(0, 1.03 l − d)²`` in Å², its gradient by the centroids (Å), and by the turns δ of ``R ← exp(δ)
        R`` at δ = 0 (Å² per rad). The spring is zero where a relaxation starts, and so is left out.

    Raises:
        ClusterError: an empty cluster, or a pose that is not finite.
    """
    stack = Stack.of([cluster])
    search = _Neighbours(stack)
    overlaps = search.overlaps(stack.centroid, stack.arm, np.ones(1, dtype=bool))
    gradient = -2.0 * (overlaps.jacobian(stack).T @ overlaps.depth).reshape(-1, 6)
    return float(overlaps.depth @ overlaps.depth), gradient[:, :3], gradient[:, 3:]


@dataclass(frozen=True, eq=False)
class _Overlaps:
    """The pairs closer than 1.03 of their limit: atoms, how deep they overlap, the unit vector that parts them."""

    pairs: Int[np.ndarray, "p 2"]
    depth: Float[np.ndarray, " p"]
    direction: Float[np.ndarray, "p 3"]
    arm: Float[np.ndarray, "atoms 3"]
    clashing: Bool[np.ndarray, " p"]

    def rows(self) -> Float[np.ndarray, "p 2 6"]:
        """Derivative of each distance by the motion (move, turn) of its two molecules."""
        i, j = self.pairs.T
        u = self.direction
        first = np.concatenate([u, np.cross(self.arm[i], u)], axis=1)
        second = -np.concatenate([u, np.cross(self.arm[j], u)], axis=1)
        return np.stack([first, second], axis=1)

    def jacobian(self, stack: Stack) -> csr_matrix:
        """Derivative of the distances by the motions of all copies, ``(p, 6 copies)``."""
        columns = 6 * stack.owner[self.pairs][:, :, None] + np.arange(6)
        starts = np.arange(0, columns.size + 1, 12)
        return csr_matrix(
            (self.rows().ravel(), columns.ravel(), starts), shape=(len(self.pairs), 6 * len(stack.system))
        )


class _Neighbours:
    """Close pairs of a stack, searched again only when some atom has moved far enough to matter."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.reach = 2.0 * CLASH_FRACTION * MARGIN * float(stack.radius.max())
        self.seen: Float[np.ndarray, "atoms 3"] | None = None

    def overlaps(
        self,
        centroid: Float[np.ndarray, "copies 3"],
        arm: Float[np.ndarray, "atoms 3"],
        live: Bool[np.ndarray, " b"],
    ) -> _Overlaps:
        positions = centroid[self.stack.owner] + arm
        if self.seen is None or ((positions - self.seen) ** 2).sum(1).max() > (0.5 * SKIN) ** 2:
            self.pairs = self.stack.close_pairs(self.reach + SKIN, centroid, arm, live)
            self.limit = self.stack.limits(self.pairs)
            self.seen = positions
        between = positions[self.pairs[:, 0]] - positions[self.pairs[:, 1]]
        distance = np.sqrt(np.einsum("px,px->p", between, between))
        # Atoms in the same place have no direction to part in; their molecules are left to the other pairs.
        near = (distance < MARGIN * self.limit) & (distance > 1e-9)
        pairs, limit, length = self.pairs[near], self.limit[near], distance[near]
        return _Overlaps(pairs, MARGIN * limit - length, between[near] / length[:, None], arm, length < limit)


def _relax(
    stack: Stack, iterations: int
) -> tuple[Float[np.ndarray, "copies 3"], Float[np.ndarray, "copies 3 3"]]:
    """Centroids, and the rotations that each copy turns by."""
    copies, clusters, system = len(stack.system), stack.n_systems, stack.system
    per_cluster = np.bincount(system)
    centroid, turn, arm = stack.centroid, np.tile(np.eye(3), (copies, 1, 1)), stack.arm
    rest_length = _spread(centroid, system, per_cluster)[1]
    damping = np.full(clusters, DAMPING)
    search = _Neighbours(stack)

    def look(
        centroid: np.ndarray, arm: np.ndarray, live: np.ndarray
    ) -> tuple[_Overlaps, np.ndarray, np.ndarray, np.ndarray]:
        overlaps = search.overlaps(centroid, arm, live)
        where = system[stack.owner[overlaps.pairs[:, 0]]]
        pull = SPRING * np.sqrt(per_cluster) * (_spread(centroid, system, per_cluster)[1] - rest_length)
        penalty = np.bincount(where, overlaps.depth**2, minlength=clusters) + pull**2
        return overlaps, pull, penalty, np.bincount(where[overlaps.clashing], minlength=clusters) > 0

    live = np.ones(clusters, dtype=bool)
    overlaps, pull, penalty, live = look(centroid, arm, live)
    for _ in range(iterations):
        if not live.any():
            break
        move = _least_motion(stack, overlaps, _spring_rows(centroid, system, per_cluster), pull, damping, arm)
        move[~live[system]] = 0.0
        step = np.zeros(clusters)
        np.maximum.at(step, system, np.linalg.norm(move.reshape(-1, 2, 3), axis=2).max(1))
        move *= np.minimum(1.0, LONGEST_STEP / np.maximum(step, LONGEST_STEP))[system][:, None]
        tried_turn = Rotation.from_rotvec(move[:, 3:]).as_matrix() @ turn
        tried_arm = np.einsum("aij,aj->ai", tried_turn[stack.owner], stack.arm)
        tried = look(centroid + move[:, :3], tried_arm, live)
        better = live & (tried[2] < penalty)
        damping = np.clip(np.where(better, 0.5 * damping, 3.0 * damping), LEAST_DAMPING, MOST_DAMPING)
        centroid = np.where(better[system][:, None], centroid + move[:, :3], centroid)
        turn = np.where(better[system][:, None, None], tried_turn, turn)
        arm = np.where(better[system[stack.owner]][:, None], tried_arm, arm)
        overlaps, pull, penalty, clashing = tried if better[live].all() else look(centroid, arm, live)
        live = live & clashing
    return centroid, turn


def _spread(
    centroid: Float[np.ndarray, "copies 3"],
    system: Int[np.ndarray, " copies"],
    per_cluster: Int[np.ndarray, " b"],
) -> tuple[Float[np.ndarray, "copies 3"], Float[np.ndarray, " b"]]:
    """Centroids about the middle of their cluster, and the radius of gyration of each cluster, Å."""
    middle = np.stack([np.bincount(system, centroid[:, k]) for k in range(3)], axis=1) / per_cluster[:, None]
    about = centroid - middle[system]
    return about, np.sqrt(np.bincount(system, (about**2).sum(1)) / per_cluster)


def _spring_rows(
    centroid: Float[np.ndarray, "copies 3"],
    system: Int[np.ndarray, " copies"],
    per_cluster: Int[np.ndarray, " b"],
) -> Float[np.ndarray, "copies 3"]:
    """Derivative of the spring's pull by each centroid."""
    about, radius = _spread(centroid, system, per_cluster)
    return SPRING * about / (np.sqrt(per_cluster) * np.maximum(radius, 1e-9))[system][:, None]


def _least_motion(
    stack: Stack,
    overlaps: _Overlaps,
    spring: Float[np.ndarray, "copies 3"],
    pull: Float[np.ndarray, " b"],
    damping: Float[np.ndarray, " b"],
    arm: Float[np.ndarray, "atoms 3"],
) -> Float[np.ndarray, "copies 6"]:
    """Small motion (move, turn) of each copy that undoes the linearised overlaps.

    Minimises ``Σ (depth − J q)² + (pull + s q)² + damping qᵀ M q`` by conjugate gradients with the 6 × 6
    blocks of each copy as preconditioner. M weighs a turn by the mean square distance of the atoms from its
    axis, so that a move and a turn that shift the atoms equally far cost the same.
    """
    system, copies = stack.system, len(stack.system)
    jacobian = overlaps.jacobian(stack)
    transposed = jacobian.T.tocsr()
    weight = damping[system][:, None, None] * _metric(stack.owner, arm)
    blocks = weight.copy()
    rows, owners = overlaps.rows().reshape(-1, 6), stack.owner[overlaps.pairs].ravel()
    for k in range(6):
        for m in range(k, 6):
            blocks[:, k, m] += np.bincount(owners, rows[:, k] * rows[:, m], minlength=copies)
            blocks[:, m, k] = blocks[:, k, m]
    inverse = np.linalg.inv(blocks)

    def per_system(values: np.ndarray) -> np.ndarray:
        return np.bincount(system, values, minlength=stack.n_systems)

    def apply(q: np.ndarray) -> np.ndarray:
        out = (transposed @ (jacobian @ q.ravel())).reshape(-1, 6) + np.einsum("nij,nj->ni", weight, q)
        out[:, :3] += spring * per_system((spring * q[:, :3]).sum(1))[system][:, None]
        return out

    residual = (transposed @ overlaps.depth).reshape(-1, 6)
    residual[:, :3] -= spring * pull[system][:, None]
    motion = np.zeros((copies, 6))
    ahead = np.einsum("nij,nj->ni", inverse, residual)
    search, size = ahead, per_system((residual * ahead).sum(1))
    for _ in range(INNER_STEPS):
        applied = apply(search)
        curvature = per_system((search * applied).sum(1))
        length = np.divide(size, curvature, out=np.zeros_like(size), where=curvature > 0)[system][:, None]
        motion = motion + length * search
        residual = residual - length * applied
        ahead = np.einsum("nij,nj->ni", inverse, residual)
        last, size = size, per_system((residual * ahead).sum(1))
        search = (
            ahead + np.divide(size, last, out=np.zeros_like(size), where=last > 0)[system][:, None] * search
        )
    return motion


def _metric(
    owner: Int[np.ndarray, " atoms"], arm: Float[np.ndarray, "atoms 3"]
) -> Float[np.ndarray, "copies 6 6"]:
    """Mean square shift of a copy's atoms as a form in (move, turn); 0.5 Å² is for the axis of a linear one."""
    count = np.bincount(owner)
    inertia = np.zeros((len(count), 3, 3))
    for k in range(3):
        for m in range(3):
            inertia[:, k, m] = -np.bincount(owner, arm[:, k] * arm[:, m]) / count
    trace = -np.trace(inertia, axis1=1, axis2=2)
    metric = np.zeros((len(count), 6, 6))
    metric[:, :3, :3] = np.eye(3)
    metric[:, 3:, 3:] = inertia + (trace + 0.5)[:, None, None] * np.eye(3)
    return metric
