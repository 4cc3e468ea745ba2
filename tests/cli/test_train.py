"""``kflow train`` on the command line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kflow_sci.checkpoint import read_header
from kflow_sci.cli.main import main
from tests.training.test_rivals import rival_settings
from tests.training.tiny_store import settings_for, tiny_store, write_settings

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_store(tmp_path_factory.mktemp("store"))


def config(store: Path, folder: Path, **changes: Any) -> str:
    return str(write_settings(folder / "c.yaml", settings_for(store, folder / "run", **changes)))


def test_a_config_becomes_weights_and_a_second_call_has_nothing_to_do(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = config(store, tmp_path)
    for _ in range(2):
        assert main(["train", path, "--device", "cpu"]) == 0
        assert "3 steps done. Best at step 3 (" in capsys.readouterr().out
    header = read_header(tmp_path / "run" / "best.safetensors")
    assert header["model"]["hidden"] == 8 and header["settings"]["batch_size"] == 3


def test_out_on_the_command_line_wins(store: Path, tmp_path: Path) -> None:
    assert main(["train", config(store, tmp_path), "--device", "cpu", "--out", str(tmp_path / "there")]) == 0
    assert (tmp_path / "there" / "best.safetensors").is_file() and not (tmp_path / "run").exists()


def test_the_time_on_the_command_line_ends_the_run_and_wins_over_the_config(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = config(store, tmp_path, steps=10**9, validate_every=10**9, minutes=60.0)
    assert main(["train", path, "--device", "cpu", "--time", "0.2s"]) == 0
    assert "steps done. Best at step" in capsys.readouterr().out
    assert read_header(tmp_path / "run" / "best.safetensors")["settings"]["minutes"] == pytest.approx(
        0.2 / 60
    )


@pytest.mark.parametrize("text", ["300", "0s", "-5m", "5 days", "nan s", ""])
def test_a_time_without_sense_is_refused(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    assert main(["train", config(store, tmp_path), f"--time={text}"]) == 2
    assert f"'--time': '{text}' is no time: give a positive number and a unit" in capsys.readouterr().err


def test_a_rival_is_trained_by_the_same_command(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_settings(tmp_path / "c.yaml", rival_settings(store, tmp_path / "run"))
    assert main(["train", str(path), "--device", "cpu"]) == 0
    assert "failed 0" in capsys.readouterr().out
    assert read_header(tmp_path / "run" / "best.safetensors")["rival"]["method"] == "assembleflow-molecule"


def test_another_config_for_the_same_folder_needs_fresh(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["train", config(store, tmp_path), "--device", "cpu"])
    path = config(store, tmp_path, layers=2)
    assert main(["train", path, "--device", "cpu"]) == 2
    assert "layers = 1, but now it is 2" in capsys.readouterr().err
    assert main(["train", path, "--device", "cpu", "--fresh"]) == 0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"overlapp": 1}, ["unknown key 'overlapp'", "did you mean 'overlap'?"]),
        ({"overlap": 1.5}, ["overlap = 1.5", "at most 1"]),
        ({"stores": ["absent.kfc"]}, ["absent.kfc"]),
        ({"split": "absent.csv"}, ["absent.csv"]),
        ({"best_by": "beauty"}, ["best_by = 'beauty'"]),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], words: list[str]
) -> None:
    assert main(["train", config(store, tmp_path, **changes), "--device", "cpu"]) == 2
    message = [line for line in capsys.readouterr().err.splitlines() if line.startswith("kflow: error: ")]
    assert len(message) == 1 and all(word in message[0] for word in words)
    assert not list(tmp_path.glob("run/best*"))


def test_refused_input_leaves_no_folder(store: Path, tmp_path: Path) -> None:
    assert main(["train", config(store, tmp_path, stores=["absent.kfc"])]) == 2
    assert main(["train", config(store, tmp_path), "--resume", "--device", "cpu"]) == 2
    assert not (tmp_path / "run").exists()


def test_a_missing_config_and_an_unwritable_place_are_refused(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", str(tmp_path / "absent.yaml")]) == 2
    (tmp_path / "file").touch()
    assert main(["train", config(store, tmp_path), "--out", str(tmp_path / "file")]) == 2
    assert (
        "absent.yaml" in (told := capsys.readouterr().err) and "file" in told and len(told.splitlines()) == 2
    )


def test_ctrl_c_saves_and_says_how_to_continue(store: Path, tmp_path: Path) -> None:
    path = config(store, tmp_path, steps=100_000, validate_every=100_000, save_every=50_000)
    command = [sys.executable, "-m", "kflow_sci", "train", path, "--device", "cpu"]
    run = subprocess.Popen(
        command, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert run.stderr is not None
    for line in run.stderr:
        if line.startswith("step 2 "):
            run.send_signal(signal.SIGINT)
            break
    out, _ = run.communicate(timeout=120)
    assert run.returncode == 130
    assert f"Continue with:  kflow train {path}" in out
    saved = read_header(tmp_path / "run" / "state.safetensors")["state"]["step"]
    assert saved >= 2 and f"Stopped at step {saved} of 100000" in out
