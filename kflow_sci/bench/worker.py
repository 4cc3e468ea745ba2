"""Does the stages of a cell, in this process; as a program, in a process of its own.

The one idea: a method that runs out of memory, crashes or hangs on must not take the benchmark along, and what it needs
in memory is measured best where nothing else ran before. So ``python -m kflow_sci.bench.worker CELL.json STAGE …`` is
what the benchmark starts; it ends when the benchmark does.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kflow_sci.assembly.data.store import open_store
from kflow_sci.bench.cells import Cell, Stage
from kflow_sci.bench.sampling import Proposer, read_samples, sample_in_parts
from kflow_sci.bench.task import Task
from kflow_sci.errors import ConfigError, KFlowError

DONE, INTERRUPTED, FAILED = 0, 130, 2
WEIGHTS = "last.safetensors"  # the running mean at the end of the budget; no method chooses by validation


def do_stages(cell: Cell, stages: Sequence[Stage]) -> int:
    """Do stages of a cell that are not done, in order; a refusal is written into the folder of its stage.

    Returns:
        0, 2 if a stage failed, 130 if training was interrupted.
    """
    work = {"train": _train, "sample": _sample, "score": _score}
    for stage in stages:
        folder = cell.begin(stage)
        try:
            result = work[stage](cell, folder)
        except KFlowError as error:
            cell.fail(stage, str(error))
            return FAILED
        if result is None:
            return INTERRUPTED
        cell.finish(stage, result)
    return DONE


def _train(cell: Cell, folder: Path) -> dict[str, Any] | None:
    from kflow_sci.assembly.baselines.learned import load
    from kflow_sci.checkpoint import read_header
    from kflow_sci.settings import make_named
    from kflow_sci.training.clusters import train_clusters
    from kflow_sci.training.config import ClusterConfig
    from kflow_sci.training.methods import config_kind

    values = {**cell.config, "out": str(folder)}
    kind = config_kind(str(values.get("method", "kflow")))
    if not issubclass(kind, ClusterConfig):
        raise ConfigError(f"config {cell.source} trains no model of clusters: give one that does")
    config = make_named(kind, values, cell.source)
    began = time.perf_counter(), time.process_time()
    result = train_clusters(config, device=cell.device, show=False)
    wall, busy = time.perf_counter() - began[0], time.process_time() - began[1]
    if not result.finished:
        return None
    weights = folder / WEIGHTS
    state = read_header(folder / "state.safetensors")["state"]
    return {
        "weights_sha256": _digest_of(weights),
        "steps": result.step,
        "seconds": float(state["seconds"]) + float(state["window"]["seconds"]),
        "cores": busy / wall,  # less than the threads where others used the machine too
        "parameters": sum(p.numel() for p in load(weights).parameters()),
        **_memory(cell.device),
    }


def _sample(cell: Cell, folder: Path) -> dict[str, Any]:
    store = open_store(Task.read(cell.task).test)
    pairs = [(store[i], store.start(i) if store.has_starts else None) for i in range(len(store))]
    rival = None
    if not cell.floor:
        from kflow_sci.assembly.baselines.learned import load

        rival = load(cell.folder("train") / WEIGHTS, _device(cell.device))
    proposer = Proposer(cell.samples, cell.seed, cell.floor, rival)
    sample_in_parts(proposer, pairs, folder)
    found = read_samples(folder)
    each = [one.seconds / len(one.frames) for one in found if all(frame is not None for frame in one.frames)]
    return {
        "asked": sum(len(one.frames) for one in found),
        "made": sum(frame is not None for one in found for frame in one.frames),
        "per_cluster": max(len(one.frames) for one in found),
        "calls": max(one.calls for one in found),
        "seconds": float(np.median(each)) if each else None,
        "seconds_total": sum(one.seconds for one in found),
        "uses_start": rival is not None and store.has_starts and rival.uses_start,
        **_memory(cell.device),
    }


def _score(cell: Cell, folder: Path) -> dict[str, Any]:
    from kflow_sci.assembly.scoring.report import score_clusters
    from kflow_sci.assembly.scoring.results import write_report

    found = {one.id: one for one in read_samples(cell.folder("sample"))}
    truths = list(open_store(Task.read(cell.task).test))
    ordered = [found[str(truth.info["id"])] for truth in truths]
    report = score_clusters([one.frames for one in ordered], truths, seed=0, data={"test": cell.test_digest})
    for row in report.rows:  # why a sample was not made is known here alone
        if row["failed"] and found[row["id"]].note:
            row["note"] = "; ".join(filter(None, [row["note"], found[row["id"]].note]))
    write_report(report, folder)
    return {"references": len(truths), "samples": len(report.rows), "missing": len(report.missing)}


def _digest_of(weights: Path) -> str:
    """Of the tensors alone: the header tells paths and times too."""
    from kflow_sci.checkpoint import load_checkpoint

    tensors, header = load_checkpoint(weights)
    about = json.dumps([header.get("model"), header.get("rival")], sort_keys=True)
    total = hashlib.sha256(about.encode())
    for name in sorted(tensors):
        total.update(name.encode())
        total.update(tensors[name].numpy().tobytes())
    return total.hexdigest()


def _device(name: str) -> str:
    import torch

    return ("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name


def _memory(device: str) -> dict[str, float]:
    """Largest memory of this process, and of its device if it has memory of its own, MiB."""
    import resource

    unit = 2**20 if sys.platform == "darwin" else 2**10
    found = {"peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit}
    if _device(device).startswith("cuda"):
        import torch

        found["device_mib"] = torch.cuda.max_memory_allocated() / 2**20
    return found


def _end_with_parent() -> None:
    # Returns when the benchmark is gone. Not sys.stdin: its lock would be held when the interpreter ends.
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    threading.Thread(target=_end_with_parent, daemon=True).start()
    chosen: Any = sys.argv[2:]
    sys.exit(do_stages(Cell.read(Path(sys.argv[1])), chosen))
