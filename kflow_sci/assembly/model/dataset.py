"""Clusters of crystals as training batches.

The one idea: the step number alone decides what is drawn (which crystals, how many copies), so a run that was
interrupted goes on as if it had not been.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from kflow_sci.assembly.cluster import Cluster
from kflow_sci.assembly.model.batch import ClusterBatch, collate, without_mirror_twins
from kflow_sci.errors import ClusterError


class ClusterDataset:
    """Crystal clusters with a weight for each, cropped to any number of copies.

    Args:
        clusters: Clusters whose copies are ordered from the centre outwards; mirror twins of achiral
            molecules are replaced by proper orientations.
        weights: How often each is drawn, relative; equal if None. Many packings of one molecule should share
            the weight of that molecule.
        starts: Where each is to begin, the same copies in the same order; None leaves that to the model.

    Raises:
        ClusterError: no clusters.
    """

    def __init__(
        self,
        clusters: Sequence[Cluster],
        weights: Sequence[float] | None = None,
        starts: Sequence[Cluster] | None = None,
    ) -> None:
        if not clusters:
            raise ClusterError("the data set is empty: check the store and the split")
        self.clusters = [without_mirror_twins(c) for c in clusters]
        self.starts = None if starts is None else [without_mirror_twins(c) for c in starts]
        weight = np.ones(len(clusters)) if weights is None else np.asarray(weights, dtype=np.float64)
        self.probability = weight / weight.sum()
        # Molecules cache their point group; the batch must not pay for it in the middle of an epoch.
        for cluster in self.clusters:
            for molecule in cluster.molecules:
                _ = molecule.symmetry

    def __len__(self) -> int:
        return len(self.clusters)

    @property
    def ids(self) -> list[str]:
        return [str(c.info["id"]) for c in self.clusters]

    def batch(self, size: int, copies: tuple[int, int], generator: torch.Generator) -> ClusterBatch:
        """A random batch in which all clusters have the same number of copies.

        Args:
            size: Number of clusters.
            copies: Fewest and most copies; each number in between is equally probable.
            generator: Source of all randomness.

        Raises:
            ClusterError: a stored cluster has fewer copies than asked.
        """
        low, high = copies
        seed = int(torch.randint(2**62, (1,), generator=generator))
        rng = np.random.default_rng(seed)
        count = int(rng.integers(low, high + 1))
        chosen = rng.choice(len(self.clusters), size=size, p=self.probability)
        batch = collate([crop(self.clusters[i], count) for i in chosen])
        if self.starts is None:
            return batch
        return batch._replace(start=collate([crop(self.starts[i], count) for i in chosen]).pose)


def crop(cluster: Cluster, copies: int) -> Cluster:
    """The first copies of a cluster, which are the nearest to its centre.

    Raises:
        ClusterError: the cluster has fewer.
    """
    if len(cluster) < copies:
        raise ClusterError(
            f"cluster {cluster.info.get('id')} holds {len(cluster)} copies, fewer than {copies}: "
            "build the store with more"
        )
    return cluster.take(slice(0, copies))
