"""Walking the flow from start to sample.

The one idea: velocities jump at the edges of windows, so the step grid always contains every edge and no step crosses
one. The solver knows a callable and the path; no network, no data.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from kflow_sci.errors import ScheduleError
from kflow_sci.flow.path import Path

Field = Callable[[Tensor, Tensor], Tensor]


class Solution(NamedTuple):
    """The sample, the number of times the field was called, and the states on the grid if they were asked for."""

    x: Float[Tensor, "batch ..."]
    calls: int
    times: Float[Tensor, " times"]
    states: list[Tensor]


def _euler(field: Field, x: Tensor, s: Tensor, h: float) -> tuple[Tensor, int]:
    return x + h * field(x, s), 1


def _midpoint(field: Field, x: Tensor, s: Tensor, h: float) -> tuple[Tensor, int]:
    half = x + 0.5 * h * field(x, s)
    return x + h * field(half, s + 0.5 * h), 2


STEPPERS = {"euler": _euler, "midpoint": _midpoint}


def solve(
    field: Field,
    x0: Float[Tensor, "batch ..."],
    path: Path,
    steps: Sequence[int],
    *,
    method: str = "shell",
    keep: bool = False,
) -> Solution:
    """Integrate from s = 0 to s = 1.

    Args:
        field: ``field(x, s)`` with s of shape ``(batch,)``. For ``shell`` it returns the predicted endpoint x̂₁, for all
            other methods the velocity.
        x0: Start.
        path: The transform and schedule that the field was trained with.
        steps: Steps per shell, one number or one per shell; see ``ShellSchedule.grid``.
        method: ``shell`` (exact shell update), ``euler``, ``midpoint``.
        keep: Return the state at every grid time.

    Raises:
        ScheduleError: unknown method, or steps that do not fit the schedule.
    """
    if method != "shell" and method not in STEPPERS:
        raise ScheduleError(f"solver '{method}' is unknown: choose shell, {', '.join(STEPPERS)}")
    times = path.schedule.grid(steps)
    x, calls = x0, 0
    states = [x0] if keep else []
    for now, then in zip(times[:-1].tolist(), times[1:].tolist(), strict=True):
        s = torch.full((len(x0),), now, dtype=x0.dtype, device=x0.device)
        if method == "shell":
            x = path.step(x, field(x, s), s, torch.full_like(s, then))
            calls += 1
        else:
            x, used = STEPPERS[method](field, x, s, then - now)
            calls += used
        if keep:
            states.append(x)
    return Solution(x, calls, times, states)
