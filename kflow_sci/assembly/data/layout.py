"""The published layout of COD-Cluster17: two folders of csv files, one of crystals and one of where they start from.

The one idea: a file is read as its rows say and refused with a reason, never mended; whether the published reader would
have taken the same text is noted beside it, so that its selection can be repeated.

``FinalPositions/ID_cluster16.csv`` and ``InitialPositions/ID_cluster16_noised.csv`` hold a header line and then, for
each atom, ``molecule index, element symbol, x, y, z`` (Å). A cluster has a fixed number of molecules, each with the
same number of atoms.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from kflow_sci.assembly.cluster import Cluster
from kflow_sci.assembly.elements import NUMBER_OF
from kflow_sci.errors import ClusterError, CrystalError

FINAL, START = "FinalPositions", "InitialPositions"
FINAL_END, START_END = "_cluster16.csv", "_cluster16_noised.csv"
HEADER = "molecule,element,x,y,z"
FIELDS = 5
_HYDROGENS = {"D": 1, "T": 1}
_NUMBERS = {symbol: number for symbol, number in NUMBER_OF.items() if number} | _HYDROGENS


@dataclass(frozen=True, eq=False)
class State:
    """The molecules of one file, in the order in which they appear.

    Attributes:
        index: What the file calls each molecule, ``(m,)``.
        numbers: Atomic numbers, ``(m, n)``.
        positions: Å, as in the file, ``(m, n, 3)``.
        isotopes: There are symbols D or T, read as hydrogen.
        strict: The published reader takes the text: no blank lines, no spaces in symbols, no isotopes.
    """

    index: tuple[int, ...]
    numbers: Int[np.ndarray, "m n"]
    positions: Float[np.ndarray, "m n 3"]
    isotopes: bool
    strict: bool


def raw_folder(path: str | Path) -> Path:
    """The folder that holds ``FinalPositions`` and ``InitialPositions``: the given one, or ``raw`` in it.

    Raises:
        ClusterError: neither holds both.
    """
    for folder in (Path(path), Path(path) / "raw"):
        if (folder / FINAL).is_dir() and (folder / START).is_dir():
            return folder
    what = "is a file" if Path(path).is_file() else "does not exist"
    if Path(path).is_dir():
        what = f"holds no folders {FINAL} and {START}"
    raise ClusterError(f"{path} {what}: give the folder of the published set that holds both")


def read_ids(path: str | Path) -> list[str]:
    """The lines of a list of ids that are not blank, in order, as they are.

    Raises:
        ClusterError: the file cannot be read or holds no id.
    """
    try:
        names = list(filter(None, map(str.strip, Path(path).read_text(encoding="utf-8-sig").split("\n"))))
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not text"
        raise ClusterError(f"the list of ids {path} cannot be read: {why}") from None
    if not names:
        raise ClusterError(f"the list {path} holds no id: give a text file with one id per line")
    return names


def final_file(folder: Path, name: str) -> Path:
    """Where the crystal of an id lies."""
    return folder / FINAL / f"{name}{FINAL_END}"


def start_file(folder: Path, name: str) -> Path:
    """Where the start of an id lies."""
    return folder / START / f"{name}{START_END}"


def list_ids(folder: Path) -> tuple[list[str], list[str], list[str]]:
    """Ids in a folder of the layout.

    Returns:
        Ids with a crystal, ids with a start alone, and csv files whose name is no id; each sorted as text, which is the
        order of the published code.
    """
    found: list[set[str]] = []
    odd: list[str] = []
    for sub, end in ((FINAL, FINAL_END), (START, START_END)):
        names = [entry.name for entry in os.scandir(folder / sub) if entry.name.lower().endswith(".csv")]
        fitting = {name for name in names if name.endswith(end) and name != end}
        found.append({name.removesuffix(end) for name in fitting})
        odd += [f"{sub}/{name}" for name in names if name not in fitting]
    return sorted(found[0]), sorted(found[1] - found[0]), sorted(odd)


def read_state(path: Path, copies: int) -> State:
    """Read one file.

    Args:
        path: The csv file.
        copies: Molecules it must hold.

    Raises:
        CrystalError: with a reason of ``cluster17.REASONS``.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise CrystalError("unreadable", f"{path.name} cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise CrystalError("row", f"{path.name} is not text: give the csv file as it was published") from None
    lines = text.splitlines()
    rows = [line.split(",") for line in lines[1:] if line and not line.isspace()]
    strict = len(rows) == len(lines) - 1
    if lines and _atom(lines[0].split(",")) is not None:
        raise CrystalError("header", f"{path.name} begins with an atom: its header line is missing, add one")
    if not rows:
        raise CrystalError("empty", f"{path.name} holds no atom: give the csv file as it was published")
    index, symbols, positions = _columns(path.name, rows)
    strict &= not any(symbol != symbol.strip() or symbol in _HYDROGENS for symbol in set(symbols))
    symbols = [symbol.strip() for symbol in symbols]
    unknown = sorted(set(symbols) - _NUMBERS.keys())
    if unknown:
        row = symbols.index(unknown[0])
        raise CrystalError(
            "element",
            f"{path.name}: atom {row} has the element {unknown[0][:20]!r}, which is none: mend the symbol",
        )
    finite = np.isfinite(positions).all(axis=1)
    if not finite.all():
        raise CrystalError(
            "not_finite",
            f"{path.name}: atom {int(finite.argmin())} has a coordinate that is not finite: mend it",
        )
    return _grouped(path.name, index, symbols, positions, copies, strict)


def _atom(row: list[str]) -> tuple[int, str, float, float, float] | None:
    try:
        molecule, symbol, x, y, z = row
        return int(molecule), symbol, float(x), float(y), float(z)
    except ValueError:
        return None


def _columns(name: str, rows: list[list[str]]) -> tuple[list[int], list[str], Float[np.ndarray, "atoms 3"]]:
    try:
        if set(map(len, rows)) == {FIELDS}:
            molecule, symbol, *xyz = zip(*rows, strict=True)
            positions = np.array([list(map(float, axis)) for axis in xyz]).T
            return list(map(int, molecule)), list(symbol), positions
    except ValueError:
        pass  # the slow way finds the row
    k, row = next((k, row) for k, row in enumerate(rows) if _atom(row) is None)
    raise CrystalError(
        "row",
        f"{name}: row {k + 1} is '{','.join(row)[:60]}', not molecule, element, x, y, z: mend or remove it",
    )


def _grouped(
    name: str, index: list[int], symbols: list[str], positions: np.ndarray, copies: int, strict: bool
) -> State:
    molecules = tuple(dict.fromkeys(index))
    if len(molecules) != copies:
        raise CrystalError(
            "molecule_count", f"{name} holds {len(molecules)} molecules, not {copies}: leave it out"
        )
    place = {molecule: k for k, molecule in enumerate(molecules)}
    owner = np.array([place[molecule] for molecule in index])
    counts = np.bincount(owner)
    if counts.min() != counts.max():
        small, large = int(counts.argmin()), int(counts.argmax())
        raise CrystalError(
            "atom_counts",
            f"{name}: molecule {molecules[small]} has {counts[small]} atoms and molecule {molecules[large]} "
            f"{counts[large]}, but all must have the same number: leave it out",
        )
    order = np.argsort(owner, kind="stable")
    numbers = np.array([_NUMBERS[symbol] for symbol in symbols])[order]
    isotopes = not _HYDROGENS.keys().isdisjoint(symbols)
    return State(
        molecules, numbers.reshape(copies, -1), positions[order].reshape(copies, -1, 3), isotopes, strict
    )


def write_state(path: Path, cluster: Cluster) -> None:
    """Write one file of the layout; the folder must exist.

    Args:
        path: The csv file.
        cluster: All molecules with the same number of atoms.

    Raises:
        ClusterError: the molecules differ in their number of atoms, which the layout cannot say.
    """
    sizes = {len(cluster.molecules[k]) for k in cluster.kind}
    if len(sizes) != 1:
        raise ClusterError(
            f"{cluster.info.get('id')} has molecules of {', '.join(map(str, sorted(sizes)))} atoms, but the layout "
            "cluster17 needs one number: export it as extxyz"
        )
    symbols = [symbol for k in cluster.kind for symbol in cluster.molecules[k].symbols]
    rows = zip(cluster.molecule_of.tolist(), symbols, cluster.positions.tolist(), strict=True)
    lines = [
        HEADER,
        *(f"{molecule},{symbol},{x:.6f},{y:.6f},{z:.6f}" for molecule, symbol, (x, y, z) in rows),
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
