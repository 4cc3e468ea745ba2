"""Tables: what they show, and that no number loses where it comes from."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from kflow_sci.errors import OutputError
from kflow_sci.report.tables import Column, Estimate, Provenance, markdown_table, write_csv, write_markdown

ORIGIN = Provenance("1.2.3", 7, "ab" * 32, 33, "python benchmarks/x.py")
ROWS = [
    {"model": "K-Flow", "pm": Estimate(2.1049, 2.0, 2.21, 33), "n": 33},
    {"model": "a|b", "pm": Estimate(float("nan")), "share": 0.5},
]
COLUMNS = [
    Column("model", "model"),
    Column("pm", "matched PM, Å", 2, "lower"),
    Column("share", "packed", 1, "higher"),
]


def test_markdown_by_hand() -> None:
    assert markdown_table(ROWS, COLUMNS).splitlines() == [
        "| model | matched PM, Å ↓ | packed ↑ |",
        "| --- | ---: | ---: |",
        "| K-Flow | 2.10 [2.00, 2.21] | - |",
        "| a\\|b | - | 0.5 |",
    ]


def test_without_columns_every_key_is_shown() -> None:
    assert markdown_table(ROWS).splitlines()[0] == "| model | pm | n | share |"


def test_the_origin_stands_below_the_table(tmp_path: Path) -> None:
    write_markdown(tmp_path / "table.md", ROWS, COLUMNS, ORIGIN, above="# Title")
    text = (tmp_path / "table.md").read_text()
    assert text.startswith("# Title\n\n| model |")
    for part in ("1.2.3", "seed 7", "n = 33", "abababab", "`python benchmarks/x.py`"):
        assert part in text.splitlines()[-1]


def test_csv_has_intervals_in_columns_and_the_origin_in_every_row(tmp_path: Path) -> None:
    write_csv(tmp_path / "table.csv", ROWS, ORIGIN)
    with (tmp_path / "table.csv").open(newline="", encoding="utf-8") as file:
        first, second = csv.DictReader(file)
    assert (float(first["pm"]), float(first["pm_low"]), float(first["pm_high"])) == (2.1049, 2.0, 2.21)
    assert first["pm_n"] == "33"
    assert second["pm"] == second["pm_low"] == second["n"] == ""
    assert second["model"] == "a|b"
    assert [row["data_sha256"] for row in (first, second)] == ["ab" * 32] * 2
    assert {row["seed"] for row in (first, second)} == {"7"}


def test_numbers_are_written_to_full_precision(tmp_path: Path) -> None:
    write_csv(tmp_path / "table.csv", [{"x": 0.1 + 0.2}])
    assert (tmp_path / "table.csv").read_text().splitlines()[1] == "0.30000000000000004"


def test_an_empty_table_is_refused_and_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="no row"):
        write_csv(tmp_path / "table.csv", [])
    assert list(tmp_path.iterdir()) == []
