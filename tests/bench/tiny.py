"""A benchmark that takes seconds: three crystals typed from the literature, nets of a few features, a step or two."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from kflow_sci.bench.budget import Budget
from kflow_sci.bench.methods import choose_methods
from kflow_sci.bench.run import Plan
from kflow_sci.bench.task import make_task
from tests.assembly.baselines.tiny import SETTINGS as RIVALS
from tests.training.tiny_store import SETTINGS as KFLOW
from tests.training.tiny_store import write_split

SPLIT = {"urea": "train", "benzene": "train", "chfclbr": "test"}
COPIES = 6
_NET = ("transform", "widths", "overlap", "mu", "prediction", "weighting", "rotation_weight", "hidden", "layers",
        "edge", "neighbours", "contacts", "steps_per_shell")  # fmt: skip
_REST = {"out": "unused", "stores": ["unused"], "split": "unused", "best_by": "matched_pm"}


def write_configs(folder: Path) -> Path:
    """A folder of configs with the names of the real ones, for K-Flow, plain flow matching, and GNN-MD."""
    for room in ("bench", "rivals"):
        (folder / room).mkdir(parents=True, exist_ok=True)
    kflow: dict[str, Any] = {**KFLOW, **_REST}
    write(folder / "bench" / "kflow.yaml", kflow)
    write(folder / "bench" / "plain.yaml", {**kflow, "widths": [1], "overlap": 1.0})
    rival = {key: value for key, value in kflow.items() if key not in _NET}
    rival |= {**RIVALS["gnn-md"], "method": "gnn-md", "starts": "random"}
    write(folder / "rivals" / "gnn_md.yaml", rival)
    return folder


def write(path: Path, values: dict[str, Any]) -> None:
    path.write_text(yaml.safe_dump(values))


def plan(store: Path, root: Path, methods: str = "renumbered,kflow,gnn-md", **changes: Any) -> Plan:
    """A plan on the store of three crystals; urea and benzene are trained on, CHFClBr is the test."""
    split = write_split(root.parent / "split.csv", SPLIT)
    values: dict[str, Any] = {
        "root": root,
        "task": make_task([store], split, root, COPIES, None),
        "methods": choose_methods(methods)[0],
        "seeds": [0],
        "samples": 2,
        "budget": Budget("2 steps", "cpu", steps=2),
        "device": "cpu",
        "threads": 1,
        "configs": write_configs(root.parent / "configs"),
    }
    return Plan(**values | changes)
