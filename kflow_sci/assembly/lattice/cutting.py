"""From a packing to the molecules around one of them.

The one idea: a packing becomes a ``Crystal`` as the reader of CIFs makes it, so the nearest molecules are chosen by
the same rule, ties included, whether a crystal was measured or computed.
"""

from __future__ import annotations

import numpy as np

from kflow_sci.assembly.cluster import Cluster
from kflow_sci.assembly.lattice.packing import Packing
from kflow_sci.assembly.reading.crystal import Crystal, cluster_from_crystal
from kflow_sci.errors import PackingError

SPECIAL = (
    0.5  # Å; images of a molecule with centroids closer than this are one molecule on a symmetry element
)


def crystal_from_packing(packing: Packing) -> Crystal:
    """All molecules of the cell, each within it; the independent ones are the centres.

    Raises:
        PackingError: a molecule lies on a symmetry element.
    """
    refuse_special_positions(packing)
    index, place, orientation = packing.images()
    parity = np.where(np.linalg.det(orientation) > 0, 1, -1)
    return Crystal(
        name=str(packing.info.get("id", packing.molecules[0].name)),
        cell=packing.cell,
        molecules=packing.molecules,
        kind=packing.kind[index],
        centroid=place @ packing.cell,
        rotation=parity[:, None, None] * orientation,
        parity=parity,
        centres=tuple(range(len(packing))),
        space_group=packing.group.name,
        operations=len(packing.group),
    )


def cluster_from_packing(packing: Packing, copies: int, centre: int = 0) -> Cluster:
    """The molecules nearest to an independent one, itself first; see ``cluster_from_crystal`` for ties.

    Args:
        packing: The crystal.
        copies: Number of molecules, at least 1.
        centre: Which independent molecule is central.

    Returns:
        A cluster whose ``info`` is that of ``cluster_from_crystal``, under that of the packing.

    Raises:
        ClusterError: ``copies`` or ``centre`` is out of range.
        PackingError: a molecule lies on a symmetry element.
    """
    cluster = cluster_from_crystal(crystal_from_packing(packing), copies, centre)
    info = {**cluster.info, **packing.info, "id": cluster.info["id"]}
    return Cluster(cluster.molecules, cluster.kind, cluster.centroid, cluster.rotation, cluster.parity, info)


def nearest_images(packing: Packing) -> float:
    """Smallest distance of the centroids of two molecules of the crystal, Å."""
    from scipy.spatial import cKDTree

    place = packing.images()[1] @ packing.cell
    steps = np.stack(np.meshgrid(*[[-1, 0, 1]] * 3, indexing="ij"), axis=-1).reshape(-1, 3) @ packing.cell
    ghosts = (steps[:, None] + place).reshape(-1, 3)
    distance, _ = cKDTree(ghosts).query(place, k=2)
    return float(distance[:, 1].min())


def refuse_special_positions(packing: Packing) -> None:
    """Refuse a packing in which an operation leaves a molecule where it is.

    Raises:
        PackingError: two images of a molecule have the same place.
    """
    nearest = nearest_images(packing)
    if nearest < SPECIAL:
        raise PackingError(
            f"a molecule lies on a symmetry element of {packing.group.name} (its images are {nearest:.2f} Å apart, "
            f"limit {SPECIAL} Å): give the packing in a subgroup in which the molecule is in a general position"
        )
