"""Log-density of a sample under the flow, with the divergence taken inside the shells that move.

The one idea: along the flow ``d log p_s(x_s)/ds = −∇·v``. Only the moving shells have a velocity, ``v = P v`` with P
their projector, so ``∇·v = tr(P J P)``: exactly it costs one gradient per moving coefficient, and a random probe drawn
inside those shells does not see ``P J (1 − P)``, which adds variance to a full probe and nothing to its mean.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from kflow_sci.errors import ScheduleError
from kflow_sci.flow.path import Path
from kflow_sci.flow.solve import RUNGE_KUTTA, Evaluation, Field, left_of, runge_kutta

DIVERGENCES = ("exact", "hutchinson")
PROBES = ("moving", "all")


class Density(NamedTuple):
    """Log-density of each sample (nats), the noise it comes from, calls of the field and gradients taken.

    Example:
        >>> from kflow_sci.flow.exact import coordinate_path
        >>> log_density(lambda x, s: x, torch.zeros(1, 2), coordinate_path([2]), [3], method="euler").gradients
        6
    """

    log_density: Float[Tensor, " batch"]
    x0: Float[Tensor, "batch ..."]
    calls: int
    gradients: int


def normal_log_density(x: Float[Tensor, "batch ..."], sigma: float = 1.0) -> Float[Tensor, " batch"]:
    """``log N(x; 0, σ²)`` over all entries of each sample.

    Example:
        >>> normal_log_density(torch.zeros(1, 2))  # −log 2π
        tensor([-1.8379])
    """
    flat = x.flatten(1) / sigma
    return -0.5 * flat.square().sum(1) - flat.shape[1] * (0.5 * math.log(2.0 * math.pi) + math.log(sigma))


def exact_divergence(
    x: Float[Tensor, "batch ..."],
    v: Float[Tensor, "batch ..."],
    path: Path,
    shells: Float[Tensor, "batch shells"],
) -> tuple[Float[Tensor, " batch"], int]:
    """``tr(P J P)`` with P the projector on the given shells, by one gradient per coefficient in them.

    Args:
        x: Point, requires a gradient.
        v: Velocity at x, computed from it; each sample's from that sample alone.
        path: Its transform gives the coefficients.
        shells: 1 for the shells in P, else 0.

    Returns:
        The divergence and the number of gradients taken.

    Example:
        >>> from kflow_sci.flow.exact import coordinate_path
        >>> x = torch.tensor([[1.0, 2.0, 3.0]], requires_grad=True)
        >>> exact_divergence(x, x**2, coordinate_path([1, 2]), torch.tensor([[0.0, 1.0]]))
        (tensor([10.]), 2)
    """
    total, gradients = torch.zeros(len(x), dtype=x.dtype, device=x.device), 0
    if not v.requires_grad:
        return total, 0
    shape = path.transform.forward(x.detach()).shape
    for i in range(math.prod(shape[1:])):
        unit = torch.zeros(shape, dtype=x.dtype, device=x.device)
        unit.view(len(x), -1)[:, i] = 1.0
        direction = path.transform.filter(path.transform.inverse(unit), shells)
        if float(direction.abs().max()) < 1e-6:  # a shell at rest in every sample
            continue
        (pulled,) = torch.autograd.grad(v, x, direction, retain_graph=True)
        total = total + (pulled * direction).flatten(1).sum(1)
        gradients += 1
    return total, gradients


def hutchinson_divergence(
    x: Float[Tensor, "batch ..."], v: Float[Tensor, "batch ..."], probe: Float[Tensor, "batch ..."]
) -> Float[Tensor, " batch"]:
    """``εᵀ J ε`` of one probe; with ``E[ε εᵀ] = P`` its mean is ``tr(P J)``.

    Source:
        Hutchinson, Commun. Stat. Simul. Comput. 18 (1989) 1059; for flows: Grathwohl et al., ICLR (2019).

    Example:
        >>> x = torch.tensor([[1.0, 2.0]], requires_grad=True)
        >>> hutchinson_divergence(x, x**2, torch.tensor([[1.0, -1.0]]))
        tensor([6.])
    """
    if not v.requires_grad:
        return torch.zeros(len(x), dtype=x.dtype, device=x.device)
    (pulled,) = torch.autograd.grad(v, x, probe, retain_graph=True)
    return (pulled * probe).flatten(1).sum(1)


def log_density(
    field: Field,
    x1: Float[Tensor, "batch ..."],
    path: Path,
    steps: Sequence[int],
    *,
    method: str = "rk4",
    divergence: str = "exact",
    probes: str = "moving",
    samples: int = 1,
    generator: torch.Generator | None = None,
    start: Callable[[Tensor], Tensor] = normal_log_density,
) -> Density:
    """``log p(x₁) = log p₀(x₀) − ∫ ∇·v ds``, walking from s = 1 back to s = 0.

    The velocity is confined to the moving shells (a network's may leak a little out of them), as the divergence is,
    so that the density is that of ``solve`` with the field ``confined(field, path)``.

    Args:
        field: The velocity ``field(x, s)``, differentiable. (A predicted endpoint does not tell the way back.)
        x1: Samples.
        path: The transform and schedule that the field was trained with.
        steps: See ``solve``.
        method: One of ``RUNGE_KUTTA``.
        divergence: ``exact``, or ``hutchinson`` with Rademacher probes, new in every step, the same in its stages.
        probes: ``moving`` restricts probes to the moving shells, ``all`` does not (more variance, for comparison).
        samples: Probes per step.
        generator: Needed for probes.
        start: Log-density of the start, N(0, 1) by default.

    Raises:
        ScheduleError: unknown method, divergence or probes, no probe at all, or no generator for them.

    Example:
        One shell, ``v = x``: space grows by e, so the standard normal at s = 0 is e times as wide at s = 1.

        >>> from kflow_sci.flow.exact import coordinate_path
        >>> x1 = torch.zeros(1, 1, dtype=torch.float64)
        >>> log_density(lambda x, s: x, x1, coordinate_path([1]), [20]).log_density  # −½ log 2π − 1
        tensor([-1.9189], dtype=torch.float64)
    """
    for name, value, known in (
        ("solver", method, tuple(RUNGE_KUTTA)), ("divergence", divergence, DIVERGENCES), ("probes", probes, PROBES)
    ):  # fmt: skip
        if value not in known:
            raise ScheduleError(f"{name} '{value}' is unknown: choose {', '.join(known)}")
    if divergence == "hutchinson" and (samples < 1 or generator is None):
        raise ScheduleError(
            f"hutchinson needs samples >= 1 (got {samples}) and a torch.Generator for its probes"
        )
    evaluate = Evaluation(field, path, "velocity", "velocity")
    gradients = 0
    drawn: list[Tensor] = []

    def rate(state: Tensor, time: float) -> Tensor:
        nonlocal gradients
        s = torch.full((len(x1),), time, dtype=x1.dtype, device=x1.device)
        shells = path.schedule.moving(s).to(s.dtype)
        with torch.enable_grad():
            x = state[:, :-1].reshape(x1.shape).detach().requires_grad_()
            v = path.transform.filter(evaluate(x, time), shells)
            if divergence == "exact":
                trace, used = exact_divergence(x, v, path, shells)
            else:
                inside = [path.transform.filter(p, shells) if probes == "moving" else p for p in drawn]
                trace = torch.stack([hutchinson_divergence(x, v, p) for p in inside]).mean(0)
                used = len(drawn)
        gradients += used
        return torch.cat([v.detach().flatten(1), trace.detach()[:, None]], dim=1)

    edges = set(path.schedule.edges)
    state = torch.cat([x1.flatten(1), x1.new_zeros(len(x1), 1)], dim=1).detach()
    times = path.schedule.grid(steps).flip(0).tolist()
    for now, then in pairwise(times):
        if divergence == "hutchinson" and generator is not None:
            drawn = [_rademacher(x1, generator) for _ in range(samples)]
        latest = left_of(now, then, x1.dtype) if now in edges else now
        state = runge_kutta(rate, state, now, then, latest, method)
    x0 = state[:, :-1].reshape(x1.shape)
    return Density(start(x0) + state[:, -1], x0, evaluate.calls, gradients)


def confined(field: Field, path: Path) -> Field:
    """A velocity field with what leaks out of the moving shells removed: the flow that ``log_density`` is that of.

    Example:
        >>> from kflow_sci.flow.exact import coordinate_path
        >>> path = coordinate_path([1, 1])
        >>> confined(lambda x, s: torch.ones_like(x), path)(torch.zeros(1, 2), torch.tensor([0.7]))
        tensor([[0., 1.]])
    """
    return lambda x, s: path.transform.filter(field(x, s), path.schedule.moving(s).to(x.dtype))


def _rademacher(like: Tensor, generator: torch.Generator) -> Tensor:
    sign = torch.randint(0, 2, like.shape, generator=generator, device=generator.device)
    return (2 * sign - 1).to(device=like.device, dtype=like.dtype)
