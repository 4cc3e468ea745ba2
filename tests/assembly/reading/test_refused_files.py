"""Files that are not one whole molecule are refused, in one line that says what to do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kflow_sci.assembly.molecule import Molecule
from kflow_sci.assembly.reading.embed import from_smiles
from kflow_sci.assembly.reading.formats import read_molecule
from kflow_sci.errors import KFlowError, MoleculeError
from tests.assembly.reading.files_by_hand import ASPIRIN, CO2_CIF, ROUNDING, WATER_XYZ, as_rdkit, written

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
    "heavy.xyz": ("2\n\n92 0 0 0\nO 2.2 0 0\n", "element U"),
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
