"""The files of a run after an interruption are those of a run without one."""

from __future__ import annotations

from pathlib import Path

import pytest

from kflow_sci.errors import ConfigError, OutputError
from kflow_sci.training.folder import RunFolder, Table, first_difference


def test_rows_are_appended_under_one_header(tmp_path: Path) -> None:
    table = Table(tmp_path / "m.csv", -1)
    table.append({"step": 1, "loss": 0.5})
    Table(tmp_path / "m.csv", 1).append({"step": 2, "loss": 1 / 3})
    assert (tmp_path / "m.csv").read_text() == "step,loss\n1,0.5\n2,0.333333333\n"


@pytest.mark.parametrize("tail", ["", "5,0.1\n", "4,0.1\n5,0.2\n", "4,0.", "4"])
def test_rows_beyond_the_saved_step_and_cut_off_rows_are_dropped(tmp_path: Path, tail: str) -> None:
    path = tmp_path / "m.csv"
    path.write_text("step,loss\n1,0.5\n3,0.25\n" + tail)
    table = Table(path, 3)
    assert table.steps == [1, 3] and path.read_text() == "step,loss\n1,0.5\n3,0.25\n"


@pytest.mark.parametrize("text", ["", "ste", "step,loss\n", "step,loss\n1,"])
def test_a_table_cut_off_before_its_first_row_starts_again(tmp_path: Path, text: str) -> None:
    path = tmp_path / "m.csv"
    path.write_text(text)
    Table(path, 9).append({"step": 1, "loss": 2.0})
    assert path.read_text() == "step,loss\n1,2\n"


def test_rows_of_nothing_saved_are_all_dropped_and_the_columns_stay(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text("step,loss\n1,0.5\n")
    table = Table(path, -1)
    table.append({"step": 1, "loss": 0.75})
    assert path.read_text() == "step,loss\n1,0.75\n"


def test_other_columns_are_refused(tmp_path: Path) -> None:
    table = Table(tmp_path / "m.csv", -1)
    table.append({"step": 1, "loss": 0.5})
    with pytest.raises(OutputError, match="columns"):
        table.append({"step": 2, "pm": 0.5})


def test_the_first_difference_is_named_with_its_path() -> None:
    old = {"settings": {"steps": 3, "widths": [1, 2]}, "data": "x"}
    assert first_difference(old, {"settings": {"steps": 3, "widths": [1, 2]}, "data": "x"}) is None
    assert first_difference(old, {"settings": {"steps": 3, "widths": [1, 3]}, "data": "x"}) == (
        "settings.widths",
        [1, 2],
        [1, 3],
    )
    assert first_difference(old, {"settings": old["settings"]}) == ("data", "x", None)


def test_another_run_is_refused_with_the_key_and_both_values(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        RunFolder(tmp_path / "run").check_same({"settings": {"seed": 1}}, {"settings": {"seed": 2}})
    assert all(word in str(caught.value) for word in ("run", "settings.seed = 1", "2", "--fresh", "--out"))


def test_clearing_removes_a_run_and_nothing_else(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    for name in ("state.safetensors", "best.safetensors", "metrics.csv", "nonfinite1.json", "notes.txt"):
        (tmp_path / name).touch()
    folder.clear()
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
