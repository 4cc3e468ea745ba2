"""All that training changes: weights, their running mean, and the moments of the optimizer.

The one idea: it is a flat table of named tensors, so it fits a safetensors file and nothing has to be pickled.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from kflow_sci.checkpoint import load_weights
from kflow_sci.errors import CheckpointError
from kflow_sci.training.config import FitConfig
from kflow_sci.training.ema import AveragedModel

_ADAM = ("step", "exp_avg", "exp_avg_sq")


def learning_rate_at(step: int, config: FitConfig, seconds: float = 0.0) -> float:
    """Rate of step number ``step`` (0-based): linear warm-up to the peak, then half a cosine, zero at ``steps``.

    With a time limit the cosine is zero there already: its phase is the share of the steps or of the time that is
    spent, whichever is more.

    Args:
        step: The step.
        config: Settings.
        seconds: Time spent in training steps before it.
    """
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    rest = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    if config.minutes is not None:
        rest = min(1.0, max(rest, seconds / (60.0 * config.minutes)))
    return config.learning_rate * 0.5 * (1.0 + math.cos(math.pi * rest))


class TrainState:
    """A model with its running mean and AdamW.

    Weight decay acts on parameters with two axes or more; biases and gains have no reason to be small.

    Attributes:
        model: The model that is trained, already on its device.
        mean: See ``AveragedModel``.
        optimizer: AdamW over the parameters that need gradients.
    """

    def __init__(self, model: torch.nn.Module, config: FitConfig) -> None:
        self.model = model
        self.mean = AveragedModel(model, config.ema_decay)
        named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        matrices = [(name, p) for name, p in named if p.ndim >= 2]
        others = [(name, p) for name, p in named if p.ndim < 2]
        self._names = [name for name, _ in matrices + others]
        groups = [
            {"params": [p for _, p in matrices], "weight_decay": config.weight_decay},
            {"params": [p for _, p in others], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW([g for g in groups if g["params"]], lr=config.learning_rate)

    def set_rate(self, rate: float) -> None:
        """Learning rate of the next step."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate

    def tensors(self) -> dict[str, Tensor]:
        """The whole state: ``model.*``, ``mean.*`` and ``optimizer.PARAMETER.MOMENT``."""
        table = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        table |= {f"mean.{name}": value for name, value in self.mean.module.state_dict().items()}
        for i, moments in self.optimizer.state_dict()["state"].items():
            table |= {f"optimizer.{self._names[i]}.{key}": value for key, value in moments.items()}
        return table

    def load(self, tensors: Mapping[str, Tensor], source: str | Path) -> None:
        """The opposite of ``tensors``; before the first step the optimizer has no moments.

        Raises:
            CheckpointError: The tensors are those of another model.
        """
        load_weights(self.model, _under("model.", tensors), source)
        load_weights(self.mean.module, _under("mean.", tensors), source)
        moments = _under("optimizer.", tensors)
        whole = self.optimizer.state_dict()
        if moments and set(moments) != {f"{name}.{key}" for name in self._names for key in _ADAM}:
            raise CheckpointError(
                f"{source} holds the optimizer of other parameters: start over with --fresh"
            )
        if moments:
            whole["state"] = {
                i: {key: moments[f"{name}.{key}"] for key in _ADAM} for i, name in enumerate(self._names)
            }
        self.optimizer.load_state_dict(whole)


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
