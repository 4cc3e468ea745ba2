"""The path on SE(3)^M: the same shell filter, moving rigid bodies.

The one idea: a chart. With start rotations R⁰ as base point, a cluster of M bodies is the flat array (c, θ) of
centroids and rotation vectors, R = exp(θ) R⁰. In this chart the K-Flow path is the plain one, so ``Path`` and
``solve`` serve rigid bodies unchanged; only the network sees rotations. One shell gives LERP and SLERP.
"""

from __future__ import annotations

from typing import NamedTuple

import roma
import torch
from jaxtyping import Float
from torch import Tensor

from kflow_sci.flow.path import Path, PathSample


class Pose(NamedTuple):
    """Centroids ``(batch, bodies, 3)`` and proper rotations ``(batch, bodies, 3, 3)``.

    Example:
        >>> Pose(torch.zeros(1, 2, 3), torch.eye(3).expand(1, 2, 3, 3)).rotation.shape
        torch.Size([1, 2, 3, 3])
    """

    centroid: Float[Tensor, "batch bodies 3"]
    rotation: Float[Tensor, "batch bodies 3 3"]


class RigidSample(NamedTuple):
    """A pose on the path, its velocity (polar) and angular velocity (axial, world frame), and the flow time.

    Example:
        >>> RigidSample._fields
        ('pose', 'velocity', 'angular', 's')
    """

    pose: Pose
    velocity: Float[Tensor, "batch bodies 3"]
    angular: Float[Tensor, "batch bodies 3"]
    s: Float[Tensor, " batch"]


def to_chart(pose: Pose, base: Float[Tensor, "batch bodies 3 3"]) -> Float[Tensor, "batch bodies 6"]:
    """``(c, log(R R⁰ᵀ))``; rotation vectors of length at most π.

    Example:
        >>> at_rest = Pose(torch.ones(1, 1, 3), torch.eye(3)[None, None])
        >>> to_chart(at_rest, at_rest.rotation)
        tensor([[[1., 1., 1., 0., 0., 0.]]])
    """
    omega = roma.rotmat_to_rotvec(pose.rotation @ base.transpose(-1, -2))
    return torch.cat([pose.centroid, omega], dim=-1)


def from_chart(x: Float[Tensor, "batch bodies 6"], base: Float[Tensor, "batch bodies 3 3"]) -> Pose:
    """The pose of chart coordinates; inverse of ``to_chart``.

    Example:
        >>> half_turn = torch.tensor([[[0.0, 0.0, 0.0, 0.0, 0.0, torch.pi]]])
        >>> from_chart(half_turn, torch.eye(3)[None, None]).rotation[0, 0].diagonal().round()
        tensor([-1., -1.,  1.])
    """
    return Pose(x[..., :3], roma.rotvec_to_rotmat(x[..., 3:].contiguous()) @ base)


def sample_rigid(path: Path, start: Pose, target: Pose, s: Float[Tensor, " batch"]) -> RigidSample:
    """The path between two poses.

    Args:
        path: Acts on the bodies as nodes.
        start: Pose at s = 0.
        target: Pose at s = 1, coupled to the start.
        s: Flow time of each sample.

    Source:
        For one shell: the LERP and SLERP of AssembleFlow (Guo et al., ICLR 2025).

    Example:
        One body, one shell, halfway along 2 Å and a quarter turn about z.

        >>> from kflow_sci.flow.exact import CoordinateTransform
        >>> from kflow_sci.flow.schedule import ShellSchedule
        >>> path = Path(CoordinateTransform(torch.zeros(1, 6, dtype=torch.long)), ShellSchedule.plain())
        >>> start = Pose(torch.zeros(1, 1, 3), torch.eye(3)[None, None])
        >>> target = from_chart(torch.tensor([[[2.0, 0.0, 0.0, 0.0, 0.0, torch.pi / 2]]]), start.rotation)
        >>> sample = sample_rigid(path, start, target, torch.tensor([0.5]))
        >>> sample.pose.centroid, sample.angular
        (tensor([[[1., 0., 0.]]]), tensor([[[0.0000, 0.0000, 1.5708]]]))
    """
    flat: PathSample = path.sample(to_chart(start, start.rotation), to_chart(target, start.rotation), s)
    angular = dexp(flat.x[..., 3:], flat.v[..., 3:])
    return RigidSample(from_chart(flat.x, start.rotation), flat.v[..., :3], angular, s)


def _coefficients(theta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """θ² and the series-safe ``(1−cos θ)/θ²`` and ``(θ−sin θ)/θ³`` of rotation vectors, each ``(..., 1)``."""
    square = theta.square().sum(-1, keepdim=True)
    small = square < 1e-6
    safe = torch.where(small, torch.ones_like(square), square)
    angle = safe.sqrt()
    first = torch.where(small, 0.5 - square / 24.0, (1.0 - torch.cos(angle)) / safe)
    second = torch.where(small, 1.0 / 6.0 - square / 120.0, (angle - torch.sin(angle)) / (safe * angle))
    return square, first, second


def dexp(theta: Float[Tensor, "... 3"], rate: Float[Tensor, "... 3"]) -> Float[Tensor, "... 3"]:
    """Angular velocity (world frame) of ``exp(θ) R`` when θ changes at ``rate``.

    Source:
        Iserles et al., Lie-group methods, Acta Numerica 9 (2000) 215, eq. B.10.

    Example:
        >>> dexp(torch.tensor([0.0, 0.0, 1.0]), torch.tensor([0.0, 0.0, 2.0]))  # about its own axis nothing changes
        tensor([0., 0., 2.])
    """
    _, first, second = _coefficients(theta)
    once = torch.linalg.cross(theta, rate)
    return rate + first * once + second * torch.linalg.cross(theta, once)


def dexp_inverse(theta: Float[Tensor, "... 3"], angular: Float[Tensor, "... 3"]) -> Float[Tensor, "... 3"]:
    """The rate of θ that gives an angular velocity; inverse of ``dexp`` for |θ| < 2π.

    Source:
        Iserles et al., Acta Numerica 9 (2000) 215, eq. B.11.

    Example:
        >>> theta, rate = torch.tensor([0.0, 1.0, 2.0]), torch.tensor([1.0, 0.0, 0.0])
        >>> dexp_inverse(theta, dexp(theta, rate)).round(decimals=5).abs()
        tensor([1., 0., 0.])
    """
    square, first, second = _coefficients(theta)
    # (1 − (θ/2) cot(θ/2)) / θ² written in the two regular coefficients, since (θ/2) cot(θ/2) = (sin θ/θ) / (2 first).
    regular = (1.0 - 0.5 * (1.0 - square * second) / first) / square.clamp(min=1e-30)
    weight = torch.where(square < 1e-6, 1.0 / 12.0 + square / 720.0, regular)
    once = torch.linalg.cross(theta, angular)
    return angular - 0.5 * once + weight * torch.linalg.cross(theta, once)
