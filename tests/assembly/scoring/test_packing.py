"""Clashes, space, neighbours and rigidity against hand calculations and qhull."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial import ConvexHull, Voronoi
from scipy.stats import wasserstein_distance

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
    numbers, positions, molecule = two([6, 110], np.zeros((1, 3)), np.array([[3.0, 0, 0]]))
    with pytest.raises(ScoreError, match="element number 110"):
        packing.clash_pairs(numbers, positions, molecule)


def test_metals_that_bondi_does_not_have_get_their_covalent_radius_and_eight_tenths() -> None:
    # Cordero: Fe 1.32 Å, U 1.96 Å.
    assert packing.radii(np.array([6, 26, 92])) == pytest.approx([1.70, 2.12, 2.76])
    numbers, positions, molecule = two(
        [8, 1, 26, 8, 1], np.array([[0, 0, 0], [1.0, 0, 0], [-2.0, 0, 0]]), WATER[:2]
    )
    positions[3:] += [0, 0, 9]
    assert packing.own_polar_hydrogens(numbers, positions, molecule).tolist() == [0, 1, 0, 0, 1]


def test_contact_distance_by_hand() -> None:
    # Carbons touch at 3.40 Å = 1.0; three in a row, 3.4 and 4.08 Å (1.2) apart: nearest 1.0, 1.0, 1.2.
    ref = Frame(np.full(3, 6), np.array([[0, 0, 0], [3.4, 0, 0], [7.48, 0, 0]]), np.arange(3))
    # 3.74 Å (1.1) twice: 1.1, 1.1, 1.1.
    pred = Frame(np.full(3, 6), np.array([[0, 0, 0], [3.74, 0, 0], [7.48, 0, 0]]), np.arange(3))
    assert packing.contact_distance(pred, ref) == pytest.approx((0.1 + 0.1 + 0.1) / 3)
    # Far apart all are cut at 1.5.
    away = Frame(np.full(3, 6), ref.positions * 10, np.arange(3))
    assert packing.contact_distance(away, ref) == pytest.approx((0.5 + 0.5 + 0.3) / 3)
    assert np.isnan(packing.contact_distance(ref, away)), "no contact in the reference"
    assert packing.contact_distance(ref, ref) == 0


def test_contact_distance_is_scipys_wasserstein_distance_per_pair_of_elements() -> None:
    rng = np.random.default_rng(0)
    numbers, molecule = np.tile([8, 1, 1], 12), np.repeat(np.arange(12), 3)
    frames = [Frame(numbers, 5 * rng.normal(size=(36, 3)), molecule) for _ in range(2)]
    radius = packing.radii(numbers)
    total, contacts = 0.0, 0
    for a, b in ((1, 1), (1, 8), (8, 8)):
        values: list[list[float]] = [[], []]
        for k, frame in enumerate(frames):
            for i in range(36):
                for other in {a, b} if numbers[i] in (a, b) else ():
                    if sorted((int(numbers[i]), other)) != [a, b]:
                        continue
                    near = min(
                        np.linalg.norm(frame.positions[i] - frame.positions[j]) / (radius[i] + radius[j])
                        for j in range(36)
                        if numbers[j] == other and molecule[j] != molecule[i]
                    )
                    values[k].append(min(near, 1.5))
        assert len(values[0]) == len(values[1])
        total += wasserstein_distance(*values) * len(values[0])
        contacts += sum(value < 1.5 for value in values[1])
    assert packing.contact_distance(frames[0], frames[1]) == pytest.approx(total / contacts)


def test_contact_distance_does_not_see_numbering_turns_or_the_hand() -> None:
    rng = np.random.default_rng(1)
    points, molecule = 4 * rng.normal(size=(8, 3, 3)), np.repeat(np.arange(8), 3)
    numbers = np.tile([7, 6, 1], 8)
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    ref = Frame(numbers, points.reshape(-1, 3), molecule)
    pred = Frame(numbers, (points[rng.permutation(8)] @ turn.T + 3).reshape(-1, 3), molecule)
    assert packing.contact_distance(pred, ref) < 1e-12
    pred.positions[0] = np.nan
    assert np.isnan(packing.contact_distance(pred, ref))


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
