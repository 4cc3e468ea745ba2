"""Rival: regression with a loss that does not see the numbering, in the manner of SinkFast.

The one idea: the net looks at the start once and says where every copy goes; the loss compares two sets of poses,
not two lists. It is the cost of the best assignment, or of debiased entropic transport, over distances of centroids
and angles up to the symmetry of the molecule; it is 0 at the truth, however that is numbered.

Source:
    Jehanno, Menegaux, Mairal and Grudinin, arXiv:2509.00832 (2025): that such a loss matters, and that one call of a
    regression is enough to compete. The net is that of K-Flow; the weights are chosen here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import roma
import torch
from jaxtyping import Float
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from kflow_sci.assembly.baselines.rigid_body import RigidRival, RigidSettings, pair_costs
from kflow_sci.assembly.baselines.transport import transport_value
from kflow_sci.assembly.model.batch import ClusterBatch
from kflow_sci.flow.rigid import Pose
from kflow_sci.settings import setting

_ROUNDS = 100


@dataclass(frozen=True, kw_only=True)
class RegressionSettings(RigidSettings):
    """The loss, besides the net."""

    matching: Literal["exact", "sinkhorn"] = setting("how the copies of two sets are paired in the loss")
    epsilon: float = setting(
        "entropy of the sinkhorn loss, in squared lengths; exact does without", above=0.0
    )


class Regression(RigidRival):
    """One call from the start to the end."""

    settings_kind = RegressionSettings
    settings: RegressionSettings

    @property
    def calls(self) -> int:
        return 1

    def loss(self, batch: ClusterBatch, generator: torch.Generator) -> dict[str, Tensor]:
        start, target = self.pair(batch, generator)
        value = set_loss(self._move(batch, start), target, batch, self.settings)
        return {"loss": value, "set": value.detach()}

    def walk(self, batch: ClusterBatch, start: Pose, generator: torch.Generator) -> Pose:
        return self.finish(batch, start, self._move(batch, start))

    def _move(self, batch: ClusterBatch, start: Pose) -> Pose:
        move, turn = self.answer(start, batch, self.net.encode(batch.table), torch.zeros_like(batch.length))
        return Pose(start.centroid + move, roma.rotvec_to_rotmat(turn) @ start.rotation)


def set_loss(
    predicted: Pose, target: Pose, batch: ClusterBatch, settings: RegressionSettings
) -> Float[Tensor, ""]:
    """Mean cost per copy of the predicted poses, as a set, against the target's, as a set.

    Args:
        predicted: Poses; differentiable.
        target: Poses in the same frame.
        batch: Kinds, hands, masks and lengths of the copies.
        settings: How sets are compared.
    """
    cost = pair_costs(predicted, target, batch, settings.rotation_weight)
    real = batch.mask.sum(1).to(cost)
    if settings.matching == "exact":
        table = cost.detach().cpu().numpy()
        # A set that is not finite has no best assignment; its loss is not finite whatever is taken.
        node = np.stack([linear_sum_assignment(np.nan_to_num(row, nan=0.0, posinf=0.0))[1] for row in table])
        best = cost.gather(2, torch.from_numpy(node).to(cost.device)[..., None]).sum((1, 2))
        return (best / real).mean()
    own = pair_costs(predicted, predicted, batch, settings.rotation_weight)
    its = pair_costs(target, target, batch, settings.rotation_weight)
    values = [transport_value(c, settings.epsilon, _ROUNDS) for c in (cost, own, its)]
    # Rows weigh 1/copies with the padding, which costs nothing: rescaled to the mean over real copies.
    return ((values[0] - 0.5 * (values[1] + values[2])) * cost.shape[1] / real).mean()
