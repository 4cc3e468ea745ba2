"""Scale as time: when each shell moves.

The one idea: shell j moves only inside its window [a_j, b_j] of flow time, from progress 0 to 1. Windows that tile
[0, 1] are strict K-Flow; windows that all equal [0, 1] are plain flow matching; ``overlap`` slides between the two.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from kflow_sci.errors import ScheduleError

Ramp = tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]

# name -> (μ, μ′) on [0, 1] with μ(0) = 0, μ(1) = 1. Smooth ramps have μ′ = 0 at both ends, so that the velocity does
# not jump at the edges of a window.
RAMPS: dict[str, Ramp] = {
    "linear": (lambda u: u, torch.ones_like),
    "smoothstep": (lambda u: u * u * (3.0 - 2.0 * u), lambda u: 6.0 * u * (1.0 - u)),
    "cosine": (
        lambda u: 0.5 * (1.0 - torch.cos(math.pi * u)),
        lambda u: 0.5 * math.pi * torch.sin(math.pi * u),
    ),
}


@dataclass(frozen=True)
class ShellSchedule:
    """Windows of the shells and the ramp inside them.

    With cumulated widths A_j the window of shell j is ``[(1−o) A_j, A_{j+1} + o (1 − A_{j+1})]``, o the overlap.

    Attributes:
        widths: Share of flow time of each shell, coarse to fine; scaled to sum 1.
        overlap: 0 strict … 1 plain flow matching.
        mu: Name of the ramp, one of ``RAMPS``.

    Raises:
        ScheduleError: no shell, a width that is not positive, overlap outside [0, 1], unknown ramp.
    """

    widths: tuple[float, ...]
    overlap: float = 0.0
    mu: str = "linear"

    def __post_init__(self) -> None:
        if not self.widths or not all(math.isfinite(w) and w > 0 for w in self.widths):
            raise ScheduleError(f"shell widths are {self.widths}, but each must be a positive number")
        if not 0.0 <= self.overlap <= 1.0:
            raise ScheduleError(f"overlap is {self.overlap}, outside [0, 1]: 0 is strict, 1 is plain flow matching")
        if self.mu not in RAMPS:
            raise ScheduleError(f"ramp '{self.mu}' is unknown: choose one of {', '.join(RAMPS)}")
        total = sum(self.widths)
        object.__setattr__(self, "widths", tuple(w / total for w in self.widths))

    @classmethod
    def equal(cls, n_shells: int, overlap: float = 0.0, mu: str = "linear") -> ShellSchedule:
        """Shells of equal width."""
        return cls((1.0,) * n_shells, overlap, mu)

    @classmethod
    def plain(cls, mu: str = "linear") -> ShellSchedule:
        """Plain flow matching: one shell, all of the time."""
        return cls((1.0,), 1.0, mu)

    @property
    def n_shells(self) -> int:
        """Number of shells."""
        return len(self.widths)

    @cached_property
    def windows(self) -> tuple[tuple[float, float], ...]:
        """``(a_j, b_j)`` of every shell."""
        ends = [math.fsum(self.widths[:j]) for j in range(self.n_shells)] + [1.0]
        o = self.overlap
        return tuple(((1 - o) * a, b + o * (1 - b)) for a, b in zip(ends[:-1], ends[1:], strict=True))

    @cached_property
    def edges(self) -> tuple[float, ...]:
        """All window edges in rising order, 0 and 1 included; a step must never straddle one."""
        merged: list[float] = []
        for edge in sorted({0.0, 1.0, *(e for window in self.windows for e in window)}):
            if not merged or edge - merged[-1] > 1e-12:
                merged.append(edge)
        return (*merged[:-1], 1.0)

    def progress(self, s: Float[Tensor, " batch"]) -> tuple[Float[Tensor, "batch shells"], Float[Tensor, "batch shells"]]:
        """``α_j(s)`` and ``dα_j/ds``.

        Outside its window a shell has α exactly 0 or 1 and rate 0. At an edge shared by two strict windows the rate
        is that of the window that opens (its last window at s = 1).

        Raises:
            ScheduleError: s outside [0, 1] or not finite.
        """
        if not bool(((s >= 0) & (s <= 1)).all()):
            raise ScheduleError(f"flow time must lie in [0, 1], got {float(s.min()):g} … {float(s.max()):g}")
        start = torch.tensor([a for a, _ in self.windows], dtype=s.dtype, device=s.device)
        end = torch.tensor([b for _, b in self.windows], dtype=s.dtype, device=s.device)
        length = end - start
        t = s[:, None]
        u = ((t - start) / length).clamp(0.0, 1.0)
        # Rounding in the division must not leave a shell at 1 − ε after its window.
        u = torch.where(t >= end, torch.ones_like(u), u)
        mu, rate = RAMPS[self.mu]
        active = (t >= start) & ((t < end) | ((t >= 1.0) & (end >= 1.0)))
        return mu(u), torch.where(active, rate(u) / length, torch.zeros_like(u))

    def grid(self, steps: Sequence[int]) -> Float[Tensor, " times"]:
        """Step times from 0 to 1 that contain every window edge.

        Each shell spreads its steps evenly over its window; an interval between two edges gets the steps that fall into
        it, at least one. For strict windows that is exactly ``steps[j]`` in shell j.

        Args:
            steps: Steps of each shell; one number is taken for all shells.

        Returns:
            ``sum + 1`` times in float64. More steps than asked are used only where fewer would straddle an edge.

        Raises:
            ScheduleError: a number of entries that is neither 1 nor n_shells, or an entry below 1.
        """
        per_shell = list(steps) * self.n_shells if len(steps) == 1 else list(steps)
        if len(per_shell) != self.n_shells or min(per_shell) < 1:
            raise ScheduleError(f"steps per shell are {list(steps)}, expected {self.n_shells} whole numbers >= 1")
        spans = list(zip(self.edges[:-1], self.edges[1:], strict=True))
        share = [
            sum(
                n * max(0.0, min(hi, b) - max(lo, a)) / (b - a)
                for n, (a, b) in zip(per_shell, self.windows, strict=True)
            )
            for lo, hi in spans
        ]
        counts = [max(1, math.floor(x + 1e-9)) for x in share]
        # Largest remainder: what rounding lost or the minimum of one added is settled where it hurts least.
        while sum(counts) < sum(per_shell):
            counts[max(range(len(spans)), key=lambda i: share[i] - counts[i])] += 1
        while sum(counts) > sum(per_shell) and max(counts) > 1:
            counts[max((i for i in range(len(spans)) if counts[i] > 1), key=lambda i: counts[i] - share[i])] -= 1
        times = [torch.linspace(lo, hi, n + 1, dtype=torch.float64)[:-1] for (lo, hi), n in zip(spans, counts, strict=True)]
        return torch.cat([*times, torch.ones(1, dtype=torch.float64)])
