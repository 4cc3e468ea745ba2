"""Files that lost hydrogens of nitrogen and oxygen are noticed; whole molecules pass."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kflow_sci.assembly.bonds import partners
from kflow_sci.assembly.molecule import Molecule
from kflow_sci.assembly.reading.embed import from_smiles
from kflow_sci.assembly.reading.formats import read_molecule
from kflow_sci.errors import MoleculeError
from tests.assembly.reading.files_by_hand import written

# Water without one hydrogen, with the geometry of the experiment: Herzberg, Electronic Spectra of Polyatomic Molecules.
HYDROXYL = "2\nno hydrogen\nO 0 0 0\nH 0.9578 0 0\n"
# Urea, planar: bond lengths of Godfrey, Brown & Hunter, J. Mol. Struct. 413 (1997) 405, without any hydrogen.
BARE_UREA = "4\nurea\nC 0 0 0\nO 0 1.221 0\nN 1.160 -0.742 0\nN -1.160 -0.742 0\n"


def polar_hydrogens(molecule: Molecule) -> list[int]:
    return [
        int(h)
        for h in np.flatnonzero(molecule.numbers == 1)
        if molecule.numbers[partners(molecule.bonds, h)][0] in (7, 8)
    ]


def without(molecule: Molecule, atoms: list[int]) -> Molecule:
    """The molecule less some end atoms."""
    keep = np.setdiff1d(np.arange(len(molecule)), atoms)
    place = np.full(len(molecule), -1)
    place[keep] = np.arange(len(keep))
    inside = (place[molecule.bonds] >= 0).all(axis=1)
    return replace(
        molecule,
        numbers=molecule.numbers[keep],
        positions=molecule.positions[keep],
        bonds=place[molecule.bonds[inside]],
        bond_orders=molecule.bond_orders[inside],
    )


def text_of(molecule: Molecule, suffix: str) -> str:
    if suffix != ".pdb":
        return written(molecule, suffix)
    rows = [
        f"HETATM{i:5d} {s:>2s}   LIG A   1    {x:8.3f}{y:8.3f}{z:8.3f}  1.00  0.00          {s:>2s}"
        for i, (s, (x, y, z)) in enumerate(zip(molecule.symbols, molecule.positions, strict=True), 1)
    ]
    return "\n".join([*rows, "END", ""])


@pytest.mark.parametrize("suffix", [".xyz", ".mol2", ".pdb"])
@pytest.mark.parametrize(
    "smiles",
    [
        "NC(N)=O", "CC(=O)Nc1ccc(O)cc1", "OC(=O)CC(=O)O", "Oc1ccccc1O", "OCCO", "NCC(=O)NCC(=O)O", "CC(=O)O",
        "c1c[nH]cn1", "NS(=O)(=O)c1ccc(N)cc1", "C1CNCCN1",
    ],
)  # fmt: skip
def test_a_file_that_lost_the_hydrogens_of_nitrogen_and_oxygen_is_refused(
    smiles: str, suffix: str, tmp_path: Path
) -> None:
    molecule = from_smiles(smiles, conformers=1)
    lost = polar_hydrogens(molecule)
    path = tmp_path / f"bare{suffix}"
    for atoms in (lost, lost[:1]):
        path.write_text(text_of(without(molecule, atoms), suffix))
        with pytest.raises(MoleculeError, match=r"hydrogens.*add hydrogens") as caught:
            read_molecule(path)
        assert path.name in str(caught.value) and "\n" not in str(caught.value)
    path.write_text(text_of(molecule, suffix))
    assert read_molecule(path).formula == molecule.formula


def test_fragments_of_the_textbook_are_refused_with_what_speaks_against_them(tmp_path: Path) -> None:
    path = tmp_path / "a.xyz"
    path.write_text(HYDROXYL)
    with pytest.raises(
        MoleculeError, match="odd number of electrons, so it lacks hydrogens, or is an ion or a radical"
    ):
        read_molecule(path)
    path.write_text(BARE_UREA)
    with pytest.raises(MoleculeError, match=r"\(N 2 has one bond, of 1.38 Å\): add hydrogens"):
        read_molecule(path)


def test_bare_atoms_of_other_libraries_are_checked_as_files_are() -> None:
    from ase.build import molecule

    assert read_molecule(molecule("C6H6")).formula == "C6H6"
    with pytest.raises(MoleculeError, match="ASE atoms has an odd number of electrons"):
        read_molecule(molecule("CH3"))


@pytest.mark.parametrize(
    "smiles",
    [
        "[NH3+]CC(=O)[O-]", "C[N+](C)(C)[O-]", "c1cc[n+]([O-])cc1", "CN=[N+]=[N-]", "[C-]#[N+]C", "C[N+](=O)[O-]",
        "O=C1C=CC(=O)C=C1", "C[N+](C)(C)CC(=O)[O-]", "CS(=O)(=O)C", "OB(O)O", "OP(=O)(O)O", "C[n+]1cccc([O-])c1", "OO",
        "[O-][N+](=O)c1ccc(N)cc1[N+](=O)[O-]", "O=C=O", "N#CC#N", "C1=CSC=N1", "CC(=S)N", "[C-]#[O+]",
    ],
)  # fmt: skip
def test_zwitterions_oxides_and_other_whole_molecules_pass(smiles: str, tmp_path: Path) -> None:
    molecule = from_smiles(smiles, conformers=1)
    (tmp_path / "a.xyz").write_text(written(molecule, ".xyz"))
    assert read_molecule(tmp_path / "a.xyz").formula == molecule.formula


def test_an_n_oxide_from_coordinates_keeps_its_aromatic_ring() -> None:
    """RDKit's first structure of isonicotinamide N-oxide has N=O and a quinoid ring, or there is none at all."""
    from ase import Atoms

    given = from_smiles("NC(=O)c1cc[n+]([O-])cc1", conformers=1)
    rng = np.random.default_rng(0)
    for _ in range(5):
        order = rng.permutation(len(given))
        found = read_molecule(Atoms(numbers=given.numbers[order], positions=given.positions[order]))
        assert (found.bond_orders == 1.5).sum() == 6
        charged = {
            found.symbols[i]: int(found.formal_charges[i]) for i in np.flatnonzero(found.formal_charges)
        }
        assert charged == {"N": 1, "O": -1}
