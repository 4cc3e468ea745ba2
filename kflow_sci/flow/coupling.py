"""Which start goes with which target.

The one idea: bodies that are interchangeable, and a whole that may be turned, leave freedom in the pair (start,
target). Using it (nearest assignment, best alignment, nearest of equivalent orientations) makes paths short and
straight without changing what is generated.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from kflow_sci.errors import ScheduleError

COUPLINGS = ("given", "independent", "transport")
_FORBIDDEN = 1e9


def match(
    start: Float[Tensor, "batch ..."],
    target: Float[Tensor, "targets ..."],
    coupling: str,
    generator: torch.Generator | None = None,
) -> Int[Tensor, " batch"]:
    """The target of every start of a minibatch, as an index into the targets.

    ``given``: the i-th of the i-th (paired data, a start that belongs to its target). ``independent``: at random; with
    fresh noise as start this changes nothing but undoes any order. ``transport``: the pairing of least summed squared
    distance (minibatch optimal transport), which straightens paths without changing either distribution.

    Args:
        start: Starts.
        target: Targets; as many as starts, for ``transport`` and ``independent`` at least as many.
        coupling: One of ``COUPLINGS``.
        generator: Needed for ``independent``.

    Returns:
        Distinct indices; use ``target[index]``.

    Raises:
        ScheduleError: unknown coupling, shapes that do not fit, or no generator for a random pairing.

    Source:
        Minibatch optimal transport: Tong et al., Trans. Mach. Learn. Res. (2024); Pooladian et al., ICML (2023).

    Example:
        >>> match(torch.tensor([[0.0], [5.0]]), torch.tensor([[6.0], [1.0]]), "transport").tolist()
        [1, 0]
    """
    if coupling not in COUPLINGS:
        raise ScheduleError(f"coupling '{coupling}' is unknown: choose {', '.join(COUPLINGS)}")
    fits = len(target) == len(start) if coupling == "given" else len(target) >= len(start)
    if not fits or start.shape[1:] != target.shape[1:]:
        raise ScheduleError(
            f"starts {tuple(start.shape)} and targets {tuple(target.shape)} do not fit: "
            "equal shapes are needed, and a target for every start"
        )
    if coupling == "given":
        return torch.arange(len(start), device=start.device)
    if coupling == "independent":
        if generator is None:
            raise ScheduleError("the independent coupling draws at random: give it a torch.Generator")
        order = torch.randperm(len(target), generator=generator, device=generator.device)
        return order[: len(start)].to(start.device)
    # Double precision and centred, so that |a − b|² keeps its digits; the optimal pairing is the same.
    a, b = start.detach().flatten(1).double(), target.detach().flatten(1).double()
    cost = torch.cdist(a - b.mean(0), b - b.mean(0)).square()
    return torch.from_numpy(linear_sum_assignment(cost.cpu().numpy())[1]).to(start.device)


class Coupling(NamedTuple):
    """The target node of every start node, and the rotation to apply to the target about its centre.

    Example:
        >>> Coupling(torch.tensor([[1, 0]]), torch.eye(3)[None]).node
        tensor([[1, 0]])
    """

    node: Int[Tensor, "batch nodes"]
    turn: Float[Tensor, "batch 3 3"]


def kabsch(
    moving: Float[Tensor, "batch nodes 3"],
    fixed: Float[Tensor, "batch nodes 3"],
    mask: Bool[Tensor, "batch nodes"],
) -> Float[Tensor, "batch 3 3"]:
    """Proper rotations Q that minimise ``Σ ‖fixed − Q moving‖²``; both centred.

    Source:
        Kabsch, Acta Cryst. A32 (1976) 922.

    Example:
        >>> x = torch.eye(3)[None]
        >>> quarter = torch.tensor([[[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]])
        >>> turn = kabsch(x, x @ quarter.transpose(1, 2), torch.ones(1, 3, dtype=torch.bool))
        >>> torch.allclose(turn, quarter, atol=1e-6)
        True
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

    Example:
        >>> start, target = torch.zeros(1, 2, 3), torch.zeros(1, 2, 3)
        >>> start[0, 0], target[0, 1] = 1.0, 1.0
        >>> one = torch.ones(1, 2, dtype=torch.long)
        >>> assign(start, target, one, one).tolist()
        [[1, 0]]
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

    Example:
        >>> x = torch.tensor([[[1.0, 0.0, 0.0], [0.0, 2.0, 0.0], [-1.0, -2.0, 0.0]]])
        >>> one, mask = torch.ones(1, 3, dtype=torch.long), torch.ones(1, 3, dtype=torch.bool)
        >>> couple(x, x[:, [2, 0, 1]], one, one, mask, torch.eye(3)[None]).node.tolist()
        [[1, 2, 0]]
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

    Example:
        >>> two_fold = torch.stack([torch.eye(3), torch.diag(torch.tensor([-1.0, -1.0, 1.0]))])[None, None]
        >>> nearest_equivalent(two_fold[:, :, 1], torch.eye(3)[None, None], two_fold)[0, 0].diagonal().tolist()
        [1.0, 1.0, 1.0]
    """
    candidates = rotation[:, :, None] @ group
    trace = torch.einsum("bnij,bnoij->bno", reference, candidates)
    best = trace.argmax(-1)
    return candidates.gather(2, best[:, :, None, None, None].expand(-1, -1, 1, 3, 3)).squeeze(2)
