"""The list of crystals, and how a file is recognised as the listed one.

The one idea: a file is the listed one if its bytes are, or, where a database has revised the text around it, if cell,
symmetry and sites are. Run as a program it writes ``ids.csv`` anew from a folder of crystals with their tables:

    python datasets/crystals/table.py CRYSTALS
"""

from __future__ import annotations

import csv
import hashlib
import re
import sys
from pathlib import Path

import numpy as np

TABLE = Path(__file__).with_name("ids.csv")
FACTS = (
    "id", "formula", "n_atoms", "n_mol_cell", "z_indep", "spacegroup", "mol_hash", "n_mirror_copies", "licence", "doi",
    "split",
)  # fmt: skip
COLUMNS = (*FACTS, "folder", "cod", "revision", "sha256", "structure")
COD_NUMBERS = range(1000000, 10000000)


def read_table(path: Path = TABLE) -> list[dict[str, str]]:
    """Rows of ``ids.csv``, one per crystal."""
    with open(path, newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def checksum(path: Path) -> str:
    """SHA-256 of the bytes of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def structure_checksum(path: Path) -> str:
    """First 16 hex digits of the SHA-256 of what makes the crystal.

    That is the metric of the cell (0.001 Å^2), the operations, and element and fractional coordinates (0.0001) of
    each site, sorted.

    Raises:
        CrystalError: the file cannot be read.
    """
    from kflow_sci.assembly.reading.cif import read_cif

    sites = read_cif(path)
    operations = np.concatenate(
        [sites.turn.reshape(-1, 9), np.round(sites.shift[:, :, None] * 24)[:, :, 0]], axis=1
    )
    places = [
        (int(z), *np.round(f, 4).tolist()) for z, f in zip(sites.numbers, sites.fractional + 0.0, strict=True)
    ]
    parts = [
        np.round(sites.cell @ sites.cell.T, 3) + 0.0,
        np.unique(operations.astype(int), axis=0),
        sorted(places),
    ]
    text = repr([part.tolist() if isinstance(part, np.ndarray) else part for part in parts])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def check(path: Path, row: dict[str, str]) -> str:
    """How a file compares with its row: ``same``, ``revised`` (other bytes, same crystal), ``other`` or ``missing``."""
    from kflow_sci.errors import CrystalError

    if not path.is_file():
        return "missing"
    if checksum(path) == row["sha256"]:
        return "same"
    try:
        return "revised" if structure_checksum(path) == row["structure"] else "other"
    except CrystalError:
        return "other"


def make_rows(crystals: Path) -> list[dict[str, str]]:
    """Rows for ``ids.csv`` from ``experimental.csv``, ``predicted.csv`` and the CIFs in the folders of these names."""
    rows = []
    for folder in ("experimental", "predicted"):
        for old in read_table(crystals / f"{folder}.csv"):
            path = crystals / folder / f"{old['id']}.cif"
            number = re.fullmatch(r"COD(\d{7})", old["id"])
            cod = number[1] if number and int(number[1]) in COD_NUMBERS else ""
            revision = re.search(r"^#\$Revision: (\d+) \$", path.read_text(encoding="latin-1"), re.MULTILINE)
            row = {"doi": "", "split": "train"} | old
            row |= {"folder": folder, "cod": cod, "revision": revision[1] if revision and cod else ""}
            row |= {"sha256": checksum(path), "structure": structure_checksum(path)}
            rows.append({column: row[column] for column in COLUMNS})
    return sorted(rows, key=lambda row: (row["folder"], row["id"]))


def write_table(path: Path, rows: list[dict[str, str]], columns: tuple[str, ...] = COLUMNS) -> None:
    """Write rows as csv, with these columns only."""
    with open(path, "w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def main() -> None:
    """Write ``ids.csv``."""
    rows = make_rows(Path(sys.argv[1]))
    write_table(TABLE, rows)
    print(f"{len(rows)} crystals in {TABLE.name}")


if __name__ == "__main__":
    main()
