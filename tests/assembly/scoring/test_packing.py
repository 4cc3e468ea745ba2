"""Clashes, space, neighbours and rigidity against hand calculations and qhull."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial import ConvexHull, Voronoi
from scipy.spatial.transform import Rotation

from kflow_sci.assembly.reading.crystal import cluster_from_crystal, read_crystal
from kflow_sci.assembly.scoring import packing
from kflow_sci.assembly.scoring.frame import Frame, molecules_by_bonds, number_without_gaps
from kflow_sci.errors import ScoreError

WATER = np.array([[0, 0, 0], [0.957, 0, 0], [-0.24, 0.927, 0]])


def two(
    numbers: list[int], first: np.ndarray, second: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    molecule = np.repeat([0, 1], [len(first), len(second)])
    return np.array(numbers), np.concatenate([first, second]).astype(float), molecule


@pytest.mark.parametrize(("gap", "expected"), [(2.73, 0), (2.71, 1)])
def test_clash_is_below_eight_tenths_of_the_radii(gap: float, expected: int) -> None:
    # Bondi gives carbon 1.70 Å, so the limit is 0.8 · 3.40 = 2.72 Å.
    numbers, positions, molecule = two([6, 6], np.zeros((1, 3)), np.array([[gap, 0, 0]]))
    assert packing.clash_pairs(numbers, positions, molecule) == expected


@pytest.mark.parametrize(("gap", "expected"), [(1.51, 0), (1.49, 1)])
def test_a_hydrogen_bond_may_be_short(gap: float, expected: int) -> None:
    # O–H…O: 0.55 (1.20 + 1.52) = 1.496 Å for H…O; the oxygens stay beyond 0.8 · 3.04 = 2.43 Å.
    # The second water's hydrogens point away from the first.
    second = np.array([[0, 0, 0], [0.5, 0.8, 0], [0.5, -0.8, 0]])
    second = second + np.array([0.957 + gap, 0, 0])
    numbers, positions, molecule = two([8, 1, 1, 8, 1, 1], WATER, second)
    assert packing.clash_pairs(numbers, positions, molecule) == expected


def test_a_hydrogen_on_carbon_gets_no_exception() -> None:
    methyl = np.array([[0, 0, 0], [1.09, 0, 0]])
    oxygen = np.array([[1.09 + 2.0, 0, 0]])
    numbers, positions, molecule = two([6, 1, 8], methyl, oxygen)
    assert packing.clash_pairs(numbers, positions, molecule) == 1, "2.0 < 0.8 (1.20 + 1.52) = 2.18 Å"


def test_atoms_of_one_molecule_never_clash() -> None:
    numbers, positions, _ = two([8, 1, 1, 8, 1, 1], WATER, WATER + np.array([0.5, 0, 0]))
    assert packing.clash_pairs(numbers, positions, np.zeros(6, dtype=int)) == 0
    assert packing.clash_pairs(numbers, positions, np.repeat([0, 1], 3)) > 0


def test_a_polar_hydrogen_is_told_by_its_own_molecule() -> None:
    numbers, positions, molecule = two(
        [6, 1, 8], np.array([[0, 0, 0], [1.09, 0, 0]]), np.array([[2.0, 0, 0]])
    )
    assert not packing.own_polar_hydrogens(numbers, positions, molecule).any(), (
        "the oxygen belongs to another"
    )
    assert packing.own_polar_hydrogens(np.array([8, 1, 1]), WATER, np.zeros(3, dtype=int)).tolist() == [
        False,
        True,
        True,
    ]


def test_an_element_without_a_radius_is_refused() -> None:
    numbers, positions, molecule = two([6, 92], np.zeros((1, 3)), np.array([[3.0, 0, 0]]))
    with pytest.raises(ScoreError, match="element number 92"):
        packing.clash_pairs(numbers, positions, molecule)


def test_cell_of_a_simple_cubic_lattice_is_its_cube() -> None:
    # Each of 27 single-atom molecules, 3 Å apart, has 27 Å^3; the corner of the cube is 2.6 Å away.
    points = np.array(np.meshgrid(*[[-1, 0, 1]] * 3), dtype=float).reshape(3, -1).T * 3
    centre = int(np.flatnonzero((points == 0).all(axis=1))[0])
    assert packing.voronoi_volume(points, np.arange(27), centre) == pytest.approx(27, rel=3e-3)


def test_cells_agree_with_qhull_where_they_are_closed() -> None:
    rng = np.random.default_rng(0)
    points = np.array(np.meshgrid(*[np.arange(-3, 4)] * 3), dtype=float).reshape(3, -1).T * 1.6
    points += 0.3 * rng.normal(size=points.shape)
    molecule = np.arange(len(points))
    chosen = np.argsort(np.linalg.norm(points, axis=1))[:8]
    molecule[chosen] = chosen[0]
    diagram = Voronoi(points)
    expected = sum(
        ConvexHull(diagram.vertices[diagram.regions[diagram.point_region[a]]]).volume for a in chosen
    )
    assert packing.voronoi_volume(points, molecule, int(chosen[0])) == pytest.approx(expected, rel=3e-3)


def test_a_molecule_alone_takes_the_union_of_balls_and_no_more() -> None:
    assert packing.voronoi_volume(np.zeros((1, 3)), np.zeros(1, dtype=int), 0) == pytest.approx(
        4 / 3 * np.pi * 27
    )


def test_cells_of_what_is_not_finite_or_coincides_are_nan() -> None:
    points = np.array([[0, 0, 0], [np.nan, 0, 0]])
    assert np.isnan(packing.voronoi_volume(points, np.arange(2), 0))
    assert np.isnan(packing.voronoi_volume(np.zeros((2, 3)), np.arange(2), 0))


def test_gyration_volume_of_an_even_ball_is_its_share() -> None:
    rng = np.random.default_rng(0)
    direction = rng.normal(size=(20000, 3))
    points = (
        direction / np.linalg.norm(direction, axis=1, keepdims=True) * rng.random((20000, 1)) ** (1 / 3) * 10
    )
    assert packing.gyration_volume(points) == pytest.approx(4 / 3 * np.pi * 1000 / 20000, rel=0.02)


def test_coordination_by_hand() -> None:
    # Single carbons touch below 3.40 + 0.5 = 3.9 Å; two of three are near.
    points = np.array([[0, 0, 0], [3.85, 0, 0], [0, 3.85, 0], [0, 0, 3.95]])
    assert packing.coordination(np.full(4, 6), points, np.arange(4), 0) == 2


def test_distortion_is_the_largest_change_inside_a_molecule() -> None:
    numbers, positions, molecule = two([8, 1, 1, 8, 1, 1], WATER, WATER + np.array([4, 0, 0]))
    ref = Frame(numbers, positions, molecule)
    turned = positions @ Rotation.from_euler("xyz", [1, 2, 3]).as_matrix().T
    assert packing.distortion(Frame(numbers, -turned, molecule), ref) < 1e-12, (
        "rigid, mirrored copies are not distorted"
    )
    bent = positions.copy()
    bent[4] += [0.1, 0, 0]
    assert packing.distortion(Frame(numbers, bent, molecule), ref) == pytest.approx(0.1, abs=1e-3)


def test_distortion_compares_with_the_conformer_that_is_meant() -> None:
    other = WATER.copy()
    other[1, 0] = 1.2
    numbers, positions, molecule = two([8, 1, 1, 8, 1, 1], WATER, other + np.array([4, 0, 0]))
    swapped = np.concatenate([other, WATER + np.array([4, 0, 0])])
    assert packing.distortion(Frame(numbers, swapped, molecule), Frame(numbers, positions, molecule)) < 1e-12


def test_molecules_are_told_by_bonds_and_never_by_two_hydrogens() -> None:
    numbers, positions, molecule = two([8, 1, 1, 8, 1, 1], WATER, WATER + np.array([2.6, 0, 0]))
    assert np.array_equal(molecules_by_bonds(numbers, positions), molecule)
    with pytest.raises(ScoreError, match="column `molecule`"):
        molecules_by_bonds(np.array([92, 1]), np.zeros((2, 3)))


def test_labels_are_renamed_in_order_of_appearance() -> None:
    assert number_without_gaps([7, 7, 2, 9, 2]).tolist() == [0, 0, 1, 2, 1]


def test_true_crystals_hardly_clash_and_fill_their_cells(crystals: Path) -> None:
    names = sorted((crystals / "experimental").glob("*.cif"))[::12]
    clashing, ratios, balls = [], [], []
    for name in names:
        cluster = cluster_from_crystal(read_crystal(name), 17)
        frame = Frame.of(cluster)
        clashing.append(packing.clash_pairs(frame.numbers, frame.positions, frame.molecule) > 0)
        cell = cluster.info["volume"]
        ratios.append(packing.voronoi_volume(frame.positions, frame.molecule, frame.centre) / cell)
        balls.append(packing.gyration_volume(frame.centroids) / cell)
    assert np.mean(clashing) < 0.1
    assert 1.0 < np.mean(ratios) < 1.15
    assert np.mean(balls) == pytest.approx(1, abs=0.05)
