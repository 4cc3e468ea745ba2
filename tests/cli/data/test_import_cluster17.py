"""``kflow data import-cluster17``, ``split`` and ``export`` on the command line: what they say and how they fail."""

from __future__ import annotations

from pathlib import Path

import pytest

from kflow_sci.assembly.data.store import open_store
from kflow_sci.cli.main import main
from tests.cluster17_by_hand import good, text, write
from tests.crystals_by_hand import CHFCLBR_SYMBOLS


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Four clusters, one of them without a start, and lists of ids."""
    for k in range(3):
        good(tmp_path / "set" / "raw", f"{k}", k)
    final, _ = good(tmp_path / "other", "x", 9)
    write(tmp_path / "set" / "raw", "alone", text(CHFCLBR_SYMBOLS, final), None)
    (tmp_path / "set" / "processed_5000").mkdir()
    (tmp_path / "set" / "processed_5000" / "valid_idx.txt").write_text("2\n0\n")
    return tmp_path / "set"


def test_from_csv_files_to_a_score(raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = tmp_path / "x.kfc"
    assert main(["data", "import-cluster17", str(raw), str(store), "--workers", "1"]) == 0
    said = capsys.readouterr().out
    assert "3 of 4 clusters" in said and "kept 3" in said and "1 skipped (no_start 1)" in said
    split = tmp_path / "split.csv"
    assert main(["data", "split", str(store), "--out", str(split), "--seed", "0"]) == 0
    assert "3 crystals: " in capsys.readouterr().out  # of one molecule, hence all in one part
    assert len({line.split(",")[1] for line in split.read_text().splitlines()[1:]}) == 1
    again = ["data", "split", str(store), "--out", str(split), "--seed", "42", "--as-published"]
    assert main(again) == 2 and "--force" in capsys.readouterr().err
    assert main([*again, "--force"]) == 0
    assert "packings of a molecule in the training part" in capsys.readouterr().out
    true, start = tmp_path / "true.extxyz", tmp_path / "start.extxyz"
    assert main(["data", "export", str(store), str(true)]) == 0
    assert main(["data", "export", str(store), str(true)]) == 2 and "--force" in capsys.readouterr().err
    assert main(["data", "export", str(store), str(start), "--start"]) == 0
    assert "3 clusters" in capsys.readouterr().out
    assert main(["score", str(start), str(true), "--out", str(tmp_path / "scores")]) == 0


def test_subsets_and_lists(raw: Path, tmp_path: Path) -> None:
    store = tmp_path / "x.kfc"
    assert main(["data", "import-cluster17", str(raw), str(store), "--subset", "5k", "--workers", "1"]) == 0
    assert open_store(store).ids == ["2", "0"]
    (tmp_path / "ids.txt").write_text("1\n")
    words = [
        "data",
        "import-cluster17",
        str(raw),
        str(store),
        "--ids",
        str(tmp_path / "ids.txt"),
        "--as-published",
    ]
    assert main([*words, "--workers", "1"]) == 2 and open_store(store).ids == ["2", "0"]
    assert main([*words, "--workers", "1", "--force"]) == 0
    assert open_store(store).ids == ["1"]
    assert open_store(store).info["as_published"]


def test_a_stand_in_is_made_from_any_store(raw: Path, tmp_path: Path) -> None:
    store, stand_in = tmp_path / "x.kfc", tmp_path / "stand_in"
    assert main(["data", "import-cluster17", str(raw), str(store), "--workers", "1"]) == 0
    words = [
        "data",
        "export",
        str(store),
        str(stand_in),
        "--layout",
        "cluster17",
        "--noise",
        "3",
        "--spread",
        "0.2",
    ]
    assert main(words) == 0
    assert main(["data", "import-cluster17", str(stand_in), str(tmp_path / "y.kfc"), "--workers", "1"]) == 0
    (tmp_path / "ids.txt").write_text("1\n2\n")
    words = ["data", "export", str(tmp_path / "y.kfc"), str(tmp_path / "z.kfc"), "--layout", "store"]
    assert main([*words, "--ids", str(tmp_path / "ids.txt")]) == 0
    assert open_store(tmp_path / "z.kfc").ids == ["1", "2"] and open_store(tmp_path / "z.kfc").has_starts


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["import-cluster17", "{absent}", "{out}"], "does not exist"),
        (["import-cluster17", "{raw}", "{out}", "--subset", "10k"], "processed_10000"),
        (["import-cluster17", "{raw}", "{out}", "--subset", "1k"], "1k"),
        (["import-cluster17", "{raw}", "{out}", "--ids", "{absent}"], "cannot be read"),
        (["import-cluster17", "{raw}", "{out}", "--workers", "0"], "workers is 0"),
        (["split", "{absent}", "--out", "{out}"], "No such file"),
        (["split", "{raw}"], "--out"),
        (["export", "{absent}", "{out}.xyz"], "No such file"),
        (["export", "{absent}", "{out}", "--layout", "zip"], "zip"),
        (["export", "{absent}", "{out}.xyz", "--ids", "{absent}"], "cannot be read"),
    ],
)
def test_bad_input_is_refused_in_one_line(
    raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], says: str
) -> None:
    places = {"raw": raw, "absent": tmp_path / "absent", "out": tmp_path / "made" / "x"}
    assert main(["data", *(word.format(**places) for word in words)]) == 2
    error = capsys.readouterr().err
    assert says in error and error.strip().count("\n") == 0
    assert not (tmp_path / "made").exists() or not any((tmp_path / "made").iterdir())
