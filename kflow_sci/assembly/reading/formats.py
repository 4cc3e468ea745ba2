"""One molecule from whatever holds it: a file, a SMILES, an object of ASE, RDKit or pymatgen.

The one idea: a file is read only if all of it makes sense. Its text is checked before any parser sees it, its content
must be what its suffix says, and it must hold exactly one molecule; everything else is refused with one line that
says what to do. Bonds are the file's own where it has them, found by distance where it has not.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kflow_sci.assembly.molecule import Molecule
from kflow_sci.assembly.reading.readers import read_mol2, read_pdb, read_sdf, read_xyz
from kflow_sci.errors import MoleculeError

if TYPE_CHECKING:
    from ase import Atoms
    from pymatgen.core.structure import Molecule as PymatgenMolecule
    from rdkit.Chem import Mol

KINDS = {
    ".xyz": "xyz", ".extxyz": "xyz", ".sdf": "sdf", ".sd": "sdf", ".mol": "sdf", ".mol2": "mol2", ".pdb": "pdb",
    ".ent": "pdb", ".cif": "cif",
}  # fmt: skip
_SUFFIXES = "xyz, extxyz, sdf, mol, mol2, pdb or cif"
_MAX_BYTES = 50_000_000


def read_molecule(
    source: str | os.PathLike[str] | Molecule | Atoms | Mol | PymatgenMolecule, seed: int = 0
) -> Molecule:
    """One molecule from whatever holds it.

    Args:
        source: A SMILES, an InChI, a path (xyz, extxyz, sdf, mol, mol2, pdb, cif), or an object that
            ``to_molecule`` takes. A string is a path if such a file exists or its suffix is
            one of these; otherwise it is tried as a SMILES.
        seed: For the conformers of a SMILES.

    Returns:
        The molecule in its body frame, atoms in the order of the source. From coordinates, ``handed`` is True where
        stereocentres make the molecule chiral (for a cif: and the crystal holds one hand only).

    Raises:
        MoleculeError: the file or the SMILES is refused.
        CrystalError: the cif is refused.
    """
    if isinstance(source, os.PathLike):
        return read_file(Path(source))
    if not isinstance(source, str):
        return to_molecule(source)
    text = source.strip()
    if text and (os.path.isfile(source) or Path(text).suffix.lower() in KINDS):
        return read_file(Path(source if os.path.isfile(source) else text))

    from kflow_sci.assembly.reading.embed import from_smiles, parse_smiles, smiles_of_inchi

    if text.startswith("InChI="):
        return from_smiles(smiles_of_inchi(text), seed=seed)
    try:
        parse_smiles(text)
    except MoleculeError as error:
        if text and os.path.isdir(text):
            raise MoleculeError(f"{text} is a folder: give a file ({_SUFFIXES}) in it") from None
        if "/" in text or os.sep in text or re.fullmatch(r".*\.\w{2,5}", text):
            raise MoleculeError(
                f"there is no file {text}, and it is no SMILES either: check the path"
            ) from error
        raise
    return from_smiles(text, seed=seed)


def to_molecule(source: object) -> Molecule:
    """A molecule from an object of ASE (``Atoms``), RDKit (``Mol``) or pymatgen, or of our own.

    Periodic atoms (ASE with a cell and ``pbc``, a pymatgen ``Structure``) are a crystal: its molecule is taken.

    Raises:
        MoleculeError: the object is of no such type, is periodic in some directions only, or is refused as a file
            would be.
        CrystalError: the crystal is refused.
    """
    if isinstance(source, Molecule):
        return source
    package = type(source).__module__.split(".")[0]
    if package == "rdkit" and hasattr(source, "GetConformers"):
        from kflow_sci.assembly.reading.perceive import molecule_from_rdkit

        molecule = molecule_from_rdkit(source, "RDKit molecule")  # type: ignore[arg-type]
        return replace(molecule, name=molecule.formula)
    if hasattr(source, "get_atomic_numbers") and hasattr(source, "get_positions"):
        periodic = np.asarray(source.get_pbc())  # type: ignore[attr-defined]
        if periodic.all():
            cell, places = source.cell.cellpar(), source.get_scaled_positions(wrap=False)  # type: ignore[attr-defined]
            return _from_crystal(cell, source.get_atomic_numbers(), places)
        if periodic.any():
            raise MoleculeError(
                "the ASE atoms are periodic in some directions only: set pbc to False or True"
            )
        return _from_arrays(source.get_atomic_numbers(), source.get_positions(), "ASE atoms")
    if hasattr(source, "cart_coords") and hasattr(source, "atomic_numbers"):
        if hasattr(source, "lattice"):
            if not getattr(source, "is_ordered", True):
                raise MoleculeError(
                    "the pymatgen structure is disordered: give one without partial occupancies"
                )
            return _from_crystal(source.lattice.parameters, source.atomic_numbers, source.frac_coords)  # type: ignore[attr-defined]
        return _from_arrays(source.atomic_numbers, source.cart_coords, "pymatgen molecule")
    raise MoleculeError(
        f"cannot make a molecule of a {type(source).__name__}: give a SMILES, a path, ASE atoms, or a molecule of"
        " RDKit or pymatgen"
    )


def _from_arrays(numbers: Any, positions: Any, label: str) -> Molecule:
    from kflow_sci.assembly.reading.perceive import molecule_from_atoms

    molecule = molecule_from_atoms(np.asarray(numbers), np.asarray(positions), label, whole=True)
    return replace(molecule, name=molecule.formula)


def _from_crystal(cell: Any, numbers: Any, fractional: Any) -> Molecule:
    """The molecule of a periodic list of atoms, by way of the cif that says the same."""
    from kflow_sci.assembly.elements import SYMBOLS
    from kflow_sci.assembly.reading.crystal import molecule_from_crystal, read_crystal

    tags = [f"_cell_length_{x}" for x in "abc"] + [f"_cell_angle_{x}" for x in ("alpha", "beta", "gamma")]
    lines = ["data_periodic", *(f"{tag} {value:.10g}" for tag, value in zip(tags, cell, strict=True))]
    lines += ["_space_group_name_H-M_alt 'P 1'", "loop_", "_atom_site_label", "_atom_site_type_symbol"]
    lines += [f"_atom_site_fract_{x}" for x in "xyz"]
    for i, (z, place) in enumerate(zip(numbers, np.asarray(fractional), strict=True), 1):
        lines.append(f"{SYMBOLS[z]}{i} {SYMBOLS[z]} " + " ".join(f"{value:.12f}" for value in place))
    molecule = molecule_from_crystal(read_crystal("\n".join([*lines, ""])))
    return replace(molecule, name=molecule.formula)


def read_file(path: Path) -> Molecule:
    """The molecule of a file; see ``read_molecule``."""
    kind = KINDS.get(path.suffix.lower())
    text = _read_text(path)
    if kind is None:
        raise MoleculeError(f"{path} has the unknown suffix '{path.suffix}': give {_SUFFIXES}")
    content = _guess(text)
    if content is not None and content != kind:
        raise MoleculeError(f"{path} does not hold {path.suffix[1:]} but {content}: rename it to .{content}")
    readers: dict[str, Callable[[str, str], Molecule]] = {
        "xyz": read_xyz, "sdf": read_sdf, "mol2": read_mol2, "pdb": read_pdb,
    }  # fmt: skip
    molecule = _read_cif(path) if kind == "cif" else readers[kind](text, path.name)
    return replace(molecule, name=path.stem)


def _read_text(path: Path) -> str:
    """The text of a file with plain line ends."""
    if path.is_dir():
        raise MoleculeError(f"{path} is a folder: give a file ({_SUFFIXES}) in it")
    try:
        size = path.stat().st_size
        if size > _MAX_BYTES:
            raise MoleculeError(
                f"{path} has {size / 1e6:.0f} MB (limit {_MAX_BYTES / 1e6:.0f}): give one molecule"
            )
        raw = path.read_bytes()
    except FileNotFoundError:
        raise MoleculeError(f"there is no file {path}: check the path") from None
    except (OSError, ValueError) as error:  # a NUL in the name is a ValueError
        what = error.strerror if isinstance(error, OSError) else error
        raise MoleculeError(f"{path!s} cannot be read ({what}): check its name and its permissions") from None
    if not raw.strip():
        raise MoleculeError(f"{path} is empty: give a file that holds one molecule")
    if re.search(rb"[\x00-\x08\x0e-\x1f]", raw):
        raise MoleculeError(f"{path} is binary, not text: give {_SUFFIXES} as plain text")
    # Coordinates are ASCII in every one of these formats; names and comments may be in an older code page.
    return "\n".join(re.split(r"\r\n|\n|\r", raw.decode("utf-8-sig", errors="replace")))


def _guess(text: str) -> str | None:
    """The format a text looks like, or None."""
    if "@<TRIPOS>MOLECULE" in text:
        return "mol2"
    if re.search(r"^M  END|V[23]000\s*$", text, re.MULTILINE):
        return "sdf"
    if re.search(r"^data_", text, re.MULTILINE) and re.search(r"^\s*_(cell|atom_site)_", text, re.MULTILINE):
        return "cif"
    if re.search(r"^(ATOM  |HETATM).{40}", text, re.MULTILINE):
        return "pdb"
    if re.match(r"\s*\d+\s*\n.*\n\s*[A-Za-z]{1,2}(\s+[-+.\d]\S*){3}", text):
        return "xyz"
    return None


def _read_cif(path: Path) -> Molecule:
    """The first independent molecule of a crystal."""
    from kflow_sci.assembly.reading.crystal import molecule_from_crystal, read_crystal

    return molecule_from_crystal(read_crystal(path))
