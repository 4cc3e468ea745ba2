"""What a network is asked for, and how errors are weighed.

The one idea: only some shells of a prediction matter at flow time s, so the error is filtered by per-shell weights
before it is squared: ``‖S(√w) (x̂₁ − x₁)‖²``, and the same for velocity and noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor

from kflow_sci.errors import ScheduleError
from kflow_sci.flow.path import QUANTITIES
from kflow_sci.flow.schedule import RAMPS, ShellSchedule

WEIGHTINGS = ("uniform", "open", "balanced")
# What a solver can start from. A noise prediction says nothing of a shell that has just opened (x is that noise).
PREDICTIONS = ("endpoint", "velocity")


@cache
def _mean_square_rate(mu: str) -> float:
    """``∫₀¹ μ′(u)² du`` of a ramp."""
    nodes = 4096
    u = (torch.arange(nodes, dtype=torch.float64) + 0.5) / nodes
    return float(RAMPS[mu][1](u).square().mean())


def stratified_times(size: int, generator: torch.Generator) -> Float[Tensor, " batch"]:
    """Flow times of a batch, one in each of ``size`` equal parts of [0, 1], in random order; float64 on the CPU.

    Spread evenly they make the loss of a batch less noisy than independent draws; each alone is uniform.

    Example:
        >>> s = stratified_times(4, torch.Generator().manual_seed(0))
        >>> (4 * s).floor().sort().values.tolist()
        [0.0, 1.0, 2.0, 3.0]
    """
    jitter = torch.rand(size, generator=generator, dtype=torch.float64)
    return (torch.randperm(size, generator=generator) + jitter) / size


def shell_weights(
    schedule: ShellSchedule,
    s: Float[Tensor, " batch"],
    weighting: str,
    *,
    prediction: str = "endpoint",
    energy: Sequence[float] | None = None,
) -> Float[Tensor, "batch shells"]:
    """Weight of the squared error of a prediction in every shell at flow time s.

    ``uniform``: 1. ``open``: 1 where the prediction matters, else 0. ``balanced``: as ``open``, scaled so that every
    coefficient counts the same on average over s uniform in [0, 1]:

    ==========  ========================  =================================================================
    prediction  where it matters          balanced
    ==========  ========================  =================================================================
    endpoint    not finished, s < b       divided by b, the share of time the shell is unfinished
    velocity    moving, a <= s < b        times (b − a)/∫μ′²: in a narrow window velocities are large
    noise       begun, s > a              divided by 1 − a, the share of time since the shell began
    ==========  ========================  =================================================================

    Args:
        schedule: The shells' windows.
        s: Flow time of each sample.
        weighting: One of ``WEIGHTINGS``.
        prediction: ``endpoint``, ``velocity`` or ``noise``.
        energy: ``E_j`` of every shell; the weights are then multiplied by ``mean(E)/E_j``, so that the same *relative*
            error costs the same in a loud and in a faint shell. None for no such factor.

    Raises:
        ScheduleError: unknown weighting or prediction, or energies that do not fit.

    Example:
        >>> shell_weights(ShellSchedule((1, 3)), torch.tensor([0.1, 0.5]), "balanced").tolist()
        [[4.0, 1.0], [0.0, 1.0]]
    """
    if weighting not in WEIGHTINGS:
        raise ScheduleError(f"loss weighting '{weighting}' is unknown: choose {', '.join(WEIGHTINGS)}")
    if prediction not in QUANTITIES:
        raise ScheduleError(f"prediction '{prediction}' is unknown: choose {', '.join(QUANTITIES)}")
    start, end = schedule.bounds(s)
    t = s[:, None]
    if weighting == "uniform":
        weights = torch.ones(len(s), schedule.n_shells, dtype=s.dtype, device=s.device)
    elif prediction == "endpoint":
        weights = (t < end).to(s.dtype)
        weights = weights / end if weighting == "balanced" else weights
    elif prediction == "velocity":
        weights = schedule.moving(s).to(s.dtype)
        weights = (
            weights * (end - start) / _mean_square_rate(schedule.mu) if weighting == "balanced" else weights
        )
    else:
        weights = (t > start).to(s.dtype)
        weights = weights / (1.0 - start) if weighting == "balanced" else weights
    if energy is None:
        return weights
    values = torch.as_tensor([float(e) for e in energy], dtype=s.dtype, device=s.device)
    if len(values) != schedule.n_shells or not bool((torch.isfinite(values) & (values > 0)).all()):
        raise ScheduleError(
            f"shell energies are {list(energy)}, expected {schedule.n_shells} positive numbers"
        )
    return weights * values.mean() / values
