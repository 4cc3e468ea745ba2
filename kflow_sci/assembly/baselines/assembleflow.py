"""Rival: AssembleFlow, rigid flow matching that predicts where every molecule ends, by translation and quaternion.

The one idea: between a start and its target, copy for copy, centroids go along straight lines and orientations along
great arcs; a net sees a point of that path and answers with its end. Sampling walks towards the answer in equal steps.

``as_published`` reproduces what the public code computes, where it computes something; without it the net is
equivariant and the arithmetic safe. docs/rivals.md lists every difference.

Source:
    Guo, Bengio and Liu, AssembleFlow: Rigid flow matching with inertial frames for molecular assembly, ICLR (2025).
"""

from __future__ import annotations

from dataclasses import dataclass

import roma
import torch
from jaxtyping import Float
from torch import Tensor

from kflow_sci.assembly.baselines.learned import Rival, start_of
from kflow_sci.assembly.baselines.rigid_body import turned_pair
from kflow_sci.assembly.model.batch import ClusterBatch
from kflow_sci.errors import ConfigError
from kflow_sci.flow.rigid import Pose, from_chart, to_chart
from kflow_sci.nets.assembleflow import AtomEncoder, AtomNet, Placed
from kflow_sci.nets.point_attention import MoleculeNet
from kflow_sci.settings import Settings, setting

_SOFT = 1e-8


@dataclass(frozen=True, kw_only=True)
class AssembleFlowSettings(Settings):
    """What both variants need; the published values are in configs/rivals."""

    as_published: bool = setting("reproduce the public code, defects and all")
    time_steps: int = setting("steps of the sampler, and flow times seen in training", low=1)
    translation_weight: float = setting(
        "weight of the mean squared error of a centroid component, Å^2", low=0.0
    )
    rotation_weight: float = setting("weight of the mean squared error of a quaternion component", low=0.0)
    hidden: int = setting("features", low=4)
    interactions: int = setting("rounds of PaiNN inside a molecule", low=1)
    radial: int = setting("radial functions of PaiNN", low=1)
    molecule_cutoff: float = setting("reach of PaiNN inside a molecule, Å", above=0.0)
    cluster_cutoff: float = setting("how far a molecule sees, Å", above=0.0)
    layers: int = setting("layers of the net between molecules", low=1)
    heads: int = setting("heads of its attention", low=1)


@dataclass(frozen=True, kw_only=True)
class AtomSettings(AssembleFlowSettings):
    """What the variant needs that looks from every atom at the centres of molecules."""

    convs: int = setting("rounds of attention per layer; as published, only the last has an effect", low=1)
    dropout: float = setting("dropout in the attention", low=0.0, high=0.9)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hidden % self.heads:
            raise ConfigError(
                f"hidden = {self.hidden} is no multiple of heads = {self.heads}: change one of them"
            )


@dataclass(frozen=True, kw_only=True)
class MoleculeSettings(AssembleFlowSettings):
    """What the variant needs that looks from molecule to molecule."""

    query_points: int = setting("points of a query of the attention", low=1)
    value_points: int = setting("points of a value of the attention", low=1)


class AssembleFlow(Rival):
    """Base of the two variants: the path, the loss and the walk.

    Args:
        settings: Settings of the variant.
        net: Its net: ``(placed, table, encoded atoms, s) -> (centroid, quaternion)`` at the end of the flow.
    """

    settings: AssembleFlowSettings

    def __init__(self, settings: AssembleFlowSettings, net: torch.nn.Module) -> None:
        super().__init__(settings)
        self.encoder = AtomEncoder(
            settings.hidden, settings.interactions, settings.molecule_cutoff, settings.radial
        )
        self.net = net

    @property
    def calls(self) -> int:
        return self.settings.time_steps

    def endpoint(
        self,
        pose: Pose,
        batch: ClusterBatch,
        encoded: Float[Tensor, "molecules atoms hidden"],
        s: Float[Tensor, " batch"],
    ) -> tuple[Float[Tensor, "batch copies 3"], Float[Tensor, "batch copies 4"]]:
        """Centroids (Å) and unit quaternions (scalar last) at the end of the flow, as the net sees it from a pose.

        As published the origin is that of the input; else the net looks from the centre of the cluster.
        """
        centre = torch.zeros_like(pose.centroid[:, :1])
        if not self.settings.as_published:
            real = batch.mask.to(s.dtype)[..., None]
            centre = (pose.centroid * real).sum(1, keepdim=True) / real.sum(1, keepdim=True)
        placed = Placed(
            pose.centroid - centre, quaternion_of(pose.rotation), batch.parity, batch.kind, batch.mask
        )
        centroid, quaternion = self.net(placed, batch.table, encoded, s)
        return centroid + centre, quaternion / (quaternion.norm(dim=-1, keepdim=True) + _SOFT)

    def loss(self, batch: ClusterBatch, generator: torch.Generator) -> dict[str, Tensor]:
        config = self.settings
        if config.as_published:
            start, target = start_of(batch, generator), batch.pose
        else:
            start, target = turned_pair(batch, generator)
        step = torch.randint(config.time_steps, (len(batch.ids),), generator=generator)
        s = (step / config.time_steps).to(batch.length)
        point = (slerp_path if config.as_published else geodesic_path)(start, target, s)
        centroid, quaternion = self.endpoint(point, batch, self.encoder(batch.table), s)
        wanted = quaternion_of(target.rotation)
        off = (quaternion - wanted).square().mean(-1)
        if not config.as_published:  # q and -q are the same rotation
            off = torch.minimum(off, (quaternion + wanted).square().mean(-1))
        real = batch.mask.to(s.dtype)
        translation = ((centroid - target.centroid).square().mean(-1) * real).sum() / real.sum()
        rotation = (off * real).sum() / real.sum()
        total = config.translation_weight * translation + config.rotation_weight * rotation
        return {"loss": total, "translation": translation.detach(), "rotation": rotation.detach()}

    @torch.no_grad()
    def walk(self, batch: ClusterBatch, start: Pose, generator: torch.Generator) -> Pose:
        steps = self.settings.time_steps
        encoded = self.encoder(batch.table)
        first = turning = quaternion_of(start.rotation)
        pose = start
        for step in range(steps):
            s = torch.full_like(batch.length, step / steps)
            centroid, quaternion = self.endpoint(pose, batch, encoded, s)
            share = 1.0 / (steps - step)  # of what is left; the last step arrives at the answer
            if self.settings.as_published:
                moved = pose.centroid + share * (centroid - pose.centroid)
                turning = turning + slerp_rate(first, quaternion, s[:, None, None]) / steps
                turning = turning / (turning.norm(dim=-1, keepdim=True) + _SOFT)
                pose = Pose(moved, roma.unitquat_to_rotmat(turning))
            else:
                end = Pose(centroid, roma.unitquat_to_rotmat(quaternion))
                pose = geodesic_path(pose, end, torch.full_like(s, share))
        return pose


class AssembleFlowAtom(AssembleFlow):
    """Attention from every atom to the centres of all molecules."""

    settings_kind = AtomSettings

    def __init__(self, settings: AtomSettings) -> None:
        net = AtomNet(
            settings.hidden,
            settings.layers,
            settings.convs,
            settings.heads,
            settings.dropout,
            settings.cluster_cutoff,
            settings.as_published,
        )
        super().__init__(settings, net)


class AssembleFlowMolecule(AssembleFlow):
    """Invariant point attention between molecules."""

    settings_kind = MoleculeSettings

    def __init__(self, settings: MoleculeSettings) -> None:
        net = MoleculeNet(
            settings.hidden,
            settings.layers,
            settings.heads,
            settings.query_points,
            settings.value_points,
            settings.cluster_cutoff,
            settings.as_published,
        )
        super().__init__(settings, net)


def quaternion_of(rotation: Float[Tensor, "... 3 3"]) -> Float[Tensor, "... 4"]:
    """Unit quaternion, scalar last and not negative."""
    quaternion: Tensor = roma.rotmat_to_unitquat(rotation)
    return torch.where(quaternion[..., 3:] < 0, -quaternion, quaternion)


def geodesic_path(start: Pose, target: Pose, s: Float[Tensor, " batch"]) -> Pose:
    """The share s of the way: along straight lines, and by the shortest turn."""
    base = start.rotation
    ends = to_chart(start, base), to_chart(target, base)
    return from_chart(torch.lerp(*ends, s[:, None, None]), base)


def slerp_path(start: Pose, target: Pose, s: Float[Tensor, " batch"]) -> Pose:
    """As published: the arc between two quaternions of positive scalar part, be it the longer way round or not."""
    s = s[:, None, None]
    first, last = quaternion_of(start.rotation), quaternion_of(target.rotation)
    omega = _angle(first, last)
    arc = (torch.sin(omega * (1.0 - s)) * first + torch.sin(omega * s) * last) / torch.sin(omega)
    arc = torch.where(omega < _SOFT, torch.lerp(first, last, s), arc)
    return Pose(torch.lerp(start.centroid, target.centroid, s), roma.unitquat_to_rotmat(arc))


def slerp_rate(
    first: Float[Tensor, "... 4"], last: Float[Tensor, "... 4"], s: Float[Tensor, "... 1"]
) -> Float[Tensor, "... 4"]:
    """As published: derivative of the arc from the first to the last quaternion at s; NaN where the two are equal."""
    omega = _angle(first, last)
    return omega / torch.sin(omega) * (torch.cos(omega * s) * last - torch.cos(omega * (1.0 - s)) * first)


def _angle(first: Float[Tensor, "... 4"], last: Float[Tensor, "... 4"]) -> Float[Tensor, "... 1"]:
    return torch.acos((first * last).sum(-1, keepdim=True).clamp(-1.0, 1.0))
