"""``kflow bench`` on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from kflow_sci.cli.main import main
from tests.bench.tiny import COPIES, SPLIT, write_configs
from tests.training.tiny_store import tiny_store, write_split


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_store(tmp_path_factory.mktemp("store"))


def words(store: Path, folder: Path, *more: str) -> list[str]:
    split = write_split(folder / "split.csv", SPLIT)
    return [
        "bench", "cluster17", "--data", str(store), "--split", str(split), "--copies", str(COPIES),
        "--out", str(folder / "out"), "--configs", str(write_configs(folder / "configs")), "--threads", "1", *more,
    ]  # fmt: skip


def test_a_table_for_two_seeds_and_again_from_the_cache(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ("--methods", "renumbered", "--seeds", "0", "42", "--samples", "1", "--table", str(tmp_path / "t"))
    assert main(words(store, tmp_path, *more)) == 0
    shown = capsys.readouterr()
    assert "[2/2] renumbered, seed 42: 1 of 1 samples" in shown.err
    assert "matched PM 0.00" in shown.out and "t.md" in shown.out
    text = (tmp_path / "t.md").read_text()
    assert "seeds 0, 42" in text and "--seeds 0 42 --samples 1" in text
    assert main(words(store, tmp_path, *more)) == 0
    assert "[2/2] renumbered, seed 42: taken from before" in capsys.readouterr().err
    assert (tmp_path / "t.md").read_text() == text


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--methods", "kflo"], "did you mean 'kflow'?"),
        (["--budget", "soon"], "--budget = 'soon' is no budget"),
        (["--budget", "5", "--steps", "5"], "both given"),
        (["--seeds", "1", "1"], "given twice"),
        (["--copies", "99"], "fewer than 99"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], told: str
) -> None:
    assert main(words(store, tmp_path, *more)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("kflow: error: ") and told in line


def test_a_missing_store_is_refused_and_leaves_nothing(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(tmp_path / "absent.kfc", tmp_path)) == 2
    assert "absent.kfc" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
