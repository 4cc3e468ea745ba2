"""Which start goes with which target.

The one idea: bodies that are interchangeable, and a whole that may be turned, leave freedom in the pair (start,
target). Using it (nearest assignment, best alignment, nearest of equivalent orientations) makes paths short and straight
without changing what is generated.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.optimize import linear_sum_assignment
from torch import Tensor

_FORBIDDEN = 1e9


class Coupling(NamedTuple):
    """The target node of every start node, and the rotation to apply to the target about its centre."""

    node: Int[Tensor, "batch nodes"]
    turn: Float[Tensor, "batch 3 3"]


def kabsch(
    moving: Float[Tensor, "batch nodes 3"], fixed: Float[Tensor, "batch nodes 3"], mask: Bool[Tensor, "batch nodes"]
) -> Float[Tensor, "batch 3 3"]:
    """Proper rotations Q that minimise ``Σ ‖fixed − Q moving‖²``; both centred.

    Source:
        Kabsch, Acta Cryst. A32 (1976) 922.
    """
    weight = mask.to(moving.dtype)[..., None]
    u, _, vt = torch.linalg.svd(torch.einsum("bni,bnj->bij", fixed * weight, moving))
    sign = torch.ones(len(moving), 3, dtype=moving.dtype, device=moving.device)
    sign[:, 2] = torch.linalg.det(u @ vt)
    return (u * sign[:, None]) @ vt


def assign(
    start: Float[Tensor, "batch nodes 3"],
    target: Float[Tensor, "batch nodes 3"],
    label_start: Int[Tensor, "batch nodes"],
    label_target: Int[Tensor, "batch nodes"],
) -> Int[Tensor, "batch nodes"]:
    """Optimal assignment of target nodes to start nodes of the same label, least squared distance.

    Args:
        start: Start positions.
        target: Target positions.
        label_start: Only nodes of equal label (kind, parity; padding has one of its own) may be paired.
        label_target: Labels of the target; the same counts as in the start.
    """
    cost = (start[:, :, None] - target[:, None]).square().sum(-1)
    cost = cost.masked_fill(label_start[:, :, None] != label_target[:, None], _FORBIDDEN)
    table = cost.detach().cpu().numpy()
    node = np.stack([linear_sum_assignment(row)[1] for row in table])
    return torch.from_numpy(node).to(start.device)


def couple(
    start: Float[Tensor, "batch nodes 3"],
    target: Float[Tensor, "batch nodes 3"],
    label_start: Int[Tensor, "batch nodes"],
    label_target: Int[Tensor, "batch nodes"],
    mask: Bool[Tensor, "batch nodes"],
    turn: Float[Tensor, "batch 3 3"],
    rounds: int = 3,
) -> Coupling:
    """Assignment and alignment in turn, from a given (random) rotation of the target.

    Args:
        start: Centred start positions.
        target: Centred target positions.
        label_start: See ``assign``.
        label_target: See ``assign``.
        mask: True for real nodes.
        turn: First rotation of the target; random, so that no direction of space is preferred.
        rounds: Assignments made; each but the last is followed by an alignment. 1 keeps the given rotation.
    """
    node = assign(start, target @ turn.transpose(1, 2), label_start, label_target)
    for _ in range(rounds - 1):
        paired = target.gather(1, node[..., None].expand(-1, -1, 3))
        turn = kabsch(paired, start, mask)
        node = assign(start, target @ turn.transpose(1, 2), label_start, label_target)
    return Coupling(node, turn)


def nearest_equivalent(
    rotation: Float[Tensor, "batch nodes 3 3"],
    reference: Float[Tensor, "batch nodes 3 3"],
    group: Float[Tensor, "batch nodes ops 3 3"],
) -> Float[Tensor, "batch nodes 3 3"]:
    """Among the equivalent orientations ``R g`` the one with the smallest angle to the reference.

    Args:
        rotation: Orientation of each body.
        reference: Orientation it should be close to.
        group: Proper symmetry operations of each body, padded with the identity.
    """
    candidates = rotation[:, :, None] @ group
    trace = torch.einsum("bnij,bnoij->bno", reference, candidates)
    best = trace.argmax(-1)
    return candidates.gather(2, best[:, :, None, None, None].expand(-1, -1, 1, 3, 3)).squeeze(2)
