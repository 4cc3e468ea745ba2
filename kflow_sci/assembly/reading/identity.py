"""Which molecule a molecule is, whatever file, program or conformer it comes from.

The one idea: two names, so that neither a misread bond order nor a hydrogen on another nitrogen hides that two
molecules are the same. The InChIKey knows mobile hydrogens; the skeleton knows nothing but elements and which atoms
are joined, which coordinates alone give. RDKit is imported at the top: import this module where it is used.
"""

from __future__ import annotations

import csv
import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Int
from rdkit import Chem, rdBase
from rdkit.Chem import rdMolDescriptors

from kflow_sci.assembly.molecule import Molecule
from kflow_sci.assembly.reading.perceive import skeleton
from kflow_sci.errors import MoleculeError

_BONDS = {
    1.0: Chem.BondType.SINGLE,
    2.0: Chem.BondType.DOUBLE,
    3.0: Chem.BondType.TRIPLE,
    1.5: Chem.BondType.AROMATIC,
}


def inchikey(molecule: Molecule) -> str | None:
    """The standard InChIKey without stereo, or None where the bonds make no sense to RDKit.

    Mirror images and stereoisomers have one key: only the first block differs between constitutions.
    """
    mol = to_rdkit(molecule)
    if mol is None:
        return None
    with rdBase.BlockLogs():
        key = str(Chem.MolToInchiKey(mol, options="/SNon"))
    return key or None


def rotatable_bonds(molecule: Molecule) -> int | None:
    """Single bonds about which larger parts can turn (not amide C–N, not methyl), or None where orders are unknown."""
    mol = to_rdkit(molecule)
    return None if mol is None else int(rdMolDescriptors.CalcNumRotatableBonds(mol))


def skeleton_key(numbers: Int[np.ndarray, " n"], bonds: Int[np.ndarray, "m 2"]) -> str:
    """A short checksum of the elements, hydrogens included, and of who is joined to whom; no orders, no stereo."""
    mol = skeleton(numbers, np.zeros((len(numbers), 3)), bonds)
    with rdBase.BlockLogs():
        mol.UpdatePropertyCache(strict=False)
        text = Chem.MolToSmiles(mol, isomericSmiles=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def smiles_of(molecule: Molecule) -> str:
    """The canonical SMILES, with the stereo that the coordinates have, hydrogens implied.

    Raises:
        MoleculeError: the bond orders are unknown or not accepted by RDKit.
    """
    mol = to_rdkit(molecule)
    if mol is None:
        raise MoleculeError(f"the bonds of {molecule.name} make no sense to RDKit: it has no SMILES")
    with rdBase.BlockLogs():
        Chem.AssignStereochemistryFrom3D(mol)
        return str(Chem.MolToSmiles(Chem.RemoveHs(mol)))


def to_rdkit(molecule: Molecule) -> Chem.Mol | None:
    """The molecule with its bond orders and charges, or None where it has none or RDKit does not accept them."""
    if not len(molecule.bond_orders):
        return None
    mol = Chem.RWMol(skeleton(molecule.numbers, molecule.positions, molecule.bonds))
    for (i, j), order in zip(molecule.bonds.tolist(), molecule.bond_orders.tolist(), strict=True):
        bond = mol.GetBondBetweenAtoms(i, j)
        bond.SetBondType(_BONDS[order])
        if order == 1.5:
            bond.SetIsAromatic(True)
            bond.GetBeginAtom().SetIsAromatic(True)
            bond.GetEndAtom().SetIsAromatic(True)
    if molecule.formal_charges is not None:
        for atom, charge in zip(mol.GetAtoms(), molecule.formal_charges.tolist(), strict=True):
            atom.SetFormalCharge(int(charge))
    with rdBase.BlockLogs():
        failed = Chem.SanitizeMol(mol, catchErrors=True)
    return None if failed else mol


@dataclass(frozen=True)
class Excluded:
    """Molecules that must not be used, by either name.

    Attributes:
        inchikeys: First blocks of InChIKeys: constitutions, whatever their stereo.
        skeletons: Of ``skeleton_key``.
    """

    inchikeys: frozenset[str] = field(default_factory=frozenset)
    skeletons: frozenset[str] = field(default_factory=frozenset)

    @classmethod
    def read(cls, path: str | Path) -> Excluded:
        """Read a csv with a column ``inchikey``, ``skeleton``, or both; empty cells say nothing.

        Raises:
            MoleculeError: the file cannot be read or has neither column.
        """
        try:
            with open(path, newline="", encoding="utf-8") as stream:
                rows = list(csv.DictReader(stream))
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            what = error.strerror if isinstance(error, OSError) else error
            raise MoleculeError(
                f"{path} cannot be read ({what}): give a csv with a column inchikey"
            ) from None
        columns = set(rows[0]) if rows else set()
        if not columns & {"inchikey", "skeleton"}:
            raise MoleculeError(f"{path} has no column inchikey or skeleton: give a csv with one of them")
        return cls(
            frozenset(row["inchikey"][:14] for row in rows if row.get("inchikey")),
            frozenset(row["skeleton"] for row in rows if row.get("skeleton")),
        )

    def __contains__(self, molecule: object) -> bool:
        if not isinstance(molecule, Molecule):
            return False
        key = inchikey(molecule) if self.inchikeys else None
        return (key is not None and key[:14] in self.inchikeys) or (
            bool(self.skeletons) and skeleton_key(molecule.numbers, molecule.bonds) in self.skeletons
        )
