"""Crystals of the Crystallography Open Database by a list of numbers, and how a file is recognised as the listed one.

The one idea: a file is the listed one if its bytes are, or, where the database has revised the text around it, if cell,
symmetry and sites are. So a list of checksums stays good for years although the files behind it are edited.

A list is a csv with the column ``cod`` (the number) and any of ``id`` (name of the file), ``folder``, ``revision``,
``sha256`` and ``structure``, or simply one number per line.
"""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from kflow_sci.errors import CrystalError, FetchError
from kflow_sci.fetching.download import sha256
from kflow_sci.fetching.wanted import Wanted
from kflow_sci.files import atomic_write

FACTS = (
    "id", "formula", "n_atoms", "n_mol_cell", "z_indep", "spacegroup", "mol_hash", "n_mirror_copies", "licence", "doi",
    "split",
)  # fmt: skip
COLUMNS = (*FACTS, "folder", "cod", "revision", "sha256", "structure")
Row = dict[str, str]

_FORMS = {
    "cod": (r"([1-9]\d{6})?", "a number of seven digits, or nothing"),
    "id": (r"[\w+-][\w.+-]*", "a plain name"),
    "folder": (r"([\w+-][\w.+-]*)?", "a plain name, or nothing"),
    "revision": (r"\d*", "a number, or nothing"),
    "sha256": (r"([0-9a-f]{64})?", "64 hex digits, or nothing"),
    "structure": (r"([0-9a-f]{16})?", "16 hex digits, or nothing"),
}


def listed_crystals() -> Path:
    """The list of the project's own crystals, installed with the package or in a checkout of it.

    Raises:
        FetchError: neither is there.
    """
    package = Path(__file__).parents[2]
    for place in (
        package / "fetching" / "crystals.csv",
        package.parent / "datasets" / "crystals" / "ids.csv",
    ):
        if place.is_file():
            return place
    raise FetchError("the list of crystals is not installed: give one with --ids")


def read_ids(path: str | Path) -> list[Row]:
    """Read and check a list of crystals.

    Args:
        path: A csv file with a header, or one number per line.

    Returns:
        One row per crystal, with every one of ``cod``, ``id``, ``folder``, ``revision``, ``sha256``, ``structure``.

    Raises:
        FetchError: the list cannot be read, is empty, has no column ``cod``, a value that cannot be, or one file twice.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as stream:
            lines = stream.read().splitlines()
    except OSError as error:
        raise FetchError(
            f"{path} cannot be read ({error.strerror}): give a list of numbers of the database"
        ) from None
    except UnicodeDecodeError:
        raise FetchError(f"{path} is no text: give a list of numbers of the database") from None
    header = next(csv.reader(lines[:1]), [])
    if header and re.fullmatch(_FORMS["cod"][0], header[0].strip() or "-"):
        lines = ["cod", *lines]
    elif "cod" not in header:
        raise FetchError(
            f"{path} has no column cod and no numbers: give a csv with that column, or one number per line"
        )
    rows: list[Row] = []
    seen: set[tuple[str, str]] = set()
    for number, found in enumerate(csv.DictReader(lines), 2):
        row = {name: (value or "").strip() for name, value in found.items() if isinstance(name, str)}
        row = dict.fromkeys(_FORMS, "") | row
        row["id"] = row["id"] or row["cod"]
        for column, (form, says) in _FORMS.items():
            if not re.fullmatch(form, row[column], re.ASCII):
                raise FetchError(
                    f"{path}, row {number}: {column} is {row[column][:40]!r}, not {says}: correct it"
                )
        if (row["folder"], row["id"]) in seen:
            raise FetchError(f"{path}, row {number}: {row['id']} is listed twice: remove one")
        seen.add((row["folder"], row["id"]))
        rows.append(row)
    if not rows:
        raise FetchError(f"{path} lists no crystal: give a list of numbers of the database")
    return rows


def wanted_crystals(rows: Sequence[Row], server: str) -> list[Wanted]:
    """The files of a list, in the revision that was used; should the database no longer give it, in the newest.

    Args:
        rows: From ``read_ids``; those without a number have no address.
        server: What stands before ``/NUMBER.cif``.
    """
    files = []
    for row in rows:
        address = f"{server.rstrip('/')}/{row['cod']}.cif"
        urls = (f"{address}@{row['revision']}", address) if row["revision"] else (address,)
        path = "/".join(part for part in (row["folder"], f"{row['id']}.cif") if part)
        files.append(Wanted(path, urls if row["cod"] else (), check=partial(differs_from_row, row=row)))
    return files


def write_tables(rows: Sequence[Row], folder: Path) -> None:
    """Write ``FOLDER.csv`` with what is known of the crystals that are there, for every folder the list names."""
    for name in dict.fromkeys(row["folder"] for row in rows if row["folder"]):
        there = [
            row for row in rows if row["folder"] == name and (folder / name / f"{row['id']}.cif").is_file()
        ]
        if there:
            write_rows(folder / f"{name}.csv", there, FACTS)


def write_rows(path: str | Path, rows: Sequence[Row], columns: Sequence[str] = COLUMNS) -> None:
    """Write rows as csv, with these columns only.

    Raises:
        OutputError: the file cannot be written.
    """
    with atomic_write(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, columns, restval="", extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def differs_from_row(path: Path, row: Row) -> str:
    """Say how a file differs from the crystal that is listed, or nothing."""
    if row["sha256"] and sha256(path) == row["sha256"]:
        return ""
    if not row["structure"]:
        if row["sha256"]:
            return "it is another file than the listed one"
        return "" if _begins_as_cif(path) else "it is no CIF"
    try:
        same = structure_checksum(path) == row["structure"]
    except CrystalError as error:
        return f"it is no crystal of ours ({error.reason})"
    return "" if same else "it is another crystal than the listed one"


def _begins_as_cif(path: Path) -> bool:
    lines = (line.strip() for line in path.read_bytes().splitlines())
    first = next((line for line in lines if line and not line.startswith(b"#")), b"")
    return first.lower().startswith(b"data_")


def structure_checksum(path: str | Path) -> str:
    """First 16 hex digits of the SHA-256 of what makes the crystal.

    That is the metric of the cell (0.001 Å^2), the operations, and element and fractional coordinates (0.0001) of
    each site, sorted.

    Raises:
        CrystalError: the file cannot be read.
    """
    from kflow_sci.assembly.reading.cif import read_cif

    sites = read_cif(Path(path))
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
