"""Lewis structures from bare bonds."""

from __future__ import annotations

import numpy as np
import pytest

from kflow_sci.assembly.forcefield.bond_orders import bond_orders
from kflow_sci.assembly.molecule import Molecule
from kflow_sci.errors import MoleculeError


def from_smiles(smiles: str, *, orders: bool) -> tuple[Molecule, list[float], list[int]]:
    """The molecule with or without its bond orders, and RDKit's own Kekulé orders and charges."""
    from rdkit import Chem
    from rdkit.Chem import AllChem

    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    AllChem.EmbedMolecule(mol, randomSeed=1)
    AllChem.MMFFOptimizeMolecule(mol)
    bonds = np.array([[b.GetBeginAtomIdx(), b.GetEndAtomIdx()] for b in mol.GetBonds()])
    given = np.array([b.GetBondTypeAsDouble() for b in mol.GetBonds()])
    formal = [a.GetFormalCharge() for a in mol.GetAtoms()]
    molecule = Molecule(
        np.array([a.GetAtomicNum() for a in mol.GetAtoms()]),
        mol.GetConformer().GetPositions(),
        bonds=bonds,
        bond_orders=given if orders else np.ones(len(bonds)),
        formal_charges=np.array(formal) if orders else None,
        name=smiles,
    )
    Chem.Kekulize(mol, clearAromaticFlags=True)
    return molecule, [b.GetBondTypeAsDouble() for b in mol.GetBonds()], formal


@pytest.mark.parametrize(
    "smiles",
    [
        "CC(=O)O",
        "N#CC=C",
        "CS(C)(=O)=O",
        "CS(C)=O",
        "C[N+](=O)[O-]",
        "[NH3+]CC(=O)[O-]",
        "C[N+]#[C-]",
        "CP(C)(C)=O",
    ],
)
def test_orders_of_unique_structures_are_found(smiles):
    molecule, orders, charges = from_smiles(smiles, orders=False)
    found, formal = bond_orders(molecule)
    # Nitro and carboxylate oxygens may change places.
    assert sorted(found) == sorted(orders)
    assert sorted(formal) == sorted(charges)


@pytest.mark.parametrize(
    "smiles", ["c1ccccc1", "c1ccsc1", "Cn1cnc2c1c(=O)n(C)c(=O)n2C", "Brc1ccc(C=O)s1", "c1ccc2ccccc2c1"]
)
def test_aromatic_molecules_are_neutral_with_as_many_double_bonds(smiles):
    molecule, orders, _ = from_smiles(smiles, orders=False)
    found, formal = bond_orders(molecule)
    assert sorted(found) == sorted(orders)
    assert not formal.any()


@pytest.mark.parametrize("smiles", ["c1cc[nH]c1", "c1ccc2ccccc2c1", "C[N+](=O)[O-]", "CC(=O)Oc1ccccc1C(=O)O"])
def test_orders_that_explain_the_valences_are_kept(smiles):
    molecule, _, charges = from_smiles(smiles, orders=True)
    found, formal = bond_orders(molecule)
    assert np.array_equal(found, molecule.bond_orders)
    assert formal.tolist() == charges


def test_missing_hydrogen_is_named_as_the_likely_cause():
    molecule, _, _ = from_smiles("CC", orders=False)
    fewer = Molecule(molecule.numbers[:-1], molecule.positions[:-1], bonds=molecule.bonds[:-1], name="ethyl")
    with pytest.raises(
        MoleculeError, match="ethyl: no bond orders fit its bonds at charge 0: check for missing hydrogens"
    ):
        bond_orders(fewer)


def test_orders_of_real_crystals_need_no_charged_sulphur(crystals):
    from kflow_sci.assembly.reading.crystal import read_crystal

    for name in ("COD2203006", "COD2234776", "COD7239749"):
        molecule = read_crystal(crystals / "experimental" / f"{name}.cif").molecules[0]
        assert not bond_orders(molecule)[1].any()
