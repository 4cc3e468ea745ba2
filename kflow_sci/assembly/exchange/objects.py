"""Clusters from objects of ASE, RDKit and pymatgen.

The one idea: they are lists of atoms, some with bonds, so all end in ``Flat``; nothing is periodic.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Int

from kflow_sci.assembly.cluster import Cluster
from kflow_sci.assembly.exchange.flat import Flat
from kflow_sci.errors import ClusterError

if TYPE_CHECKING:
    from rdkit.Chem import Mol


def flat_of_rdkit(
    mol: Mol, info: dict[str, Any] | None = None, owner: Int[np.ndarray, " atoms"] | None = None
) -> Flat:
    """Atoms, bonds, orders and charges of an RDKit molecule of any number of fragments; its first conformer."""
    from kflow_sci.assembly.reading.perceive import bond_table

    bonds, orders = bond_table(mol)
    return Flat(
        np.array([atom.GetAtomicNum() for atom in mol.GetAtoms()], dtype=np.int64),
        np.array(mol.GetConformer().GetPositions(), dtype=np.float64).reshape(-1, 3),
        owner,
        bonds,
        orders,
        np.array([atom.GetFormalCharge() for atom in mol.GetAtoms()], dtype=np.int64),
        dict(info or {}),
    )


def to_cluster(source: object) -> Cluster:
    """A cluster from ASE ``Atoms``, an RDKit ``Mol``, a pymatgen ``Molecule``, or one of our own.

    Molecules are those of the integer array ``molecule`` of ASE atoms that have one, else told apart by bonds.

    Raises:
        ClusterError: the object is of no such type, is periodic, or has no coordinates.
        MoleculeError: a molecule in it is refused.
    """
    if isinstance(source, Cluster):
        return source
    if type(source).__module__.split(".")[0] == "rdkit" and hasattr(source, "GetConformers"):
        if not source.GetNumConformers():  # type: ignore[attr-defined]
            raise ClusterError("an RDKit molecule has no coordinates: embed it first")
        return flat_of_rdkit(source).cluster("RDKit molecule")  # type: ignore[arg-type]
    if hasattr(source, "get_atomic_numbers") and hasattr(source, "get_positions"):
        if bool(np.any(source.get_pbc())):  # type: ignore[attr-defined]
            raise ClusterError("the ASE atoms are periodic, but a cluster is not: set pbc to False")
        owner = source.arrays.get("molecule")  # type: ignore[attr-defined]
        if owner is not None:
            _, owner = np.unique(owner, return_inverse=True)
        return Flat(source.get_atomic_numbers(), source.get_positions(), owner).cluster("ASE atoms")
    if (
        hasattr(source, "cart_coords")
        and hasattr(source, "atomic_numbers")
        and not hasattr(source, "lattice")
    ):
        numbers = np.array(source.atomic_numbers, dtype=np.int64)
        return Flat(numbers, np.array(source.cart_coords)).cluster("pymatgen molecule")
    raise ClusterError(
        f"cannot make a cluster of a {type(source).__name__}: give ASE atoms or a molecule of RDKit or pymatgen that"
        " is not periodic"
    )
