"""Rival: a diffusion bridge of rigid copies over an unbalanced coupling, in the manner of AssemUDB.

The one idea: start and target are joined by a Brownian bridge, so the way is noisy but both ends are fixed; and they
are paired by unbalanced transport, so a copy is not forced to a target that is farther than it is worth. Such a copy
learns from a near target instead, and counts for less.

Source:
    The name and the numbers of AssemUDB (AAAI 2026) are known here, its text and code are not. Taken from the name:
    diffusion bridge, unbalanced. Made here from the literature: the bridge (Liu et al., ICLR 2023; Shi et al., NeurIPS
    2023), the coupling (unbalanced transport as in Eyring et al., ICLR 2024), the net, which is that of K-Flow.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import roma
import torch
from jaxtyping import Float
from torch import Tensor

from kflow_sci.assembly.baselines.atoms import normal
from kflow_sci.assembly.baselines.rigid_body import RigidRival, RigidSettings, pair_costs
from kflow_sci.assembly.baselines.transport import sinkhorn
from kflow_sci.assembly.model.batch import ClusterBatch
from kflow_sci.flow.coupling import nearest_equivalent
from kflow_sci.flow.objective import stratified_times
from kflow_sci.flow.rigid import Pose, from_chart, to_chart
from kflow_sci.settings import setting


@dataclass(frozen=True, kw_only=True)
class BridgeSettings(RigidSettings):
    """The bridge and its coupling, besides the net."""

    noise: float = setting("deviation of the way of a centroid, per square root of time, in lengths", low=0.0)
    spin: float = setting("deviation of the way of an orientation, per square root of time, rad", low=0.0)
    epsilon: float = setting("entropy of the coupling, in squared lengths", above=0.0)
    reach: float = setting("weight of the marginals of the coupling, in squared lengths", above=0.0)
    time_steps: int = setting("steps of the sampler", low=1)


class Paired(NamedTuple):
    """The target pose of every copy of the start, and how much it counts, 1 on average."""

    target: Pose
    weight: Float[Tensor, "batch copies"]


class Bridge(RigidRival):
    """Endpoint prediction on the bridge; sampled by its exact steps for a fixed endpoint."""

    settings_kind = BridgeSettings
    stochastic = True
    settings: BridgeSettings

    @property
    def calls(self) -> int:
        return self.settings.time_steps

    def loss(self, batch: ClusterBatch, generator: torch.Generator) -> dict[str, Tensor]:
        start, target = self.pair(batch, generator)
        target, weight = unbalanced(start, target, batch, self.settings, generator)
        s = stratified_times(len(batch.ids), generator).to(batch.length)
        scales = self._scales(batch)
        point = from_chart(
            bridge_point(
                to_chart(start, start.rotation), to_chart(target, start.rotation), s, scales, generator
            ),
            start.rotation,
        )
        move, turn = self.answer(point, batch, self.net.encode(batch.table), s)
        wanted = roma.rotmat_to_rotvec(target.rotation @ point.rotation.transpose(-1, -2))
        error = (move - (target.centroid - point.centroid)) / batch.length[:, None, None]
        translation, rotation = (
            ((x.square().sum(-1) * weight).sum() / weight.sum()) for x in (error, turn - wanted)
        )
        total = translation + self.settings.rotation_weight * rotation
        return {"loss": total, "translation": translation.detach(), "rotation": rotation.detach()}

    def walk(self, batch: ClusterBatch, start: Pose, generator: torch.Generator) -> Pose:
        encoded, steps = self.net.encode(batch.table), self.settings.time_steps
        pose = start
        for k in range(steps):
            s = torch.full_like(batch.length, k / steps)
            move, turn = self.answer(pose, batch, encoded, s)
            answer = torch.cat([move, turn], dim=-1)
            # In the chart at the present pose, which stands at 0 there but for its centroid.
            step = bridge_step(answer, k / steps, (k + 1) / steps, self._scales(batch), generator)
            step = step * batch.mask[..., None]
            rotation = roma.rotvec_to_rotmat(step[..., 3:].contiguous()) @ pose.rotation
            pose = Pose(pose.centroid + step[..., :3], rotation)
        return self.finish(batch, start, pose)

    def _scales(self, batch: ClusterBatch) -> Float[Tensor, "batch 1 6"]:
        noise = self.settings.noise * batch.length[:, None].expand(-1, 3)
        return torch.cat([noise, torch.full_like(noise, self.settings.spin)], dim=-1)[:, None]


def unbalanced(
    start: Pose, target: Pose, batch: ClusterBatch, settings: BridgeSettings, generator: torch.Generator
) -> Paired:
    """For every copy of the start a target drawn from its row of the plan, in the nearest equivalent orientation.

    Its weight is the mass of the row. The plan looks at centroids only, for copies of the same kind and hand.
    """
    plan = sinkhorn(pair_costs(start, target, batch, 0.0), settings.epsilon, settings.reach)
    mass = plan.mass.sum(2)
    draw = torch.rand(mass.shape, generator=generator, dtype=torch.float64).to(mass)
    below = (plan.mass.cumsum(2) < (draw * mass)[..., None]).sum(2)
    node = below.clamp(max=mass.shape[1] - 1)
    centroid = target.centroid.gather(1, node[..., None].expand(-1, -1, 3))
    rotation = target.rotation.gather(1, node[..., None, None].expand(-1, -1, 3, 3))
    rotation = nearest_equivalent(rotation, start.rotation, batch.table.group[batch.kind])
    weight = mass * batch.mask
    return Paired(Pose(centroid, rotation), weight / weight.sum() * batch.mask.sum())


def bridge_point(
    start: Float[Tensor, "batch copies 6"],
    target: Float[Tensor, "batch copies 6"],
    s: Float[Tensor, " batch"],
    scales: Float[Tensor, "batch 1 6"],
    generator: torch.Generator,
) -> Float[Tensor, "batch copies 6"]:
    """A point of the Brownian bridge: normal about ``(1 − s) start + s target``, variance ``s (1 − s) scales²``."""
    s = s[:, None, None]
    return start + s * (target - start) + (s * (1.0 - s)).sqrt() * scales * normal(start, generator)


def bridge_step(
    left: Float[Tensor, "batch copies 6"],
    now: float,
    then: float,
    scales: Float[Tensor, "batch 1 6"],
    generator: torch.Generator,
) -> Float[Tensor, "batch copies 6"]:
    """The step of the bridge that ends, at time 1, ``left`` away from here; exact for a fixed end."""
    share = (then - now) / (1.0 - now)
    deviation = ((then - now) * (1.0 - then) / (1.0 - now)) ** 0.5
    return share * left + deviation * scales * normal(left, generator)
