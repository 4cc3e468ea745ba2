"""What must not change inside a molecule, against hand calculations and RDKit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import AllChem
from scipy.spatial.transform import Rotation

from kflow_sci.assembly.scoring.frame import Frame
from kflow_sci.assembly.scoring.inside import Internal, bonds_of, stereocentres

WATER = np.array([[0, 0, 0], [0.957, 0, 0], [-0.24, 0.927, 0]])
ALANINE, LACTONE = "C[C@H](N)C(=O)O", "O=C1CC[C@@H](O1)[C@H](C)Cl"


def waters(first: np.ndarray = WATER, second: np.ndarray = WATER) -> Frame:
    positions = np.concatenate([first, second + np.array([4.0, 0, 0])])
    return Frame(np.array([8, 1, 1, 8, 1, 1]), positions, np.repeat([0, 1], 3))


def embedded(smiles: str) -> tuple[Chem.Mol, np.ndarray, np.ndarray]:
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    AllChem.EmbedMolecule(mol, randomSeed=7)
    numbers = np.array([atom.GetAtomicNum() for atom in mol.GetAtoms()])
    return mol, numbers, mol.GetConformer().GetPositions()


def packed(numbers: np.ndarray, points: np.ndarray, hands: list[int]) -> Frame:
    """Copies of either hand, turned and apart."""
    rng = np.random.default_rng(0)
    copies = [
        hand * points @ Rotation.from_quat(rng.normal(size=4)).as_matrix().T + [12.0 * k, 0, 0]
        for k, hand in enumerate(hands)
    ]
    molecule = np.repeat(np.arange(len(hands)), len(numbers))
    return Frame(np.tile(numbers, len(hands)), np.concatenate(copies), molecule)


def test_rigid_copies_change_nothing() -> None:
    ref = waters()
    turned = replace(ref, positions=-ref.positions @ Rotation.from_euler("xyz", [1, 2, 3]).as_matrix().T)
    found = Internal(ref).compare(turned)
    assert found["distortion"] < 1e-12
    assert found["distortion_rms"] < 1e-12
    assert found["broken_bonds"] == 0
    assert np.isnan(found["chirality_kept"]), "water has no stereocentre"


def test_distortion_is_the_largest_change_and_the_root_mean_square_counts_all_pairs() -> None:
    stretched = WATER.copy()
    stretched[1, 0] = 1.057
    found = Internal(waters()).compare(waters(stretched))
    across = np.hypot(1.057 + 0.24, 0.927) - np.hypot(0.957 + 0.24, 0.927)
    assert found["distortion"] == pytest.approx(0.1)
    # Six pairs in two molecules; one O–H by 0.1 Å, one H–H by ``across``.
    assert found["distortion_rms"] == pytest.approx(np.sqrt((0.1**2 + across**2) / 6))
    assert found["broken_bonds"] == 0, "a tenth of an ångström in 0.957 is less than 25 %"


@pytest.mark.parametrize(("length", "broken"), [(0.957 * 1.24, 0), (0.957 * 1.26, 1), (0.957 * 0.74, 1)])
def test_a_bond_breaks_beyond_a_quarter_of_its_length(length: float, broken: int) -> None:
    bent = WATER.copy()
    bent[1, 0] = length
    assert Internal(waters()).compare(waters(bent))["broken_bonds"] == pytest.approx(broken / 4)


def test_distortion_compares_with_the_conformer_that_is_meant() -> None:
    other = WATER.copy()
    other[1, 0] = 1.2
    assert Internal(waters(WATER, other)).compare(waters(other, WATER))["distortion"] < 1e-12


def test_what_is_not_finite_has_no_measure_and_all_bonds_broken() -> None:
    bad = waters()
    bad.positions[1, 0] = np.nan
    found = Internal(waters()).compare(bad)
    assert np.isnan(found["distortion"])
    assert found["broken_bonds"] == pytest.approx(1 / 4)


@pytest.mark.parametrize(
    "smiles",
    [
        ALANINE,
        LACTONE,
        "CC(C)C",
        "c1ccccc1",
        "C[S@](=O)c1ccccc1",
        "C[C@H](O)[C@@H](N)CC",
        "C[C@@H](F)[C@H](F)C",
    ],
)
def test_stereocentres_are_those_of_rdkit(smiles: str) -> None:
    mol, numbers, points = embedded(smiles)
    expected = [index for index, _ in Chem.FindMolChiralCenters(mol, useLegacyImplementation=False)]
    centres = stereocentres(numbers, bonds_of(numbers, points))
    assert len(centres) == len(expected)
    for partners, atom in zip(centres, sorted(expected), strict=True):
        neighbours = {other.GetIdx() for other in mol.GetAtomWithIdx(atom).GetNeighbors()}
        assert neighbours <= set(partners.tolist()) <= neighbours | {atom}


def test_one_hand_for_all_keeps_it_and_the_other_loses_it() -> None:
    _, numbers, points = embedded(ALANINE)
    ref = packed(numbers, points, [1, 1, 1, 1])
    for hands, kept in (([1, 1, 1, 1], 1.0), ([-1, 1, 1, 1], 0.75), ([-1, -1, -1, -1], 0.0)):
        assert Internal(ref).compare(packed(numbers, points, hands))["chirality_kept"] == kept


def test_a_racemate_keeps_its_numbers_of_either_hand_in_any_order() -> None:
    _, numbers, points = embedded(ALANINE)
    ref = packed(numbers, points, [1, 1, -1, -1])
    for hands, kept in (([-1, 1, -1, 1], 1.0), ([1, 1, 1, -1], 0.75), ([1, 1, 1, 1], 0.5)):
        assert Internal(ref).compare(packed(numbers, points, hands))["chirality_kept"] == kept


def test_a_single_inverted_centre_is_seen_although_the_molecule_stays() -> None:
    _, numbers, points = embedded(LACTONE)
    other_mol = Chem.AddHs(Chem.MolFromSmiles("O=C1CC[C@@H](O1)[C@@H](C)Cl"))
    AllChem.EmbedMolecule(other_mol, randomSeed=7)
    other = other_mol.GetConformer().GetPositions()
    assert [a.GetAtomicNum() for a in other_mol.GetAtoms()] == numbers.tolist()
    both = np.concatenate([points, other + np.array([12.0, 0, 0])])
    molecule = np.repeat([0, 1], len(numbers))
    mixed = Frame(np.tile(numbers, 2), both, molecule)
    found = Internal(packed(numbers, points, [1, 1])).compare(mixed)
    assert found["chirality_kept"] == pytest.approx(3 / 4), "one of two centres in one of two molecules"


def test_a_metal_without_a_radius_has_no_bonds_and_does_no_harm() -> None:
    numbers = np.array([26, 8, 1, 26, 8, 1])
    positions = np.array([[0, 0, 0], [2.0, 0, 0], [2.5, 0.8, 0]])
    frame = Frame(numbers, np.concatenate([positions, positions + np.array([6, 0, 0])]), np.repeat([0, 1], 3))
    assert bonds_of(numbers[:3], positions).tolist() == [[1, 2]]
    assert Internal(frame).compare(frame)["broken_bonds"] == 0
