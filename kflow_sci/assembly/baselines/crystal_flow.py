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

from kflow_sci.assembly.baselines.atoms import AtomRival, AtomSettings, atoms_at, cloud_of, normal, uniform
from kflow_sci.assembly.baselines.crystal_sde import NoiseSettings
from kflow_sci.assembly.baselines.noising import Kind, Marginal, Noising
from kflow_sci.assembly.model.batch import ClusterBatch
from kflow_sci.flow.rigid import Pose

LAST_TIME = 1e-2  # τ where the walk ends; the rate of the VP path is infinite at 0


class CrystalFlow(AtomRival):
    """Flow of the displacements; a subclass says along which path."""

    settings_kind: ClassVar[type[AtomSettings]] = NoiseSettings
    stochastic = True
    kind: ClassVar[Kind]

    def __init__(self, settings: AtomSettings) -> None:
        super().__init__(settings)
        low, high = (settings.low, settings.high) if isinstance(settings, NoiseSettings) else (0.0, 0.0)
        self.noising = Noising(self.kind, low, high)

    @property
    def last(self) -> float:
        """τ where the walk ends."""
        return 0.0 if self.kind == "LERP" else LAST_TIME

    @property
    def calls(self) -> int:
        return self.settings.time_steps

    def loss(self, batch: ClusterBatch, generator: torch.Generator) -> dict[str, Tensor]:
        pair = self.pair(batch, generator)
        tau = self.last + (1.0 - self.last) * uniform(batch.length, generator)
        at = self.noising.marginal(tau.index_select(0, pair.cloud.cluster)[:, None])
        noise = normal(pair.start, generator)
        point = pair.start + pair.unit * (at.mean * pair.displacement + at.deviation * noise)
        velocity = at.mean_rate * pair.displacement + at.deviation_rate * noise
        answer = self.net(
            pair.cloud, point, batch.length, pair.start, tau, self.noising.marginal(tau).deviation
        )
        return self.error(pair.cloud, answer - velocity / speed(at))

    def walk(
        self, batch: ClusterBatch, start: Pose, generator: torch.Generator
    ) -> Float[Tensor, "batch copies atoms 3"]:
        cloud = cloud_of(batch)
        origin = cloud.take(atoms_at(batch, start))
        unit = batch.length.index_select(0, cloud.cluster)[:, None]
        times = torch.linspace(1.0, self.last, self.settings.time_steps + 1, dtype=torch.float64).to(origin)
        u = self.noising.marginal(times[0]).deviation * normal(origin, generator)
        for now, then in pairwise(times):
            time = now.expand(len(batch.length))
            deviation = self.noising.marginal(time).deviation
            answer = self.net(cloud, origin + unit * u, batch.length, origin, time, deviation)
            u = u + (then - now) * speed(self.noising.marginal(now)) * answer
        return cloud.spread(origin + unit * u)


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
