"""Molecules from files and objects; clusters to files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from kflow_sci.assembly.cluster import Cluster
from kflow_sci.assembly.embed import from_smiles
from kflow_sci.assembly.formats import read_molecule, to_molecule, write_clusters
from kflow_sci.assembly.molecule import Molecule
from kflow_sci.errors import ClusterError, KFlowError, MoleculeError, OutputError

ASPIRIN = "CC(=O)Oc1ccccc1C(=O)O"
SYBYL = {1.0: "1", 2.0: "2", 3.0: "3", 1.5: "ar"}
# Rounding of one coordinate in each format; a distance carries at most 2 sqrt(3) times as much.
ROUNDING = {
    ".xyz": 5e-9,
    ".extxyz": 5e-9,
    ".sdf": 5e-5,
    ".mol": 5e-5,
    ".mol2": 5e-5,
    ".pdb": 5e-4,
    ".cif": 5e-6,
}

# Solid carbon dioxide, Pa-3, a = 5.624 Å, x(O) = 0.1185: de Smedt & Keesom, Z. Kristallogr. 88 (1934) 136, and later
# refinements; the molecule has C-O = 0.1185 · a · sqrt(3) = 1.154 Å.
CO2_CIF = """data_carbon_dioxide
_cell_length_a 5.624
_cell_length_b 5.624
_cell_length_c 5.624
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_symmetry_space_group_name_H-M 'P a -3'
_chemical_formula_sum 'C O2'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
C1 C 0 0 0
O1 O 0.1185 0.1185 0.1185
"""

WATER_XYZ = "3\nwater\nO 0 0 0\nH 0.7572 0.5865 0\nH -0.7572 0.5865 0\n"


@pytest.fixture(scope="module")
def aspirin() -> Molecule:
    return from_smiles(ASPIRIN, conformers=1)


def as_rdkit(molecule: Molecule):
    from rdkit import Chem

    mol = Chem.AddHs(Chem.MolFromSmiles(molecule.smiles))
    conformer = Chem.Conformer(len(molecule))
    conformer.SetPositions(np.ascontiguousarray(molecule.positions))
    mol.AddConformer(conformer)
    return mol


def written(molecule: Molecule, suffix: str) -> str:
    """The text of a file that another program would write."""
    from rdkit import Chem

    if suffix in (".sdf", ".mol"):
        return Chem.MolToMolBlock(as_rdkit(molecule)) + ("$$$$\n" if suffix == ".sdf" else "")
    if suffix == ".pdb":
        return Chem.MolToPDBBlock(as_rdkit(molecule))
    if suffix == ".cif":
        low = molecule.positions.min(axis=0) - 6
        edge = molecule.positions.max(axis=0) + 6 - low
        lines = ["data_box"] + [f"_cell_length_{a} {e:.6f}" for a, e in zip("abc", edge, strict=True)]
        lines += [f"_cell_angle_{a} 90" for a in ("alpha", "beta", "gamma")] + [
            "_symmetry_space_group_name_H-M 'P 1'"
        ]
        lines += ["loop_", "_atom_site_label", "_atom_site_type_symbol"] + [
            f"_atom_site_fract_{a}" for a in "xyz"
        ]
        rows = (molecule.positions - low) / np.round(edge, 6)
        lines += [
            f"{s}{i} {s} {x:.7f} {y:.7f} {z:.7f}"
            for i, (s, (x, y, z)) in enumerate(zip(molecule.symbols, rows, strict=True))
        ]
        return "\n".join(lines) + "\n"
    rows = [
        f"{s} {x:.8f} {y:.8f} {z:.8f}"
        for s, (x, y, z) in zip(molecule.symbols, molecule.positions, strict=True)
    ]
    if suffix == ".mol2":
        atoms = [
            f"{i + 1} {e}{i + 1} {x:.4f} {y:.4f} {z:.4f} {e}.x 1 LIG 0.0"
            for i, (e, (x, y, z)) in enumerate(zip(molecule.symbols, molecule.positions, strict=True))
        ]
        bonds = [
            f"{i + 1} {a + 1} {b + 1} {SYBYL[o]}"
            for i, ((a, b), o) in enumerate(zip(molecule.bonds, molecule.bond_orders, strict=True))
        ]
        head = [
            "@<TRIPOS>MOLECULE",
            "aspirin",
            f"{len(atoms)} {len(bonds)} 1 0 0",
            "SMALL",
            "NO_CHARGES",
            "",
            "@<TRIPOS>ATOM",
        ]
        return "\n".join([*head, *atoms, "@<TRIPOS>BOND", *bonds]) + "\n"
    comment = "aspirin" if suffix == ".xyz" else 'Properties=species:S:1:pos:R:3 pbc="F F F"'
    return "\n".join([str(len(rows)), comment, *rows]) + "\n"


@pytest.mark.parametrize("suffix", ROUNDING)
def test_every_format_gives_the_molecule_back(suffix: str, aspirin: Molecule, tmp_path: Path) -> None:
    path = tmp_path / f"drug{suffix}"
    path.write_text(written(aspirin, suffix))
    molecule = read_molecule(str(path))
    assert molecule.name == "drug"
    np.testing.assert_array_equal(molecule.numbers, aspirin.numbers)
    np.testing.assert_allclose(pdist(molecule.positions), pdist(aspirin.positions), atol=4 * ROUNDING[suffix])
    # The same body frame, so the coordinates themselves agree.
    np.testing.assert_allclose(molecule.positions, aspirin.positions, atol=max(1e-4, 8 * ROUNDING[suffix]))
    np.testing.assert_array_equal(molecule.bonds, aspirin.bonds)
    np.testing.assert_allclose(molecule.bond_orders, aspirin.bond_orders)


def test_a_path_object_windows_line_ends_capitals_and_deuterium_are_read(tmp_path: Path) -> None:
    path = tmp_path / "Heavy Water.XYZ"
    path.write_bytes(
        WATER_XYZ.replace("H", "D").replace("O ", "8 ").replace("\n", "\r\n").encode() + b"\r\n\r\n"
    )
    molecule = read_molecule(path)
    assert (molecule.formula, molecule.name) == ("H2O", "Heavy Water")


def test_extended_xyz_finds_its_columns(tmp_path: Path) -> None:
    path = tmp_path / "water.extxyz"
    rows = ["0 1.5 O 0 0 0 7", "0 1.5 H 0.7572 0.5865 0 7", "1 1.5 H -0.7572 0.5865 0 7"]
    path.write_text(
        '3\nProperties=molecule:I:1:charge:R:1:species:S:1:pos:R:3:tag:I:1 energy=-1.0 name="a b"\n'
        + "\n".join(rows)
    )
    assert read_molecule(path).formula == "H2O"
    np.testing.assert_allclose(np.sort(pdist(read_molecule(path).positions))[0], np.hypot(0.7572, 0.5865))


def test_a_molecule_is_taken_out_of_its_crystal(tmp_path: Path) -> None:
    path = tmp_path / "dry_ice.cif"
    path.write_text(CO2_CIF)
    molecule = read_molecule(path)
    assert (molecule.formula, molecule.name, molecule.handed) == ("CO2", "dry_ice", False)
    np.testing.assert_allclose(
        np.sort(pdist(molecule.positions)), 0.1185 * 5.624 * np.sqrt(3) * np.array([1, 1, 2])
    )
    assert sorted(molecule.bond_orders) == [2.0, 2.0]


def test_real_crystals_give_molecules_with_bond_orders(crystals: Path) -> None:
    for path in sorted((crystals / "experimental").glob("*.cif"))[::40]:
        molecule = read_molecule(path)
        assert 4 <= len(molecule) <= 78
        assert len(molecule.bond_orders) == len(molecule.bonds) >= len(molecule) - 1


def test_handed_follows_the_coordinates(tmp_path: Path) -> None:
    for smiles, handed in (("N[C@@H](C)C(=O)O", True), ("CCO", False)):
        for suffix in (".sdf", ".xyz", ".pdb"):
            path = tmp_path / f"m{suffix}"
            path.write_text(written(from_smiles(smiles, conformers=1), suffix))
            assert read_molecule(path).handed is handed


def test_objects_of_ase_rdkit_and_pymatgen_are_molecules(aspirin: Molecule) -> None:
    from ase import Atoms
    from pymatgen.core import Molecule as PymatgenMolecule

    atoms = Atoms(numbers=aspirin.numbers, positions=aspirin.positions)
    for source in (aspirin, atoms, as_rdkit(aspirin), PymatgenMolecule(aspirin.symbols, aspirin.positions)):
        molecule = read_molecule(source)
        assert molecule.formula == molecule.name == "C9H8O4"
        np.testing.assert_allclose(molecule.positions, aspirin.positions, atol=1e-9)
        np.testing.assert_array_equal(molecule.bonds, aspirin.bonds)


@pytest.mark.parametrize("source", [3, None, ["CCO"]])
def test_other_objects_are_refused(source: object) -> None:
    with pytest.raises(MoleculeError, match="cannot make a molecule of"):
        to_molecule(source)


def test_a_periodic_structure_is_refused() -> None:
    from pymatgen.core import Lattice, Structure

    with pytest.raises(MoleculeError, match="periodic"):
        to_molecule(Structure(Lattice.cubic(5), ["C", "O"], [[0, 0, 0], [0.2, 0, 0]]))


def test_a_smiles_with_slashes_is_no_path_and_an_existing_file_is_no_smiles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert read_molecule("F/C=C/F").formula == "C2H2F2"
    (tmp_path / "CCO").mkdir()
    assert read_molecule(" CCO ").formula == "C2H6O"
    (tmp_path / "CC.xyz").write_text(WATER_XYZ)
    assert read_molecule("CC.xyz").formula == "H2O"
    np.testing.assert_array_equal(
        read_molecule("CCO", seed=5).positions, from_smiles("CCO", seed=5).positions
    )


REFUSED = {
    "missing.xyz": (None, "there is no file"),
    "empty.xyz": ("", "empty"),
    "blank.sdf": (" \n\n", "empty"),
    "folder.mol": ("<folder>", "is a folder"),
    "binary.xyz": (b"3\nwater\nO \x00\x01\xff", "binary"),
    "picture.sdf": (b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", "binary"),
    "noise.xyz": ("hello\nworld\n", "should be the number of atoms"),
    "noise.sdf": ("hello\nworld\n", "M  END"),
    "noise.mol2": ("hello\nworld\n", "no @<TRIPOS>MOLECULE"),
    "noise.pdb": ("hello\nworld\n", "no ATOM or HETATM"),
    "noise.cif": ("hello\nworld\n", "not a CIF"),
    "unknown.txt": (WATER_XYZ, "unknown suffix '.txt'"),
    "water.sdf": (WATER_XYZ, "does not hold sdf but xyz: rename it to .xyz"),
    "water.cif": (WATER_XYZ, "does not hold cif but xyz"),
    "crystal.xyz": (CO2_CIF, "does not hold xyz but cif"),
    "truncated.xyz": (WATER_XYZ[:-20], "truncated: 2 of the 3"),
    "cut_line.xyz": ("3\n\nO 0 0 0\nH 0.7572 0.5865 0\nH -0.75", "line 5: 'H -0.75' lacks"),
    "too_many.xyz": (WATER_XYZ + "H 5 5 5\n", "line 6: 'H 5 5 5' should be the number of atoms"),
    "frames.xyz": (WATER_XYZ * 3, "holds 3 frames"),
    "words.xyz": ("2\n\nC 0 0 zero\nO 0 0 1.1\n", "line 3: '0 0 zero' are not three coordinates"),
    "nan.xyz": (WATER_XYZ.replace("0.5865", "nan", 1), "atom 1 .*not finite"),
    "overlap.xyz": (WATER_XYZ.replace("-0.7572", "0.7572"), "atoms 1 and 2 are 0.00 Å apart"),
    "element.xyz": (WATER_XYZ.replace("O ", "Qq "), "line 3: 'Qq' is not an element"),
    "metal.xyz": ("3\n\nFe 0 0 0\nCl 2.2 0 0\nCl -2.2 0 0\n", "element Fe"),
    "heavy.xyz": ("2\n\n92 0 0 0\nO 2.2 0 0\n", "element number 92"),
    "atom.xyz": ("1\n\nAr 0 0 0\n", "at least 2"),
    "none.xyz": ("0\n\n", "0 atom"),
    "large.xyz": ("201\n\n" + "".join(f"C {1.5 * i} 0 0\n" for i in range(201)), "limit of 200"),
    "pair.xyz": ("6\n\n" + WATER_XYZ[8:] + WATER_XYZ[8:].replace(" 0\n", " 3\n"), "2 separate molecules .of 3, 3"),
    "bohr.xyz": ("3\n\nO 0 0 0\nH 1.43 1.11 0\nH -1.43 1.11 0\n", "3 separate molecules"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_that_is_not_one_molecule_is_refused_in_one_line(
    name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    content, words = REFUSED[name]
    path = tmp_path / name
    if content == "<folder>":
        path.mkdir()
    elif isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        path.write_text(content)
    with pytest.raises(KFlowError, match=words) as caught:
        read_molecule(str(path))
    assert "\n" not in str(caught.value) and name in str(caught.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("", "empty"),
        ("no/such/molecule", "there is no file no/such/molecule"),
        ("molecule.foo", "there is no file"),
        ("molecule.sdf", "there is no file"),
        ("C1CC", "unclosed ring"),
        ("C\x00C", "not valid"),
        (".", "folder"),
    ],
)  # fmt: skip
def test_what_is_neither_file_nor_smiles_is_refused(source: str, words: str) -> None:
    with pytest.raises(MoleculeError, match=words) as caught:
        read_molecule(source)
    assert "\n" not in str(caught.value)


def test_a_file_without_read_permission_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "read_bytes", refuse)  # the tests may run as root, who may read everything
    (tmp_path / "secret.xyz").write_text(WATER_XYZ)
    with pytest.raises(MoleculeError, match=r"cannot be read \(Permission denied\)"):
        read_molecule(tmp_path / "secret.xyz")


def test_truncated_files_with_bonds_are_refused(aspirin: Molecule, tmp_path: Path) -> None:
    for suffix in (".sdf", ".mol", ".mol2", ".pdb"):
        text = written(aspirin, suffix)
        for share in (0.3, 0.5, 0.7):
            path = tmp_path / f"cut{suffix}"
            path.write_text(text[: int(share * len(text))])
            if suffix == ".pdb" and share == 0.7:
                continue  # beyond the atoms: what is lost are CONECT lines, which are not needed
            with pytest.raises(MoleculeError):
                read_molecule(path)


def test_damaged_files_are_read_or_refused_but_never_crash(aspirin: Molecule, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for suffix in sorted(set(ROUNDING) - {".cif"}):  # crystals have tests of their own
        whole = bytearray(written(aspirin, suffix).encode())
        path = tmp_path / f"damaged{suffix}"
        for _ in range(40):
            damaged = whole.copy()
            for at in rng.integers(len(whole), size=rng.integers(1, 6)):
                damaged[at] = rng.integers(9, 127) if rng.random() < 0.7 else ord("9")
            if rng.random() < 0.3:
                start = rng.integers(len(damaged))
                del damaged[start : start + rng.integers(1, 200)]
            path.write_bytes(damaged)
            try:
                molecule = read_molecule(path)
            except KFlowError as error:
                assert "\n" not in str(error)
            else:
                assert np.isfinite(molecule.positions).all()


def test_several_records_are_refused_with_their_number(aspirin: Molecule, tmp_path: Path) -> None:
    pdb = written(aspirin, ".pdb").replace("END\n", "")
    texts = {
        "three.sdf": (written(aspirin, ".sdf") * 3, "holds 3 molecules"),
        "two.mol2": (written(aspirin, ".mol2") * 2, "holds 2 molecules"),
        "two.pdb": (f"MODEL        1\n{pdb}ENDMDL\nMODEL        2\n{pdb}ENDMDL\n", "holds 2 models"),
    }
    for name, (text, words) in texts.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(MoleculeError, match=words):
            read_molecule(tmp_path / name)


def test_missing_hydrogens_are_refused_with_the_mend(aspirin: Molecule, tmp_path: Path) -> None:
    from rdkit import Chem

    heavy = aspirin.numbers > 1
    inner = heavy[aspirin.bonds].all(axis=1)  # the heavy atoms of a SMILES come first, so their numbers stay
    stripped = replace(
        aspirin,
        numbers=aspirin.numbers[heavy],
        positions=aspirin.positions[heavy],
        bonds=aspirin.bonds[inner],
        bond_orders=aspirin.bond_orders[inner],
    )
    bare = Chem.RemoveHs(as_rdkit(from_smiles(ASPIRIN, conformers=1)))
    texts = {
        "bare.sdf": Chem.MolToMolBlock(bare) + "$$$$\n",
        "bare.mol": Chem.MolToMolBlock(bare),
        "bare.pdb": Chem.MolToPDBBlock(bare),
        "bare.xyz": Chem.MolToXYZBlock(bare),
        "bare.mol2": written(stripped, ".mol2"),
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(MoleculeError, match=f"{name} .*lack.* hydrogens .*add hydrogens"):
            read_molecule(tmp_path / name)


def test_a_drawing_is_refused(tmp_path: Path) -> None:
    from rdkit import Chem
    from rdkit.Chem import rdDepictor

    mol = Chem.AddHs(Chem.MolFromSmiles("CCO"))
    rdDepictor.Compute2DCoords(mol)
    (tmp_path / "drawing.mol").write_text(Chem.MolToMolBlock(mol))
    with pytest.raises(MoleculeError, match="2-D drawing"):
        read_molecule(tmp_path / "drawing.mol")


def test_salts_and_bonds_that_are_none_are_refused(aspirin: Molecule, tmp_path: Path) -> None:
    from rdkit import Chem

    mol = Chem.CombineMols(as_rdkit(aspirin), as_rdkit(from_smiles("O")))
    mol.GetConformer().SetPositions(
        np.ascontiguousarray(np.concatenate([aspirin.positions, from_smiles("O").positions + 9]))
    )
    (tmp_path / "hydrate.sdf").write_text(Chem.MolToMolBlock(mol) + "$$$$\n")
    with pytest.raises(MoleculeError, match=r"2 separate molecules \(of 21, 3 atoms"):
        read_molecule(tmp_path / "hydrate.sdf")
    stretched = written(aspirin, ".mol2")
    (tmp_path / "far.mol2").write_text(stretched.replace("@<TRIPOS>BOND\n1 1 2 ", "@<TRIPOS>BOND\n1 1 13 "))
    with pytest.raises(MoleculeError, match="Å long"):
        read_molecule(tmp_path / "far.mol2")
    (tmp_path / "lost.mol2").write_text(stretched.replace("@<TRIPOS>BOND\n1 1 2 ", "@<TRIPOS>BOND\n1 1 99 "))
    with pytest.raises(MoleculeError, match="names atoms that are not there"):
        read_molecule(tmp_path / "lost.mol2")


def test_alternative_positions_of_a_pdb_are_refused(aspirin: Molecule, tmp_path: Path) -> None:
    lines = written(aspirin, ".pdb").split("\n")
    lines[0], lines[1] = lines[0][:16] + "A" + lines[0][17:], lines[1][:16] + "B" + lines[1][17:]
    (tmp_path / "alt.pdb").write_text("\n".join(lines))
    with pytest.raises(MoleculeError, match="disordered"):
        read_molecule(tmp_path / "alt.pdb")


def test_a_pdb_without_its_element_column_is_read_by_atom_names(aspirin: Molecule, tmp_path: Path) -> None:
    lines = [
        line[:66] if line.startswith("HETATM") else line for line in written(aspirin, ".pdb").split("\n")
    ]
    (tmp_path / "old.pdb").write_text("\n".join(lines))
    np.testing.assert_array_equal(read_molecule(tmp_path / "old.pdb").numbers, aspirin.numbers)


def pair_of(molecule: Molecule, **info: object) -> Cluster:
    quarter = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    return Cluster(
        (molecule,), np.zeros(2, dtype=int), np.array([[0, 0, 0], [0, 0, 7.123456789]]), np.stack([np.eye(3), quarter]),
        np.array([1, -1]), dict(info),
    )  # fmt: skip


def test_clusters_come_back_from_their_file(aspirin: Molecule, tmp_path: Path) -> None:
    from ase.io import read

    path = tmp_path / "out" / "clusters.extxyz"
    info = {
        "id": "a b's \"c\"", "volume": 212.25, "rank": 1, "ok": True, "score": 1.5e-7, "list": [1, 2, 3],
        "smiles": "F/C=C\\F",
        "number": "12", "numbers": "1 2.5 3", "truth": "T", "lines": "two\nlines \\ \"x\"", "empty": "", "none": None,
        "nested": {"a": [1, None, 'x "y" \\']}, "table": [[1, 2], [3, 4]], "words": ["a", "C\\C"], "two words": 2,
        "unit": "Å", "last": "\\",
    }  # fmt: skip
    write_clusters(path, [pair_of(aspirin, **info), pair_of(aspirin)])
    frames = read(path, index=":")
    assert len(frames) == 2
    np.testing.assert_allclose(frames[0].positions, pair_of(aspirin).positions, atol=1e-7)
    np.testing.assert_array_equal(frames[0].numbers, np.tile(aspirin.numbers, 2))
    np.testing.assert_array_equal(frames[0].arrays["molecule"], np.repeat([0, 1], len(aspirin)))
    assert not frames[0].pbc.any() and not frames[0].cell.array.any()
    for key, value in info.items():
        found = frames[0].info[key]
        assert (found.tolist() if isinstance(found, np.ndarray) else found) == value
    assert frames[1].info == {}


def test_what_cannot_be_written_leaves_the_old_file(aspirin: Molecule, tmp_path: Path) -> None:
    path = tmp_path / "clusters.extxyz"
    write_clusters(path, [pair_of(aspirin)])
    before = path.read_bytes()
    far = pair_of(aspirin)
    far.centroid[0, 0] = np.nan
    for clusters, words in (
        ([], "no cluster"),
        ([far], "not finite"),
        ([pair_of(aspirin, pbc=1)], "key 'pbc'"),
        ([pair_of(aspirin, forces=1.0)], "key 'forces'"),
    ):
        with pytest.raises(ClusterError, match=words):
            write_clusters(path, clusters)
    assert path.read_bytes() == before
    with pytest.raises(OutputError):
        write_clusters(path / "inside.extxyz", [pair_of(aspirin)])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["clusters.extxyz"]
