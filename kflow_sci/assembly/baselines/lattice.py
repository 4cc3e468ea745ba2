"""Floor: molecules on a close-packed lattice of the right density, in any orientation.

The centroids of a crystal of compact molecules are not far from such a lattice, so this floor is harder to beat in
centroid measures than a random ball, though it knows as little.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float

from kflow_sci.assembly.baselines.poses import place, random_rotations, refuse_start, streams
from kflow_sci.assembly.cluster import Cluster
from kflow_sci.assembly.molecule import Molecule

Stacking = Literal["fcc", "hcp"]


def propose(
    molecule: Molecule,
    copies: int,
    n: int,
    seed: int,
    volume: float,
    stacking: Stacking | None = None,
    *,
    start: Sequence[Cluster] | None = None,
) -> list[Cluster]:
    """The ``copies`` lattice points nearest to one of them, as centroids; orientations uniform on SO(3).

    Which points of an outer, not filled shell are taken is drawn at random.

    Args:
        molecule: The molecule.
        copies: Molecules per cluster, >= 1.
        n: Number of clusters, >= 1.
        seed: Fixes every draw, >= 0.
        volume: Å^3 per molecule.
        stacking: The lattice; drawn for each cluster if None.
        start: Not used; must be None.

    Raises:
        ClusterError: a start, a number out of range.
    """
    refuse_start("the lattice", start)
    clusters = []
    for rng in streams(copies, n, seed, volume):
        kind: Stacking = stacking or ("fcc", "hcp")[rng.integers(2)]
        # A close-packed lattice with neighbours 1 apart has the volume 1/√2 per point.
        points = close_packed(kind, copies, rng) * (np.sqrt(2.0) * volume) ** (1.0 / 3.0)
        clusters.append(place(molecule, points @ random_rotations(1, rng)[0].T, volume, rng))
    return clusters


def close_packed(kind: Stacking, count: int, rng: np.random.Generator) -> Float[np.ndarray, "count 3"]:
    """The ``count`` points of a close-packed lattice nearest to the origin, neighbours 1 apart, ties at random."""
    reach = int(np.ceil(count ** (1.0 / 3.0))) + 2
    i, j, layer = np.meshgrid(*[np.arange(-reach, reach + 1)] * 3, indexing="ij")
    shift = layer % 2 if kind == "hcp" else layer
    # Hexagonal layers, each over the hollows of the one below: ABAB… (hcp) or ABCABC… (fcc).
    x = i + 0.5 * j + 0.5 * shift
    y = np.sqrt(0.75) * j + np.sqrt(1.0 / 12.0) * shift
    z = np.sqrt(2.0 / 3.0) * layer
    points = np.stack([x, y, z], axis=-1).reshape(-1, 3)
    distance = np.round(np.linalg.norm(points, axis=1), 6)
    return points[np.lexsort((rng.random(len(points)), distance))[:count]]
