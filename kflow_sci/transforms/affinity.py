"""Edge weights of the graphs whose Laplacians give modes: by distance, by nearest neighbours, by bonds.

The one idea: weights depend on distances or bonds alone, never on the order of the nodes. So neighbours at equal
distance are all taken or all left, and modes follow any motion, mirror image and relabelling of the cloud.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from kflow_sci.errors import TransformError

# Distances that agree to this share count as equal when the nearest neighbours are chosen.
_TIE = 1e-5


def squared_distances(
    points: Float[Tensor, "batch nodes 3"], mask: Bool[Tensor, "batch nodes"]
) -> tuple[Float[Tensor, "batch nodes nodes"], Bool[Tensor, "batch nodes nodes"]]:
    """Squared distances, and where they mean nothing: the node itself and padding.

    Raises:
        TransformError: shapes that do not fit.

    Example:
        >>> points = torch.tensor([[[0.0, 0.0, 0.0], [3.0, 4.0, 0.0]]])
        >>> squared_distances(points, torch.ones(1, 2, dtype=torch.bool))[0][0, 0].tolist()
        [0.0, 25.0]
    """
    if points.ndim != 3 or mask.shape != points.shape[:2]:
        raise TransformError(
            f"points {tuple(points.shape)} and mask {tuple(mask.shape)} do not fit: "
            "expected (batch, nodes, 3) and (batch, nodes)"
        )
    # Differences, not the |a|²+|b|²−2ab trick: exact symmetry and no cancellation far from the origin.
    squared = (points[:, :, None] - points[:, None]).square().sum(-1)
    both = mask[:, :, None] & mask[:, None, :]
    return squared, ~both | torch.eye(points.shape[1], dtype=torch.bool, device=points.device)


def gaussian_weights(
    points: Float[Tensor, "batch nodes 3"],
    mask: Bool[Tensor, "batch nodes"] | None = None,
    *,
    sigma: float | None = None,
) -> Float[Tensor, "batch nodes nodes"]:
    """``exp(−d²/2σ²)``.

    Args:
        points: Positions known at generation time, any unit.
        mask: True for real nodes; None for all.
        sigma: Width in the unit of the points; None for the mean distance to the nearest neighbour of each cloud.

    Raises:
        TransformError: shapes that do not fit, or a width that is not positive.

    Example:
        >>> points = torch.tensor([[[0.0, 0.0, 0.0], [2.0, 0.0, 0.0]]])
        >>> gaussian_weights(points)[0, 0, 1]  # the nearest neighbour is one σ away
        tensor(0.6065)
    """
    mask = _all_real(points) if mask is None else mask
    squared, self_or_padding = squared_distances(points, mask)
    if sigma is not None:
        if not sigma > 0:
            raise TransformError(f"sigma is {sigma}, but a width must be positive")
        return torch.exp(-0.5 * squared / sigma**2).masked_fill(self_or_padding, 0.0)
    nearest = squared.masked_fill(self_or_padding, torch.inf).amin(-1)
    nearest = torch.where(torch.isfinite(nearest), nearest, torch.zeros_like(nearest)).sqrt()
    mean = nearest.sum(1) / mask.sum(1).clamp(min=1)
    mean = torch.where(mean > 0, mean, torch.ones_like(mean))
    return torch.exp(-0.5 * squared / mean[:, None, None].square()).masked_fill(self_or_padding, 0.0)


def knn_weights(
    points: Float[Tensor, "batch nodes 3"],
    mask: Bool[Tensor, "batch nodes"] | None = None,
    *,
    neighbours: int = 12,
) -> Float[Tensor, "batch nodes nodes"]:
    """1 where one node is among the nearest neighbours of the other, else 0.

    Nodes as far as the last of the nearest count too, so that ties do not depend on the order of the nodes.

    Args:
        points: Positions known at generation time, any unit.
        mask: True for real nodes; None for all.
        neighbours: How many are the nearest; all of them in a cloud that has fewer.

    Raises:
        TransformError: shapes that do not fit, or fewer than one neighbour.

    Example:
        >>> line = torch.tensor([[[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [3.0, 0.0, 0.0]]])
        >>> knn_weights(line, neighbours=1)[0].tolist()
        [[0.0, 1.0, 0.0], [1.0, 0.0, 1.0], [0.0, 1.0, 0.0]]
    """
    if neighbours < 1:
        raise TransformError(f"{neighbours} neighbours asked for, but at least 1 is needed")
    mask = _all_real(points) if mask is None else mask
    squared, self_or_padding = squared_distances(points, mask)
    if not bool(torch.isfinite(squared.masked_fill(self_or_padding, 0.0)).all()):
        raise TransformError("points must be finite: check them for NaN")
    apart = squared.masked_fill(self_or_padding, torch.inf)
    last = min(neighbours, max(1, points.shape[1] - 1))
    reach = apart.topk(last, dim=-1, largest=False).values[..., -1:] * (1.0 + 2.0 * _TIE)
    near = (apart <= reach) & ~self_or_padding
    return (near | near.transpose(1, 2)).to(points.dtype)


def bond_weights(
    bonds: Int[Tensor, "bonds 2"], nodes: int, weights: Float[Tensor, " bonds"] | None = None
) -> Float[Tensor, "nodes nodes"]:
    """The weights of one bond graph; stack several, padded with zeros, for a batch.

    Args:
        bonds: Pairs of nodes, each pair once or twice.
        nodes: Number of nodes.
        weights: Weight of each bond, say its order; None for 1 each. Of repeated bonds the largest counts.

    Raises:
        TransformError: a node that does not exist, a bond of a node to itself, or shapes that do not fit.

    Example:
        >>> bond_weights(torch.tensor([[0, 1], [1, 2]]), nodes=3).tolist()
        [[0.0, 1.0, 0.0], [1.0, 0.0, 1.0], [0.0, 1.0, 0.0]]
    """
    if bonds.ndim != 2 or bonds.shape[1] != 2 or (weights is not None and weights.shape != bonds.shape[:1]):
        raise TransformError(
            f"bonds have shape {tuple(bonds.shape)}, expected (bonds, 2) and one weight for each"
        )
    if len(bonds) and not 0 <= int(bonds.min()) <= int(bonds.max()) < nodes:
        raise TransformError(
            f"bonds name nodes {int(bonds.min())} … {int(bonds.max())}, but there are {nodes}"
        )
    if bool((bonds[:, 0] == bonds[:, 1]).any()):
        raise TransformError("a bond joins a node to itself: leave it out")
    value = torch.ones(len(bonds), device=bonds.device) if weights is None else weights
    flat = torch.zeros(nodes * nodes, dtype=value.dtype, device=bonds.device)
    flat = flat.scatter_reduce(0, bonds[:, 0] * nodes + bonds[:, 1], value, "amax")
    table = flat.view(nodes, nodes)
    return torch.maximum(table, table.T)


def _all_real(points: Tensor) -> Tensor:
    return torch.ones(points.shape[:2], dtype=torch.bool, device=points.device)
