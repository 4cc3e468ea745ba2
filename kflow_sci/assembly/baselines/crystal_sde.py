"""Rivals: CrystalSDE-VE and -VP, score models that diffuse every atom.

The one idea: the displacement of each atom from its start, in units of the cluster's length, is diffused to noise; the
net learns which noise was added, and the reverse equation is integrated by Euler–Maruyama from pure noise about the
start. Atoms are independent in the noise, so molecules dissolve and must be put together again.

Source:
    Two of the baselines of AssembleFlow (Guo et al., ICLR 2025), whose code for them is not public. Equations: Song et
    al., ICLR (2021). Diffusing the displacement, so that the start is used, is a choice made here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from kflow_sci.assembly.baselines.atoms import AtomRival, AtomSettings, atoms_at, cloud_of, normal, uniform
from kflow_sci.assembly.baselines.noising import Kind, Noising
from kflow_sci.assembly.model.batch import ClusterBatch
from kflow_sci.flow.rigid import Pose
from kflow_sci.settings import setting

FIRST_TIME = 1e-3  # below it the noise is too small to matter and its rate too large to integrate


@dataclass(frozen=True, kw_only=True)
class NoiseSettings(AtomSettings):
    """The noise of a rival, besides its net."""

    low: float = setting("VE: deviation without noise, in lengths; VP: beta there", above=0.0)
    high: float = setting("VE: deviation at full noise, in lengths; VP: beta there", above=0.0)


class CrystalSde(AtomRival):
    """Score model of the displacements; a subclass says which noise."""

    settings_kind = NoiseSettings
    stochastic = True
    kind: ClassVar[Kind]
    settings: NoiseSettings

    def __init__(self, settings: NoiseSettings) -> None:
        super().__init__(settings)
        self.noising = Noising(self.kind, settings.low, settings.high)

    @property
    def calls(self) -> int:
        return self.settings.time_steps + 1

    def loss(self, batch: ClusterBatch, generator: torch.Generator) -> dict[str, Tensor]:
        pair = self.pair(batch, generator)
        tau = FIRST_TIME + (1.0 - FIRST_TIME) * uniform(batch.length, generator)
        at = self.noising.marginal(tau.index_select(0, pair.cloud.cluster)[:, None])
        noise = normal(pair.start, generator)
        point = pair.start + pair.unit * (at.mean * pair.displacement + at.deviation * noise)
        answer = self.net(
            pair.cloud, point, batch.length, pair.start, tau, self.noising.marginal(tau).deviation
        )
        return self.error(pair.cloud, answer - noise)

    def walk(
        self, batch: ClusterBatch, start: Pose, generator: torch.Generator
    ) -> Float[Tensor, "batch copies atoms 3"]:
        cloud = cloud_of(batch)
        origin = cloud.take(atoms_at(batch, start))
        unit = batch.length.index_select(0, cloud.cluster)[:, None]

        def noise_in(u: Tensor, tau: float) -> Tensor:
            time = torch.full_like(batch.length, tau)
            answer: Tensor = self.net(
                cloud,
                origin + unit * u,
                batch.length,
                origin,
                time,
                self.noising.marginal(time).deviation,
            )
            return answer

        one = torch.ones(1, dtype=origin.dtype, device=origin.device)
        first = self.noising.marginal(one).deviation * normal(origin, generator)
        return cloud.spread(
            origin + unit * reverse(self.noising, noise_in, first, self.settings.time_steps, generator)
        )


class CrystalSdeVe(CrystalSde):
    """Noise of exploding variance."""

    kind = "VE"


class CrystalSdeVp(CrystalSde):
    """Noise of preserved variance."""

    kind = "VP"


def reverse(
    noising: Noising,
    noise_in: Callable[[Float[Tensor, "n k"], float], Float[Tensor, "n k"]],
    u: Float[Tensor, "n k"],
    steps: int,
    generator: torch.Generator,
) -> Float[Tensor, "n k"]:
    """The reverse equation by Euler–Maruyama in equal steps of τ, then the mean of what the last noise leaves.

    Args:
        noising: The forward equation.
        noise_in: ``(u, τ) -> E[z | u]``; the score is minus this over the deviation.
        u: State at τ = 1.
        steps: Of the integrator; one more call of the net removes the rest of the noise.
        generator: Of the fresh noise.
    """
    times = torch.linspace(1.0, FIRST_TIME, steps + 1, dtype=torch.float64).to(u)
    for k in range(steps):
        tau, size = times[k], times[k] - times[k + 1]
        f, g2 = noising.drift(tau)
        score = -noise_in(u, float(tau)) / noising.marginal(tau).deviation
        u = u - size * (f * u - g2 * score) + (g2 * size).sqrt() * normal(u, generator)
    at = noising.marginal(times[-1])
    return (u - at.deviation * noise_in(u, float(times[-1]))) / at.mean
