"""Which molecule a molecule is, whatever file, program or conformer it comes from.

The one idea: names that others use too, InChIKey and SMILES, from the atoms and bonds of a molecule. RDKit is imported
at the top: import this module where it is used.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
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
    mol = with_orders(
        molecule.numbers, molecule.positions, molecule.bonds, molecule.bond_orders, molecule.formal_charges
    )
    return accepted(mol)


def accepted(mol: Chem.Mol) -> Chem.Mol | None:
    """The molecule sanitised, or None where RDKit does not accept its bonds."""
    with rdBase.BlockLogs():
        failed = Chem.SanitizeMol(mol, catchErrors=True)
    return None if failed else mol


def with_orders(
    numbers: Int[np.ndarray, " n"],
    positions: Float[np.ndarray, "n 3"],
    bonds: Int[np.ndarray, "m 2"],
    orders: Float[np.ndarray, " m"],
    charges: Int[np.ndarray, " n"] | None = None,
) -> Chem.Mol:
    """An RDKit molecule of these bonds, orders (1, 2, 3 or 1.5) and formal charges, not sanitised."""
    mol = Chem.RWMol(skeleton(numbers, positions, bonds))
    for (i, j), order in zip(bonds.tolist(), orders.tolist(), strict=True):
        bond = mol.GetBondBetweenAtoms(i, j)
        bond.SetBondType(_BONDS[order])
        if order == 1.5:
            bond.SetIsAromatic(True)
            bond.GetBeginAtom().SetIsAromatic(True)
            bond.GetEndAtom().SetIsAromatic(True)
    if charges is not None:
        for atom, charge in zip(mol.GetAtoms(), charges.tolist(), strict=True):
            atom.SetFormalCharge(int(charge))
    return mol
