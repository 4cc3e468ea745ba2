"""Crystals: molecules found, poses exact, ties decided."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial import cKDTree

from kflow_sci.assembly.cluster import Cluster
from kflow_sci.assembly.reading.crystal import (
    Crystal,
    cluster_from_crystal,
    molecule_from_crystal,
    read_crystal,
)
from kflow_sci.assembly.symmetry import body_frame
from kflow_sci.errors import ClusterError, CrystalError
from tests.crystals_by_hand import (
    BENZENE,
    CARBON_DIOXIDE,
    CHFCLBR,
    CHFCLBR_SYMBOLS,
    UREA,
    cell_vectors,
    chfclbr_p21c,
    cif,
)


def distances_from_centre(cluster: Cluster) -> np.ndarray:
    return np.linalg.norm(cluster.centroid, axis=1)


def seen_from_centre(cluster: Cluster) -> tuple[np.ndarray, np.ndarray]:
    """Atoms in the frame of the central molecule: what must not depend on how the file is written."""
    central = cluster.molecule_of == 0
    frame = body_frame(cluster.numbers[central], cluster.positions[central] - cluster.centroid[0])
    return cluster.numbers, (cluster.positions - cluster.centroid[0]) @ frame


def assert_same_cluster(a: Cluster, b: Cluster, within: float = 1e-5) -> None:
    """Copy by copy the same atoms, whatever the order of the atoms inside a molecule."""
    assert len(a) == len(b)
    (numbers_a, x), (numbers_b, y) = seen_from_centre(a), seen_from_centre(b)
    for k in range(len(a)):
        mine, other = a.molecule_of == k, b.molecule_of == k
        distance, partner = cKDTree(y[other]).query(x[mine])
        assert distance.max() < within, f"copy {k} differs by {distance.max():.2g} Å"
        assert (numbers_a[mine] == numbers_b[other][partner]).all()


def test_urea_by_hand() -> None:
    # Centroid height z = (C + O + 2 N + 2 H + 2 H')/8 = 0.220488; neighbours at (1/2, 1/2, -2z) and (1/2, 1/2, 1 - 2z),
    # and along the cell vectors.
    crystal = read_crystal(UREA)
    assert (crystal.formula, len(crystal), crystal.z_prime, crystal.space_group) == (
        "CH4N2O",
        2,
        0.25,
        "P -4 21 m",
    )
    a, c, z = 5.565, 4.684, 0.220488
    expected = np.repeat(
        [np.hypot(a / np.sqrt(2), 2 * z * c), c, np.hypot(a / np.sqrt(2), (1 - 2 * z) * c), a], [4, 2, 4, 4]
    )
    assert distances_from_centre(cluster_from_crystal(crystal, 15))[1:] == pytest.approx(expected, abs=1e-4)
    assert crystal.volume == pytest.approx(a * a * c / 2)
    assert crystal.density == pytest.approx(60.056 / (crystal.volume * 0.602214), rel=1e-4)


def test_carbon_dioxide_has_twelve_nearest_neighbours_at_half_a_face_diagonal() -> None:
    cluster = cluster_from_crystal(read_crystal(CARBON_DIOXIDE), 13)
    assert distances_from_centre(cluster)[1:] == pytest.approx(5.624 / np.sqrt(2))
    molecule = cluster.molecules[0]
    assert molecule.symbols.count("O") == 2
    assert molecule.radius == pytest.approx(np.sqrt(3) * 0.1185 * 5.624)


def test_benzene_is_completed_from_half_a_molecule_and_needs_no_mirror_image() -> None:
    crystal = read_crystal(BENZENE)
    assert (crystal.formula, len(crystal), crystal.z_prime) == ("C6H6", 4, 0.5)
    assert (crystal.parity == 1).all()
    molecule = crystal.molecules[0]
    i, j = molecule.bonds.T
    length = np.linalg.norm(molecule.positions[i] - molecule.positions[j], axis=1)
    carbon = (molecule.numbers[i] == 6) & (molecule.numbers[j] == 6)
    assert carbon.sum() == 6 and length[carbon] == pytest.approx(1.377, abs=0.01)


def test_a_centre_of_symmetry_gives_mirror_images() -> None:
    crystal = read_crystal(chfclbr_p21c())
    assert crystal.space_group == "P 1 21/c 1"
    assert sorted(crystal.parity) == [-1, -1, 1, 1]
    cluster = cluster_from_crystal(crystal, 9)
    molecule = CHFCLBR - CHFCLBR.mean(0)
    hand = np.linalg.det(molecule[1:4])
    for k in range(len(cluster)):
        copy = cluster.positions_of(k) - cluster.centroid[k]
        assert np.linalg.det(copy[1:4]) == pytest.approx(cluster.parity[k] * hand)


@pytest.mark.filterwarnings("ignore::UserWarning:pymatgen")
@pytest.mark.filterwarnings("ignore:Issues encountered while parsing CIF")
@pytest.mark.parametrize("text", [UREA, BENZENE, chfclbr_p21c()], ids=["urea", "benzene", "CHFClBr"])
def test_atoms_are_where_pymatgen_puts_them(text: str) -> None:
    assert_pymatgen_agrees(text)


@pytest.mark.filterwarnings("ignore::UserWarning:pymatgen")
@pytest.mark.filterwarnings("ignore:Issues encountered while parsing CIF")
@pytest.mark.parametrize("name", ["COD1100226", "COD1100249", "COD1100989", "COD7151730"])
def test_atoms_of_real_crystals_are_where_pymatgen_puts_them(crystals: Path, name: str) -> None:
    path = crystals / "experimental" / f"{name}.cif"
    assert_pymatgen_agrees(path.read_text(encoding="latin-1"), atoms=4)


def assert_pymatgen_agrees(text: str, atoms: int | None = None) -> None:
    """Distances from atoms of the central molecule to everything near, against an independent reader."""
    parser = pytest.importorskip("pymatgen.io.cif").CifParser
    structure = parser.from_str(text).parse_structures(primitive=False)[0]
    cluster = cluster_from_crystal(read_crystal(text), 40)
    # Every atom within this distance of the centre belongs to one of the 40 molecules.
    safe = distances_from_centre(cluster)[-1] - cluster.molecules[0].radius
    for atom in range(len(cluster.molecules[0]))[:atoms]:
        ours = np.linalg.norm(cluster.positions - cluster.positions[atom], axis=1)
        reach = safe - np.linalg.norm(cluster.positions[atom])
        mine = np.sort(ours[(ours > 0.1) & (ours < reach)])
        assert len(mine) > 10
        candidates = [site for site in structure if cluster.numbers[atom] == site.specie.Z]
        theirs = [np.sort([n.nn_distance for n in structure.get_neighbors(s, reach)]) for s in candidates]
        # Which of the atoms of that element it is, pymatgen does not say.
        assert min(np.abs(x - mine).max() for x in theirs if len(x) == len(mine)) < 1e-3


def rewritten(text: str, order: np.ndarray | None = None, operations: list[int] | None = None) -> str:
    """The same crystal with sites and operations in another order."""
    lines = text.splitlines()
    sites = [k for k, line in enumerate(lines) if re.match(r"[A-Z][a-z]?\d+ ", line)]
    if order is not None:
        for k, line in zip(sites, [lines[sites[j]] for j in order], strict=True):
            lines[k] = line
    if operations is not None:
        ops = [k for k, line in enumerate(lines) if line.startswith("'")]
        for k, line in zip(ops, [lines[ops[j]] for j in operations], strict=True):
            lines[k] = line
    return "\n".join(lines) + "\n"


def in_another_cell(crystal: Crystal, change: np.ndarray, origin: np.ndarray) -> str:
    """The crystal as P1 in the cell ``change @ cell``, shifted by ``origin`` (fractions of the new cell)."""
    cell = change @ crystal.cell
    lengths = np.linalg.norm(cell, axis=1)
    unit = cell / lengths[:, None]
    angles = [np.degrees(np.arccos(unit[i] @ unit[j])) for i, j in ((1, 2), (0, 2), (0, 1))]
    points, symbols = [], []
    orientation = crystal.parity[:, None, None] * crystal.rotation
    span = range(-3, 4)
    for step in np.stack(np.meshgrid(span, span, span), -1).reshape(-1, 3):
        for k in range(len(crystal)):
            centroid = (crystal.centroid[k] + step @ crystal.cell) @ np.linalg.inv(cell)
            if ((centroid >= -1e-9) & (centroid < 1 - 1e-9)).all():
                molecule = crystal.molecules[crystal.kind[k]]
                atoms = crystal.centroid[k] + step @ crystal.cell + molecule.positions @ orientation[k].T
                points.append(atoms @ np.linalg.inv(cell) + origin)
                symbols += molecule.symbols
    return cif(tuple(symbols), np.concatenate(points), (*lengths, *angles))


def test_the_cluster_does_not_depend_on_how_the_file_is_written() -> None:
    text = chfclbr_p21c()
    crystal = read_crystal(text)
    cluster = cluster_from_crystal(crystal, 18)
    assert_same_cluster(
        cluster,
        cluster_from_crystal(read_crystal(rewritten(text, np.array([3, 0, 4, 1, 2]), [2, 3, 0, 1])), 18),
    )
    assert (
        cluster.parity == cluster_from_crystal(read_crystal(rewritten(text, None, [3, 2, 1, 0])), 18).parity
    ).all()
    skewed = np.array([[1, 0, 0], [0, 1, 0], [1, 0, 1]])
    doubled = np.array([[2, 0, 0], [0, 1, 0], [0, 1, 1]])
    for change in (skewed, doubled):
        other = read_crystal(in_another_cell(crystal, change, np.array([0.13, 0.41, 0.77])))
        assert len(other.molecules) == 1  # four or eight independent molecules, recognised as one
        seen = [cluster_from_crystal(other, 18, centre) for centre in range(len(other.centres))]
        # The molecules are all alike, up to their hand; those of the hand of the first see the same cluster.
        alike = [c for c in seen if c.parity[0] == 1]
        assert len(alike) == len(seen) / 2
        for c in alike:
            assert_same_cluster(cluster, c, 1e-4)


def test_copies_that_tie_are_ordered_by_contact_and_then_by_the_frame_of_the_centre() -> None:
    # One molecule per cell: copies at +t and -t tie in distance and in contact for every t.
    cell = (6.2, 6.9, 7.7, 83, 77, 71)
    place = np.array([0.2, 0.3, 0.4])
    text = cif(CHFCLBR_SYMBOLS, CHFCLBR @ np.linalg.inv(cell_vectors(cell)) + place, cell)
    cluster = cluster_from_crystal(read_crystal(text), 15)
    seen = (cluster.centroid - cluster.centroid[0]) @ cluster.orientation[0]
    for k in range(1, 15, 2):
        assert seen[k] == pytest.approx(-seen[k + 1], abs=1e-6)
        leading = seen[k][[2, 1, 0]]
        assert leading[np.abs(leading) > 1e-3][0] > 0
    # A tie that is cut keeps the same one of the two, wherever the cell begins.
    moved = cif(CHFCLBR_SYMBOLS, CHFCLBR @ np.linalg.inv(cell_vectors(cell)) + [0.9, 0.95, 0.01], cell)
    assert_same_cluster(cluster.take(slice(4)), cluster_from_crystal(read_crystal(moved), 4))


def test_fewer_copies_are_the_first_of_more() -> None:
    crystal = read_crystal(UREA)
    large = cluster_from_crystal(crystal, 50)
    for copies in (1, 2, 7, 12, 33):
        assert_same_cluster(cluster_from_crystal(crystal, copies), large.take(slice(copies)))


def two_conformers(turn: float, mirrored: bool = False) -> str:
    """Two independent ClO–OF molecules (Cl-O-O-F with a twist) in P1; the second twisted by ``turn`` degrees more."""
    cell = (9.0, 9.5, 10.0, 90, 90, 90)
    molecules = []
    for k, twist in enumerate((80.0, 80.0 + turn)):
        t = np.radians(twist)
        x = np.array([[-0.5, 1.6, 0], [0, 0, 0], [1.4, 0, 0], [1.8, 1.4 * np.cos(t), 1.4 * np.sin(t)]])
        if k and mirrored:
            x = x * [1, 1, -1]
        molecules.append(x @ np.linalg.inv(cell_vectors(cell)) + (0.1, 0.1, 0.1 + 0.5 * k))
    symbols = ("Cl", "O", "O", "F")
    backwards = [3, 2, 1, 0]  # the second molecule is written in another order
    return cif(
        (*symbols, *(symbols[k] for k in backwards)),
        np.concatenate([molecules[0], molecules[1][backwards]]),
        cell,
    )


def test_equal_independent_molecules_share_a_template() -> None:
    crystal = read_crystal(two_conformers(0.0))
    assert len(crystal.centres) == 2 and len(crystal.molecules) == 1 and (crystal.parity == 1).all()
    mirrored = read_crystal(two_conformers(0.0, mirrored=True))
    assert len(mirrored.molecules) == 1 and sorted(mirrored.parity) == [-1, 1]


@pytest.mark.parametrize("mirrored", [False, True])
def test_conformers_have_templates_of_their_own_in_one_atom_order_and_hand(mirrored: bool) -> None:
    crystal = read_crystal(two_conformers(10.0, mirrored))
    first, second = crystal.molecules
    assert first.symbols == second.symbols and (first.bonds == second.bonds).all()
    assert sorted(crystal.parity) == ([-1, 1] if mirrored else [1, 1])
    twist = [np.linalg.det(np.diff(m.positions, axis=0)) for m in (first, second)]
    assert np.sign(twist[0]) == np.sign(twist[1])
    cluster = cluster_from_crystal(crystal, 6, centre=1)
    assert cluster.info["id"] == "made_up_2" and cluster.kind[0] == 0
    pairs = np.sort(np.linalg.norm(np.diff(cluster.positions_of(0), axis=0), axis=1))
    assert pairs == pytest.approx(np.sort(np.linalg.norm(np.diff(second.positions, axis=0), axis=1)))


def test_sites_listed_twice_are_merged() -> None:
    lines = UREA.splitlines()
    again = [line.replace("1 ", "2 ", 1) for line in lines if line.startswith(("N1", "O1"))]
    images = ["N2 0.3541 0.1459 -0.1766", "O2 0.5 0 -0.5953"]
    for extra in (again, images):
        crystal = read_crystal("\n".join(lines + extra) + "\n")
        assert crystal.formula == "CH4N2O" and len(crystal) == 2


def test_positions_near_a_special_position_are_moved_onto_it() -> None:
    crystal = read_crystal(UREA.replace("C1 0 0.5 0.3260", "C1 0.002 0.5 0.3260"))
    assert crystal.formula == "CH4N2O"
    operations = crystal.molecules[0].symmetry
    assert len(operations.proper) == 2 and len(operations.improper) == 2


def test_molecule_of_a_crystal_knows_its_bond_orders_and_hand() -> None:
    urea = molecule_from_crystal(read_crystal(UREA))
    assert sorted(urea.bond_orders) == [1, 1, 1, 1, 1, 1, 2]
    assert not urea.handed
    assert not molecule_from_crystal(read_crystal(chfclbr_p21c())).handed  # the crystal holds both hands
    one_hand = chfclbr_p21c().replace("'-x,-y,-z'\n", "").replace("'x,-y+1/2,z+1/2'\n", "")
    assert molecule_from_crystal(read_crystal(one_hand)).handed


def test_space_group_comes_from_operations_name_hall_symbol_or_number() -> None:
    listed = chfclbr_p21c()
    bare = "\n".join(line for line in listed.splitlines() if not line.startswith(("'", "_space_group_symop")))
    bare = bare.replace("loop_\nloop_", "loop_")
    for statement in (
        "_symmetry_space_group_name_H-M 'P 21/c'",
        "_space_group_name_Hall '-P 2ybc'",
        "_space_group_IT_number 14",
    ):
        text = bare.replace("data_made_up", f"data_made_up\n{statement}") + "\n"
        assert_same_cluster(
            cluster_from_crystal(read_crystal(listed), 10), cluster_from_crystal(read_crystal(text), 10)
        )


def test_a_crystal_is_named_after_its_file(tmp_path: Path) -> None:
    (tmp_path / "4000000.cif").write_text(UREA)
    assert read_crystal(tmp_path / "4000000.cif").name == "4000000"
    assert read_crystal(str(tmp_path / "4000000.cif")).name == "4000000"
    assert read_crystal(UREA).name == "urea"


def test_the_first_data_block_with_atoms_is_read() -> None:
    assert read_crystal("data_global\n_journal_year 1984\n" + UREA).name == "urea"


def test_a_short_hydrogen_bond_makes_no_polymer() -> None:
    # A chain F-H...F-H... with F...F 2.24 Å: the hydrogen bond of 1.27 Å is within the sum of radii + 0.4 Å = 1.28 Å.
    def chain(hydrogen: float) -> str:
        cell = (2.24, 8.0, 8.0, 90, 90, 90)
        return cif(("F", "H"), np.array([[0, 0, 0], [hydrogen / 2.24, 0, 0]]), cell)

    assert read_crystal(chain(0.97)).formula == "FH"
    with pytest.raises(CrystalError, match="without end"):
        read_crystal(chain(1.12))  # a hydrogen in the middle belongs to both


@pytest.mark.parametrize(("copies", "centre"), [(0, 0), (-3, 0), (5, 1), (5, -1)])
def test_copies_and_centre_out_of_range(copies: int, centre: int) -> None:
    with pytest.raises(ClusterError):
        cluster_from_crystal(read_crystal(UREA), copies, centre)


def test_large_cells_are_no_problem() -> None:
    # A cell of 27 x 4 molecules in P1, all independent.
    crystal = read_crystal(
        in_another_cell(read_crystal(chfclbr_p21c()), 3 * np.eye(3, dtype=int), np.zeros(3))
    )
    assert len(crystal) == 108 and len(crystal.molecules) == 1
    assert len(cluster_from_crystal(crystal, 300)) == 300


def test_real_crystals_hold_the_molecules_their_table_says(crystals: Path) -> None:
    """Independent count: the tables were made by another program."""
    rows = []
    for folder, stride in (("experimental", 1), ("predicted", 8)):
        with open(crystals / f"{folder}.csv", newline="") as stream:
            rows += [(folder, row) for row in list(csv.DictReader(stream))[::stride]]
    for folder, row in rows:
        crystal = read_crystal(crystals / folder / f"{row['id']}.cif")
        found = (crystal.formula, len(crystal.molecules[0]), len(crystal), len(crystal.centres))
        assert found == (row["formula"], int(row["n_atoms"]), int(row["n_mol_cell"]), int(row["z_indep"])), (
            row["id"]
        )
        if len(crystal.centres) == 1 and folder == "experimental":
            cluster = cluster_from_crystal(crystal, 17)
            assert (cluster.parity < 0).sum() == int(row["n_mirror_copies"]), row["id"]


def test_clusters_of_real_crystals_do_not_depend_on_the_cell(crystals: Path) -> None:
    for path in sorted((crystals / "experimental").glob("*.cif"))[::12]:
        crystal = read_crystal(path)
        if len(crystal.centres) > 1 or len(crystal) * len(crystal.molecules[0]) > 300:
            continue  # which independent molecule it was, the other file does not say; and time
        cluster = cluster_from_crystal(crystal, 17)
        skewed = np.array([[1, 0, 0], [0, 1, 0], [1, 0, 1]])
        other = read_crystal(in_another_cell(crystal, skewed, np.array([0.13, 0.41, 0.77])))
        errors = []
        for centre in range(len(other.centres)):
            try:
                assert_same_cluster(cluster, cluster_from_crystal(other, 17, centre), 1e-3)
            except AssertionError as error:
                errors.append(f"{path.stem}: {error}")
        # One molecule of each cell is the central one; its mirror images need not agree.
        assert len(errors) < len(other.centres), errors


def test_molecules_of_real_crystals_keep_their_distance(crystals: Path) -> None:
    """Complete molecules do not touch: no atoms of two molecules are as close as a bond."""
    for path in sorted((crystals / "experimental").glob("*.cif"))[::6]:
        cluster = cluster_from_crystal(read_crystal(path), 8)
        x, owner, heavy = cluster.positions, cluster.molecule_of, cluster.numbers != 1
        tree = cKDTree(x)
        pairs = tree.query_pairs(2.0, output_type="ndarray")
        apart = owner[pairs[:, 0]] != owner[pairs[:, 1]]
        assert not (apart & heavy[pairs].all(axis=1)).any(), path.stem
