"""The text of one molecule in xyz, sdf, mol, mol2 or pdb, to a molecule.

The one idea: every reader takes a text and the name of its file, reads exactly one molecule, and says in which line
the text stops making sense. The formats are small enough to be read here; only mol files go through RDKit.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from kflow_sci.assembly.elements import NUMBER_OF
from kflow_sci.assembly.molecule import Molecule
from kflow_sci.errors import MoleculeError

_MOL2_ORDERS = {"1": 1.0, "2": 2.0, "3": 3.0, "ar": 1.5, "am": 1.0}


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


def read_xyz(text: str, name: str) -> Molecule:
    """Plain and extended xyz; one frame.

    Args:
        text: The text of the file, with plain line ends.
        name: The name of the file, for messages.

    Raises:
        MoleculeError: the text is truncated or no xyz, holds several frames, or the atoms
            are refused as in ``perceive.molecule_from_atoms``.
    """
    from kflow_sci.assembly.reading.perceive import molecule_from_atoms

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
    return molecule_from_atoms(np.array(numbers), np.array(positions).reshape(-1, 3), name, whole=True)


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


def read_sdf(text: str, name: str) -> Molecule:
    """One record of an sdf or mol file, V2000 or V3000.

    Args:
        text: The text of the file, with plain line ends.
        name: The name of the file, for messages.

    Raises:
        MoleculeError: the text is truncated or no mol file, holds several records, lacks hydrogens, or the atoms
            are refused as in ``perceive.molecule_from_atoms``.
    """
    from rdkit import Chem, rdBase

    from kflow_sci.assembly.reading.perceive import molecule_from_rdkit

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


def read_mol2(text: str, name: str) -> Molecule:
    """One molecule of a Tripos mol2 file, with its own bonds and their orders.

    Args:
        text: The text of the file, with plain line ends.
        name: The name of the file, for messages.

    Raises:
        MoleculeError: counts and lines do not fit, bonds name no atoms, there are several molecules, or the atoms
            are refused as in ``perceive.molecule_from_atoms``.
    """
    from kflow_sci.assembly.reading.perceive import molecule_from_atoms

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
        return molecule_from_atoms(np.array(numbers), np.array(positions), name, whole=True)
    table = np.array(sorted(rows))
    return molecule_from_atoms(
        np.array(numbers),
        np.array(positions),
        name,
        bonds=table[:, :2].astype(np.int64),
        orders=table[:, 2],
        whole=True,
    )


def read_pdb(text: str, name: str) -> Molecule:
    """One molecule of a pdb file; bonds by distance, since pdb states no orders.

    Args:
        text: The text of the file, with plain line ends.
        name: The name of the file, for messages.

    Raises:
        MoleculeError: a line is truncated, there are several models or alternative positions, or the atoms
            are refused as in ``perceive.molecule_from_atoms``.
    """
    from kflow_sci.assembly.reading.perceive import molecule_from_atoms

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
    return molecule_from_atoms(np.array(numbers), np.array(positions), name, whole=True)


def _pdb_element(label: str) -> str:
    """Element of a pdb atom name: columns 13-14, right-justified."""
    if label[0] == " " or label[0].isdigit():
        return label[1:2]
    return label[:2] if label[:2].capitalize() in ("Cl", "Br", "Si", "Se") else label[0]
