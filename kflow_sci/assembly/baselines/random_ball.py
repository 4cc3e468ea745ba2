"""Floor: molecules anywhere in a ball of the right density, in any orientation.

It knows the molecule, the count and the volume and nothing else; overlaps are allowed.
"""

from __future__ import annotations

from collections.abc import Sequence

from kflow_sci.assembly.baselines.poses import ball_radius, place, refuse_start, streams
from kflow_sci.assembly.cluster import Cluster
from kflow_sci.assembly.molecule import Molecule


def propose(
    molecule: Molecule,
    copies: int,
    n: int,
    seed: int,
    volume: float,
    *,
    start: Sequence[Cluster] | None = None,
) -> list[Cluster]:
    """Centroids uniform in the ball of volume ``copies * volume``, orientations uniform on SO(3).

    Args:
        molecule: The molecule.
        copies: Molecules per cluster, >= 1.
        n: Number of clusters, >= 1.
        seed: Fixes every draw, >= 0.
        volume: Å^3 per molecule.
        start: Not used; must be None.

    Raises:
        ClusterError: a start, a number out of range.
    """
    refuse_start("the random ball", start)
    clusters = []
    for rng in streams(copies, n, seed, volume):
        direction = rng.normal(size=(copies, 3))
        length = ball_radius(copies, volume) * rng.random(copies) ** (1.0 / 3.0)
        centroid = direction * (length / ((direction**2).sum(axis=1) ** 0.5))[:, None]
        clusters.append(place(molecule, centroid, volume, rng))
    return clusters
