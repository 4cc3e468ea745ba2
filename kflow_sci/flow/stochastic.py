"""A stochastic sampler with the same marginals as the flow.

The one idea: with a Gaussian start drawn independently of the target, every shell at flow time s is ``(1−α) x₀ + α x₁``
with ``x₀ ~ N(0, σ²)``, so the score is ``−x̂₀/((1−α) σ²)`` shell by shell, whatever the other shells do. Then

    dx = v ds + ½ g² ∇log p_s ds + g dW,    g_j² = 2 η σ² (1−α_j) α′_j

has the flow's marginals for every η >= 0 and stirs only the shells that move. In each shell the drift is
``α′ (x̂₁ − (1+η) x̂₀)``: bounded, although the score is not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from kflow_sci.errors import ScheduleError
from kflow_sci.flow.path import Path
from kflow_sci.flow.solve import Evaluation, Field, Solution, Steer


def score(
    path: Path,
    x: Float[Tensor, "batch ..."],
    endpoint: Float[Tensor, "batch ..."],
    s: Float[Tensor, " batch"],
    sigma: float = 1.0,
) -> Float[Tensor, "batch ..."]:
    """``∇ log p_s(x)`` from the predicted endpoint, ``−S(1/(1−α)) x̂₀ / σ²``; 0 in finished shells, where it is unknown.

    Args:
        path: Transform and schedule.
        x: Point of the path.
        endpoint: ``E[x₁ | x]``.
        s: Flow time of each sample.
        sigma: Standard deviation of the start.

    Example:
        >>> from kflow_sci.flow.exact import coordinate_path
        >>> path = coordinate_path([1, 1])
        >>> x, s = torch.tensor([[1.0, 4.0]]), torch.tensor([0.25])
        >>> score(path, x, torch.zeros(1, 2), s)  # N(0, ½²) in the moving shell, N(0, 1) in the other
        tensor([[-4., -4.]])
    """
    alpha, _ = path.schedule.progress(s)
    left = 1.0 - alpha
    noise = path.convert(endpoint, x, s, given="endpoint", wanted="noise")
    weight = torch.where(left > 0, 1.0 / left.clamp(min=torch.finfo(left.dtype).tiny), torch.zeros_like(left))
    return path.transform.filter(noise, -weight / sigma**2)


def solve_stochastic(
    field: Field,
    x0: Float[Tensor, "batch ..."],
    path: Path,
    steps: Sequence[int],
    *,
    generator: torch.Generator,
    churn: float = 1.0,
    sigma: float = 1.0,
    prediction: str = "endpoint",
    steer: Sequence[Steer] = (),
    keep: bool = False,
) -> Solution:
    """Sample the stochastic equation from s = 0 to s = 1, exactly in each step for a fixed endpoint.

    For a fixed endpoint the equation is linear in each shell. Its solution at s′, where progress is a, is

        ``x ← a x̂₁ + (1−a) (ρ^η x̂₀ + σ √(1 − ρ^{2η}) z)``,    z ~ N(0, 1)

    with ``ρ = (1−a)/(1−α)``: part of the noise is replaced by fresh one. η = 0 is the exact shell update of ``solve``.

    Args:
        field: ``field(x, s)``; its answer is what ``prediction`` says.
        x0: Start, N(0, σ²) and independent of the target: for a coupled (transported, aligned) start the score formula
            does not hold.
        path: The transform and schedule that the field was trained with.
        steps: See ``solve``.
        generator: Of the fresh noise.
        churn: η >= 0, how fast old noise is forgotten.
        sigma: Standard deviation of the start.
        prediction: ``endpoint`` or ``velocity``.
        steer: See ``solve``.
        keep: Return the state at every grid time.

    Raises:
        ScheduleError: η below 0, σ not positive, or steps that do not fit the schedule.

    Source:
        Reverse and probability-flow equations: Song et al., ICLR (2021); free choice of the diffusion for interpolants:
        Albergo, Boffi, Vanden-Eijnden, arXiv:2303.08797. Shell by shell and with the exact step: derived here.

    Example:
        >>> from kflow_sci.flow.exact import coordinate_path
        >>> generator = torch.Generator().manual_seed(0)
        >>> start, path = torch.randn(4, 3, generator=generator), coordinate_path([1, 2])
        >>> solve_stochastic(lambda x, s: torch.ones_like(x), start, path, [3], generator=generator).x[0]
        tensor([1., 1., 1.])
    """
    if not (math.isfinite(churn) and churn >= 0 and math.isfinite(sigma) and sigma > 0):
        raise ScheduleError(f"churn is {churn} and sigma {sigma}: churn must be >= 0 and sigma positive")
    evaluate = Evaluation(field, path, prediction, "endpoint", steer)
    times = path.schedule.grid(steps)
    x = x0
    states = [x0] if keep else []
    for now, then in zip(times[:-1].tolist(), times[1:].tolist(), strict=True):
        s, end = (torch.full((len(x),), t, dtype=x.dtype, device=x.device) for t in (now, then))
        endpoint = evaluate(x, now)
        before, after = 1.0 - path.schedule.progress(s)[0], 1.0 - path.schedule.progress(end)[0]
        kept = (
            torch.where(
                before > 0, after / before.clamp(min=torch.finfo(x.dtype).tiny), torch.ones_like(before)
            )
            ** churn
        )
        old = path.convert(endpoint, x, s, given="endpoint", wanted="noise")
        fresh = torch.randn(x.shape, generator=generator, dtype=x.dtype, device=generator.device).to(x.device)
        x = path.step(x, endpoint, s, end)
        x = x - path.transform.filter(old, after * (1.0 - kept))
        x = x + path.transform.filter(fresh, sigma * after * (1.0 - kept.square()).clamp(min=0.0).sqrt())
        if keep:
            states.append(x)
    return Solution(x, evaluate.calls, times, states)
