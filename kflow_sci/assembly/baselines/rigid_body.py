"""What the rivals share that move rigid copies with the net of K-Flow.

The one idea: with the same net and the same freedom in the pair of start and target, what differs is the method.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from kflow_sci.assembly.baselines.learned import Rival, start_of
from kflow_sci.assembly.model.batch import ClusterBatch
from kflow_sci.assembly.model.cluster_model import at_volume_of
from kflow_sci.assembly.model.start import random_rotations
from kflow_sci.flow.coupling import couple
from kflow_sci.flow.rigid import Pose
from kflow_sci.nets.rigid import RigidNet, RigidState
from kflow_sci.settings import Settings, setting

_FORBIDDEN = (
    1e6  # cost of pairing copies of different kind or hand; far above any other, exact in single precision
)


@dataclass(frozen=True, kw_only=True)
class RigidSettings(Settings):
    """The net of K-Flow, see ``nets.rigid``."""

    hidden: int = setting("features of a molecule inside the net", low=1)
    layers: int = setting("rounds of messages", low=1)
    edge: int = setting("features of a message", low=1)
    neighbours: int = setting("molecules each molecule hears", low=1)
    contacts: int = setting("neighbours whose surfaces are looked at", low=1)
    rotation_weight: float = setting("weight of rotation errors against translation errors", low=0.0)
    keep_volume: bool = setting(
        "scale the centroids of the answer to the volume of the start, as K-Flow does"
    )


class RigidRival(Rival):
    """Base of the rivals that move rigid copies: the net, and pairs of a start and a target in its frame."""

    settings: RigidSettings

    def __init__(self, settings: RigidSettings) -> None:
        super().__init__(settings)
        self.net = RigidNet(
            1, settings.hidden, settings.layers, settings.edge, settings.neighbours, settings.contacts
        )

    def pair(self, batch: ClusterBatch, generator: torch.Generator) -> tuple[Pose, Pose]:
        """See ``turned_pair``."""
        return turned_pair(batch, generator)

    def finish(self, batch: ClusterBatch, start: Pose, end: Pose) -> Pose:
        """The end of a walk, at the volume of its start if the settings say so."""
        if not self.settings.keep_volume:
            return end
        return Pose(at_volume_of(end.centroid, start.centroid, batch.mask), end.rotation)

    def answer(
        self,
        pose: Pose,
        batch: ClusterBatch,
        encoded: Float[Tensor, "molecules hidden"],
        s: Float[Tensor, " batch"],
    ) -> tuple[Float[Tensor, "batch copies 3"], Float[Tensor, "batch copies 3"]]:
        """The translation (Å) and rotation vector (rad) that the net answers at a pose and a time."""
        state = RigidState(pose.centroid, pose.rotation, batch.parity, batch.kind, batch.mask, batch.length)
        translation, rotation = self.net(state, batch.table, encoded, s, s[:, None])
        return translation, rotation


def turned_pair(batch: ClusterBatch, generator: torch.Generator) -> tuple[Pose, Pose]:
    """A start, and the target turned as a whole towards it; the copies stay in the order of the batch.

    A start that the data set gives has a frame in common with its target: then nothing is turned.
    """
    start = start_of(batch, generator)
    if batch.start is not None:
        return start, batch.pose
    label = labels(batch)
    turn = random_rotations((len(label),), generator, batch.length.dtype).to(label.device)
    _, turn = couple(start.centroid, batch.pose.centroid, label, label, batch.mask, turn)
    target = Pose(batch.pose.centroid @ turn.transpose(1, 2), turn[:, None] @ batch.pose.rotation)
    return start, target


def labels(batch: ClusterBatch) -> Int[Tensor, "batch copies"]:
    """Equal for copies that are interchangeable: of the same kind and hand; 0 for padding."""
    return (2 * batch.kind + (batch.parity > 0).long() + 1).masked_fill(~batch.mask, 0)


def pair_costs(
    one: Pose, other: Pose, batch: ClusterBatch, rotation_weight: float
) -> Float[Tensor, "batch copies copies"]:
    """Cost of taking each copy of one set of poses for each copy of another.

    Squared distance in units of the length, plus the weight times ``2 (1 − cos θ)``, about θ², with θ the smallest
    angle to any orientation that is equivalent by the symmetry of the molecule. Copies of different kind or hand
    cannot be taken for each other; padding costs nothing among itself.
    """
    length = batch.length[:, None, None]
    distance = (one.centroid[:, :, None] - other.centroid[:, None]).square().sum(-1) / length.square()
    between = one.rotation.transpose(-1, -2)[:, :, None] @ other.rotation[:, None]
    # The trace of R_iᵀ R_j g, for every symmetry operation g of copy j.
    trace = torch.einsum("bnmij,bmoji->bnmo", between, batch.table.group[batch.kind]).amax(-1)
    label = labels(batch)
    real = batch.mask[:, :, None] & batch.mask[:, None]
    cost = (distance + rotation_weight * (3.0 - trace)).masked_fill(~real, 0.0)
    return cost.masked_fill(label[:, :, None] != label[:, None], _FORBIDDEN)
