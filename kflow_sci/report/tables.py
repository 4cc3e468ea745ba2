"""Tables that can be trusted later: Markdown and CSV, each with where its numbers come from.

The one idea: a number travels with its interval, its count, the seed, the version and the digest of its data, so that a
table found in a year can be made again.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from kflow_sci.errors import OutputError
from kflow_sci.files import atomic_write

Value = str | int | float | bool | None


@dataclass(frozen=True)
class Estimate:
    """A mean with its interval.

    Attributes:
        mean: The value.
        low: Lower end of the 95 % interval; NaN where there is none.
        high: Upper end.
        n: Number of independent values behind it.
    """

    mean: float
    low: float = math.nan
    high: float = math.nan
    n: int | None = None

    def text(self, decimals: int) -> str:
        """``2.17 [2.03, 2.31]``; ``-`` where there is no value."""
        if not math.isfinite(self.mean):
            return "-"
        if not (math.isfinite(self.low) and math.isfinite(self.high)):
            return f"{self.mean:.{decimals}f}"
        return f"{self.mean:.{decimals}f} [{self.low:.{decimals}f}, {self.high:.{decimals}f}]"


Cell = Value | Estimate
Row = Mapping[str, Cell]


@dataclass(frozen=True)
class Column:
    """How one key of the rows is shown.

    Attributes:
        key: Key in the rows.
        title: Head of the column, with the unit.
        decimals: Digits after the point of a number.
        better: "lower", "higher" or "target 1": shown as an arrow; empty for none.
    """

    key: str
    title: str
    decimals: int = 2
    better: str = ""

    @property
    def head(self) -> str:
        """Title and direction."""
        arrow = {"lower": " ↓", "higher": " ↑", "target 1": " → 1"}.get(self.better, "")
        return self.title + arrow


@dataclass(frozen=True)
class Provenance:
    """Where the numbers of a table come from.

    Attributes:
        version: Of this package.
        seed: Of every random draw behind the table.
        data_sha256: Digest of the data.
        references: Number of references behind the table.
        command: What to type to make it again; may be empty.
    """

    version: str
    seed: int
    data_sha256: str
    references: int
    command: str = ""

    def sentence(self) -> str:
        """One line for below a table."""
        data = f"data sha256 {self.data_sha256[:16]}"
        text = f"kflow_sci {self.version}, seed {self.seed}, n = {self.references}, {data}."
        return text + (f" Made by `{self.command}`." if self.command else "")


def columns_of(rows: Sequence[Row]) -> list[Column]:
    """A column for every key, in the order of first appearance."""
    return [Column(key, key) for key in dict.fromkeys(key for row in rows for key in row)]


def markdown_table(
    rows: Sequence[Row], columns: Sequence[Column] | None = None, provenance: Provenance | None = None
) -> str:
    """A Markdown table.

    Args:
        rows: One mapping per line; a key that a row lacks is shown as ``-``.
        columns: What to show, in order; every key if None.
        provenance: Printed below as one line.

    Returns:
        The text, ending with a newline.
    """
    columns = list(columns) if columns is not None else columns_of(rows)
    lines = [_line([column.head for column in columns])]
    lines.append("|" + "|".join(" --- " if _is_text(rows, column) else " ---: " for column in columns) + "|")
    lines += [_line([show(row.get(column.key), column.decimals) for column in columns]) for row in rows]
    if provenance is not None:
        lines += ["", provenance.sentence()]
    return "\n".join(lines) + "\n"


def write_markdown(
    path: str | Path,
    rows: Sequence[Row],
    columns: Sequence[Column] | None = None,
    provenance: Provenance | None = None,
    above: str = "",
) -> None:
    """Write ``markdown_table`` to a file, below an optional text.

    Raises:
        OutputError: the file cannot be written.
    """
    text = markdown_table(rows, columns, provenance)
    with atomic_write(path) as temporary:
        temporary.write_text(f"{above.rstrip()}\n\n{text}" if above else text, encoding="utf-8")


def write_csv(path: str | Path, rows: Sequence[Row], provenance: Provenance | None = None) -> None:
    """Write rows with full precision; an ``Estimate`` fills ``key``, ``key_low``, ``key_high`` and ``key_n``.

    Args:
        path: The file.
        rows: One mapping per line; values that are missing or not finite become empty cells.
        provenance: Repeated in columns of every line, so that no row can lose it; a row's own value of a key stays.

    Raises:
        OutputError: there is no row, or the file cannot be written.
    """
    origin = asdict(provenance) if provenance is not None else {}
    flat = [
        flat | {key: value for key, value in origin.items() if key not in flat}
        for flat in map(_flatten, rows)
    ]
    if not flat:
        raise OutputError(f"there is no row to write to {path}: nothing was measured")
    with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(key for row in flat for key in row)), restval="")
        writer.writeheader()
        writer.writerows(flat)


def _flatten(row: Row) -> dict[str, object]:
    flat: dict[str, object] = {}
    for key, value in row.items():
        if isinstance(value, Estimate):
            parts = {key: value.mean, f"{key}_low": value.low, f"{key}_high": value.high}
            flat |= {name: _plain(part) for name, part in parts.items()}
            if value.n is not None:
                flat[f"{key}_n"] = value.n
        else:
            flat[key] = _plain(value)
    return flat


def _plain(value: Value) -> object:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    return repr(float(value)) if isinstance(value, float) else value


def show(value: Cell, decimals: int) -> str:
    """A value as a reader wants it: rounded where it is a fraction, ``-`` where there is none."""
    if isinstance(value, Estimate):
        return value.text(decimals)
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "-"
    return f"{value:.{decimals}f}" if isinstance(value, float) else str(value)


def _is_text(rows: Sequence[Row], column: Column) -> bool:
    return any(isinstance(row.get(column.key), str) for row in rows)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
