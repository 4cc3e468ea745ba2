"""Three crystals typed from the literature, a split of them, and a config that trains on them in a second."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from kflow_sci.assembly.data.build import build_store
from tests.crystals_by_hand import BENZENE, UREA, chfclbr_p21c

SPLIT = {"urea": "train", "benzene": "train", "chfclbr": "val"}
COPIES = 8
SETTINGS: dict[str, Any] = {
    "seed": 1,
    "batch_size": 3,
    "steps": 3,
    "learning_rate": 1e-3,
    "warmup_steps": 1,
    "weight_decay": 0.0,
    "clip_norm": 1.0,
    "ema_decay": 0.99,
    "precision": "float32",
    "log_every": 1,
    "save_every": 2,
    "validate_every": 3,
    "best_by": "density_error",
    "best_is": "lowest",
    "copies_min": 4,
    "copies_max": 6,
    "transform": "graph",
    "widths": [1, 1],
    "overlap": 0.5,
    "mu": "linear",
    "prediction": "endpoint",
    "weighting": "open",
    "rotation_weight": 0.2,
    "hidden": 8,
    "layers": 1,
    "edge": 4,
    "neighbours": 3,
    "contacts": 4,
    "steps_per_shell": [1],
    "validate_copies": 5,
    "validate_samples": 1,
}


def tiny_store(folder: Path) -> Path:
    """``tiny.kfc`` in the folder, with eight molecules around the centre of each crystal."""
    cifs = folder / "cif"
    cifs.mkdir()
    for name, text in (("urea", UREA), ("benzene", BENZENE), ("chfclbr", chfclbr_p21c())):
        (cifs / f"{name}.cif").write_text(text)
    build_store(cifs, folder / "tiny.kfc", COPIES)
    return folder / "tiny.kfc"


def write_split(path: Path, split: dict[str, str]) -> Path:
    path.write_text("id,split\n" + "".join(f"{name},{part}\n" for name, part in split.items()))
    return path


def settings_for(store: Path, out: Path, **changes: Any) -> dict[str, Any]:
    split = write_split(store.with_name("split.csv"), SPLIT)
    return {**SETTINGS, "out": str(out), "stores": [str(store)], "split": str(split), **changes}


def write_settings(path: Path, settings: dict[str, Any]) -> Path:
    path.write_text(yaml.safe_dump(settings))
    return path
