"""Space groups and packings: what symmetry promises holds for every group, and bad input is refused in one line."""

from __future__ import annotations

import gemmi
import numpy as np
import pytest

from kflow_sci.assembly.lattice.packing import Packing, SpaceGroup, operations_of, standard_cell, triplets_of
from kflow_sci.assembly.molecule import Molecule
from kflow_sci.errors import PackingError

FREE = {
    "triclinic": 6, "monoclinic": 4, "orthorhombic": 3, "tetragonal": 2, "trigonal": 2, "hexagonal": 2, "cubic": 1,
}  # fmt: skip
P21C = {"x,y,z", "-x,y+1/2,-z+1/2", "-x,-y,-z", "x,-y+1/2,z+1/2"}


def water() -> Molecule:
    # r(OH) 0.9572 Å, angle 104.52 degrees
    half = np.radians(104.52 / 2)
    hydrogens = 0.9572 * np.array([[np.sin(half), np.cos(half), 0], [-np.sin(half), np.cos(half), 0]])
    molecule, _, _ = Molecule.build(np.array([8, 1, 1]), np.vstack([np.zeros(3), hydrogens]), name="water")
    return molecule


def packing(group: str = "P21/c", cell: np.ndarray | None = None, **changes: object) -> Packing:
    basis = SpaceGroup.named(group).symmetric_cell(np.diag([6.0, 7.0, 8.0]) if cell is None else cell)
    values: dict[str, object] = {
        "molecules": (water(),), "group": SpaceGroup.named(group), "cell": basis, "kind": np.array([0]),
        "place": np.array([[0.2, 0.15, 0.3]]), "rotation": np.eye(3)[None], "parity": np.array([1]),
    }  # fmt: skip
    return Packing(**(values | changes))  # type: ignore[arg-type]


def test_the_operations_of_p21c_are_those_of_the_tables_with_the_identity_first() -> None:
    group = SpaceGroup.named("P21/c")
    assert set(triplets_of(group)) == P21C
    assert triplets_of(group)[0] == "x,y,z"
    assert (group.number, group.system, len(group), group.hands) == (14, "monoclinic", 4, True)


@pytest.mark.parametrize("name", ["P 1 21/c 1", "P21/c", "p 21/c", "P2_1/c", "14"])
def test_a_space_group_goes_by_its_name_in_any_spelling_and_by_its_number(name: str) -> None:
    assert SpaceGroup.named(name).name == "P 1 21/c 1"


def test_centring_is_among_the_operations() -> None:
    assert len(SpaceGroup.named("C2/c")) == 8
    assert len(SpaceGroup.named("Fdd2")) == 16


def test_every_setting_of_the_tables_has_constant_cartesian_operations_and_as_many_free_cell_parameters() -> (
    None
):
    rng = np.random.default_rng(0)
    for entry in gemmi.spacegroup_table():
        if entry.ext == "R":
            continue
        group = SpaceGroup.named(entry.xhm())
        assert len(group.cell_basis) == FREE[group.system], group.name
        flat = group.cell_basis.reshape(len(group.cell_basis), 9)
        np.testing.assert_allclose(flat @ flat.T, np.eye(len(flat)), atol=1e-12)
        # Any cell of the basis, well away from the one the operations were computed in.
        cell = np.einsum("k,kij->ij", rng.uniform(0.5, 2.0, len(flat)), group.cell_basis)
        cartesian = cell.T @ group.rotations @ np.linalg.inv(cell.T)
        np.testing.assert_allclose(cartesian, group.cartesian, atol=1e-9)


@pytest.mark.parametrize("name", ["P21/c", "C2/c", "Pna21", "P41", "R3", "Pa-3"])
def test_a_group_is_found_again_from_its_operations_in_any_order(name: str) -> None:
    group = SpaceGroup.named(name)
    order = np.random.default_rng(1).permutation(len(group))
    again = SpaceGroup.from_operations(group.rotations[order], group.translations[order])
    assert again.number == group.number
    assert (again.rotations[0] == np.eye(3)).all() and not again.translations[0].any()
    assert set(triplets_of(operations_of(triplets_of(group)))) == set(triplets_of(group))


def test_a_group_with_its_origin_elsewhere_keeps_its_number_but_is_not_the_one_in_the_tables() -> None:
    group = operations_of(["x,y,z", "-x+1/3,-y,-z"])
    assert group.number == 2 and not group.is_tabulated
    assert SpaceGroup.named("P-1").is_tabulated


@pytest.mark.parametrize(
    ("name", "nearest"), [("P21/d", "P21/c"), ("Pna22", "Pna21"), ("P212121x", "P212121"), ("231", "230")]
)
def test_an_unknown_group_is_refused_and_the_nearest_is_named(name: str, nearest: str) -> None:
    with pytest.raises(PackingError, match=nearest) as error:
        SpaceGroup.named(name)
    assert "\n" not in str(error.value)


def test_rhombohedral_axes_are_refused_and_the_hexagonal_ones_named() -> None:
    with pytest.raises(PackingError, match="R 3:H"):
        SpaceGroup.named("R 3:R")


def test_operations_that_form_no_group_are_refused() -> None:
    with pytest.raises(PackingError, match="form no space group"):
        operations_of(["-x,-y,-z"])
    with pytest.raises(PackingError, match="cannot be read"):
        operations_of(["x,y,what"])


def test_an_impossible_cell_is_refused() -> None:
    with pytest.raises(PackingError, match="enclose no volume"):
        standard_cell(np.array([[1.0, 0, 0], [2, 0, 0], [0, 0, 1]]))
    with pytest.raises(PackingError, match="enclose no volume"):
        standard_cell(np.full((3, 3), np.nan))


def test_a_cell_that_does_not_fit_the_group_is_refused() -> None:
    with pytest.raises(PackingError, match="does not fit P a -3"):
        packing("Pa-3", np.diag([6.0, 7.0, 8.0]))


def test_poses_of_the_wrong_shape_are_refused() -> None:
    with pytest.raises(PackingError, match="place of a packing has shape"):
        packing(place=np.zeros((2, 3)))


def test_density_by_hand() -> None:
    # 18.015 g/mol; 4 molecules in 6 x 7 x 8 = 336 Å^3: 4 * 18.015 / (336 * 0.602214) g/cm^3
    crystal = packing()
    assert crystal.copies == 4
    assert crystal.volume == pytest.approx(84.0)
    assert crystal.density == pytest.approx(4 * 18.015 / (336 * 0.602214), rel=1e-4)


def test_parameters_are_the_lengths_and_angles_of_the_cell() -> None:
    beta = np.radians(104.0)
    cell = np.array([[6.0, 0, 0], [0, 7.0, 0], [8 * np.cos(beta), 0, 8 * np.sin(beta)]])
    np.testing.assert_allclose(packing(cell=cell).parameters, [6, 7, 8, 90, 104, 90], atol=1e-9)


def test_images_by_hand_in_p21c() -> None:
    index, place, orientation = packing().images()
    assert index.tolist() == [0, 0, 0, 0]
    expected = {(0.2, 0.15, 0.3), (0.8, 0.65, 0.2), (0.8, 0.85, 0.7), (0.2, 0.35, 0.8)}
    assert {tuple(np.round(f, 6).tolist()) for f in place} == expected
    np.testing.assert_allclose(sorted(np.linalg.det(orientation)), [-1, -1, 1, 1], atol=1e-12)
    screw = orientation[[tuple(np.round(f, 6).tolist()) == (0.8, 0.65, 0.2) for f in place]][0]
    np.testing.assert_allclose(screw, np.diag([-1, 1, -1]), atol=1e-12)  # half a turn about b
