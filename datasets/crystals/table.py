"""Write ``ids.csv`` anew from a folder of crystals with their tables.

    python datasets/crystals/table.py CRYSTALS

How a file is recognised as the listed one is told in ``kflow_sci/assembly/data/cod.py``.
"""

from __future__ import annotations

import csv
import re
import sys
from pathlib import Path

from kflow_sci.assembly.data.cod import COLUMNS, structure_checksum, write_rows
from kflow_sci.fetching.download import sha256

TABLE = Path(__file__).with_name("ids.csv")
COD_NUMBERS = range(1000000, 10000000)


def make_rows(crystals: Path) -> list[dict[str, str]]:
    """Rows for ``ids.csv`` from ``experimental.csv``, ``predicted.csv`` and the CIFs in the folders of these names."""
    rows = []
    for folder in ("experimental", "predicted"):
        table = crystals / f"{folder}.csv"
        if not table.is_file():
            continue
        with open(table, newline="", encoding="utf-8") as stream:
            listed = list(csv.DictReader(stream))
        for old in listed:
            path = crystals / folder / f"{old['id']}.cif"
            number = re.fullmatch(r"COD(\d{7})", old["id"])
            cod = number[1] if number and int(number[1]) in COD_NUMBERS else ""
            revision = re.search(r"^#\$Revision: (\d+) \$", path.read_text(encoding="latin-1"), re.MULTILINE)
            row = {"doi": "", "split": "train"} | old
            row |= {"folder": folder, "cod": cod, "revision": revision[1] if revision and cod else ""}
            row |= {"sha256": sha256(path), "structure": structure_checksum(path)}
            rows.append({column: row[column] for column in COLUMNS})
    return sorted(rows, key=lambda row: (row["folder"], row["id"]))


def main() -> None:
    """Write ``ids.csv``."""
    rows = make_rows(Path(sys.argv[1]))
    write_rows(TABLE, rows)
    print(f"{len(rows)} crystals in {TABLE.name}")


if __name__ == "__main__":
    main()
