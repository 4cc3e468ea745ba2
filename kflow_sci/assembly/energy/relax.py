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
from jaxtyping import Float, Int

from kflow_sci.assembly.cluster import Cluster
from kflow_sci.assembly.contacts import (
    CLASH_FRACTION,
    HYDROGEN_BOND_FRACTION,
    Stack,
    clashing_pairs,
)
from kflow_sci.errors import ConfigError

# The penalty reaches a little beyond the clash limit, so that clashes end after finitely many iterations.
MARGIN = 1.03
# Spring on the radius of gyration per root of a molecule; 2 holds the volume within 1 %, without it random balls swell
# by 20 to 40 %.
SPRING = 2.0
# Longest move of a centroid (Å) or turn of a molecule (rad) in one iteration.
LONGEST_STEP = 1.0
# Damping at the start and its limits: the larger, the shorter the moves. Much less than 0.3 jams: long moves meet new
# neighbours and are refused.
DAMPING, LEAST_DAMPING, MOST_DAMPING = 5.0, 0.3, 1e4
_LIMITS = (CLASH_FRACTION, HYDROGEN_BOND_FRACTION, MARGIN)


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
    """The poses after some iterations of ``resolve_clashes``, without the counts.

    Raises:
        ClusterError: an empty cluster, or a pose that is not finite.
    """
    parting = Parting.of(clusters)
    centroid, turn = parting(parting.stack.centroid, parting.stack.arm, iterations)
    ends = parting.last[1:]
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


@dataclass(frozen=True, eq=False)
class Parting:
    """The iterations of ``resolve_clashes`` for clusters whose molecules stay the same and whose poses do not.

    Attributes:
        stack: The clusters, flat.
        first: First atom of each copy, and the number of atoms, ``(copies + 1,)``.
        last: Last copy of each cluster and one, after a zero, ``(b + 1,)``.
    """

    stack: Stack
    first: Int[np.ndarray, " copies+1"]
    last: Int[np.ndarray, " b+1"]

    @classmethod
    def of(cls, clusters: Sequence[Cluster]) -> Parting:
        """Everything about some clusters but their poses.

        Raises:
            ClusterError: an empty cluster, or a pose that is not finite.
        """
        stack = Stack.of(clusters)
        first = np.searchsorted(stack.owner, np.arange(len(stack.system) + 1))
        return cls(stack, first, np.searchsorted(stack.system, np.arange(stack.n_systems + 1)))

    def __call__(
        self, centroid: Float[np.ndarray, "copies 3"], arm: Float[np.ndarray, "atoms 3"], iterations: int
    ) -> tuple[Float[np.ndarray, "copies 3"], Float[np.ndarray, "copies 3 3"]]:
        """New centroids, and the rotations that each copy turns by.

        Args:
            centroid: Å.
            arm: Atoms about their centroids, world frame, Å.
            iterations: Most steps for each cluster.
        """
        from kflow_sci.assembly.energy import apart

        moved, turn = np.empty_like(centroid), np.empty((len(centroid), 3, 3))
        stack, first = self.stack, self.first
        for begin, end in zip(self.last[:-1], self.last[1:], strict=True):
            copies, atoms = slice(begin, end), slice(first[begin], first[end])
            moved[copies], turn[copies] = apart.step_apart(
                np.ascontiguousarray(centroid[copies]),
                np.ascontiguousarray(arm[atoms]),
                first[begin : end + 1] - first[begin],
                stack.radius[atoms],
                stack.polar[atoms],
                stack.acceptor[atoms],
                _LIMITS,
                (DAMPING, LEAST_DAMPING, MOST_DAMPING),
                SPRING,
                LONGEST_STEP,
                iterations,
            )
        return moved, turn


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
    from kflow_sci.assembly.energy import apart

    parting = Parting.of([cluster])
    stack = parting.stack
    pairs, depth, direction, _ = apart.overlaps(
        stack.centroid, stack.arm, parting.first, stack.radius, stack.polar, stack.acceptor, _LIMITS
    )
    by_centroid, by_turn = np.zeros((2, len(cluster), 3))
    for side, sign in ((0, -2.0), (1, 2.0)):
        pull = sign * depth[:, None] * direction
        np.add.at(by_centroid, pairs[:, 2 + side], pull)
        np.add.at(by_turn, pairs[:, 2 + side], np.cross(stack.arm[pairs[:, side]], pull))
    return float(depth @ depth), by_centroid, by_turn
