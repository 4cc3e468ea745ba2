"""Molecules over atoms: coarse shells move groups of nodes as wholes, fine shells move nodes inside their group.

The one idea: the vectors that are constant on each group span all motions of groups as wholes. Modes of the graph of
groups, lifted to the nodes, are an orthonormal basis of that space; modes inside each group, orthogonal to its constant
vector, are one of the rest. Both together are a basis of all, so two transforms make one.

A transform along the node axis cannot turn a group: rotations of rigid molecules live in the fine shells. Where
molecules are rigid, use the flow on SE(3) instead.
"""

from __future__ import annotations

from typing import Self

import torch
from jaxtyping import Float, Int
from torch import Tensor

from kflow_sci.errors import TransformError
from kflow_sci.transforms.affinity import gaussian_weights
from kflow_sci.transforms.base import NodeTransform
from kflow_sci.transforms.graph import GraphSpectralTransform, check_weights
from kflow_sci.transforms.shells import RESOLUTION, shells_by_count


class NestedTransform(NodeTransform):
    """A transform of groups, lifted to their nodes, over one of what happens inside the groups.

    Args:
        coarse: Acts on groups, ``(batch, groups, …)``; its shells come first.
        fine: Acts on nodes; its modes have sum zero over every group. Its shells follow.
        group: Group of each node, 0 … groups−1; −1 for padding, ``(batch, nodes)``.

    Raises:
        TransformError: sizes that do not fit, or modes of the two that are not orthonormal together.

    Example:
        >>> points = torch.randn(2, 12, 3, generator=torch.Generator().manual_seed(0))
        >>> molecule = torch.arange(3).repeat_interleave(4).expand(2, -1)
        >>> transform = NestedTransform.from_points(points, molecule, shells=(2, 1))
        >>> transform.dimension[0].tolist()  # three molecules as wholes in two shells, the rest inside
        [2, 1, 9]
        >>> shift = torch.tensor([1.0, 0.0, -1.0]).repeat_interleave(4).expand(2, -1)[..., None]
        >>> transform.project(shift, 2).abs().max() < 1e-6  # molecules that move as wholes
        tensor(True)
    """

    def __init__(self, coarse: NodeTransform, fine: NodeTransform, group: Int[Tensor, "batch nodes"]) -> None:
        groups = coarse.basis.shape[1]
        if (
            group.shape != fine.basis.shape[:2]
            or len(coarse.basis) != len(group)
            or int(group.max()) >= groups
        ):
            raise TransformError(
                f"groups {tuple(group.shape)} up to {int(group.max())}, coarse basis {tuple(coarse.basis.shape)} and "
                f"fine basis {tuple(fine.basis.shape)} do not fit: use one group index per node"
            )
        basis = torch.cat([_indicator(group, groups, coarse.basis.dtype) @ coarse.basis, fine.basis], dim=2)
        inner = basis.transpose(1, 2) @ basis
        norm = inner.diagonal(dim1=1, dim2=2).round().clamp(0.0, 1.0)
        defect = float((inner - torch.diag_embed(norm)).abs().max())
        if not defect <= 1e-4:
            raise TransformError(
                f"coarse and fine modes must be orthonormal together, but max|BᵀB − I| = {defect:.1e} (limit 1e-4): "
                "fine modes need sum zero over every group"
            )
        shell_of = torch.cat([coarse.shell_of, coarse.n_shells + fine.shell_of], dim=1)
        values = torch.cat([coarse.values, fine.values], dim=1)
        super().__init__(basis, shell_of, coarse.n_shells + fine.n_shells, values)
        self.n_coarse = coarse.n_shells

    @classmethod
    def from_points(
        cls,
        points: Float[Tensor, "batch nodes 3"],
        group: Int[Tensor, "batch nodes"],
        shells: tuple[int, int],
        *,
        weights: Float[Tensor, "batch nodes nodes"] | None = None,
    ) -> Self:
        """Laplacian modes of the group centres, each group as heavy as it has nodes, over modes inside the groups.

        With these masses the lowest mode is the constant vector, so shell 0 holds all translations even where groups
        differ in size.

        Args:
            points: Positions known at generation time, any unit.
            group: Group (molecule) of each node; −1 for padding.
            shells: Number of coarse and of fine shells.
            weights: Edge weights inside groups, such as bonds; edges between groups are ignored. None for Gaussian
                weights of the distances inside each group.

        Raises:
            TransformError: sizes that do not fit, points that are not finite, or weights that are no graph.

        Example:
            >>> points = torch.randn(1, 5, 3)
            >>> molecule = torch.tensor([[0, 0, 0, 1, 1]])  # of three and of two atoms
            >>> transform = NestedTransform.from_points(points, molecule, shells=(2, 2))
            >>> torch.allclose(transform.project(torch.ones(1, 5, 3), 0), torch.ones(1, 5, 3), atol=1e-5)
            True
        """
        if points.ndim != 3 or group.shape != points.shape[:2]:
            raise TransformError(
                f"points {tuple(points.shape)} and groups {tuple(group.shape)} do not fit: "
                "expected (batch, nodes, 3) and (batch, nodes)"
            )
        if not bool((group >= 0).any(1).all()):
            raise TransformError("a sample has no node in any group: leave it out")
        place = _members(group)
        real = place >= 0
        flat = place.clamp(min=0).flatten(1)
        inside = points.gather(1, flat[..., None].expand(-1, -1, points.shape[2])).unflatten(
            1, place.shape[1:]
        )
        size = real.sum(2)
        centre = (inside * real[..., None]).sum(2) / size.clamp(min=1)[..., None]
        coarse = GraphSpectralTransform(
            gaussian_weights(centre, size > 0), shells[0], size > 0, mass=size.clamp(min=1).to(points.dtype)
        )
        if weights is None:
            edges = gaussian_weights(inside.flatten(0, 1), real.flatten(0, 1))
        else:
            check_weights(weights)
            if weights.shape[:2] != group.shape:
                raise TransformError(f"weights {tuple(weights.shape)} do not fit groups {tuple(group.shape)}")
            rows = weights.gather(1, flat[..., None].expand(-1, -1, weights.shape[2])).unflatten(
                1, place.shape[1:]
            )
            column = place.clamp(min=0)[:, :, None].expand(-1, -1, place.shape[2], -1)
            edges = rows.gather(3, column).flatten(0, 1)
        return cls(coarse, _inside(edges, place, group.shape[1], shells[1]), group)


def _indicator(group: Tensor, groups: int, dtype: torch.dtype) -> Float[Tensor, "batch nodes groups"]:
    """Columns constant on each group, of norm 1."""
    member = torch.nn.functional.one_hot(group.clamp(min=0), groups).to(dtype) * (group >= 0)[..., None]
    return member / member.sum(1, keepdim=True).clamp(min=1.0).sqrt()


def _members(group: Tensor) -> Int[Tensor, "batch groups members"]:
    """The nodes of every group in their order, −1 where there are fewer."""
    groups = int(group.max()) + 1
    member = torch.nn.functional.one_hot(group.clamp(min=0), groups) * (group >= 0)[..., None]
    largest = int(member.sum(1).max())
    rank = (member.cumsum(1) * member).sum(2) - 1
    place = torch.full((len(group), groups * largest), -1, device=group.device)
    batch, node = (group >= 0).nonzero(as_tuple=True)
    place[batch, group[batch, node] * largest + rank[batch, node]] = node
    return place.unflatten(1, (groups, largest))


def _inside(edges: Tensor, place: Tensor, nodes: int, n_shells: int) -> NodeTransform:
    """Laplacian modes inside each group, orthogonal to its constant vector, over all nodes of a sample."""
    batch, groups, largest = place.shape
    real = (place >= 0).flatten(0, 1)
    both = real[:, :, None] & real[:, None, :]
    edges = edges.detach().masked_fill(~both, 0.0)
    edges = edges - torch.diag_embed(edges.diagonal(dim1=1, dim2=2))
    degree = edges.sum(-1)
    # The constant vector is lifted above all other modes and padding above that, so both sort last and are dropped,
    # also in a group whose parts no edge joins.
    above = 2.0 * degree.amax(1)[:, None] + 1.0
    whole = real / real.sum(1, keepdim=True).clamp(min=1).sqrt()
    laplacian = torch.diag_embed(torch.where(real, degree, 2.0 * above)) - edges
    values, vectors = torch.linalg.eigh(laplacian + above[..., None] * whole[:, :, None] * whole[:, None, :])
    inner = torch.arange(largest, device=place.device) < real.sum(1, keepdim=True) - 1
    # Columns of a sample: all modes of its first group, of its second, …; then sorted by value, padding last.
    columns = vectors * real[:, :, None] * inner[:, None, :]
    basis = columns.new_zeros(batch, nodes, groups, largest)
    sample = torch.arange(batch, device=place.device)[:, None, None].expand_as(place)
    owner = torch.arange(groups, device=place.device)[None, :, None].expand_as(place)
    at = (place >= 0).nonzero(as_tuple=True)
    basis[sample[at], place[at], owner[at]] = columns.unflatten(0, (batch, groups))[at]
    flat = values.masked_fill(~inner, torch.inf).view(batch, -1)
    count = inner.view(batch, -1).sum(1)
    order = flat.argsort(dim=1, stable=True)[:, : max(1, int(count.max()))]
    ranked = flat.gather(1, order)
    ranked = ranked.masked_fill(~torch.isfinite(ranked), 0.0)
    basis = basis.flatten(2).gather(2, order[:, None, :].expand(-1, nodes, -1))
    shell_of = shells_by_count(ranked, count, n_shells, tolerance=RESOLUTION[values.dtype])
    return NodeTransform(basis, shell_of, n_shells, ranked)
