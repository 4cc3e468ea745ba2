"""Two processes train one model."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors.torch import load_file

from kflow_sci.checkpoint import load_checkpoint

ROOT = Path(__file__).parents[2]
QUIET = {
    "noise": 0.0,
    "dropout": 0.0,
}  # each process draws its own noise, so only without it the runs compare


@pytest.fixture(scope="module")
def folders(small: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One process from start to end; one process to step 9 or so, then two by ``torchrun``."""
    place = tmp_path_factory.mktemp("runs")
    small.small_run(place / "one", **QUIET)
    assert small.small_run(place / "two", **QUIET, kill_at=8, kill_with=signal.SIGINT).step < 12
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, small.__file__, str(place / "two"), json.dumps(QUIET)],
        check=False, env=environment, cwd=place, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return {"one": place / "one", "two": place / "two"}


def test_both_processes_end_with_the_same_parameters(folders: dict[str, Path]) -> None:
    first, second = (load_file(folders["two"] / f"process{rank}.safetensors") for rank in (0, 1))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_two_processes_equal_one_on_the_joint_batch(folders: dict[str, Path]) -> None:
    # The batch of 7 is split 4 + 3, so this holds only if each part counts with its size.
    one, header = load_checkpoint(folders["one"] / "state.safetensors")
    two, other = load_checkpoint(folders["two"] / "state.safetensors")
    assert header["state"]["step"] == other["state"]["step"] == 23
    for name in one:
        torch.testing.assert_close(one[name], two[name], rtol=1e-9, atol=1e-12, msg=name)


def test_two_processes_write_one_row_per_step_and_validation(folders: dict[str, Path]) -> None:
    for name in ("metrics.csv", "validation.csv"):
        steps = [
            [line.split(",")[0] for line in (folder / name).read_text().splitlines()]
            for folder in folders.values()
        ]
        assert steps[0] == steps[1]
