"""The rigid molecule: body frame, pose, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import pdist
from scipy.spatial.transform import Rotation

from kflow_sci.assembly.molecule import MAX_ATOMS, Molecule, check_composition
from kflow_sci.errors import MoleculeError

# Gas-phase water; Benedict, Gailar & Plyler, J. Chem. Phys. 24 (1956) 1139.
WATER = (np.array([8, 1, 1]), np.array([[0, 0, 0], [0.7572, 0.5865, 0], [-0.7572, 0.5865, 0]]))
# Planar formamide with rounded bond lengths: no symmetry but the plane.
FORMAMIDE = (
    np.array([6, 8, 7, 1, 1, 1]),
    np.array(
        [
            [0.16, 0.39, 0],
            [1.19, -0.24, 0],
            [-1.08, -0.16, 0],
            [0.13, 1.49, 0],
            [-1.90, 0.42, 0],
            [-1.16, -1.17, 0],
        ]
    ),
)


def turned(positions: np.ndarray, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return positions @ Rotation.random(random_state=rng).as_matrix().T + rng.normal(size=3) * 5


def test_build_returns_the_pose_that_gives_the_input_back() -> None:
    numbers, positions = FORMAMIDE
    given = turned(positions)
    molecule, centroid, rotation = Molecule.build(numbers, given)
    np.testing.assert_allclose(centroid + molecule.positions @ rotation.T, given, atol=1e-12)
    np.testing.assert_allclose(molecule.positions.mean(axis=0), 0, atol=1e-12)
    assert np.linalg.det(rotation) == pytest.approx(1.0)


def test_a_molecule_is_exactly_rigid() -> None:
    numbers, positions = FORMAMIDE
    molecule = Molecule.build(numbers, turned(positions))[0]
    np.testing.assert_allclose(pdist(molecule.positions), pdist(positions), atol=1e-12)


def test_stored_coordinates_do_not_depend_on_the_input_frame() -> None:
    numbers, positions = FORMAMIDE
    first = Molecule.build(numbers, positions)[0]
    for seed in range(5):
        np.testing.assert_allclose(
            Molecule.build(numbers, turned(positions, seed))[0].positions, first.positions, atol=1e-9
        )


def test_building_twice_changes_nothing() -> None:
    once = Molecule.build(*FORMAMIDE)[0]
    _, centroid, rotation = Molecule.build(once.numbers, once.positions)
    np.testing.assert_allclose(centroid, 0, atol=1e-12)
    np.testing.assert_allclose(rotation, np.eye(3), atol=1e-9)


def test_properties_by_hand() -> None:
    water = Molecule.build(*WATER, name="water")[0]
    assert (len(water), water.formula, water.symbols) == (3, "H2O", ["O", "H", "H"])
    assert (len(water.symmetry.proper), len(water.symmetry.improper)) == (2, 2)
    # Oxygen lies at the origin of the input, so the centroid is at y = 2 * 0.5865 / 3.
    assert water.radius == pytest.approx(np.hypot(0.7572, 0.5865 / 3))
    assert Molecule.build(*FORMAMIDE)[0].formula == "CH3NO"


def test_the_formula_follows_hill_with_and_without_carbon() -> None:
    line = np.arange(4)[:, None] * np.array([1.5, 0, 0])
    assert Molecule.build(np.array([17, 6, 35, 1]), line)[0].formula == "CHBrCl"
    assert Molecule.build(np.array([16, 8, 8, 1]), line)[0].formula == "HO2S"


@pytest.mark.parametrize(
    ("numbers", "positions", "words"),
    [
        ([], np.zeros((0, 3)), "0 atom"),
        ([18], np.zeros((1, 3)), "at least 2"),
        ([6] * (MAX_ATOMS + 1), np.arange(3 * MAX_ATOMS + 3.0).reshape(-1, 3), f"limit of {MAX_ATOMS}"),
        ([6, 26], np.eye(3)[:2], "element Fe"),
        ([6, 92], np.eye(3)[:2], "element U"),
        ([6, 0], np.eye(3)[:2], "number 0"),
        ([6, 8], np.array([[0, 0, 0], [0, np.nan, 0]]), "atom 1 .*not finite"),
        ([6, 8], np.array([[0, 0, np.inf], [0, 0, 0]]), "atom 0 .*not finite"),
        ([6, 8, 8], np.array([[0, 0, 0], [1.2, 0, 0], [1.2, 0.1, 0]]), "atoms 1 and 2 are 0.10 Å apart"),
        ([6, 8], np.zeros((2, 2)), "shape"),
        ([6, 8], np.zeros((3, 3)), "shape"),
    ],
)  # fmt: skip
def test_what_cannot_be_one_rigid_molecule_is_refused_in_one_line(
    numbers: list, positions: np.ndarray, words: str
) -> None:
    with pytest.raises(MoleculeError, match=words) as caught:
        Molecule.build(np.array(numbers, dtype=int), positions, name="x.xyz")
    assert str(caught.value).startswith("x.xyz")
    assert "\n" not in str(caught.value)


def test_composition_is_checked_without_positions() -> None:
    check_composition(np.array([6, 1, 1, 1, 1]), "methane")
    with pytest.raises(MoleculeError, match="Pd"):
        check_composition(np.array([46, 17, 17]), "palladium chloride")
