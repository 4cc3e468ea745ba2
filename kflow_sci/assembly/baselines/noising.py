"""Three ways from a displacement to noise: exploding, preserved and no variance.

The one idea: all three are ``u_τ = m(τ) u + n(τ) z`` with z normal and τ from 0 (data) to 1 (noise). The mean m and the
deviation n with their rates are all that score models and flow matching need: drift and diffusion of the stochastic
equation follow from them, so they are not written down a second time.

Source:
    VE and VP: Song et al., ICLR (2021), arXiv:2011.13456, eq. 29–33. As paths of a flow: Lipman et al., ICLR (2023).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from kflow_sci.errors import ConfigError

Kind = Literal["VE", "VP", "LERP"]
KINDS: tuple[Kind, ...] = ("VE", "VP", "LERP")


class Marginal(NamedTuple):
    """Mean and deviation at a time, and their rates."""

    mean: Float[Tensor, "..."]
    deviation: Float[Tensor, "..."]
    mean_rate: Float[Tensor, "..."]
    deviation_rate: Float[Tensor, "..."]


@dataclass(frozen=True)
class Noising:
    """Which way, and its two ends.

    Attributes:
        kind: ``VE`` (m = 1, n grows geometrically), ``VP`` (m² + n² = 1) or ``LERP`` (m = 1 − τ, n = 0).
        low: VE: the deviation at τ = 0. VP: β at τ = 0. LERP: not used.
        high: VE: the deviation at τ = 1. VP: β at τ = 1. LERP: not used.

    Raises:
        ConfigError: an unknown kind, or ends that are not 0 < low < high.
    """

    kind: Kind
    low: float
    high: float

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ConfigError(f"path '{self.kind}' is unknown: choose {', '.join(KINDS)}")
        if self.kind != "LERP" and not 0.0 < self.low < self.high < math.inf:
            raise ConfigError(
                f"low = {self.low} and high = {self.high} of the {self.kind} noise must be 0 < low < high"
            )

    def marginal(self, tau: Float[Tensor, "..."]) -> Marginal:
        """Mean, deviation and rates; the rate of the VP deviation is infinite at τ = 0.

        Example:
            >>> Noising("VE", 0.01, 1.0).marginal(torch.tensor(0.5)).deviation
            tensor(0.1000)
        """
        one = torch.ones_like(tau)
        if self.kind == "LERP":
            return Marginal(1.0 - tau, 0.0 * one, -one, 0.0 * one)
        if self.kind == "VE":
            grow = math.log(self.high / self.low)
            deviation = self.low * torch.exp(grow * tau)
            return Marginal(one, deviation, 0.0 * one, grow * deviation)
        beta = self.low + (self.high - self.low) * tau
        total = self.low * tau + 0.5 * (self.high - self.low) * tau.square()
        mean, deviation = torch.exp(-0.5 * total), torch.sqrt(-torch.expm1(-total))
        return Marginal(mean, deviation, -0.5 * beta * mean, 0.5 * beta * mean.square() / deviation)

    def drift(self, tau: Float[Tensor, "..."]) -> tuple[Float[Tensor, "..."], Float[Tensor, "..."]]:
        """The f and g² of ``du = f u dτ + g dW``, the equation whose solutions have these marginals."""
        at = self.marginal(tau)
        f = at.mean_rate / at.mean
        return f, 2.0 * at.deviation * (at.deviation_rate - f * at.deviation)
