"""Runs the cells that are not done, one after the other, and says how it went.

The one idea: the loop knows cells and their stages, nothing of what they do. What is done is taken, what fails is noted
with its reason and the next one begins.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from kflow_sci.bench.budget import Budget
from kflow_sci.bench.cells import Cell, Stage, make_cell
from kflow_sci.bench.methods import Method
from kflow_sci.bench.task import Task
from kflow_sci.bench.worker import FAILED, INTERRUPTED, do_stages
from kflow_sci.errors import ConfigError

Launch = Callable[[Cell, Sequence[Stage]], str]
"""Does stages of a cell; returns why it failed, or nothing."""


@dataclass(frozen=True)
class Outcome:
    """What became of a method and a seed.

    Attributes:
        method: The method.
        seed: The seed.
        cell: Where its results are; None if it could not even be described.
        reason: Why it failed; empty if all its stages are done.
        made: Stages that were done now, and not taken from before.
    """

    method: Method
    seed: int
    cell: Cell | None
    reason: str = ""
    made: tuple[Stage, ...] = ()


@dataclass(frozen=True)
class Plan:
    """What is to be compared.

    Attributes:
        root: Folder of all cells.
        task: Data.
        methods: In the order of the table.
        seeds: Each method is trained and sampled once with each.
        samples: Clusters per test cluster and seed.
        budget: Of training.
        device: For learned methods.
        threads: Of every process.
        configs: Folder of the configs.
    """

    root: Path
    task: Task
    methods: Sequence[Method]
    seeds: Sequence[int]
    samples: int
    budget: Budget
    device: str
    threads: int
    configs: Path


def run_bench(
    plan: Plan,
    launch: Launch | None = None,
    force: bool = False,
    tell: Callable[[str], None] = lambda line: None,
) -> list[Outcome]:
    """Make all cells of a plan.

    Args:
        plan: The plan.
        launch: How stages are done; ``in_child`` if None.
        force: Do them again, even if they are done.
        tell: Takes one line per cell.

    Returns:
        One outcome for each method and seed, failed ones too.

    Raises:
        KeyboardInterrupt: Somebody stopped it; the same call continues.
    """
    outcomes = []
    total = len(plan.methods) * len(plan.seeds)
    for seed in plan.seeds:  # a first table of all methods comes before a second seed
        for method in plan.methods:
            outcome = _run_cell(plan, method, seed, launch or in_child, force)
            outcomes.append(outcome)
            tell(f"[{len(outcomes)}/{total}] {method.name}, seed {seed}: {_how(outcome)}")
    return outcomes


def _run_cell(plan: Plan, method: Method, seed: int, launch: Launch, force: bool) -> Outcome:
    try:
        values = {} if method.floor else method.values(plan.configs)
        cell = make_cell(
            plan.root, plan.task, method, values, seed, plan.samples, plan.budget, plan.device, plan.threads,
            Path() if method.floor else method.path(plan.configs),
        )  # fmt: skip
    except ConfigError as error:
        return Outcome(method, seed, None, str(error))
    made: list[Stage] = []
    # Training has a process of its own, so that its memory and that of sampling are told apart.
    for stages in (("train",), ("sample", "score")):
        wanted: list[Stage] = []
        for stage in cell.stages:
            if stage in stages and (force or wanted or cell.result(stage) is None):
                wanted.append(stage)
        if force:
            for stage in reversed(wanted):
                cell.forget(stage)
        if wanted:
            reason = launch(cell, wanted)
            if reason:
                return Outcome(method, seed, cell, reason, tuple(made))
            made += wanted
    return Outcome(method, seed, cell, "", tuple(made))


def in_child(cell: Cell, stages: Sequence[Stage]) -> str:
    """Do stages in a process of their own; what it prints goes to ``log.txt`` beside the stages.

    Raises:
        KeyboardInterrupt: Somebody stopped it.
    """
    first = cell.begin(stages[0])
    spec, log = first / "cell.json", first.parent / "log.txt"
    cell.write(spec)
    threads = str(cell.threads)
    environment = os.environ | {
        "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads,
        "NUMBA_NUM_THREADS": threads,
    }  # fmt: skip
    command = [sys.executable, "-m", "kflow_sci.bench.worker", str(spec), *stages]
    with (
        log.open("ab") as stream,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=stream, stderr=stream, env=environment,
            start_new_session=True,  # Ctrl-C reaches it once, from here
        ) as child,
    ):  # fmt: skip
        try:
            code = child.wait()
        except KeyboardInterrupt:
            child.send_signal(signal.SIGINT)  # training saves its state first
            child.wait()
            raise
    if code == INTERRUPTED or -code in (signal.SIGINT, signal.SIGTERM):
        raise KeyboardInterrupt
    return _reason(cell, stages, code, log)


def in_this_process(cell: Cell, stages: Sequence[Stage]) -> str:
    """Do stages here: at once, but a crash ends all, and memory is that of everything before.

    Raises:
        KeyboardInterrupt: Somebody stopped it.
    """
    code = do_stages(cell, stages)
    if code == INTERRUPTED:
        raise KeyboardInterrupt
    return _reason(cell, stages, code, None)


def _reason(cell: Cell, stages: Sequence[Stage], code: int, log: Path | None) -> str:
    if code == 0:
        return ""
    stage = next(stage for stage in stages if cell.result(stage) is None)
    if code == FAILED and cell.failure(stage):
        return f"{stage}: {cell.failure(stage)}"
    if code < 0:
        name = signal.Signals(-code).name
        return f"{stage}: its process was ended by {name}" + (
            " (out of memory?)" if name == "SIGKILL" else ""
        )
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log is not None else []
    return f"{stage}: {lines[-1].strip() if lines else f'exit code {code}'} (see log.txt of the cell)"


def _how(outcome: Outcome) -> str:
    if outcome.reason or outcome.cell is None:
        return f"failed: {outcome.reason}"
    if not outcome.made:
        return "taken from before"
    parts = []
    trained, sampled = outcome.cell.result("train"), outcome.cell.result("sample")
    if "train" in outcome.made and trained:
        parts.append(f"{trained['steps']} steps in {trained['seconds']:.0f} s")
    if "sample" in outcome.made and sampled:
        parts.append(f"{sampled['made']} of {sampled['asked']} samples in {sampled['seconds_total']:.0f} s")
    return ", ".join(parts) or "scored"
