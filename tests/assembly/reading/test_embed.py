"""SMILES to molecules."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from kflow_sci.assembly.molecule import Molecule
from kflow_sci.assembly.reading.embed import from_smiles
from kflow_sci.errors import MoleculeError

ASPIRIN = "CC(=O)Oc1ccccc1C(=O)O"


@pytest.fixture(scope="module")
def aspirin() -> Molecule:
    return from_smiles(ASPIRIN)


def test_a_smiles_gets_all_its_hydrogens_and_bonds(aspirin: Molecule) -> None:
    assert (aspirin.formula, len(aspirin), len(aspirin.bonds)) == ("C9H8O4", 21, 21)
    assert aspirin.smiles == ASPIRIN
    assert sorted(set(aspirin.bond_orders)) == [1.0, 1.5, 2.0]
    assert (aspirin.bond_orders == 1.5).sum() == 6
    assert not aspirin.formal_charges.any()
    assert not aspirin.handed


def test_bond_lengths_are_those_of_the_textbook() -> None:
    benzene = from_smiles("c1ccccc1")
    distance = cdist(benzene.positions, benzene.positions)
    cc = [distance[i, j] for i, j in benzene.bonds if {benzene.numbers[i], benzene.numbers[j]} == {6}]
    np.testing.assert_allclose(cc, 1.39, atol=0.02)
    assert (len(benzene.symmetry.proper), len(benzene.symmetry.improper)) == (12, 12)


def test_the_seed_fixes_the_molecule_and_different_seeds_try_other_conformers(aspirin: Molecule) -> None:
    np.testing.assert_array_equal(from_smiles(ASPIRIN).positions, aspirin.positions)
    chains = [from_smiles("CCCCCCO", seed=s, conformers=1).radius for s in range(4)]
    assert np.ptp(chains) > 0.05


def test_more_conformers_never_end_higher_than_the_first_of_them() -> None:
    """Seed 0 must not give equal conformers: RDKit's own seed 0 does."""
    from rdkit import Chem
    from rdkit.Chem import rdForceFieldHelpers

    def energy(molecule: Molecule) -> float:
        mol = Chem.AddHs(Chem.MolFromSmiles("CCCCCCO"))
        conformer = Chem.Conformer(len(molecule))
        conformer.SetPositions(np.ascontiguousarray(molecule.positions))
        mol.AddConformer(conformer)
        return rdForceFieldHelpers.MMFFGetMoleculeForceField(
            mol, rdForceFieldHelpers.MMFFGetMoleculeProperties(mol)
        ).CalcEnergy()

    one, many = (energy(from_smiles("CCCCCCO", seed=0, conformers=n)) for n in (1, 30))
    assert many < one - 0.1


@pytest.mark.parametrize(
    ("smiles", "handed"),
    [
        ("N[C@@H](C)C(=O)O", True),  # L-alanine
        ("NC(C)C(=O)O", False),  # the hand is left open
        ("C[C@H](O)[C@@H](O)C", True),
        ("C[C@H](O)[C@H](O)C", False),  # meso
        ("C[C@H]1CC[C@@H](C)CC1", False),  # a plane of symmetry through both centres
        ("C[S@](=O)CC", True),
        ("F/C=C/F", False),  # a double bond is no handed centre
        ("Cc1cccc(C)c1-c1c(C)cccc1C", False),  # a twist alone is none either
    ],
)
def test_handed_is_true_where_a_stereocentre_makes_the_molecule_chiral(smiles: str, handed: bool) -> None:
    assert from_smiles(smiles, conformers=2).handed is handed


def test_the_hand_of_the_smiles_is_the_hand_of_the_molecule() -> None:
    """L-alanine by the rule "CO-R-N": seen from H, the groups COOH, R, N follow clockwise."""
    for smiles, sign in (("N[C@@H](C)C(=O)O", 1), ("N[C@H](C)C(=O)O", -1)):
        x = from_smiles(smiles).positions  # N CA CB C O O, then hydrogens
        volume = np.linalg.det([x[3] - x[1], x[2] - x[1], x[0] - x[1]])
        assert np.sign(volume) == sign


@pytest.mark.parametrize(
    ("smiles", "formula"),
    [("OB(O)c1ccccc1", "C6H7BO2"), ("C[Se]C", "C2H6Se"), ("[H][H]", "H2"), ("[NH3+]CC(=O)[O-]", "C2H5NO2")],
)
def test_molecules_outside_mmff_and_zwitterions_embed_too(smiles: str, formula: str) -> None:
    molecule = from_smiles(smiles, conformers=2)
    assert molecule.formula == molecule.name == formula
    assert molecule.formal_charges.sum() == 0


@pytest.mark.parametrize(
    ("smiles", "words"),
    [
        ("", "empty"),
        ("   ", "empty"),
        ("CC(C", "parentheses, near position 3"),
        ("C1CC", "unclosed ring"),
        ("not_a_smiles", "not valid"),
        ("C(C)(C)(C)(C)C", "valence for atom # 0 C"),
        ("c1cccc1", "kekulize"),
        ("CCO ethanol", "blank"),
        ("CC\nO", "blank"),
        ("C\x07C", "not valid"),
        ("CC(=O)O.NCC", r'2 separate molecules: give one, or each with its count: "CC\(=O\)O" 4 "CCN" 4'),
        ("[Na+].[Cl-]", "salts"),
        ("[Ar]", "at least 2"),
        ("[Na+]", "at least 2"),
        ("C" * 67, "203 atoms, more than the limit of 200"),
        ("C[Pt](Cl)Cl", "element Pt"),
        ("C*", "dummy atom"),
        ("C[C@]12CC[C@@](C)(CC1)C2", "no 3-D structure"),
    ],
)  # fmt: skip
def test_a_smiles_that_is_no_single_molecule_is_refused_in_one_line_and_in_silence(
    smiles: str, words: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(MoleculeError, match=words) as caught:
        from_smiles(smiles)
    assert "\n" not in str(caught.value) and str(caught.value).isprintable()
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(("seed", "conformers"), [(-1, 10), (0, 0)])
def test_seed_and_conformers_out_of_range_are_refused(seed: int, conformers: int) -> None:
    with pytest.raises(MoleculeError, match="seed >= 0 and at least 1"):
        from_smiles("CC", seed=seed, conformers=conformers)
