"""Scale as time: when each shell moves.

The one idea: shell j moves only inside its window [a_j, b_j] of flow time, from progress 0 to 1. Windows that tile
[0, 1] are strict K-Flow; windows that all equal [0, 1] are plain flow matching; ``overlap`` slides between the two.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from kflow_sci.errors import ScheduleError
from kflow_sci.flow.steps import deal, step_times

Ramp = tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]

# name -> (μ, μ′) on [0, 1] with μ(0) = 0, μ(1) = 1. Smooth ramps have μ′ = 0 at both ends, so that the velocity does
# not jump at the edges of a window.
RAMPS: dict[str, Ramp] = {
    "linear": (lambda u: u, torch.ones_like),
    "smoothstep": (lambda u: u * u * (3.0 - 2.0 * u), lambda u: 6.0 * u * (1.0 - u)),
    "cosine": (
        lambda u: 0.5 * (1.0 - torch.cos(math.pi * u)),
        lambda u: 0.5 * math.pi * torch.sin(math.pi * u).clamp(min=0.0),
    ),
}

# Below this share of time a window is lost in the rounding of single precision near s = 1.
NARROWEST = 1e-6
# Edges closer than this are one edge that rounding has split.
_SAME = 1e-12


@dataclass(frozen=True)
class ShellSchedule:
    """Windows of the shells and the ramp inside them.

    With cumulated widths A_j the window of shell j is ``[(1−o) A_j, A_{j+1} + o (1 − A_{j+1})]``, o the overlap.

    Attributes:
        widths: Share of flow time of each shell, coarse to fine; scaled to sum 1.
        overlap: 0 strict … 1 plain flow matching.
        mu: Name of the ramp, one of ``RAMPS``.

    Raises:
        ScheduleError: no shell, a width that is not positive or below 1e-6 of the whole, overlap outside [0, 1],
            unknown ramp.

    Example:
        >>> ShellSchedule((1, 3)).windows
        ((0.0, 0.25), (0.25, 1.0))
    """

    widths: tuple[float, ...]
    overlap: float = 0.0
    mu: str = "linear"

    def __post_init__(self) -> None:
        if not self.widths or not all(math.isfinite(w) and w > 0 for w in self.widths):
            raise ScheduleError(f"shell widths are {self.widths}, but each must be a positive number")
        if not 0.0 <= self.overlap <= 1.0:
            raise ScheduleError(
                f"overlap is {self.overlap}, outside [0, 1]: 0 is strict, 1 is plain flow matching"
            )
        if self.mu not in RAMPS:
            raise ScheduleError(f"ramp '{self.mu}' is unknown: choose one of {', '.join(RAMPS)}")
        total = sum(self.widths)
        widths = tuple(w / total for w in self.widths)
        if min(widths) < NARROWEST:
            raise ScheduleError(
                f"shell {widths.index(min(widths))} has {min(widths):.1e} of flow time (limit {NARROWEST:.0e}): "
                "join it with a neighbour, or take a power below 1"
            )
        object.__setattr__(self, "widths", widths)

    @classmethod
    def equal(cls, n_shells: int, overlap: float = 0.0, mu: str = "linear") -> ShellSchedule:
        """Shells of equal width.

        Example:
            >>> ShellSchedule.equal(4).edges
            (0.0, 0.25, 0.5, 0.75, 1.0)
        """
        return cls((1.0,) * n_shells, overlap, mu)

    @classmethod
    def plain(cls, mu: str = "linear") -> ShellSchedule:
        """Plain flow matching: one shell, all of the time. With K shells it is ``equal(K, overlap=1)``.

        Example:
            >>> ShellSchedule.plain().edges == ShellSchedule.equal(4, overlap=1.0).edges == (0.0, 1.0)
            True
        """
        return cls((1.0,), 1.0, mu)

    @classmethod
    def by_energy(
        cls, energy: Sequence[float], overlap: float = 0.0, mu: str = "linear", *, power: float = 1.0
    ) -> ShellSchedule:
        """Time in proportion to a power of each shell's energy: 1 energy, 0.5 amplitude, 0 equal.

        Args:
            energy: ``E‖P_j x‖²`` of every shell, of data or of the displacement ``x₁ − x₀``.
            overlap: See the class.
            mu: See the class.
            power: Exponent; below 1 where the spectrum is steep, so that fine shells keep some time.

        Raises:
            ScheduleError: an energy that is not positive.

        Example:
            >>> ShellSchedule.by_energy([9.0, 1.0], power=0.5).widths
            (0.75, 0.25)
        """
        values = [float(e) for e in energy]
        if not all(math.isfinite(e) and e > 0 for e in values):
            raise ScheduleError(
                f"shell energies are {values}, each must be > 0: join an empty shell with a neighbour"
            )
        return cls(tuple(e**power for e in values), overlap, mu)

    @classmethod
    def by_dimension(
        cls, dimension: Sequence[int], overlap: float = 0.0, mu: str = "linear", *, power: float = 1.0
    ) -> ShellSchedule:
        """Time in proportion to a power of the number of coefficients of each shell.

        Raises:
            ScheduleError: a shell without coefficients.

        Example:
            >>> ShellSchedule.by_dimension([1, 3, 12]).widths
            (0.0625, 0.1875, 0.75)
        """
        values = [int(d) for d in dimension]
        if not all(d > 0 for d in values):
            raise ScheduleError(
                f"shell sizes are {values}, each must be >= 1: join an empty shell with a neighbour"
            )
        return cls(tuple(float(d) ** power for d in values), overlap, mu)

    @property
    def n_shells(self) -> int:
        """Number of shells K.

        Example:
            >>> ShellSchedule((1, 3)).n_shells
            2
        """
        return len(self.widths)

    @cached_property
    def _raw_windows(self) -> tuple[tuple[float, float], ...]:
        ends = [math.fsum(self.widths[:j]) for j in range(self.n_shells)] + [1.0]
        o = self.overlap
        return tuple(((1 - o) * a, b + o * (1 - b)) for a, b in pairwise(ends))

    @cached_property
    def edges(self) -> tuple[float, ...]:
        """All window edges in rising order, 0 and 1 included; a step must never straddle one.

        Example:
            >>> ShellSchedule((1, 3), overlap=0.5).edges
            (0.0, 0.125, 0.625, 1.0)
        """
        merged: list[float] = []
        for edge in sorted({0.0, 1.0, *(e for window in self._raw_windows for e in window)}):
            if not merged or edge - merged[-1] > _SAME:
                merged.append(edge)
        return (*merged[:-1], 1.0)

    @cached_property
    def windows(self) -> tuple[tuple[float, float], ...]:
        """``(a_j, b_j)`` of every shell; edges that coincide are the same number to the last bit.

        Example:
            >>> ShellSchedule((1, 3), overlap=0.5).windows
            ((0.0, 0.625), (0.125, 1.0))
        """

        def snap(edge: float) -> float:
            return min(self.edges, key=lambda e: abs(e - edge))

        return tuple((snap(a), snap(b)) for a, b in self._raw_windows)

    def progress(
        self, s: Float[Tensor, " batch"]
    ) -> tuple[Float[Tensor, "batch shells"], Float[Tensor, "batch shells"]]:
        """``α_j(s)`` and ``dα_j/ds``.

        Outside its window a shell has α exactly 0 or 1 and rate 0. At an edge shared by two strict windows the rate
        is that of the window that opens (its last window at s = 1).

        Raises:
            ScheduleError: s is no floating vector, or lies outside [0, 1], or is not finite.

        Example:
            >>> alpha, rate = ShellSchedule.equal(2).progress(torch.tensor([0.25, 0.5]))
            >>> alpha.tolist(), rate.tolist()
            ([[0.5, 0.0], [1.0, 0.0]], [[2.0, 0.0], [0.0, 2.0]])
        """
        if s.ndim != 1 or not s.is_floating_point():
            raise ScheduleError(
                f"flow time has shape {tuple(s.shape)} and type {s.dtype}: give one float per sample"
            )
        if not bool(((s >= 0) & (s <= 1)).all()):
            raise ScheduleError(f"flow time must lie in [0, 1], got {float(s.min()):g} … {float(s.max()):g}")
        start, end = self.bounds(s)
        length = end - start
        u = ((s[:, None] - start) / length).clamp(0.0, 1.0)
        # Rounding in the division must not leave a shell at 1 − ε after its window.
        u = torch.where(s[:, None] >= end, torch.ones_like(u), u)
        mu, rate = RAMPS[self.mu]
        return mu(u), torch.where(self.moving(s), rate(u) / length, torch.zeros_like(u))

    def bounds(self, like: Tensor) -> tuple[Float[Tensor, " shells"], Float[Tensor, " shells"]]:
        """The starts a_j and the ends b_j of the windows, in the type and on the device of a tensor.

        Example:
            >>> ShellSchedule((1, 3)).bounds(torch.zeros(1))
            (tensor([0.0000, 0.2500]), tensor([0.2500, 1.0000]))
        """
        ends = torch.tensor(self.windows, dtype=like.dtype, device=like.device)
        return ends[:, 0], ends[:, 1]

    def moving(self, s: Float[Tensor, " batch"]) -> Bool[Tensor, "batch shells"]:
        """Which shells are inside their window, ``a_j <= s < b_j`` (``<=`` where the window ends at 1).

        Example:
            >>> ShellSchedule((1, 3)).moving(torch.tensor([0.25, 1.0])).tolist()
            [[False, True], [False, True]]
        """
        start, end = self.bounds(s)
        t = s[:, None]
        return (t >= start) & ((t < end) | ((t >= 1.0) & (end >= 1.0)))

    def scale(self, s: Float[Tensor, " batch"]) -> Float[Tensor, " batch"]:
        """The continuous scale ``k(s) = Σ_j α_j(s)``, from 0 to K: how many shells have been passed.

        Strict windows give the paper's k: inside window j it is ``j + μ``.

        Raises:
            ScheduleError: as ``progress``.

        Example:
            >>> ShellSchedule((1, 3)).scale(torch.tensor([0.0, 0.25, 0.625, 1.0])).tolist()
            [0.0, 1.0, 1.5, 2.0]
        """
        return self.progress(s)[0].sum(1)

    def time(self, k: Float[Tensor, " batch"]) -> Float[Tensor, " batch"]:
        """The flow time at which scale k is reached; inverse of ``scale``, exact at the edges.

        Raises:
            ScheduleError: k outside [0, K] or not finite.

        Example:
            >>> ShellSchedule((1, 3)).time(torch.tensor([1.0, 1.5])).tolist()
            [0.25, 0.625]
        """
        if k.ndim != 1 or not bool(((k >= 0) & (k <= self.n_shells)).all()):
            raise ScheduleError(f"scale must be a vector in [0, {self.n_shells}], got {k.tolist()}")
        edges = torch.tensor(self.edges, dtype=torch.float64, device=k.device)
        at_edge = self.scale(edges)
        wanted = k.to(torch.float64)
        upper = torch.searchsorted(at_edge, wanted).clamp(1, len(edges) - 1)
        low, high = edges[upper - 1].clone(), edges[upper].clone()
        for _ in range(60):
            middle = 0.5 * (low + high)
            below = self.scale(middle) < wanted
            low, high = torch.where(below, middle, low), torch.where(below, high, middle)
        # A smooth ramp is flat at its edges, where bisection alone would be good to half the digits only.
        found = torch.where(wanted <= at_edge[upper - 1], edges[upper - 1], 0.5 * (low + high))
        return torch.where(wanted >= at_edge[upper], edges[upper], found).to(k.dtype)

    def spend(self, total: int, shares: Sequence[float] | None = None) -> tuple[int, ...]:
        """Deal a number of steps to the shells, at least one each; for ``grid`` and ``solve``.

        Args:
            total: Steps in all.
            shares: What each shell is worth (energy, dimension, …), >= 0; None for equal shares.

        Raises:
            ScheduleError: fewer steps than shells, or shares that do not fit.

        Example:
            >>> ShellSchedule.equal(3).spend(16), ShellSchedule.equal(3).spend(16, [8.0, 4.0, 1.0])
            ((6, 5, 5), (10, 5, 1))
        """
        worth = [1.0] * self.n_shells if shares is None else [float(x) for x in shares]
        if (
            len(worth) != self.n_shells
            or not all(math.isfinite(x) and x >= 0 for x in worth)
            or sum(worth) <= 0
        ):
            raise ScheduleError(
                f"shares are {worth}, expected {self.n_shells} numbers >= 0 that are not all 0"
            )
        if total < self.n_shells:
            raise ScheduleError(f"{total} steps for {self.n_shells} shells: give at least one step per shell")
        wanted = [total * x / sum(worth) for x in worth]
        return tuple(deal(wanted, total))

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

        Example:
            >>> ShellSchedule((1, 3)).grid([1, 3]).tolist()
            [0.0, 0.25, 0.5, 0.75, 1.0]
        """
        per_shell = list(steps) * self.n_shells if len(steps) == 1 else list(steps)
        if len(per_shell) != self.n_shells or min(per_shell) < 1:
            raise ScheduleError(
                f"steps per shell are {list(steps)}, expected {self.n_shells} whole numbers >= 1"
            )
        return step_times(self.edges, self.windows, per_shell)
