"""Rivals: CrystalFlow-VE, -VP and -LERP, flow matching of every atom.

The one idea: the paths of the score models, read as flows. A displacement goes from noise about the start (VE, VP), or
from nothing (LERP), to its target along ``m(τ) u + n(τ) z``; the net learns the velocity, Euler steps walk it. The
velocity is learnt in units of its own size at that time, so that no part of a path drowns the others.

Source:
    Three of the baselines of AssembleFlow (Guo et al., ICLR 2025), whose code for them is not public. Paths: Lipman et
    al., ICLR (2023), eq. 16–23. The displacement about the start and the unit of the velocity are choices made here.
"""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from kflow_sci.assembly.baselines.atoms import AtomSettings, normal
from kflow_sci.assembly.baselines.displacement import DisplacementRival, NoiseSettings
from kflow_sci.assembly.baselines.noising import Marginal
from kflow_sci.assembly.model.batch import ClusterBatch
from kflow_sci.flow.rigid import Pose

LAST_TIME = 1e-2  # τ where the walk ends; the rate of the VP path is infinite at 0


class CrystalFlow(DisplacementRival):
    """Flow of the displacements; a subclass says along which path."""

    settings_kind: ClassVar[type[AtomSettings]] = NoiseSettings

    @property
    def last(self) -> float:
        """τ where the walk ends."""
        return 0.0 if self.kind == "LERP" else LAST_TIME

    @property
    def calls(self) -> int:
        return self.settings.time_steps

    def loss(self, batch: ClusterBatch, generator: torch.Generator) -> dict[str, Tensor]:
        pair = self.pair(batch, generator)
        answer, noise, at = self.disturbed(pair, batch.length, self.last, generator)
        velocity = at.mean_rate * pair.displacement + at.deviation_rate * noise
        return self.error(pair.cloud, answer - velocity / speed(at))

    def walk(
        self, batch: ClusterBatch, start: Pose, generator: torch.Generator
    ) -> Float[Tensor, "batch copies atoms 3"]:
        origin = self.origin(batch, start)
        times = torch.linspace(1.0, self.last, self.settings.time_steps + 1, dtype=torch.float64)
        times = times.to(origin.start)
        u = self.noising.marginal(times[0]).deviation * normal(origin.start, generator)
        for now, then in pairwise(times):
            answer = self.answer(origin, u, now.expand(len(batch.length)))
            u = u + (then - now) * speed(self.noising.marginal(now)) * answer
        return origin.spread(u)


class CrystalFlowVe(CrystalFlow):
    """Path of exploding variance."""

    kind = "VE"


class CrystalFlowVp(CrystalFlow):
    """Path of preserved variance."""

    kind = "VP"


class CrystalFlowLerp(CrystalFlow):
    """Straight from the start to the target, without noise."""

    settings_kind = AtomSettings
    stochastic = False
    kind = "LERP"


def speed(at: Marginal) -> Float[Tensor, "..."]:
    """Size of the velocity of a displacement of about one length."""
    return (at.mean_rate.square() + at.deviation_rate.square()).sqrt()
