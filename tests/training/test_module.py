"""A run that was interrupted is the run that was not; what it leaves behind is the best it found."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from kflow_sci.checkpoint import load_checkpoint, read_header
from kflow_sci.errors import CheckpointError, ConfigError, OutputError
from kflow_sci.training.module import TrainingError

CLOCK = ("seconds", "per_second")
ROOT = Path(__file__).parents[2]


class PowerCut(BaseException):
    """Ends a run where it stands; nothing of ours handles it."""


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return [
            {key: value for key, value in row.items() if key not in CLOCK} for row in csv.DictReader(file)
        ]


def content(folder: Path) -> dict[str, Any]:
    """All that a run leaves, but its clock readings."""
    tensors, header = load_checkpoint(folder / "state.safetensors")
    header["state"].pop("seconds")
    return {
        "tensors": {name: value.numpy().tobytes() for name, value in tensors.items()},
        "header": header,
        "best": (folder / "best.safetensors").read_bytes(),
        "last": (folder / "last.safetensors").read_bytes(),
        "metrics": rows(folder / "metrics.csv"),
        "validation": rows(folder / "validation.csv"),
        "config": (folder / "config.yaml").read_text(),
        "files": sorted(path.name for path in folder.iterdir()),
    }


@pytest.fixture(scope="module")
def whole(small: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the uninterrupted run leaves."""
    folder = tmp_path_factory.mktemp("whole")
    assert small.small_run(folder).finished
    return content(folder)


def test_a_run_killed_with_signal_9_and_started_again_equals_the_uninterrupted_one(
    small: ModuleType, whole: dict[str, Any], tmp_path: Path
) -> None:
    command = [sys.executable, small.__file__, str(tmp_path), json.dumps({"kill_at": 13})]
    done = subprocess.run(command, check=False, env=os.environ | {"PYTHONPATH": str(ROOT)}, cwd=tmp_path)
    assert done.returncode == -signal.SIGKILL
    assert read_header(tmp_path / "state.safetensors")["state"]["step"] == 10
    assert small.small_run(tmp_path).finished
    assert content(tmp_path) == whole


@pytest.mark.parametrize("cuts", [[0], [1], [5], [7], [9], [10], [22], [3, 11, 12, 17]])
def test_a_power_cut_at_any_step_changes_nothing(
    small: ModuleType,
    whole: dict[str, Any],
    tmp_path: Path,
    cuts: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def cut(*_: object) -> None:
        raise PowerCut

    monkeypatch.setattr(small.os, "kill", cut)
    for step in cuts:
        with pytest.raises(PowerCut):
            small.small_run(tmp_path, kill_at=step)
    small.small_run(tmp_path)
    assert content(tmp_path) == whole


@pytest.mark.parametrize("step", [0, 8, 23])
def test_a_power_cut_during_validation_changes_nothing(
    small: ModuleType, whole: dict[str, Any], tmp_path: Path, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut(*_: object) -> None:
        raise PowerCut

    monkeypatch.setattr(small.os, "kill", cut)
    with pytest.raises(PowerCut):
        small.small_run(tmp_path, kill_validation=step)
    small.small_run(tmp_path)
    assert content(tmp_path) == whole


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_finishes_the_step_and_saves(
    small: ModuleType, whole: dict[str, Any], tmp_path: Path, number: int
) -> None:
    before = signal.getsignal(number)
    result = small.small_run(tmp_path, kill_at=12, kill_with=number)
    assert not result.finished and result.step in (13, 14)
    assert read_header(tmp_path / "state.safetensors")["state"]["step"] == result.step
    assert signal.getsignal(number) is before
    assert small.small_run(tmp_path).finished
    assert content(tmp_path) == whole


def test_ctrl_c_during_validation_stops_at_once_and_loses_nothing(
    small: ModuleType, whole: dict[str, Any], tmp_path: Path
) -> None:
    result = small.small_run(tmp_path, kill_validation=16, kill_with=signal.SIGINT)
    assert (result.finished, result.step, result.best["step"]) == (False, 16, 8)
    small.small_run(tmp_path)
    assert content(tmp_path) == whole


def test_a_finished_run_is_left_alone(small: ModuleType, whole: dict[str, Any], tmp_path: Path) -> None:
    small.small_run(tmp_path)
    times = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.safetensors")}
    assert small.small_run(tmp_path).finished
    assert {path: path.stat().st_mtime_ns for path in times} == times and content(tmp_path) == whole


def test_another_seed_gives_another_run(small: ModuleType, whole: dict[str, Any], tmp_path: Path) -> None:
    small.small_run(tmp_path, seed=4)
    assert content(tmp_path)["metrics"] != whole["metrics"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"learning_rate": 0.04}, "settings.learning_rate = 0.05, but now it is 0.04"),
        ({"header": {"model": {"width": 9}, "data": "none"}}, "model.width = 8, but now it is 9"),
        ({"header": {"model": {"width": 8}, "data": "some"}}, "data = 'none', but now it is 'some'"),
    ],
)
def test_a_folder_with_another_run_is_refused_and_stays(
    small: ModuleType, whole: dict[str, Any], tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    small.small_run(tmp_path)
    with pytest.raises(ConfigError, match="--fresh") as caught:
        small.small_run(tmp_path, **change)
    assert words in str(caught.value) and content(tmp_path) == whole


def test_the_folder_of_a_run_may_be_moved(small: ModuleType, whole: dict[str, Any], tmp_path: Path) -> None:
    small.small_run(tmp_path / "a", kill_at=12, kill_with=signal.SIGINT)
    (tmp_path / "a").rename(tmp_path / "b")
    small.small_run(tmp_path / "b")
    assert content(tmp_path / "b")["tensors"] == whole["tensors"]


def test_fresh_starts_over_and_resume_insists_on_a_run(
    small: ModuleType, whole: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="no run to resume"):
        small.small_run(tmp_path, start="resume")
    small.small_run(tmp_path, seed=4)
    small.small_run(tmp_path, start="fresh")
    assert content(tmp_path) == whole
    small.small_run(tmp_path, start="resume")


def test_the_shipped_weights_are_the_running_mean_at_the_best_validation(
    small: ModuleType, tmp_path: Path
) -> None:
    course = {0: 0.1, 8: 3.0, 16: 2.0, 23: 2.5}  # the untrained weights score best and are no candidate
    seen: dict[int, dict[str, torch.Tensor]] = {}

    def validate(model: torch.nn.Module, step: int) -> dict[str, float]:
        assert not model.training and not any(p.requires_grad for p in model.parameters())
        seen[step] = {name: value.clone() for name, value in model.state_dict().items()}
        return {"other": 1.0, "error": course[step]}

    result = small.small_run(tmp_path, validate=validate)
    assert result.best == {"step": 16, "metrics": {"other": 1.0, "error": 2.0}}
    tensors, header = load_checkpoint(tmp_path / "best.safetensors")
    assert header["model"] == {"width": 8} and header["data"] == "none" and header["step"] == 16
    assert header["settings"]["learning_rate"] == 0.05
    assert all(torch.equal(tensors[name], value) for name, value in seen[16].items())
    last, _ = load_checkpoint(tmp_path / "last.safetensors")
    assert all(torch.equal(last[name], value) for name, value in seen[23].items())


@pytest.mark.parametrize(("best_is", "step"), [("lowest", 16), ("highest", 23)])
def test_the_best_may_be_the_lowest_or_the_highest_and_is_never_nan(
    small: ModuleType, tmp_path: Path, best_is: str, step: int
) -> None:
    course = {0: 9.0, 8: float("nan"), 16: 1.0, 23: 2.0}
    result = small.small_run(tmp_path, validate=lambda _, at: {"error": course[at]}, best_is=best_is)
    assert result.best["step"] == step
    assert rows(tmp_path / "validation.csv")[1]["error"] == "nan"


class Clock:
    """Every look at it takes a second; a training step looks twice, at its beginning and its end."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


def test_a_time_limit_ends_the_run_with_the_rate_at_zero_a_validation_and_all_files(
    small: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kflow_sci.training.module.time.perf_counter", Clock())
    limit = {"minutes": 0.1, "warmup_steps": 0, "log_every": 1}
    result = small.small_run(tmp_path, **limit)
    # Steps of a second each: after six of them the time is spent, which the seventh finds out.
    assert result.finished and result.step == 7 and result.best["step"] == 7
    rates = [float(row["learning_rate"]) for row in rows(tmp_path / "metrics.csv")]
    # The time spent before a step is known one step late: 0 0 1 2 … of six seconds.
    spent = [0, 0, 1, 2, 3, 4, 5]
    assert rates == pytest.approx(
        [0.05 * (1 + np.cos(np.pi * max(t / 6, i / 23))) / 2 for i, t in enumerate(spent)]
    )
    before = content(tmp_path)
    assert small.small_run(tmp_path, **limit).finished and content(tmp_path) == before


def test_time_counts_on_after_an_interruption(
    small: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kflow_sci.training.module.time.perf_counter", Clock())

    def stop(model: torch.nn.Module, step: int) -> dict[str, float]:
        if step == 8:
            raise PowerCut
        return {"error": 1.0}

    with pytest.raises(PowerCut):
        small.small_run(tmp_path, minutes=0.2, validate=stop)
    # Eight steps are saved, before the validation; of twelve seconds four are left, and one step finds that out.
    result = small.small_run(tmp_path, minutes=0.2, validate=lambda _, step: {"error": 1.0})
    assert result.finished and result.step == 12 + 1


def test_a_score_that_is_not_there_is_refused_before_the_first_step(
    small: ModuleType, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="best_by = 'eror' is no validation score: did you mean 'error'"):
        small.small_run(tmp_path, best_by="eror")
    assert not (tmp_path / "metrics.csv").exists()


def test_a_loss_that_is_not_finite_stops_with_the_ids_of_the_batch(small: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(TrainingError) as caught:
        small.small_run(tmp_path, poison=12)
    message = str(caught.value)
    told = json.loads((tmp_path / "nonfinite.json").read_text())
    assert "\n" not in message and "loss is nan at step 12" in message and "learning_rate" in message
    assert len(told["ids"]) == 7 and all(name in message for name in told["ids"])
    tensors, header = load_checkpoint(tmp_path / "state.safetensors")
    assert header["state"]["step"] == 10 and all(value.isfinite().all() for value in tensors.values())


def test_a_gradient_that_is_not_finite_stops_too(
    small: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kink(self: Any, batch: Any, generator: torch.Generator) -> dict[str, torch.Tensor]:
        return {"loss": (0.0 * self(batch.x)).sum().sqrt()}  # 0, but its slope is 0 · ∞

    monkeypatch.setattr(small.Line, "loss", kink)
    with pytest.raises(TrainingError, match=r"gradient norm is nan .* at step 0"):
        small.small_run(tmp_path)


def test_the_metrics_hold_means_over_their_rows(small: ModuleType, tmp_path: Path) -> None:
    small.small_run(tmp_path / "every", log_every=1)
    small.small_run(tmp_path / "third", log_every=3)
    every, third = rows(tmp_path / "every" / "metrics.csv"), rows(tmp_path / "third" / "metrics.csv")
    assert [row["step"] for row in third] == ["3", "6", "9", "12", "15", "18", "21", "23"]
    for key in ("loss", "half", "grad_norm"):
        mean = sum(float(row[key]) for row in every[3:6]) / 3
        assert float(third[1][key]) == pytest.approx(mean, rel=1e-7)


def test_a_truncated_state_is_refused(small: ModuleType, tmp_path: Path) -> None:
    small.small_run(tmp_path, kill_at=12, kill_with=signal.SIGINT)
    state = tmp_path / "state.safetensors"
    state.write_bytes(state.read_bytes()[:-8])
    with pytest.raises(CheckpointError, match="truncated"):
        small.small_run(tmp_path)


def test_an_output_place_that_is_a_file_is_refused(small: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="file"):
        small.small_run(tmp_path / "file")


@pytest.mark.parametrize("device", ["tpu", "cuda:99", "cpu:1", "auto:0", ""])
def test_a_device_that_is_not_there_is_refused(small: ModuleType, tmp_path: Path, device: str) -> None:
    with pytest.raises(ConfigError, match="device"):
        small.small_run(tmp_path, device=device)


def test_training_leaves_the_global_random_state_alone(small: ModuleType, tmp_path: Path) -> None:
    torch.manual_seed(5)
    small.Line(0.0, 0.0)  # making a model draws its first weights
    expected = torch.rand(3)
    torch.manual_seed(5)
    small.small_run(tmp_path)
    assert torch.equal(torch.rand(3), expected)


def test_training_leaves_the_arithmetic_of_the_process_as_it_was(small: ModuleType, tmp_path: Path) -> None:
    small.small_run(tmp_path)
    # 2^-149 is the smallest number of single precision, and denormal.
    assert float(torch.tensor([2.0**-149], dtype=torch.float32) * 1.0) > 0.0
