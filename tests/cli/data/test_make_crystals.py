"""``kflow data make-crystals`` from the outside."""

from __future__ import annotations

from pathlib import Path

import pytest

from kflow_sci.assembly.data.store import open_store
from kflow_sci.cli.main import main

SMALL = ("--trials", "5", "--keep", "2", "--copies", "5", "--groups", "P-1,P21", "--workers", "1")


def test_a_list_becomes_a_store_a_table_and_a_card(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "list.smi").write_text("NC(N)=O\nC[Si](C)(C)C\n")
    out = tmp_path / "out.kfc"
    assert main(["data", "make-crystals", str(tmp_path / "list.smi"), str(out), *SMALL]) == 0
    said = capsys.readouterr().out
    store = open_store(out)
    assert f"{len(store)} crystals of 1 molecules" in said and "1 molecules without crystals" in said
    assert store.info["recipe"]["trials"] == 5
    assert out.with_suffix(".csv").is_file() and out.with_suffix(".md").is_file()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--trials", "0"), "trials is 0"),
        (("--molecules", "0"), "molecules is 0"),
        (("--copies", "1"), "copies is 1"),
        (("--groups", "P21/q"), "nearest"),
        (("--exclude", "missing.csv"), "missing.csv cannot be read"),
        (("--workers", "1", "--scheduler", "tcp://x:1"), "give one of them"),
    ],
)
def test_bad_options_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], message: str
) -> None:
    (tmp_path / "list.smi").write_text("NC(N)=O\n")
    assert main(["data", "make-crystals", str(tmp_path / "list.smi"), str(tmp_path / "o.kfc"), *words]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not (tmp_path / "o.kfc").exists()
