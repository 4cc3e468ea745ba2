"""The running mean of the weights, which is what is validated and shipped.

The one idea: early weights are far from the goal, so the decay starts small and rises to its final value.
It depends on the step alone, and the mean is therefore nothing but one more set of weights.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor


def decay_at(step: int, decay: float) -> float:
    """Decay of update number ``step`` (from 1): ``min(decay, (1 + step) / (10 + step))``."""
    return min(decay, (1 + step) / (10 + step))


class AveragedModel:
    """A copy of a model whose parameters follow the original's slowly.

    Attributes:
        module: The copy, in evaluation mode and without gradients; buffers equal the original's.
    """

    def __init__(self, model: torch.nn.Module, decay: float) -> None:
        self.decay = decay
        self.module = copy.deepcopy(model).eval().requires_grad_(False)
        self._mean: list[Tensor] = list(self.module.parameters())
        self._live: list[Tensor] = list(model.parameters())
        self._buffers = list(zip(self.module.buffers(), model.buffers(), strict=True))

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move the mean: ``mean ← d · mean + (1 − d) · live`` with ``d = decay_at(step, decay)``."""
        torch._foreach_lerp_(self._mean, self._live, 1.0 - decay_at(step, self.decay))
        for mean, live in self._buffers:
            mean.copy_(live)
