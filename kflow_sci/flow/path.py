"""The interpolant: scale by scale from start to target.

The one idea: ``x_s = x₀ + S(α(s)) (x₁ − x₀)`` and its time derivative ``v_s = S(α′(s)) (x₁ − x₀)``. It knows a
transform and a schedule, no network.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from kflow_sci.errors import ScheduleError
from kflow_sci.flow.schedule import ShellSchedule
from kflow_sci.transforms.base import KTransform


class PathSample(NamedTuple):
    """A point of the path, its velocity, and the flow time of each sample."""

    x: Float[Tensor, "batch ..."]
    v: Float[Tensor, "batch ..."]
    s: Float[Tensor, " batch"]


@dataclass(frozen=True)
class Path:
    """The K-Flow path of a transform and a schedule with the same number of shells."""

    transform: KTransform
    schedule: ShellSchedule

    def __post_init__(self) -> None:
        if self.transform.n_shells != self.schedule.n_shells:
            raise ScheduleError(
                f"the transform has {self.transform.n_shells} shells, the schedule {self.schedule.n_shells}: make them equal"
            )

    def sample(
        self, x0: Float[Tensor, "batch ..."], x1: Float[Tensor, "batch ..."], s: Float[Tensor, " batch"]
    ) -> PathSample:
        """Point and velocity at flow time s, from start x0 (s = 0) to target x1 (s = 1)."""
        alpha, rate = self.schedule.progress(s)
        # Each shell is a sum of two exact parts, so passed shells equal the data and unreached ones the start.
        x = self.transform.filter(x0, 1.0 - alpha) + self.transform.filter(x1, alpha)
        return PathSample(x, self.transform.filter(x1 - x0, rate), s)

    def velocity_from_endpoint(
        self, x: Float[Tensor, "batch ..."], endpoint: Float[Tensor, "batch ..."], s: Float[Tensor, " batch"]
    ) -> Float[Tensor, "batch ..."]:
        """``Σ_j α′_j/(1−α_j) P_j (x̂₁ − x)``: the velocity that a predicted endpoint means, 0 in finished shells."""
        alpha, rate = self.schedule.progress(s)
        left = (1.0 - alpha).clamp(min=torch.finfo(alpha.dtype).tiny)
        return self.transform.filter(endpoint - x, torch.where(alpha < 1.0, rate / left, torch.zeros_like(rate)))

    def step(
        self,
        x: Float[Tensor, "batch ..."],
        endpoint: Float[Tensor, "batch ..."],
        s: Float[Tensor, " batch"],
        s_next: Float[Tensor, " batch"],
    ) -> Float[Tensor, "batch ..."]:
        """Exact shell update: where the path leads by s_next if the endpoint is right.

        ``x + Σ_j (α_j(s′) − α_j(s)) / (1 − α_j(s)) P_j (x̂₁ − x)``; no discretisation error for a fixed endpoint.
        """
        now, _ = self.schedule.progress(s)
        then, _ = self.schedule.progress(s_next)
        left = (1.0 - now).clamp(min=torch.finfo(now.dtype).tiny)
        share = torch.where(now < 1.0, (then - now) / left, torch.zeros_like(now))
        return x + self.transform.filter(endpoint - x, share)
