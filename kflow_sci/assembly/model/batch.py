"""Many clusters at once, as padded tensors.

The one idea: molecules go into one table, copies only point to it; so a batch of a thousand copies holds each
molecule once.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from kflow_sci.assembly.bonds import bonded_pairs
from kflow_sci.assembly.cluster import Cluster
from kflow_sci.assembly.elements import BONDI_RADIUS, CRYSTAL_VOLUME, ELECTRONEGATIVITY, VAN_DER_WAALS_RADIUS
from kflow_sci.assembly.molecule import Molecule
from kflow_sci.errors import ClusterError
from kflow_sci.flow.rigid import Pose
from kflow_sci.nets.embed import MoleculeTable

MAX_BEADS = 14
_UNKNOWN_RADIUS = 2.0  # Å; what weights were trained with for the elements that Bondi lacks (Li, Be)


class ClusterBatch(NamedTuple):
    """Poses of a batch of clusters.

    Attributes:
        ids: Name of each cluster.
        table: The distinct molecules.
        kind: Row of the table for each copy, ``(batch, copies)``.
        parity: +1 or −1, ``(batch, copies)``.
        mask: True for real copies, ``(batch, copies)``.
        length: Cube root of the volume per molecule, Å, ``(batch,)``.
        pose: Centroids (centred per cluster) and rotations.
        start: Poses that the data set gives to start from, copy by copy; None where it gives none.
    """

    ids: tuple[str, ...]
    table: MoleculeTable
    kind: Int[Tensor, "batch copies"]
    parity: Float[Tensor, "batch copies"]
    mask: Bool[Tensor, "batch copies"]
    length: Float[Tensor, " batch"]
    pose: Pose
    start: Pose | None = None


def bond_dipole_charges(molecule: Molecule) -> Float[np.ndarray, " n"]:
    """Rough partial charges, e: a quarter of the electronegativity differences to the bonded atoms.

    They only tell the network which parts of a surface attract each other; no energy is computed from them.
    """
    z, (i, j) = molecule.numbers, bonded_pairs(molecule).T
    bonded = np.zeros((len(z), len(z)), dtype=bool)
    bonded[i, j] = bonded[j, i] = True
    pull = ELECTRONEGATIVITY[z][None] - ELECTRONEGATIVITY[z][:, None]
    return 0.25 * (pull * bonded).sum(1)


def spread_subset(positions: Float[np.ndarray, "n 3"], count: int) -> Int[np.ndarray, " m"]:
    """Indices of at most ``count`` well-spread points: farthest-point sampling from the outermost point."""
    if len(positions) <= count:
        return np.arange(len(positions))
    chosen = [int(np.linalg.norm(positions, axis=1).argmax())]
    nearest = np.linalg.norm(positions - positions[chosen[0]], axis=1)
    while len(chosen) < count:
        chosen.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, np.linalg.norm(positions - positions[chosen[-1]], axis=1))
    return np.array(sorted(chosen))


@lru_cache(maxsize=4096)
def _beads(molecule: Molecule) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Atoms that serve as beads, their radii and charges."""
    pick = spread_subset(molecule.positions, MAX_BEADS)
    radius = np.nan_to_num(BONDI_RADIUS[molecule.numbers[pick]], nan=_UNKNOWN_RADIUS)
    return pick, radius, bond_dipole_charges(molecule)[pick]


def likely_volume(molecule: Molecule) -> float:
    """Å^3 that a molecule takes in a crystal, also with elements whose volume in crystals is not known.

    Of these the van der Waals ball is taken: silicon 39 Å^3, boron 30 Å^3. Good enough for a size, not for a density,
    which is why ``Molecule.crystal_volume`` refuses them.
    """
    known = CRYSTAL_VOLUME[molecule.numbers]
    ball = 4.0 / 3.0 * np.pi * VAN_DER_WAALS_RADIUS[molecule.numbers] ** 3
    return float(np.where(np.isnan(known), ball, known).sum())


def molecule_table(molecules: Sequence[Molecule], dtype: torch.dtype = torch.float32) -> MoleculeTable:
    """The table of some molecules; see ``MoleculeTable`` for shapes."""
    atoms = max(len(m) for m in molecules)
    beads = min(atoms, MAX_BEADS)
    ops = max(len(m.symmetry.proper) for m in molecules)
    size = len(molecules)
    element = np.zeros((size, atoms), dtype=np.int64)
    position = np.zeros((size, atoms, 3))
    bead, radius, charge = np.zeros((size, beads, 3)), np.zeros((size, beads)), np.zeros((size, beads))
    bead_mask = np.zeros((size, beads), dtype=bool)
    group = np.tile(np.eye(3), (size, ops, 1, 1))
    for row, molecule in enumerate(molecules):
        element[row, : len(molecule)] = molecule.numbers
        position[row, : len(molecule)] = molecule.positions
        pick, bead_radius, bead_charge = _beads(molecule)
        bead[row, : len(pick)] = molecule.positions[pick]
        radius[row, : len(pick)] = bead_radius
        charge[row, : len(pick)] = bead_charge
        bead_mask[row, : len(pick)] = True
        group[row, : len(molecule.symmetry.proper)] = molecule.symmetry.proper
    length = np.array([likely_volume(m) for m in molecules]) ** (1.0 / 3.0)

    def tensor(x: np.ndarray) -> Tensor:
        return torch.as_tensor(x, dtype=dtype)

    return MoleculeTable(
        torch.from_numpy(element),
        tensor(position),
        tensor(bead),
        tensor(radius),
        tensor(charge),
        torch.from_numpy(bead_mask),
        tensor(group),
        tensor(length),
    )


def without_mirror_twins(cluster: Cluster) -> Cluster:
    """The same atoms with parity +1 wherever a molecule equals its own mirror image.

    An achiral rigid molecule has an improper operation g in its body frame; O g is then a proper orientation
    of the same set of atoms.
    """
    rotation, parity = cluster.rotation.copy(), cluster.parity.copy()
    for i in np.flatnonzero(parity < 0):
        improper = cluster.molecules[cluster.kind[i]].symmetry.improper
        if len(improper):
            rotation[i], parity[i] = -rotation[i] @ improper[0], 1
    return Cluster(cluster.molecules, cluster.kind, cluster.centroid, rotation, parity, cluster.info)


def collate(clusters: Sequence[Cluster], dtype: torch.dtype = torch.float32) -> ClusterBatch:
    """Pad and stack clusters.

    Raises:
        ClusterError: no clusters, or one without ``info["volume"]`` (Å^3 per molecule).
    """
    if not clusters:
        raise ClusterError("a batch needs at least one cluster, got none")
    molecules: list[Molecule] = []
    row_of: dict[int, int] = {}
    for cluster in clusters:
        for molecule in cluster.molecules:
            if id(molecule) not in row_of:
                row_of[id(molecule)] = len(molecules)
                molecules.append(molecule)
    size, copies = len(clusters), max(len(c) for c in clusters)
    kind = np.zeros((size, copies), dtype=np.int64)
    parity = np.ones((size, copies))
    mask = np.zeros((size, copies), dtype=bool)
    centroid = np.zeros((size, copies, 3))
    rotation = np.tile(np.eye(3), (size, copies, 1, 1))
    length = np.zeros(size)
    for b, cluster in enumerate(clusters):
        n = len(cluster)
        if "volume" not in cluster.info:
            raise ClusterError(
                f"cluster {cluster.info.get('id', b)} has no info['volume'] (Å^3 per molecule)"
            )
        kind[b, :n] = np.array([row_of[id(m)] for m in cluster.molecules])[cluster.kind]
        parity[b, :n], mask[b, :n] = cluster.parity, True
        centroid[b, :n] = cluster.centroid - cluster.centroid.mean(0)
        rotation[b, :n] = cluster.rotation
        length[b] = float(cluster.info["volume"]) ** (1.0 / 3.0)
    return ClusterBatch(
        tuple(str(c.info.get("id", b)) for b, c in enumerate(clusters)),
        molecule_table(molecules, dtype),
        torch.from_numpy(kind),
        torch.as_tensor(parity, dtype=dtype),
        torch.from_numpy(mask),
        torch.as_tensor(length, dtype=dtype),
        Pose(torch.as_tensor(centroid, dtype=dtype), torch.as_tensor(rotation, dtype=dtype)),
    )
