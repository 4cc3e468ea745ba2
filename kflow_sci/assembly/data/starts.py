"""Where clusters start from, where a set has no initial states of its own.

The one idea: the start of a cluster is drawn from the seed and its id alone, so it does not depend on what else is in
the file or in which order.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np

from kflow_sci.assembly.cluster import Cluster
from kflow_sci.errors import ClusterError

SPREAD = 0.5


def noised_start(cluster: Cluster, seed: int, spread: float = SPREAD) -> Cluster:
    """The molecules of a cluster, each turned at random and moved a little.

    Args:
        cluster: At least 2 copies, with a text ``info["id"]``.
        seed: Source of all randomness, together with the id.
        spread: Standard deviation of the displacement along each axis, in units of the mean distance of a centroid
            from its nearest neighbour, ≥ 0.

    Returns:
        The same copies; rotations are uniform, parities are kept.

    Raises:
        ClusterError: fewer than 2 copies, or a spread that is negative or no number.
    """
    from scipy.spatial.transform import Rotation

    if len(cluster) < 2 or not 0 <= spread < np.inf:
        raise ClusterError(
            f"{cluster.info.get('id')}: {len(cluster)} copies and a spread of {spread}, but a noised start needs at "
            "least 2 and a number that is not negative"
        )
    digest = hashlib.sha256(f"{seed}|{cluster.info['id']}".encode()).digest()
    rng = np.random.default_rng(int.from_bytes(digest, "little"))
    gap = np.linalg.norm(cluster.centroid[:, None] - cluster.centroid, axis=-1)
    np.fill_diagonal(gap, np.inf)
    step = spread * gap.min(axis=1).mean()
    return replace(
        cluster,
        centroid=cluster.centroid + step * rng.standard_normal(cluster.centroid.shape),
        rotation=Rotation.random(len(cluster), random_state=rng).as_matrix().reshape(-1, 3, 3),
    )


def centred_on_start(cluster: Cluster, start: Cluster) -> tuple[Cluster, Cluster]:
    """Both states moved so that the mean of all atoms of the start is the origin, as in the published benchmark."""
    sizes = np.array([len(start.molecules[k]) for k in start.kind])
    centre = sizes @ start.centroid / sizes.sum()
    return (
        replace(cluster, centroid=cluster.centroid - centre),
        replace(start, centroid=start.centroid - centre),
    )
