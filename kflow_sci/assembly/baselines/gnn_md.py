"""Rival: GNN-MD, a net that tells every atom its next step, rolled out like molecular dynamics.

The one idea: the way from start to target is cut into equal steps, and the net learns the step from where the atoms
are, knowing neither the time nor where they came from, as a force field does. Errors add up in the roll-out, and
nothing holds a molecule together.

Source:
    One of the baselines of AssembleFlow (Guo et al., ICLR 2025), whose code for it is not public; learnt roll-outs:
    Liu et al., Nat. Commun. 17 (2026) 1049. The straight path and its equal steps are a choice made here.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from kflow_sci.assembly.baselines.atoms import AtomCloud, AtomRival, AtomSettings, atoms_at, cloud_of
from kflow_sci.assembly.model.batch import ClusterBatch
from kflow_sci.flow.rigid import Pose


class GnnMd(AtomRival):
    """Steps of ``length / steps`` times what the net answers."""

    settings_kind = AtomSettings

    @property
    def calls(self) -> int:
        return self.settings.time_steps

    def loss(self, batch: ClusterBatch, generator: torch.Generator) -> dict[str, Tensor]:
        cloud, start, target, unit = self.pair(batch, generator)
        frame = torch.randint(self.settings.time_steps, batch.length.shape, generator=generator).to(
            batch.length
        )
        share = (frame / self.settings.time_steps).index_select(0, cloud.cluster)[:, None]
        step = self._step(cloud, start + share * (target - start), batch.length)
        return self.error(cloud, step - (target - start) / unit)

    def walk(
        self, batch: ClusterBatch, start: Pose, generator: torch.Generator
    ) -> Float[Tensor, "batch copies atoms 3"]:
        cloud = cloud_of(batch)
        position = cloud.take(atoms_at(batch, start))
        unit = batch.length.index_select(0, cloud.cluster)[:, None]
        for _ in range(self.settings.time_steps):
            position = position + unit / self.settings.time_steps * self._step(cloud, position, batch.length)
        return cloud.spread(position)

    def _step(
        self, cloud: AtomCloud, position: Float[Tensor, "n 3"], length: Float[Tensor, " batch"]
    ) -> Float[Tensor, "n 3"]:
        step: Tensor = self.net(cloud, position, length, None, torch.zeros_like(length))
        return step
