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

import torch
from jaxtyping import Float
from torch import Tensor

from kflow_sci.assembly.baselines.atoms import normal
from kflow_sci.assembly.baselines.displacement import DisplacementRival, NoiseSettings
from kflow_sci.assembly.baselines.noising import Noising
from kflow_sci.assembly.model.batch import ClusterBatch
from kflow_sci.flow.rigid import Pose

FIRST_TIME = 1e-3  # below it the noise is too small to matter and its rate too large to integrate


class CrystalSde(DisplacementRival):
    """Score model of the displacements; a subclass says which noise."""

    settings_kind = NoiseSettings

    @property
    def calls(self) -> int:
        return self.settings.time_steps + 1

    def loss(self, batch: ClusterBatch, generator: torch.Generator) -> dict[str, Tensor]:
        pair = self.pair(batch, generator)
        answer, noise, _ = self.disturbed(pair, batch.length, FIRST_TIME, generator)
        return self.error(pair.cloud, answer - noise)

    def walk(
        self, batch: ClusterBatch, start: Pose, generator: torch.Generator
    ) -> Float[Tensor, "batch copies atoms 3"]:
        origin = self.origin(batch, start)

        def noise_in(u: Tensor, tau: float) -> Tensor:
            return self.answer(origin, u, torch.full_like(batch.length, tau))

        one = torch.ones_like(origin.start[:1, :1])
        first = self.noising.marginal(one).deviation * normal(origin.start, generator)
        return origin.spread(reverse(self.noising, noise_in, first, self.settings.time_steps, generator))


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
