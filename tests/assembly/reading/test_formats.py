"""Molecules from files and objects."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from kflow_sci.assembly.molecule import Molecule
from kflow_sci.assembly.reading.embed import from_smiles
from kflow_sci.assembly.reading.formats import read_molecule, to_molecule
from kflow_sci.assembly.reading.identity import smiles_of
from kflow_sci.errors import MoleculeError
from tests.assembly.reading.files_by_hand import CO2_CIF, ROUNDING, WATER_XYZ, as_rdkit, written


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


def test_a_pdb_without_its_element_column_is_read_by_atom_names(aspirin: Molecule, tmp_path: Path) -> None:
    lines = [
        line[:66] if line.startswith("HETATM") else line for line in written(aspirin, ".pdb").split("\n")
    ]
    (tmp_path / "old.pdb").write_text("\n".join(lines))
    np.testing.assert_array_equal(read_molecule(tmp_path / "old.pdb").numbers, aspirin.numbers)


def test_an_inchi_is_the_molecule_of_its_smiles() -> None:
    inchi = (
        "InChI=1S/C9H8O4/c1-6(10)13-8-5-3-2-4-7(8)9(11)12/h2-5H,1H3,(H,11,12)"  # aspirin, from its data sheet
    )
    assert smiles_of(read_molecule(inchi)) == "CC(=O)Oc1ccccc1C(=O)O"
    with pytest.raises(MoleculeError, match="not a valid InChI"):
        read_molecule("InChI=1S/C9H8O4/zzz")


@pytest.mark.filterwarnings("ignore::UserWarning:pymatgen")
def test_periodic_objects_are_crystals_and_give_their_molecule(tmp_path: Path) -> None:
    import ase.io
    from pymatgen.core import Structure

    path = tmp_path / "dry_ice.cif"
    path.write_text(CO2_CIF)
    atoms = ase.io.read(path)
    structure = Structure(atoms.cell.array, atoms.symbols, atoms.get_scaled_positions())
    for crystal in (atoms, structure):
        molecule = to_molecule(crystal)
        assert molecule.formula == "CO2" and sorted(molecule.bond_orders) == [2.0, 2.0]
    atoms.pbc = [True, True, False]
    with pytest.raises(MoleculeError, match="some directions only"):
        to_molecule(atoms)
