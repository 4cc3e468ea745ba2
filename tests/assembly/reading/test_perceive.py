"""Orders, charges and hands by RDKit, from bonds by distance."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from kflow_sci.assembly.bonds import find_bonds
from kflow_sci.assembly.reading.embed import from_smiles
from kflow_sci.assembly.reading.perceive import (
    find_orders,
    has_handed_centre,
    molecule_from_atoms,
    molecule_from_rdkit,
    skeleton,
)
from kflow_sci.errors import MoleculeError

MOLECULES = (
    "CC(=O)Oc1ccccc1C(=O)O", "NC(N)=O", "C[N+](=O)[O-]", "N#Cc1ccncc1", "O=C=O", "C#C", "CS(=O)(=O)N", "OP(=O)(O)O",
    "[NH3+]CC(=O)[O-]", "Clc1ccc(Br)s1", "C1CC1C=C", "[H][H]", "CC(=O)/C=C/I", "FB(F)F",
)  # fmt: skip


@pytest.mark.parametrize("smiles", MOLECULES)
def test_bonds_orders_and_charges_come_back_from_coordinates_alone(smiles: str) -> None:
    molecule = from_smiles(smiles, conformers=1)
    found = find_bonds(molecule.numbers, molecule.positions)
    np.testing.assert_array_equal(found, molecule.bonds)
    again = molecule_from_atoms(molecule.numbers, molecule.positions, "again")
    np.testing.assert_allclose(np.sort(again.bond_orders), np.sort(molecule.bond_orders))
    np.testing.assert_array_equal(np.sort(again.formal_charges), np.sort(molecule.formal_charges))
    np.testing.assert_allclose(pdist(again.positions), pdist(molecule.positions), atol=1e-9)


def test_a_radical_has_no_orders_but_is_a_molecule() -> None:
    # Nitric oxide: 11 valence electrons.
    numbers, positions = np.array([7, 8]), np.array([[0, 0, 0], [1.151, 0, 0]])
    assert find_orders(numbers, positions, find_bonds(numbers, positions)) is None
    molecule = molecule_from_atoms(numbers, positions, "nitric oxide")
    assert molecule.bonds.tolist() == [[0, 1]]
    assert molecule.bond_orders.shape == (0,)
    assert molecule.formal_charges is None


@pytest.mark.parametrize(
    ("smiles", "handed"),
    [("N[C@@H](C)C(=O)O", True), ("C[C@H](O)[C@H](O)C", False), ("OO", False), ("CC(C)O", False)],
)
def test_handed_centres_are_seen_in_coordinates(smiles: str, handed: bool) -> None:
    molecule = from_smiles(smiles, conformers=1)
    assert molecule_from_atoms(molecule.numbers, molecule.positions, "again").handed is handed
    assert has_handed_centre(skeleton(molecule.numbers, molecule.positions, molecule.bonds)) is handed


def test_carbons_that_lack_hydrogens_are_refused() -> None:
    for smiles in ("C1CCCCC1", "CC(=O)Oc1ccccc1C(=O)O", "CC(C)C"):
        molecule = from_smiles(smiles, conformers=1)
        heavy = molecule.numbers > 1
        with pytest.raises(MoleculeError, match="seems to lack hydrogens"):
            molecule_from_atoms(molecule.numbers[heavy], molecule.positions[heavy], "bare")


@pytest.mark.parametrize(
    "smiles", ["ClC(Cl)=C(Cl)Cl", "N#CC(=C(C#N)C#N)C#N", "[C-]#[O+]", "S=C=S", "O=C=C=C=O"]
)
def test_molecules_without_any_hydrogen_are_not_mistaken_for_incomplete_ones(smiles: str) -> None:
    molecule = from_smiles(smiles, conformers=1)
    assert molecule_from_atoms(molecule.numbers, molecule.positions, "whole").formula == molecule.formula


def test_an_rdkit_molecule_without_hydrogens_or_coordinates_is_refused() -> None:
    from rdkit import Chem
    from rdkit.Chem import rdDepictor, rdDistGeom

    mol = Chem.MolFromSmiles("CCO")
    with pytest.raises(MoleculeError, match="no coordinates"):
        molecule_from_rdkit(mol, "ethanol")
    rdDepictor.Compute2DCoords(mol)
    with pytest.raises(MoleculeError, match="lacks 6 hydrogens"):
        molecule_from_rdkit(mol, "ethanol")
    drawn = Chem.AddHs(mol)
    rdDepictor.Compute2DCoords(drawn)
    with pytest.raises(MoleculeError, match="2-D drawing"):
        molecule_from_rdkit(drawn, "ethanol")
    rdDistGeom.EmbedMolecule(drawn, randomSeed=1)
    assert molecule_from_rdkit(drawn, "ethanol").formula == "C2H6O"
    assert mol.GetNumAtoms() == 3
