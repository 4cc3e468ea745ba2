"""A shorter cell is the same crystal."""

from __future__ import annotations

import numpy as np
import pytest

from kflow_sci.assembly.lattice.cutting import cluster_from_packing
from kflow_sci.assembly.lattice.packing import Packing, SpaceGroup, standard_cell
from kflow_sci.assembly.lattice.reading import packing_from_cif
from kflow_sci.assembly.lattice.reduction import changed, niggli_parameters, reduced
from kflow_sci.errors import PackingError
from tests.assembly.lattice.test_packing import packing as water_in
from tests.assembly.lattice.test_packing import water
from tests.crystals_by_hand import chfclbr_p21c

SHEAR = np.array([[1, 0, 2], [0, 1, 0], [0, 0, 1]])  # a + 2c: keeps the axis b


def sheared() -> Packing:
    """P2₁/c with an angle of 120 degrees, where a + c is shorter than c and the glide along it is n."""
    beta = np.radians(120)
    return water_in("P21/c", np.array([[9.0, 0, 0], [0, 9.5, 0], [19 * np.cos(beta), 0, 19 * np.sin(beta)]]))


def distances(packing: Packing, copies: int = 20) -> np.ndarray:
    """Between all atoms of the nearest molecules and the centre of the first, in rising order."""
    return np.sort(np.linalg.norm(cluster_from_packing(packing, copies).positions, axis=1))[:40]


@pytest.mark.parametrize("shear", [SHEAR, SHEAR.T, np.array([[0, 0, -1], [0, 1, 0], [1, 0, 0]])])
def test_another_choice_of_cell_is_the_same_crystal(shear: np.ndarray) -> None:
    packing = packing_from_cif(chfclbr_p21c())
    other = changed(packing, shear)
    assert other.group.number == 14
    assert other.volume == pytest.approx(packing.volume)
    np.testing.assert_allclose(distances(other), distances(packing), atol=1e-6)


def test_a_change_of_cell_must_keep_the_volume() -> None:
    with pytest.raises(PackingError, match="determinant 1"):
        changed(packing_from_cif(chfclbr_p21c()), np.diag([2, 1, 1]))


def test_a_sheared_monoclinic_cell_comes_back_to_the_shortest_one_with_its_axis_kept() -> None:
    packing = packing_from_cif(chfclbr_p21c())
    short = reduced(changed(packing, SHEAR))
    a, b, c, alpha, beta, gamma = short.parameters
    # 6.9 x 8.1 x 10.2 with beta 104: c + a would be longer than c, so the cell is as short as it gets.
    np.testing.assert_allclose([a, b, c, beta], [6.9, 8.1, 10.2, 104.0], atol=1e-6)
    assert alpha == pytest.approx(90) and gamma == pytest.approx(90)
    np.testing.assert_allclose(distances(short), distances(packing), atol=1e-6)


def test_glides_follow_the_axes_so_that_p21c_becomes_p21n_where_that_cell_is_shorter() -> None:
    packing = sheared()
    short = reduced(packing)
    # a + c has the length sqrt(81 + 361 - 2 * 9 * 19 * cos 60°) = 16.46 Å
    assert short.group.name == "P 1 21/n 1"
    assert short.parameters[2] == pytest.approx(np.sqrt(271))
    assert 90 <= short.parameters[4] < 120
    np.testing.assert_allclose(distances(short), distances(packing), atol=1e-6)


def test_niggli_cells_by_hand() -> None:
    # A rectangular lattice given by sheared vectors: its Niggli cell is the rectangular one, lengths in order.
    cell = standard_cell(np.array([[9.0, 0, 0], [9.0, 5.0, 0], [18.0, 5.0, 7.0]]))
    packing = Packing(
        (water(),),
        SpaceGroup.named("P1"),
        cell,
        np.array([0]),
        np.zeros((1, 3)),
        np.eye(3)[None],
        np.array([1]),
    )
    np.testing.assert_allclose(niggli_parameters(packing), [5, 7, 9, 90, 90, 90], atol=1e-5)
    np.testing.assert_allclose(sorted(reduced(packing).parameters[:3]), [5, 7, 9], atol=1e-9)


def test_the_niggli_cell_of_a_centred_lattice_is_primitive() -> None:
    # C-centred with a = b = 6: the primitive vectors (±3, 3, 0) have the length 3 sqrt 2 and a right angle.
    group = SpaceGroup.named("C2")
    cell = group.symmetric_cell(np.diag([6.0, 6.0, 8.0]))
    packing = Packing(
        (water(),), group, cell, np.array([0]), np.full((1, 3), 0.2), np.eye(3)[None], np.array([1])
    )
    expected = [3 * np.sqrt(2), 3 * np.sqrt(2), 8, 90, 90, 90]
    np.testing.assert_allclose(niggli_parameters(packing), expected, atol=1e-5)


def test_reduction_leaves_other_systems_alone() -> None:
    packing = water_in("Pna21")
    assert reduced(packing).parameters == pytest.approx(packing.parameters)
    assert reduced(packing).group.name == "P n a 21"
