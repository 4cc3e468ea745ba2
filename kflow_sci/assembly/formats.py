"""Molecules in, clusters out: files, SMILES, and the objects of ASE, RDKit and pymatgen.

The one idea: a file is read only if all of it makes sense. Its text is checked before any parser sees it, its content
must be what its suffix says, and it must hold exactly one molecule; everything else is refused with one line that
says what to do. Bonds are the file's own where it has them, found by distance where it has not.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kflow_sci.assembly.cluster import Cluster
from kflow_sci.assembly.elements import NUMBER_OF
from kflow_sci.assembly.molecule import Molecule
from kflow_sci.errors import ClusterError, MoleculeError
from kflow_sci.files import atomic_write

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
_MOL2_ORDERS = {"1": 1.0, "2": 2.0, "3": 3.0, "ar": 1.5, "am": 1.0}
_RESERVED = ("Lattice", "Properties", "pbc")  # words of the extxyz comment line that no info may take


def read_molecule(
    source: str | os.PathLike[str] | Molecule | Atoms | Mol | PymatgenMolecule, seed: int = 0
) -> Molecule:
    """One molecule from whatever holds it.

    Args:
        source: A SMILES, a path (xyz, extxyz, sdf, mol, mol2, pdb, cif), or an object that ``to_molecule`` takes. A
            string is a path if such a file exists or its suffix is one of these; otherwise it is tried as a SMILES.
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

    from kflow_sci.assembly.embed import from_smiles, parse_smiles

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
    """A molecule from an object of ASE (``Atoms``), RDKit (``Mol``) or pymatgen (``Molecule``), or of our own.

    Raises:
        MoleculeError: the object is of no such type, is periodic, or is refused as a file would be.
    """
    if isinstance(source, Molecule):
        return source
    package = type(source).__module__.split(".")[0]
    if package == "rdkit" and hasattr(source, "GetConformers"):
        from kflow_sci.assembly.bonds import molecule_from_rdkit

        molecule = molecule_from_rdkit(source, "RDKit molecule")  # type: ignore[arg-type]
        return replace(molecule, name=molecule.formula)
    if hasattr(source, "get_atomic_numbers") and hasattr(source, "get_positions"):
        return _from_arrays(source.get_atomic_numbers(), source.get_positions(), "ASE atoms")
    if hasattr(source, "cart_coords") and hasattr(source, "atomic_numbers"):
        if hasattr(source, "lattice"):
            raise MoleculeError(
                "a periodic pymatgen structure is not one molecule: write it as cif and give that file"
            )
        return _from_arrays(source.atomic_numbers, source.cart_coords, "pymatgen molecule")
    raise MoleculeError(
        f"cannot make a molecule of a {type(source).__name__}: give a SMILES, a path, ASE atoms, or a molecule of"
        " RDKit or pymatgen"
    )


def _from_arrays(numbers: Any, positions: Any, label: str) -> Molecule:
    from kflow_sci.assembly.bonds import molecule_from_atoms

    molecule = molecule_from_atoms(np.asarray(numbers), np.asarray(positions), label)
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
        "xyz": _read_xyz, "sdf": _read_sdf, "mol2": _read_mol2, "pdb": _read_pdb,
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


def _number(symbol: str, where: str) -> int:
    """Atomic number of an element symbol (any case, D and T too) or of a number."""
    if symbol.isdecimal():
        return int(symbol)
    number = {"D": 1, "T": 1}.get(symbol.upper(), NUMBER_OF.get(symbol.capitalize(), 0))
    if number == 0:
        raise MoleculeError(f"{where}: '{symbol}' is not an element that is supported: give organic elements")
    return number


def _floats(words: Sequence[str], where: str) -> list[float]:
    try:
        values = [float(word) for word in words]
    except ValueError:
        values = []
    if len(values) != 3:
        raise MoleculeError(f"{where}: '{' '.join(words)}' are not three coordinates: mend the line")
    return values


def _read_xyz(text: str, name: str) -> Molecule:
    """Plain and extended xyz; one frame."""
    from kflow_sci.assembly.bonds import molecule_from_atoms

    lines = text.rstrip().split("\n")
    frames: list[tuple[int, int]] = []  # first line and number of atoms
    at = 0
    while at < len(lines):
        if not lines[at].strip() and frames:
            at += 1
            continue
        if not lines[at].strip().isdecimal():
            what = f"'{lines[at].strip()[:40]}'"
            raise MoleculeError(
                f"{name} line {at + 1}: {what} should be the number of atoms: give a complete xyz file"
            )
        count = int(lines[at])
        if at + 2 + count > len(lines):
            found = max(len(lines) - at - 2, 0)
            raise MoleculeError(
                f"{name} is truncated: {found} of the {count} atoms stated are there: give the whole file"
            )
        frames.append((at, count))
        at += 2 + count
    if len(frames) > 1:
        raise MoleculeError(f"{name} holds {len(frames)} frames: give a file with one molecule")
    start, count = frames[0]
    species, first = _xyz_columns(lines[start + 1])
    numbers, positions = [], []
    for i in range(start + 2, start + 2 + count):
        where = f"{name} line {i + 1}"
        words = lines[i].split()
        if len(words) < first + 3:
            raise MoleculeError(
                f"{where}: '{lines[i].strip()[:40]}' lacks an element or coordinates: mend the line"
            )
        numbers.append(_number(words[species], where))
        positions.append(_floats(words[first : first + 3], where))
    return molecule_from_atoms(np.array(numbers), np.array(positions).reshape(-1, 3), name)


def _xyz_columns(comment: str) -> tuple[int, int]:
    """Columns of the element and of x in the atom lines."""
    stated = re.search(r'Properties="?([^\s"]+)', comment)
    if stated is None:
        return 0, 1
    words = stated.group(1).split(":")
    columns, at = {}, 0
    for field, width in zip(words[::3], words[2::3], strict=False):
        columns[field] = at
        at += int(width) if width.isdecimal() else 1
    return columns.get("species", columns.get("Z", 0)), columns.get("pos", 1)


def _read_sdf(text: str, name: str) -> Molecule:
    """One record of an sdf or mol file, V2000 or V3000."""
    from rdkit import Chem, rdBase

    from kflow_sci.assembly.bonds import molecule_from_rdkit

    records = [r for r in re.split(r"^\$\$\$\$.*\n?", text, flags=re.MULTILINE) if r.strip()]
    if len(records) > 1:
        raise MoleculeError(f"{name} holds {len(records)} molecules: give a file with one molecule")
    if not records or not re.search(r"^M  END", records[0], re.MULTILINE):
        raise MoleculeError(
            f"{name} is truncated or no mol file (its line 'M  END' is missing): give the whole file"
        )
    with rdBase.BlockLogs():
        try:
            mol = Chem.MolFromMolBlock(records[0], sanitize=False, removeHs=False)
        except (RuntimeError, ValueError):
            mol = None
    if mol is None:
        raise MoleculeError(
            f"{name} is not a valid mol file (V2000 or V3000): write it again with another program"
        )
    return molecule_from_rdkit(mol, name)


def _read_mol2(text: str, name: str) -> Molecule:
    """One molecule of a Tripos mol2 file, with its own bonds and their orders."""
    from kflow_sci.assembly.bonds import molecule_from_atoms

    parts = text.split("@<TRIPOS>MOLECULE")
    if len(parts) != 2:
        what = f"{len(parts) - 1} molecules" if len(parts) > 2 else "no @<TRIPOS>MOLECULE"
        raise MoleculeError(f"{name} holds {what}: give a mol2 file with one molecule")
    sections: dict[str, list[list[str]]] = {}
    current: list[list[str]] = []
    for line in ("@<TRIPOS>MOLECULE" + parts[1]).split("\n"):
        if line.startswith("@<TRIPOS>"):
            current = sections.setdefault(line[9:].strip(), [])
        elif line.strip() and not line.startswith("#"):
            current.append(line.split())
    head, atoms, bonds = (sections.get(key, []) for key in ("MOLECULE", "ATOM", "BOND"))
    stated = [int(word) for word in head[1][:2] if word.isdecimal()] if len(head) > 1 else []
    found = [len(atoms), len(bonds)]
    if not stated or stated != found[: len(stated)]:
        raise MoleculeError(
            f"{name} is truncated: it states {stated or 'no'} atoms and bonds but holds {found}: give the whole file"
        )
    numbers, positions, index = [], [], {}
    for i, words in enumerate(atoms):
        where = f"{name} atom {i + 1}"
        if len(words) < 6:
            raise MoleculeError(f"{where}: '{' '.join(words)}' lacks coordinates or a type: mend the line")
        numbers.append(_number(words[5].split(".")[0], where))
        positions.append(_floats(words[2:5], where))
        index[words[0]] = i
    rows = []
    for words in bonds:
        if len(words) < 4 or words[1] not in index or words[2] not in index or words[1] == words[2]:
            raise MoleculeError(
                f"{name}: the bond '{' '.join(words)}' names atoms that are not there: mend the line"
            )
        rows.append((*sorted((index[words[1]], index[words[2]])), _MOL2_ORDERS.get(words[3].lower(), 1.0)))
    if not rows:
        return molecule_from_atoms(np.array(numbers), np.array(positions), name)
    table = np.array(sorted(rows))
    return molecule_from_atoms(
        np.array(numbers), np.array(positions), name, bonds=table[:, :2].astype(np.int64), orders=table[:, 2]
    )


def _read_pdb(text: str, name: str) -> Molecule:
    """One molecule of a pdb file; bonds by distance, since pdb states no orders."""
    from kflow_sci.assembly.bonds import molecule_from_atoms

    lines = text.split("\n")
    models = sum(line.startswith("MODEL ") for line in lines)
    if models > 1:
        raise MoleculeError(f"{name} holds {models} models: give a file with one")
    numbers, positions, alternatives = [], [], set()
    for i, line in enumerate(lines):
        if not line.startswith(("ATOM  ", "HETATM")):
            continue
        where = f"{name} line {i + 1}"
        if len(line) < 54:
            raise MoleculeError(
                f"{where} is truncated ({len(line)} of at least 54 columns): give the whole file"
            )
        numbers.append(_number(line[76:78].strip() or _pdb_element(line[12:16]), where))
        positions.append(_floats([line[30:38].strip(), line[38:46].strip(), line[46:54].strip()], where))
        alternatives.add(line[16])
    if not numbers:
        raise MoleculeError(f"{name} holds no ATOM or HETATM line: give a pdb file with one molecule")
    if len(alternatives - {" "}) > 1:
        raise MoleculeError(
            f"{name} is disordered (alternative positions {sorted(alternatives - {' '})}): keep one of them"
        )
    return molecule_from_atoms(np.array(numbers), np.array(positions), name)


def _pdb_element(label: str) -> str:
    """Element of a pdb atom name: columns 13-14, right-justified."""
    if label[0] == " " or label[0].isdigit():
        return label[1:2]
    return label[:2] if label[:2].capitalize() in ("Cl", "Br", "Si", "Se") else label[0]


def _read_cif(path: Path) -> Molecule:
    """The first independent molecule of a crystal, with bond orders where they are found."""
    from kflow_sci.assembly.bonds import molecule_from_atoms
    from kflow_sci.assembly.crystal import molecule_from_crystal, read_crystal

    crystal = read_crystal(path)
    molecule = molecule_from_crystal(crystal)
    found = molecule_from_atoms(molecule.numbers, molecule.positions, path.name)
    bonds, orders = (
        (found.bonds, found.bond_orders) if len(found.bond_orders) else (molecule.bonds, molecule.bond_orders)
    )
    return replace(
        molecule,
        bonds=bonds,
        bond_orders=orders,
        formal_charges=found.formal_charges,
        handed=found.handed and bool((crystal.parity > 0).all()),
    )


def write_clusters(path: str | os.PathLike[str], clusters: Sequence[Cluster]) -> None:
    """Write clusters as extended xyz, one frame each, whole or not at all.

    Every frame carries the integer array ``molecule`` (copy of each atom, from 0) and the cluster's info; there is no
    cell. Info values may be numbers, strings, booleans, and lists or dicts of them.

    Args:
        path: The file to make or replace.
        clusters: At least one.

    Raises:
        ClusterError: no cluster, a position that is not finite, or an info key that the format keeps for itself.
        OutputError: the file cannot be written.
    """
    from ase.io import write

    if not clusters:
        raise ClusterError(f"there is no cluster to write to {path}: generate at least one")
    frames = []
    for i, cluster in enumerate(clusters):
        if not np.isfinite(cluster.positions).all():
            raise ClusterError(f"cluster {i} has positions that are not finite: it is not written to {path}")
        taken = sorted(set(cluster.info) & set(_RESERVED))
        if taken:
            raise ClusterError(
                f"cluster {i} has the info key '{taken[0]}', which extxyz needs itself: rename it"
            )
        frames.append(cluster.to_ase())
    with atomic_write(path) as temporary:
        write(temporary, frames, format="extxyz", columns=["symbols", "positions", "molecule"])
