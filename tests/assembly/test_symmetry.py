"""Body frames and point groups on molecules whose symmetry stands in every textbook."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from kflow_sci.assembly.symmetry import body_frame, point_group

T = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / np.sqrt(3)
TWIST = np.radians(20.0)


def hexagon(radius: float) -> np.ndarray:
    angle = np.radians(60.0 * np.arange(6))
    return radius * np.stack([np.cos(angle), np.sin(angle), 0 * angle], axis=1)


def truncated_icosahedron() -> np.ndarray:
    """Even permutations of the three classes of corners, all signs; edge 2."""
    g = (1 + np.sqrt(5)) / 2
    corners = set()
    for corner in ((0, 1, 3 * g), (1, 2 + g, 2 * g), (g, 2, 2 * g + 1)):
        for signs in itertools.product((1, -1), repeat=3):
            for shift in range(3):
                corners.add(tuple(np.round(np.roll(np.multiply(corner, signs), shift) + 0.0, 12)))
    return np.array(sorted(corners)) * 0.71


def orbit(operations: list[list[float]], points: list[list[float]]) -> np.ndarray:
    """All images of points under diagonal operations."""
    return np.concatenate([np.array(points) * np.array(o) for o in operations])


def molecules() -> dict[str, tuple[list[int], np.ndarray, int, int]]:
    """Atomic numbers, positions, proper and improper operations."""
    ring = np.concatenate([hexagon(1.39), hexagon(2.48)])
    generic = [[0.3, 0.5, 0.7], [0.9, -1.1, 1.9], [1.9, 0.8, 0.2]]
    bent = np.array([[0, 0, 0], [0.757, 0.586, 0], [-0.757, 0.586, 0]])
    dichloroethene = np.array([[0.53, 0.4, 0], [2.0, -0.53, 0], [0.45, 1.48, 0]])
    across = np.array([np.cos(TWIST), np.sin(TWIST), 0])
    other = across * [1, -1, 1]
    twisted = np.array([[0, 0, 0.66], [0, 0, -0.66]])
    hydrogens = np.concatenate(
        [
            [twisted[0] + s * across + [0, 0, 0.55] for s in (1, -1)],
            [twisted[1] + s * other - [0, 0, 0.55] for s in (1, -1)],
        ]
    )
    octahedron = 1.56 * np.concatenate([np.zeros((1, 3)), np.eye(3), -np.eye(3)])
    return {
        "water C2v": ([8, 1, 1], bent, 2, 2),
        "benzene D6h": ([6] * 6 + [1] * 6, ring, 12, 12),
        "methane Td": ([6] + [1] * 4, np.concatenate([np.zeros((1, 3)), 1.09 * T]), 12, 12),
        "carbon dioxide D∞h": ([6, 8, 8], np.array([[0, 0, 0], [0, 0, 1.16], [0, 0, -1.16]]), 24, 24),
        "acetylene D∞h": ([6, 6, 1, 1], np.array([[0.6, 0, 0], [-0.6, 0, 0], [1.66, 0, 0], [-1.66, 0, 0]]), 24, 24),
        "hydrogen cyanide C∞v": ([1, 6, 7], np.array([[0, -1.06, 0], [0, 0, 0], [0, 1.15, 0]]), 12, 12),
        "buckminsterfullerene Ih": ([6] * 60, truncated_icosahedron(), 60, 60),
        "bromochlorofluoromethane C1": (
            [6, 1, 9, 17, 35],
            np.concatenate([np.zeros((1, 3)), T * np.array([[1.09], [1.36], [1.76], [1.94]])]),
            1,
            0,
        ),
        "inversion only Ci": ([6, 9, 17] * 2, orbit([[1, 1, 1], [-1, -1, -1]], generic), 1, 1),
        "trans-dichloroethene C2h": ([6, 17, 1] * 2, orbit([[1, 1, 1], [-1, -1, 1]], dichloroethene.tolist()), 2, 2),
        "twisted ethene D2": ([6, 6, 1, 1, 1, 1], np.concatenate([twisted, hydrogens]), 4, 0),
        "sulfur hexafluoride Oh": ([16] + [9] * 6, octahedron, 24, 24),
        "oblong cuboid D2h": ([7] * 8, np.array(list(itertools.product((1.0, -1.0), (1.3, -1.3), (1.7, -1.7)))), 4, 4),
    }  # fmt: skip


MOLECULES = molecules()


def centred(name: str) -> tuple[np.ndarray, np.ndarray]:
    numbers, positions, _, _ = MOLECULES[name]
    return np.array(numbers), positions - positions.mean(axis=0)


def apart(numbers_a: np.ndarray, a: np.ndarray, numbers_b: np.ndarray, b: np.ndarray) -> float:
    """Largest distance from an atom of one set to the nearest atom of its element in the other."""
    worst = 0.0
    for z in np.unique(numbers_a):
        p, q = a[numbers_a == z], b[numbers_b == z]
        worst = max(worst, cKDTree(q).query(p)[0].max(), cKDTree(p).query(q)[0].max())
    return worst


@pytest.mark.parametrize("name", MOLECULES)
def test_body_coordinates_do_not_depend_on_how_the_input_was_turned_or_ordered(name: str) -> None:
    numbers, positions = centred(name)
    body = positions @ body_frame(numbers, positions)
    rng = np.random.default_rng(0)
    for _ in range(8):
        order = rng.permutation(len(numbers))
        turned = (positions @ Rotation.random(random_state=rng).as_matrix().T)[order]
        again = turned @ body_frame(numbers[order], turned)
        assert apart(numbers, body, numbers[order], again) < 1e-9


@pytest.mark.parametrize("name", MOLECULES)
def test_the_frame_is_proper_for_both_hands(name: str) -> None:
    numbers, positions = centred(name)
    for mirror in ([1, 1, 1], [1, 1, -1]):
        frame = body_frame(numbers, positions * mirror)
        np.testing.assert_allclose(frame.T @ frame, np.eye(3), atol=1e-12)
        assert np.linalg.det(frame) == pytest.approx(1.0)


@pytest.mark.parametrize("name", MOLECULES)
def test_a_millionth_of_an_angstrom_hardly_moves_the_frame(name: str) -> None:
    numbers, positions = centred(name)
    body = positions @ body_frame(numbers, positions)
    rng = np.random.default_rng(1)
    for _ in range(5):
        shaken = positions + 1e-6 * rng.normal(size=positions.shape)
        shaken -= shaken.mean(axis=0)
        shaken = shaken @ Rotation.random(random_state=rng).as_matrix().T
        assert apart(numbers, body, numbers, shaken @ body_frame(numbers, shaken)) < 5e-5


def test_the_mirror_image_of_a_chiral_molecule_keeps_its_hand() -> None:
    numbers, positions = centred("bromochlorofluoromethane C1")
    right, left = (x @ body_frame(numbers, x) for x in (positions, -positions))
    between = np.linalg.lstsq(right, left, rcond=None)[0]
    assert np.linalg.det(between) == pytest.approx(-1.0)
    np.testing.assert_allclose(right @ between, left, atol=1e-9)


def test_a_planar_molecule_lies_in_the_xy_plane_and_a_long_one_along_x() -> None:
    for name, flat in (("benzene D6h", [2]), ("acetylene D∞h", [1, 2])):
        numbers, positions = centred(name)
        assert np.abs((positions @ body_frame(numbers, positions))[:, flat]).max() < 1e-9


@pytest.mark.parametrize("name", MOLECULES)
def test_point_groups_have_their_textbook_order(name: str) -> None:
    numbers, positions = centred(name)
    group = point_group(numbers, positions)
    assert (len(group.proper), len(group.improper)) == MOLECULES[name][2:]
    assert group.chiral == (MOLECULES[name][3] == 0)
    np.testing.assert_allclose(group.proper[0], np.eye(3), atol=1e-9)
    np.testing.assert_allclose(np.linalg.det(group.proper), 1.0)
    np.testing.assert_allclose(np.linalg.det(group.improper), -1.0)


@pytest.mark.parametrize("name", MOLECULES)
def test_operations_map_the_molecule_onto_itself_and_are_closed_under_composition(name: str) -> None:
    numbers, positions = centred(name)
    group = point_group(numbers, positions)
    operations = np.concatenate([group.proper, group.improper])
    for q in operations:
        assert apart(numbers, positions, numbers, positions @ q.T) < 1e-6
    products = np.einsum("iab,jbc->ijac", operations, operations).reshape(-1, 9)
    distance, found = cKDTree(operations.reshape(-1, 9)).query(products)
    assert distance.max() < 1e-9
    assert np.all(np.bincount(found) == len(operations))


def test_a_distorted_molecule_keeps_the_symmetry_that_moves_no_atom_beyond_the_tolerance() -> None:
    numbers, positions = centred("benzene D6h")
    distorted = positions + 0.05 * np.random.default_rng(2).normal(size=positions.shape)
    distorted -= distorted.mean(axis=0)
    group = point_group(numbers, distorted, tolerance=0.5)
    assert (len(group.proper), len(group.improper)) == (12, 12)
    products = np.einsum("iab,jbc->ijac", group.proper, group.proper).reshape(-1, 9)
    assert cKDTree(group.proper.reshape(-1, 9)).query(products)[0].max() < 1e-9
    strict = point_group(numbers, distorted, tolerance=0.01)
    assert (len(strict.proper), len(strict.improper)) == (1, 0)


def test_where_the_tolerance_cuts_a_group_in_two_a_smaller_group_is_returned() -> None:
    # A square stretched to 1 : 1.1: fourfold turns move atoms by 0.2 Å, so 0.15 must leave exactly D2h.
    positions = np.array([[2.0, 0, 0], [-2.0, 0, 0], [0, 2.2, 0], [0, -2.2, 0]])
    numbers = np.full(4, 16)
    assert len(point_group(numbers, positions, tolerance=0.15).proper) == 4
    assert len(point_group(numbers, positions, tolerance=0.25).proper) == 8


def test_equal_atoms_of_another_element_break_the_symmetry() -> None:
    numbers, positions = centred("benzene D6h")
    numbers = numbers.copy()
    numbers[6] = 9  # fluorobenzene
    group = point_group(numbers, positions - positions.mean(axis=0))
    assert (len(group.proper), len(group.improper)) == (2, 2)
