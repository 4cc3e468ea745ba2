"""An image model and a training small enough for a test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kflow_sci.images.config import ImageConfig
from kflow_sci.images.model import ImageModel
from kflow_sci.settings import make_config, write_config
from kflow_sci.training.images import ImageTrainConfig

CONDITIONS = {"class": ("a", "b", "c"), "ink": ("thin", "thick")}


def small_config(**changes: Any) -> ImageConfig:
    """Three Fourier shells on 1 × 8 × 8 pixels, a tiny MLP, endpoint."""
    values: dict[str, Any] = {
        "shape": (1, 8, 8),
        "conditions": CONDITIONS,
        "transform": "fourier",
        "shells": 3,
        "wavelet": "haar",
        "widths": (1.0, 1.0, 1.0),
        "overlap": 0.0,
        "mu": "linear",
        "prediction": "endpoint",
        "weighting": "open",
        "variance": (4.0, 1.0, 0.25),
        "drop": 0.1,
        "net": "mlp",
        "patch": 1,
        "hidden": 8,
        "layers": 1,
        "heads": 1,
        "steps": 6,
        "step_shares": (),
        "method": "shell",
    }
    return ImageConfig(**{**values, **changes})


def small_model(**changes: Any) -> ImageModel:
    """An untrained model; its net answers zero."""
    return ImageModel(small_config(**changes))


def small_settings(out: str | Path, **changes: Any) -> dict[str, Any]:
    """A complete config of a few steps on digits."""
    values: dict[str, Any] = {
        "out": str(out),
        "seed": 0,
        "data": "digits",
        "source": None,
        "select": None,
        "size": None,
        "channels": 1,
        "other_modes": "refuse",
        "mirrors": False,
        "conditions": ["class", "ink"],
        "held_out": 0.2,
        "split_seed": 0,
        "vae": None,
        "vae_scale": 0.18215,
        "latents": None,
        "transform": "fourier",
        "shells": 3,
        "cut": "energy",
        "rank": None,
        "wavelet": "haar",
        "widths": "equal",
        "overlap": 0.5,
        "mu": "linear",
        "prediction": "residual",
        "weighting": "open",
        "condition_drop": 0.2,
        "net": "mlp",
        "patch": 1,
        "hidden": 16,
        "layers": 1,
        "heads": 1,
        "compiled": False,
        "batch_size": 16,
        "steps": 3,
        "learning_rate": 1e-3,
        "warmup_steps": 1,
        "weight_decay": 0.0,
        "clip_norm": 1.0,
        "ema_decay": 0.5,
        "precision": "float32",
        "log_every": 2,
        "save_every": 2,
        "sample_steps": 6,
        "step_shares": "equal",
        "method": "shell",
        "validate_every": 3,
        "validate_samples": 4,
        "best_by": "loss",
        "best_is": "lowest",
    }
    return {**values, **changes}


def train_config(out: str | Path, **changes: Any) -> ImageTrainConfig:
    """The same as a config."""
    return make_config(ImageTrainConfig, small_settings(out, **changes))


def write_small(path: Path, out: str | Path, **changes: Any) -> str:
    """The same as a file."""
    write_config(train_config(out, **changes), path)
    return str(path)
