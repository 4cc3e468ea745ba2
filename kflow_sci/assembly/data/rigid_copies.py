"""Molecules given by their atoms become rigid copies of templates, without loss and without guessing.

The one idea: the first molecule is a template, and so is each that no template fits within ``SAME``, as it stands or
as its mirror image; atoms are compared in the order in which they are given. So whatever a cluster is (mirror images,
two conformers, two kinds of molecule, atoms listed in two orders), every atom comes back where it was, within ``SAME``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from kflow_sci.assembly.bonds import find_bonds
from kflow_sci.assembly.cluster import Cluster
from kflow_sci.assembly.molecule import Molecule
from kflow_sci.assembly.superpose import superpose
from kflow_sci.assembly.symmetry import body_frame

SAME = 0.01  # Å: largest distance of an atom from where its template puts it
HAND_MARGIN = 1e-3  # Å: a mirror image must fit better by this much, as in superpose_either_hand


@dataclass(frozen=True, eq=False)
class Fit:
    """How a template lies on several molecules.

    Attributes:
        parity: ±1, ``(m,)``.
        rotation: Proper; ``molecule ≈ parity * template @ rotation.T``, both centred, ``(m, 3, 3)``.
        rmsd: Å, ``(m,)``.
        largest: Largest distance of an atom, Å, ``(m,)``.
    """

    parity: Int[np.ndarray, " m"]
    rotation: Float[np.ndarray, "m 3 3"]
    rmsd: Float[np.ndarray, " m"]
    largest: Float[np.ndarray, " m"]


def fit_copies(template: Float[np.ndarray, "n 3"], molecules: Float[np.ndarray, "m n 3"]) -> Fit:
    """Best rigid motions of one template onto molecules, mirror image allowed where it fits better.

    Args:
        template: Å, centred.
        molecules: Å, each centred, atoms in the order of the template.

    Source:
        Kabsch, Acta Cryst. A32 (1976) 922.
    """
    source = np.broadcast_to(template, molecules.shape)
    turns = np.stack([superpose(source, sign * molecules) for sign in (1, -1)])  # (2, m, 3, 3)
    signs = np.array([1.0, -1.0])[:, None, None, None]
    left = np.linalg.norm(molecules - signs * np.einsum("ni,smji->smnj", template, turns), axis=-1)
    rmsd = np.sqrt(np.mean(left**2, axis=-1))
    mirrored = (rmsd[1] < rmsd[0] - HAND_MARGIN).astype(int)
    each = np.arange(len(molecules))
    return Fit(
        1 - 2 * mirrored, turns[mirrored, each], rmsd[mirrored, each], left.max(axis=-1)[mirrored, each]
    )


def as_rigid_copies(
    numbers: Int[np.ndarray, "m n"], positions: Float[np.ndarray, "m n 3"], names: str = "molecule"
) -> tuple[Cluster, Float[np.ndarray, " m"]]:
    """Templates and poses of molecules.

    Args:
        numbers: Atomic numbers of each molecule.
        positions: Å.
        names: Name of the templates.

    Returns:
        The cluster (no info) and the largest distance of an atom of each molecule from where it was, Å, ≤ ``SAME``.
    """
    centroid = positions.mean(axis=1)
    centred = positions - centroid[:, None]
    copies = len(numbers)
    kind = np.full(copies, -1)
    parity, rotation, error = np.ones(copies, dtype=np.int64), np.zeros((copies, 3, 3)), np.zeros(copies)
    templates: list[Molecule] = []
    while (kind < 0).any():
        first = int(np.argmax(kind < 0))
        frame = body_frame(numbers[first], centred[first]) if numbers.shape[1] > 1 else np.eye(3)
        body = centred[first] @ frame
        alike = np.flatnonzero((kind < 0) & (numbers == numbers[first]).all(axis=1))
        fit = fit_copies(body, centred[alike])
        fits = (fit.largest <= SAME) | (alike == first)
        mine = alike[fits]
        kind[mine] = len(templates)
        parity[mine], rotation[mine], error[mine] = fit.parity[fits], fit.rotation[fits], fit.largest[fits]
        templates.append(Molecule(numbers[first], body, bonds=find_bonds(numbers[first], body), name=names))
    return Cluster(tuple(templates), kind, centroid, rotation, parity), error


def repose(
    cluster: Cluster, positions: Float[np.ndarray, "m n 3"]
) -> tuple[Cluster, Float[np.ndarray, " m"]]:
    """The same copies in another state of the same molecules.

    Args:
        cluster: Templates and kinds; all templates have n atoms.
        positions: The other state, atoms and molecules in the same order, Å.

    Returns:
        The cluster in the poses that fit best (no info), and the RMSD of each molecule, Å: 0 if the molecule was
        moved as a rigid body.
    """
    centroid = positions.mean(axis=1)
    centred = positions - centroid[:, None]
    parity, rotation = np.ones(len(cluster), dtype=np.int64), np.zeros((len(cluster), 3, 3))
    rmsd = np.zeros(len(cluster))
    for k, molecule in enumerate(cluster.molecules):
        mine = np.flatnonzero(cluster.kind == k)
        fit = fit_copies(molecule.positions, centred[mine])
        parity[mine], rotation[mine], rmsd[mine] = fit.parity, fit.rotation, fit.rmsd
    return Cluster(cluster.molecules, cluster.kind, centroid, rotation, parity), rmsd
