"""A run small enough to train in a test: a line through noise, with dropout, buffers and noise in the loss.

As a program, ``small_run.py OUT '{"kill_at": 7, …}'``, it is the other process of the tests: one that is killed, or one
of several that ``torchrun`` starts.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from kflow_sci.training.config import FitConfig
from kflow_sci.training.module import FitResult, fit

SETTINGS: dict[str, Any] = {
    "out": "not looked at",
    "seed": 3,
    "batch_size": 7,
    "steps": 23,
    "learning_rate": 0.05,
    "warmup_steps": 4,
    "weight_decay": 0.01,
    "clip_norm": 1.0,
    "ema_decay": 0.9,
    "precision": "float32",
    "log_every": 3,
    "save_every": 5,
    "validate_every": 8,
    "best_by": "error",
    "best_is": "lowest",
}
HEADER = {"model": {"width": 8}, "data": "none"}
EXAMPLES = 20


class Points(NamedTuple):
    """A batch; as a named tuple its length is 3, so only ``ids`` tells its size."""

    ids: tuple[str, ...]
    x: Tensor
    y: Tensor


class Line(torch.nn.Module):
    """Two layers in double precision."""

    def __init__(self, noise: float, dropout: float) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.first = torch.nn.Linear(4, 8, dtype=torch.float64)
        self.second = torch.nn.Linear(8, 1, dtype=torch.float64)
        with torch.no_grad():
            for p in self.parameters():
                p.copy_(0.5 * torch.randn(p.shape, generator=generator, dtype=torch.float64))
        self.drop = torch.nn.Dropout(dropout)
        self.noise = noise
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.drop(torch.tanh(self.first(x))))[:, 0]

    def loss(self, batch: Points, generator: torch.Generator) -> dict[str, Tensor]:
        self.calls += 1
        noise = self.noise * torch.randn(batch.y.shape, generator=generator, dtype=torch.float64).to(
            batch.y.device
        )
        error = (self(batch.x) - batch.y - noise).square().mean()
        return {"loss": error, "half": 0.5 * error.detach()}


def examples() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(EXAMPLES, 4, generator=generator, dtype=torch.float64)
    return x, x.sum(1).sin()


def batch_of(indices: list[int]) -> Points:
    x, y = examples()
    return Points(tuple(f"point{i}" for i in indices), x[indices], y[indices])


def score(model: Line, step: int) -> dict[str, float]:
    x, y = examples()
    device = model.first.weight.device
    with torch.no_grad():
        return {"error": float((model(x.to(device)) - y.to(device)).square().mean()), "half_step": step / 2}


def small_run(
    out: str | Path,
    *,
    noise: float = 0.3,
    dropout: float = 0.2,
    kill_at: int = -1,
    kill_with: int = signal.SIGKILL,
    kill_validation: int = -1,
    poison: int = -1,
    validate: Callable[[Any, int], dict[str, float]] = score,
    header: dict[str, Any] = HEADER,
    device: str = "cpu",
    start: Any = "auto",
    keep: list[Line] | None = None,
    **settings: Any,
) -> FitResult:
    """Train, and send this process a signal when step ``kill_at`` asks for its data."""
    config = FitConfig(**{**SETTINGS, **settings})

    def batches(step: int, rank: int, world_size: int) -> Points:
        if step == kill_at:
            os.kill(os.getpid(), kill_with)
        joint = np.random.default_rng((config.seed, step)).permutation(EXAMPLES)[: config.batch_size]
        batch = batch_of(joint[rank::world_size].tolist())
        if step == poison and rank == world_size - 1:
            batch.y[0] = float("nan")
        return batch

    def scores(model: Line, step: int) -> dict[str, float]:
        if step == kill_validation:
            os.kill(os.getpid(), kill_with)
        return validate(model, step)

    model = Line(noise, dropout)
    if keep is not None:
        keep.append(model)
    return fit(config, model, batches, scores, out, header=header, device=device, start=start, show=False)


if __name__ == "__main__":
    models: list[Line] = []
    small_run(sys.argv[1], keep=models, **json.loads(sys.argv[2]))
    save_file(models[0].state_dict(), Path(sys.argv[1]) / f"process{os.environ.get('RANK', 0)}.safetensors")
