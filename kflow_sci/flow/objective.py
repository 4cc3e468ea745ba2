"""What a network is asked for, and how errors are weighed.

The one idea: with endpoint prediction only the shells that still move at flow time s matter, so the error is filtered
by per-shell weights before it is squared: ``‖S(√w) (x̂₁ − x₁)‖²``.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from kflow_sci.errors import ScheduleError
from kflow_sci.flow.schedule import ShellSchedule

WEIGHTINGS = ("uniform", "open", "balanced")
PREDICTIONS = ("endpoint", "velocity")


def shell_weights(schedule: ShellSchedule, s: Float[Tensor, " batch"], weighting: str) -> Float[Tensor, "batch shells"]:
    """Weight of the squared endpoint error in every shell at flow time s.

    ``uniform``: 1. ``open``: 1 while the shell is not finished, else 0. ``balanced``: as ``open``, divided by the share of
    time the shell is open, so that every coefficient has the same expected weight under s uniform in [0, 1].

    Raises:
        ScheduleError: unknown weighting.
    """
    if weighting not in WEIGHTINGS:
        raise ScheduleError(f"loss weighting '{weighting}' is unknown: choose {', '.join(WEIGHTINGS)}")
    ends = torch.tensor([b for _, b in schedule.windows], dtype=s.dtype, device=s.device)
    if weighting == "uniform":
        return torch.ones(len(s), schedule.n_shells, dtype=s.dtype, device=s.device)
    is_open = (s[:, None] < ends).to(s.dtype)
    return is_open / ends if weighting == "balanced" else is_open
