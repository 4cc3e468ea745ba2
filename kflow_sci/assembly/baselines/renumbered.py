"""Ceiling: the true cluster, its molecules in another order and the whole turned.

A measure that means something gives it full marks; the published packing matching scores it like a random heap.
"""

from __future__ import annotations

import numpy as np

from kflow_sci.assembly.baselines.poses import random_rotations, streams
from kflow_sci.assembly.cluster import Cluster


def propose(truth: Cluster, n: int, seed: int) -> list[Cluster]:
    """Renumber and turn a cluster; nothing else of it changes.

    Args:
        truth: The true cluster.
        n: Number of clusters, >= 1.
        seed: Fixes every draw, >= 0.

    Raises:
        ClusterError: a number out of range.
    """
    clusters = []
    for rng in streams(len(truth), n, seed, 1.0):
        order = rng.permutation(len(truth))
        turn = random_rotations(1, rng)[0]
        mean = truth.centroid.mean(axis=0)
        clusters.append(
            Cluster(
                truth.molecules,
                truth.kind[order],
                (truth.centroid[order] - mean) @ turn.T + mean,
                np.einsum("ij,njk->nik", turn, truth.rotation[order]),
                truth.parity[order],
                dict(truth.info),
            )
        )
    return clusters
