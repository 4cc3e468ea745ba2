"""The cluster model: transform + schedule + net + what it predicts.

The one idea: everything random happens before the network (start, coupling, flow time), everything geometric
in ``flow``; the model only joins them. ``loss`` trains it, ``sample`` walks it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import roma
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from kflow_sci.assembly.model.batch import ClusterBatch
from kflow_sci.assembly.model.start import random_rotations, random_start
from kflow_sci.errors import ClusterError, ConfigError
from kflow_sci.flow.coupling import couple, nearest_equivalent
from kflow_sci.flow.objective import PREDICTIONS, shell_weights, stratified_times
from kflow_sci.flow.path import Path
from kflow_sci.flow.rigid import Pose, dexp_inverse, from_chart, sample_rigid, to_chart
from kflow_sci.flow.schedule import ShellSchedule
from kflow_sci.flow.solve import Settle, Solution, Steer, solve
from kflow_sci.flow.steer import Clamp
from kflow_sci.nets.rigid import RigidNet, RigidState
from kflow_sci.transforms.base import NodeTransform
from kflow_sci.transforms.graph import GraphSpectralTransform
from kflow_sci.transforms.node_pca import NodePCATransform

TRANSFORMS = ("graph", "pca")
SettlePose = Callable[[Pose, Tensor], Pose]
"""``(state after a step, s of each sample) -> the state to go on from``"""


class Known(NamedTuple):
    """A cluster to agree with.

    Attributes:
        pose: In the order of the copies; their start should be near to it.
        weights: How far each shell is to agree, in [0, 1]; see ``flow.steer.below`` and ``above``.
    """

    pose: Pose
    weights: tuple[float, ...]


@dataclass(frozen=True)
class ModelConfig:
    """All that defines a cluster model but its weights; flat and plain, so that it can be written as json.

    Attributes:
        transform: ``graph`` (Laplacian of the start) or ``pca`` (fitted basis over copies ordered by
            distance).
        widths: Share of flow time of each shell; their number is the number of shells; one is plain flow
            matching.
        overlap: 0 strict … 1 plain.
        mu: Ramp inside a window.
        prediction: ``endpoint`` or ``velocity``.
        weighting: See ``flow.objective.shell_weights``.
        rotation_weight: Weight of the squared rotation error (rad²) against the squared translation error (in
            units of the molecule's cube edge).
        steps: Default steps per shell of the sampler.
        room: Volume of a finished cluster over that of its start. Disordered clusters are looser in the middle than at
            the rim; ``validate.room`` finds the factor with which their middle has the volume asked for.
    """

    transform: str = "graph"
    widths: tuple[float, ...] = (1.0, 1.0, 1.0)
    overlap: float = 0.5
    mu: str = "linear"
    prediction: str = "endpoint"
    weighting: str = "open"
    rotation_weight: float = 0.2
    hidden: int = 96
    layers: int = 4
    edge: int = 48
    neighbours: int = 16
    contacts: int = 8
    steps: tuple[int, ...] = (6, 5, 5)
    room: float = 1.0

    def __post_init__(self) -> None:
        if self.transform not in TRANSFORMS:
            raise ConfigError(f"transform '{self.transform}' is unknown: choose {', '.join(TRANSFORMS)}")
        if self.prediction not in PREDICTIONS:
            raise ConfigError(f"prediction '{self.prediction}' is unknown: choose {', '.join(PREDICTIONS)}")


class ClusterModel(nn.Module):
    """K-Flow on clusters of rigid molecules."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.schedule = ShellSchedule(config.widths, config.overlap, config.mu)
        self.net = RigidNet(
            self.schedule.n_shells,
            config.hidden,
            config.layers,
            config.edge,
            config.neighbours,
            config.contacts,
        )

    def config_dict(self) -> dict[str, Any]:
        """The config as a plain mapping."""
        return asdict(self.config)

    # -- transform ---------------------------------------------------------------------------------------------------

    def set_pca(self, samples: Float[Tensor, "samples copies 3"]) -> None:
        """Fit the PCA basis of a number of copies to samples ordered by distance from the centre."""
        basis, values = NodePCATransform.fit(samples)
        self._register_pca(len(values), basis, values)

    def _register_pca(self, copies: int, basis: Tensor, values: Tensor) -> None:
        self.register_buffer(f"pca_basis_{copies}", basis)
        self.register_buffer(f"pca_values_{copies}", values)

    def adopt_bases(self, tensors: Mapping[str, Tensor]) -> None:
        """Make room for the fitted bases of a checkpoint, so that its tensors fit this model."""
        for name, value in tensors.items():
            if name.startswith("pca_basis_") and f"pca_values_{len(value)}" in tensors:
                self._register_pca(len(value), value, tensors[f"pca_values_{len(value)}"])

    def transform(
        self, start: Float[Tensor, "batch copies 3"], mask: Bool[Tensor, "batch copies"]
    ) -> NodeTransform:
        """The shells of a batch, from its start positions alone.

        Raises:
            ClusterError: the PCA basis was not fitted for this number of copies.
        """
        if self.config.transform == "graph":
            return GraphSpectralTransform.from_points(start, self.schedule.n_shells, mask)
        copies = start.shape[1]
        if not hasattr(self, f"pca_basis_{copies}") or not bool(mask.all()):
            known = sorted(
                int(n.removeprefix("pca_basis_"))
                for n, _ in self.named_buffers()
                if n.startswith("pca_basis_")
            )
            raise ClusterError(
                f"the PCA basis is fitted for {known} copies, not {copies}: use those or graph weights"
            )
        basis, values = getattr(self, f"pca_basis_{copies}"), getattr(self, f"pca_values_{copies}")
        order = (start - start.mean(1, keepdim=True)).square().sum(-1).argsort(1)
        return NodePCATransform(basis.to(start.dtype), values.to(start.dtype), self.schedule.n_shells, order)

    # -- training ----------------------------------------------------------------------------------------------------

    def pair(self, batch: ClusterBatch, generator: torch.Generator) -> tuple[ClusterBatch, Pose]:
        """A random start and the target coupled to it.

        Labels (molecule and hand) are dealt to the start at random, as they will be at generation; then
        targets are assigned and aligned within labels, and each target orientation is the nearest of its
        equivalents.

        Returns:
            The batch in the order of the start, its pose being the coupled target, and the start.
        """
        start = random_start(batch.mask, batch.length, generator)
        label = 2 * batch.kind + (batch.parity > 0).long() + 1
        label = label.masked_fill(~batch.mask, 0)
        shuffle = torch.rand(label.shape, generator=generator, dtype=torch.float64).to(label.device)
        order = shuffle.masked_fill(~batch.mask, 2.0).argsort(1)
        dealt = label.gather(1, order)
        turn = random_rotations((len(label),), generator, batch.length.dtype).to(label.device)
        node, turn = couple(start.centroid, batch.pose.centroid, dealt, label, batch.mask, turn)
        kind, parity = batch.kind.gather(1, node), batch.parity.gather(1, node)
        centroid = batch.pose.centroid.gather(1, node[..., None].expand(-1, -1, 3)) @ turn.transpose(1, 2)
        rotation = batch.pose.rotation.gather(1, node[..., None, None].expand(-1, -1, 3, 3))
        rotation = nearest_equivalent(turn[:, None] @ rotation, start.rotation, batch.table.group[kind])
        return batch._replace(kind=kind, parity=parity, pose=Pose(centroid, rotation)), start

    def answer(
        self, pose: Pose, batch: ClusterBatch, encoded: Tensor, s: Float[Tensor, " batch"]
    ) -> tuple[Float[Tensor, "batch copies 3"], Float[Tensor, "batch copies 3"]]:
        """The network's translation (Å) and rotation vector at a pose."""
        state = RigidState(pose.centroid, pose.rotation, batch.parity, batch.kind, batch.mask, batch.length)
        alpha, _ = self.schedule.progress(s)
        return self.net(state, batch.table, encoded, s, alpha)

    def loss(self, batch: ClusterBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """Training loss of one batch and its parts.

        Flow times are stratified over the batch. With endpoint prediction the errors of translation (in units
        of the molecule's cube edge) and rotation (rad) pass the shell weights; with velocity prediction they
        are plain.
        """
        batch, start = self.pair(batch, generator)
        size = len(batch.ids)
        s = stratified_times(size, generator).to(batch.length)
        path = Path(self.transform(start.centroid, batch.mask), self.schedule)
        point = sample_rigid(path, start, batch.pose, s)
        move, turn = self.answer(point.pose, batch, self.net.encode(batch.table), s)
        if self.config.prediction == "endpoint":
            wanted_move = batch.pose.centroid - point.pose.centroid
            wanted_turn = roma.rotmat_to_rotvec(batch.pose.rotation @ point.pose.rotation.transpose(-1, -2))
            weights = shell_weights(self.schedule, s, self.config.weighting).sqrt()
            error_move = path.transform.filter(move - wanted_move, weights)
            error_turn = path.transform.filter(turn - wanted_turn, weights)
        else:
            error_move, error_turn = move - point.velocity, turn - point.angular
        error_move = error_move / batch.length[:, None, None]
        real = batch.mask.to(move.dtype)
        translation = (error_move.square().sum(-1) * real).sum() / real.sum()
        rotation = (error_turn.square().sum(-1) * real).sum() / real.sum()
        total = translation + self.config.rotation_weight * rotation
        return {"loss": total, "translation": translation.detach(), "rotation": rotation.detach()}

    # -- sampling ----------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def sample(
        self,
        batch: ClusterBatch,
        start: Pose,
        steps: tuple[int, ...] | None = None,
        *,
        settle: Sequence[SettlePose] = (),
        keep: bool = False,
        known: Known | None = None,
        held: Bool[Tensor, "batch copies"] | None = None,
    ) -> tuple[Pose, Solution]:
        """Walk from a start to a cluster.

        The centroids of the result are scaled about their mean to the radius of gyration of the start times the cube
        root of ``room``: the volume that was asked for is kept, whatever the network thinks of it. With a known cluster
        its own radius is kept; with held copies nothing is scaled.

        Args:
            batch: Molecules, kinds, parities and lengths; its pose is ignored.
            start: Where the copies stand at s = 0; the base of the chart and of the graph.
            steps: Steps per shell; the default of the model if None.
            settle: What is done to the poses after each step, in all shells.
            keep: Keep the chart coordinates at every step in the solution.
            known: A cluster that the sample is to agree with in part, copy by copy.
            held: Copies that stay where they start.
        """
        path = Path(self.transform(start.centroid, batch.mask), self.schedule)
        encoded = self.net.encode(batch.table)
        base = start.rotation
        endpoint = self.config.prediction == "endpoint"

        def field(x: Tensor, s: Tensor) -> Tensor:
            pose = from_chart(x, base)
            move, turn = self.answer(pose, batch, encoded, s)
            if endpoint:
                rotation = roma.rotvec_to_rotmat(turn) @ pose.rotation
                return to_chart(Pose(pose.centroid + move, rotation), base)
            return torch.cat([move, dexp_inverse(x[..., 3:], turn)], dim=-1)

        def settled(change: SettlePose) -> Settle:
            return lambda x, s: to_chart(change(from_chart(x, base), s), base)

        steer: list[Steer] = []
        last = [settled(one) for one in settle]
        if known is not None:
            steer.append(Clamp(path, to_chart(known.pose, base), known.weights))
        hold = held is not None and bool(held.any())
        if held is not None and hold:
            still, rest = held[..., None], to_chart(start, base)
            steer.append(lambda x, s, end: torch.where(still, rest, end))
            last.append(lambda x, s: torch.where(still, rest, x))
        solution = solve(
            field,
            to_chart(start, base),
            path,
            steps or self.config.steps,
            method="shell" if endpoint else "euler",
            steer=steer,
            settle=last,
            keep=keep,
        )
        pose = from_chart(solution.x, base)
        if hold:
            return pose, solution
        like = start.centroid * self.config.room ** (1.0 / 3.0) if known is None else known.pose.centroid
        return Pose(at_volume_of(pose.centroid, like, batch.mask), pose.rotation), solution


def at_volume_of(
    centroid: Float[Tensor, "batch copies 3"],
    other: Float[Tensor, "batch copies 3"],
    mask: Bool[Tensor, "batch copies"],
) -> Float[Tensor, "batch copies 3"]:
    """Centroids scaled about their mean to the radius of gyration of others."""
    real = mask.to(centroid.dtype)[..., None]

    def centred(x: Tensor) -> Tensor:
        return (x - (x * real).sum(1, keepdim=True) / real.sum(1, keepdim=True)) * real

    mine, wanted = centred(centroid), centred(other)
    squared = mine.square().sum((1, 2), keepdim=True).clamp(min=torch.finfo(mine.dtype).tiny)
    return centroid + mine * ((wanted.square().sum((1, 2), keepdim=True) / squared).sqrt() - 1.0)
