"""The interpolant: scale by scale from start to target.

The one idea: ``x_s = x₀ + S(α(s)) (x₁ − x₀)`` and its time derivative ``v_s = S(α′(s)) (x₁ − x₀)``. In every shell that
moves, the point together with any one of velocity, endpoint and noise gives the other two. It knows a transform and a
schedule, no network.
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

QUANTITIES = ("endpoint", "velocity", "noise")


class PathSample(NamedTuple):
    """A point of the path, its velocity, and the flow time of each sample.

    Example:
        >>> PathSample._fields
        ('x', 'v', 's')
    """

    x: Float[Tensor, "batch ..."]
    v: Float[Tensor, "batch ..."]
    s: Float[Tensor, " batch"]


def _ratio(top: Tensor, bottom: Tensor) -> Tensor:
    """``top / bottom``, and 0 where the bottom is 0."""
    return torch.where(
        bottom > 0, top / bottom.clamp(min=torch.finfo(bottom.dtype).tiny), torch.zeros_like(top)
    )


@dataclass(frozen=True)
class Path:
    """The K-Flow path of a transform and a schedule with the same number of shells.

    Raises:
        ScheduleError: the numbers of shells differ.

    Example:
        Two nodes on a line; shell 0 is their mean, shell 1 their difference. Halfway, strict K-Flow has moved the mean.

        >>> from kflow_sci.transforms.base import NodeTransform
        >>> basis = torch.tensor([[[1.0, 1.0], [1.0, -1.0]]], dtype=torch.float64) / 2**0.5
        >>> transform = NodeTransform(basis, torch.tensor([[0, 1]]), 2, torch.tensor([[0.0, 1.0]]))
        >>> path = Path(transform, ShellSchedule.equal(2))
        >>> x0, x1 = torch.zeros(1, 2, 1, dtype=torch.float64), torch.tensor([[[3.0], [1.0]]], dtype=torch.float64)
        >>> x, v, s = path.sample(x0, x1, torch.tensor([0.5], dtype=torch.float64))
        >>> x.flatten().round(decimals=6).tolist(), v.flatten().round(decimals=6).tolist()
        ([2.0, 2.0], [2.0, -2.0])
    """

    transform: KTransform
    schedule: ShellSchedule

    def __post_init__(self) -> None:
        if self.transform.n_shells != self.schedule.n_shells:
            raise ScheduleError(
                f"the transform has {self.transform.n_shells} shells, the schedule {self.schedule.n_shells}: "
                "make them equal"
            )

    def sample(
        self, x0: Float[Tensor, "batch ..."], x1: Float[Tensor, "batch ..."], s: Float[Tensor, " batch"]
    ) -> PathSample:
        """Point and velocity at flow time s, from start x0 (s = 0) to target x1 (s = 1).

        Raises:
            ScheduleError: start, target and time do not have the same number of samples, or the same shape.

        Example:
            >>> from kflow_sci.flow.exact import coordinate_path
            >>> path, x0, x1 = coordinate_path([1, 1]), torch.zeros(1, 2), torch.tensor([[4.0, 4.0]])
            >>> path.sample(x0, x1, torch.tensor([0.25])).x
            tensor([[2., 0.]])
        """
        if x0.shape != x1.shape or len(s) != len(x0):
            raise ScheduleError(
                f"start {tuple(x0.shape)}, target {tuple(x1.shape)} and {len(s)} flow times do not fit: "
                "equal shapes and one time per sample are needed"
            )
        alpha, rate = self.schedule.progress(s)
        # Each shell is a sum of two exact parts, so passed shells equal the data and unreached ones the start.
        x = self.transform.filter(x0, 1.0 - alpha) + self.transform.filter(x1, alpha)
        return PathSample(x, self.transform.filter(x1 - x0, rate), s)

    def convert(
        self,
        value: Float[Tensor, "batch ..."],
        x: Float[Tensor, "batch ..."],
        s: Float[Tensor, " batch"],
        *,
        given: str,
        wanted: str,
    ) -> Float[Tensor, "batch ..."]:
        """What a network predicts, in other words: endpoint x̂₁, velocity v̂ and noise x̂₀ at a point x of the path.

        In every shell ``x = (1−α) x̂₀ + α x̂₁`` and ``v̂ = α′ (x̂₁ − x̂₀)``, so each of the three gives the others:

        ========  ==========================  ========================  ========================
        given     endpoint                    velocity                  noise
        ========  ==========================  ========================  ========================
        endpoint                              α′/(1−α) (x̂₁ − x)         x + α/(1−α) (x − x̂₁)
        velocity  x + (1−α)/α′ v̂                                        x − α/α′ v̂
        noise     x + (1−α)/α (x − x̂₀)        α′/α (x − x̂₀)
        ========  ==========================  ========================  ========================

        A shell in which a denominator is 0 does not tell (a finished shell nothing of the noise, an unreached one
        nothing of the endpoint, a resting one nothing by its velocity): there the answer is x, and the velocity 0.

        Args:
            value: The quantity that is given.
            x: Point of the path.
            s: Flow time of each sample.
            given: One of ``QUANTITIES``.
            wanted: One of ``QUANTITIES``.

        Raises:
            ScheduleError: an unknown quantity.

        Example:
            >>> from kflow_sci.flow.exact import coordinate_path
            >>> path, x0, x1, s = coordinate_path([2]), torch.zeros(1, 2), torch.ones(1, 2), torch.tensor([0.5])
            >>> x, v, s = path.sample(x0, x1, s)
            >>> path.convert(v, x, s, given="velocity", wanted="endpoint")
            tensor([[1., 1.]])
        """
        for name in (given, wanted):
            if name not in QUANTITIES:
                raise ScheduleError(f"quantity '{name}' is unknown: choose {', '.join(QUANTITIES)}")
        if given == wanted:
            return value
        alpha, rate = self.schedule.progress(s)
        left = 1.0 - alpha
        bottom = {"endpoint": left, "velocity": rate, "noise": alpha}[given]
        top = {"endpoint": left, "velocity": rate, "noise": alpha}[wanted]
        apart = {"endpoint": value - x, "velocity": value, "noise": x - value}[given]
        moved = self.transform.filter(apart, _ratio(top, bottom))
        return {"endpoint": x + moved, "velocity": moved, "noise": x - moved}[wanted]

    def velocity_from_endpoint(
        self, x: Float[Tensor, "batch ..."], endpoint: Float[Tensor, "batch ..."], s: Float[Tensor, " batch"]
    ) -> Float[Tensor, "batch ..."]:
        """``Σ_j α′_j/(1−α_j) P_j (x̂₁ − x)``: the velocity that a predicted endpoint means, 0 in finished shells.

        Example:
            >>> from kflow_sci.flow.exact import coordinate_path
            >>> x, endpoint, s = torch.zeros(1, 2), torch.ones(1, 2), torch.tensor([0.75])
            >>> coordinate_path([1, 1]).velocity_from_endpoint(x, endpoint, s)  # half a window is left, of length 1/2
            tensor([[0., 4.]])
        """
        return self.convert(endpoint, x, s, given="endpoint", wanted="velocity")

    def step(
        self,
        x: Float[Tensor, "batch ..."],
        endpoint: Float[Tensor, "batch ..."],
        s: Float[Tensor, " batch"],
        s_next: Float[Tensor, " batch"],
    ) -> Float[Tensor, "batch ..."]:
        """Exact shell update: where the path leads by s_next if the endpoint is right.

        ``x + Σ_j (α_j(s′) − α_j(s)) / (1 − α_j(s)) P_j (x̂₁ − x)``; no discretisation error for a fixed endpoint.

        Example:
            >>> from kflow_sci.flow.exact import coordinate_path
            >>> x, s, s_next = torch.zeros(1, 2), torch.tensor([0.5]), torch.tensor([0.75])
            >>> coordinate_path([1, 1]).step(x, torch.ones(1, 2), s, s_next)
            tensor([[0.0000, 0.5000]])
        """
        now, _ = self.schedule.progress(s)
        then, _ = self.schedule.progress(s_next)
        return x + self.transform.filter(endpoint - x, _ratio(then - now, 1.0 - now))
