"""A cell of the table: one method, one seed, in three stages, each cached by all that decides it.

The one idea: a stage is a folder named by the digest of its key (config, data, code, budget, and what the stage before
made). If it holds ``done.json`` it is done; if not, it is begun or continued. Nothing else is remembered, so a killed
benchmark goes on where it was, and a changed config, data set or line of code makes another folder.

    cells/METHOD/seedN/train-…   run folder of ``kflow train``
    cells/METHOD/seedN/sample-…  clusters of the test set, in parts
    cells/METHOD/seedN/score-…   scores.json, scores.csv, crystals.csv
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from kflow_sci.bench.budget import Budget
from kflow_sci.bench.code import code_digest
from kflow_sci.bench.methods import Method
from kflow_sci.bench.task import Task
from kflow_sci.files import atomic_write, output_folder

Stage = Literal["train", "sample", "score"]
FORMAT = 2  # raise it when the files of a stage change their meaning
_DONE, _KEY, _FAILED = "done.json", "key.json", "failed.json"
_BASELINES = "kflow_sci.assembly.baselines"


@dataclass(frozen=True)
class Cell:
    """All that one cell needs to be made, as plain values, so that another process can make it.

    Attributes:
        root: Folder of the benchmark.
        task: Folder of the task.
        method: Name of the method.
        seed: Of training and of sampling.
        samples: Clusters per test cluster.
        floor: See ``Method.floor``.
        config: The whole config of training, for learned methods; empty for floors.
        source: File it came from, for messages.
        device: See ``training.launch``.
        threads: Threads of the process; they are part of a budget in time.
        code: Digest of the code of each stage.
        train_digest: See ``Task``.
        test_digest: See ``Task``.
    """

    root: str
    task: str
    method: str
    seed: int
    samples: int
    floor: str
    config: dict[str, Any]
    source: str
    device: str
    threads: int
    code: dict[str, str]
    train_digest: str
    test_digest: str

    @property
    def stages(self) -> tuple[Stage, ...]:
        """What has to be done, in order."""
        return ("sample", "score") if self.floor else ("train", "sample", "score")

    def folder(self, stage: Stage) -> Path:
        """Folder of a stage; the stages before must be done."""
        name = f"{stage}-{_digest(self.key(stage))}"
        return Path(self.root) / "cells" / self.method / f"seed{self.seed}" / name

    def key(self, stage: Stage) -> dict[str, Any]:
        """All that decides the result of a stage."""
        key: dict[str, Any] = {"format": FORMAT, "stage": stage, "code": self.code[stage], "seed": self.seed}
        if stage == "train":
            places = ("out", "stores", "split")  # their content counts, not where it lies
            config = {name: value for name, value in self.config.items() if name not in places}
            key |= {
                "config": config,
                "data": self.train_digest,
                "device": self.device,
                "threads": self.threads,
            }
        elif stage == "sample":
            made = self.floor or (self.result("train") or {}).get("weights_sha256")
            key |= {"method": made, "samples": self.samples, "test": self.test_digest}
            key |= {"device": self.device, "threads": self.threads}  # time is part of the result
        else:
            key |= {"made": _digest(self.key("sample"))}
        return key

    def result(self, stage: Stage) -> dict[str, Any] | None:
        """What a finished stage found; None if it is not finished."""
        if stage != "train" and not self.floor and self.result("train") is None:
            return None  # what it would begin with is not known yet
        return _read(self.folder(stage) / _DONE)

    def todo(self) -> list[Stage]:
        """Stages that are not finished."""
        return [stage for stage in self.stages if self.result(stage) is None]

    def begin(self, stage: Stage) -> Path:
        """Make the folder of a stage, say what it is for, and forget an earlier failure."""
        folder = output_folder(self.folder(stage))
        (folder / _FAILED).unlink(missing_ok=True)
        _write(folder / _KEY, self.key(stage))
        return folder

    def finish(self, stage: Stage, result: Mapping[str, Any]) -> None:
        """Say that a stage is done."""
        _write(self.folder(stage) / _DONE, result)

    def fail(self, stage: Stage, reason: str) -> None:
        """Say why a stage cannot be done; it is tried again next time."""
        _write(self.folder(stage) / _FAILED, {"reason": reason})

    def failure(self, stage: Stage) -> str:
        """Why a stage failed; empty if nobody said so."""
        return str((_read(self.folder(stage) / _FAILED) or {}).get("reason", ""))

    def forget(self, stage: Stage) -> None:
        """Remove what a stage made."""
        folder = self.folder(stage)
        if (folder / _KEY).is_file():
            shutil.rmtree(folder)

    def write(self, path: Path) -> None:
        """Write it for another process."""
        _write(path, asdict(self))

    @classmethod
    def read(cls, path: Path) -> Cell:
        """What ``write`` wrote."""
        return cls(**json.loads(path.read_text(encoding="utf-8")))


def make_cell(
    root: Path,
    task: Task,
    method: Method,
    values: Mapping[str, Any],
    seed: int,
    samples: int,
    budget: Budget,
    device: str,
    threads: int,
    source: Path,
) -> Cell:
    """The cell of a method and a seed.

    Args:
        root: Folder of the benchmark.
        task: Data.
        method: The method.
        values: Its config as read; empty for floors.
        seed: The seed.
        samples: Clusters per test cluster.
        budget: Of training.
        device: Where training and sampling happen.
        threads: Threads.
        source: The config, for messages.
    """
    config = _config(task, values, seed, budget) if values else {}
    if method.floor:
        sampled = [f"{_BASELINES}.{method.floor}"]
        trained = []
    else:
        own = _module_of(config)
        sampled, trained = [f"{_BASELINES}.learned", *own], ["kflow_sci.training.clusters", *own]
    code = {
        "train": code_digest(trained),
        "sample": code_digest(sampled),
        "score": code_digest(["kflow_sci.assembly.scoring.report"]),
    }
    # Floors know no training: a change of the net or of the machine leaves them as they are.
    where = "cpu" if method.floor else device
    return Cell(
        root=str(root), task=task.folder, method=method.name, seed=seed, samples=samples, floor=method.floor,
        config=config, source=str(source) if values else "", device=where, threads=threads, code=code,
        train_digest=task.train_digest, test_digest=task.test_digest,
    )  # fmt: skip


def _config(task: Task, values: Mapping[str, Any], seed: int, budget: Budget) -> dict[str, Any]:
    """The config with the data, the seed and the budget of the benchmark."""
    config = {**values, "seed": seed, "stores": [task.stores], "split": task.split, "out": ""}
    steps = budget.steps_of(int(config.get("steps", 1)))
    config |= {"steps": steps, "minutes": budget.minutes, "validate_every": steps, "validate_samples": 1}
    if config.get("computed"):  # the same crystals for all
        config |= {"computed": [], "computed_share": 0.0}
    if "warmup_steps" in config:
        config["warmup_steps"] = min(int(config["warmup_steps"]), steps)
    least = min(int(config.get("copies_min", task.copies)), task.copies)
    config |= {"copies_min": least, "copies_max": task.copies, "validate_copies": task.copies}
    if values.get("method", "kflow") != "kflow":
        config["starts"] = "data" if task.has_starts else "random"
        if task.has_starts:  # initial states are of whole clusters
            config["copies_min"] = task.copies
    return config


def _module_of(config: Mapping[str, Any]) -> list[str]:
    from kflow_sci.assembly.baselines.learned import METHODS

    name = METHODS.get(str(config.get("method", "kflow")), "").partition(":")[0]
    return [f"{_BASELINES}.{name}"] if name else []


def _digest(key: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:12]


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return found


def _write(path: Path, values: Mapping[str, Any]) -> None:
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(values, indent=1), encoding="utf-8")
