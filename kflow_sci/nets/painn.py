"""PaiNN: messages between atoms that carry scalars and vectors.

The one idea: every node has scalar features and vector features; scalars pass through any layer, vectors are only
scaled by scalars, added, and compared by inner products. So the scalars are invariant and the vectors turn with the
cloud, under rotation and reflection, whatever the weights.

Source:
    Schütt, Unke and Gastegger, ICML (2021), arXiv:2102.03150. As there, but for the norm in the update (softened at
    zero, where its gradient is not defined) and the optional features of an edge.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.spatial import cKDTree
from torch import Tensor, nn

_LEAST_DISTANCE = 1e-6  # Å; keeps the direction between two points at the same place finite
_SOFT = 1e-8


def neighbour_edges(
    position: Float[Tensor, "n 3"], group: Int[Tensor, " n"], cutoff: float, most: int
) -> Int[Tensor, "2 e"]:
    """Edges from each point's nearest neighbours in its own group.

    A group with a position that is not finite has no edges: what has blown up stays alone with it.

    Args:
        position: Points.
        group: Group of each point; the points of a group stand together.
        cutoff: No edge is longer.
        most: Edges that arrive at a point, at most: the shortest are kept.

    Returns:
        Row 0 the sender, row 1 the receiver; receivers ascending.

    Example:
        >>> x = torch.tensor([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [3.0, 0.0, 0.0]])
        >>> neighbour_edges(x, torch.zeros(3, dtype=torch.long), cutoff=2.5, most=1).tolist()
        [[1, 0, 1], [0, 1, 2]]
    """
    points = position.detach().double().cpu().numpy()
    _, counts = torch.unique_consecutive(group, return_counts=True)
    pairs, first = [], 0
    for count in counts.tolist():
        cloud = points[first : first + count]
        first += count
        if not np.isfinite(cloud).all():
            continue
        # The nearest to a point is the point itself, or one at the same place: it is dropped by index, not by rank.
        distance, index = cKDTree(cloud).query(cloud, k=list(range(1, most + 2)), distance_upper_bound=cutoff)
        kept = np.isfinite(distance) & (index != np.arange(count)[:, None])
        kept &= np.cumsum(kept, axis=1) <= most
        receiver, slot = np.nonzero(kept)
        pairs.append(np.stack([index[receiver, slot], receiver]) + first - count)
    edges = np.concatenate(pairs, axis=1) if pairs else np.zeros((2, 0), dtype=np.int64)
    return torch.from_numpy(edges.astype(np.int64)).to(position.device)


class PaiNN(nn.Module):
    """Rounds of messages and updates on a graph of points.

    Args:
        features: Width: scalars and vectors per node.
        layers: Rounds.
        cutoff: Messages fade to zero at this distance; longer edges carry nothing.
        radial: Sine functions of the distance.
        attributes: Width of the features of an edge; they modulate its message besides the distance.

    Example:
        >>> net = PaiNN(features=8, layers=2, cutoff=3.0, radial=6)
        >>> x = torch.tensor([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
        >>> scalars, vectors = net(torch.ones(2, 8), x, torch.tensor([[0, 1], [1, 0]]))
        >>> scalars.shape, vectors.shape
        (torch.Size([2, 8]), torch.Size([2, 8, 3]))
    """

    def __init__(self, features: int, layers: int, cutoff: float, radial: int, attributes: int = 0) -> None:
        super().__init__()
        self.features, self.cutoff, self.radial = features, cutoff, radial
        self.messages = nn.ModuleList(_Message(features, radial, attributes) for _ in range(layers))
        self.updates = nn.ModuleList(_Update(features) for _ in range(layers))

    def forward(
        self,
        scalars: Float[Tensor, "n f"],
        position: Float[Tensor, "n 3"],
        edges: Int[Tensor, "2 e"],
        attributes: Float[Tensor, "e a"] | None = None,
    ) -> tuple[Float[Tensor, "n f"], Float[Tensor, "n f 3"]]:
        """Scalars and vectors after the last round, from scalars and no vectors.

        Args:
            scalars: Features of each node.
            position: Points, in the unit of the cutoff.
            edges: Row 0 the sender, row 1 the receiver.
            attributes: Features of each edge, invariant; needed if the net was made for some.
        """
        sender, receiver = edges
        offset = position.index_select(0, receiver) - position.index_select(0, sender)
        distance = offset.norm(dim=-1, keepdim=True).clamp(min=_LEAST_DISTANCE)
        unit = offset / distance
        fade = 0.5 * (torch.cos(math.pi * distance / self.cutoff) + 1.0) * (distance < self.cutoff)
        order = torch.arange(1, self.radial + 1, dtype=position.dtype, device=position.device)
        basis = torch.sin(order * math.pi * distance / self.cutoff) / distance
        if attributes is not None:
            basis = torch.cat([basis, attributes], dim=-1)
        # Kept as (n, 3, f): the features are last, where linear layers act on them.
        vectors = scalars.new_zeros(len(scalars), 3, self.features)
        for message, update in zip(self.messages, self.updates, strict=True):
            scalars, vectors = message(scalars, vectors, basis, fade, unit, sender, receiver)
            scalars, vectors = update(scalars, vectors)
        return scalars, vectors.transpose(1, 2)


class _Message(nn.Module):
    def __init__(self, features: int, radial: int, attributes: int) -> None:
        super().__init__()
        self.send = nn.Sequential(nn.Linear(features, features), nn.SiLU(), nn.Linear(features, 3 * features))
        self.filter = nn.Linear(radial + attributes, 3 * features)

    def forward(
        self,
        scalars: Tensor,
        vectors: Tensor,
        basis: Tensor,
        fade: Tensor,
        unit: Tensor,
        sender: Tensor,
        receiver: Tensor,
    ) -> tuple[Tensor, Tensor]:
        weight = self.filter(basis) * fade * self.send(scalars).index_select(0, sender)
        scalar, carried, pointing = weight.chunk(3, dim=-1)
        moved = carried[:, None] * vectors.index_select(0, sender) + pointing[:, None] * unit[..., None]
        return scalars.index_add(0, receiver, scalar), vectors.index_add(0, receiver, moved)


class _Update(nn.Module):
    def __init__(self, features: int) -> None:
        super().__init__()
        self.mix = nn.Linear(features, 2 * features, bias=False)
        self.weigh = nn.Sequential(
            nn.Linear(2 * features, features), nn.SiLU(), nn.Linear(features, 3 * features)
        )

    def forward(self, scalars: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor]:
        left, right = self.mix(vectors).chunk(2, dim=-1)
        length = (right.square().sum(1) + _SOFT).sqrt()
        turn, inner, own = self.weigh(torch.cat([scalars, length], dim=-1)).chunk(3, dim=-1)
        return scalars + inner * (left * right).sum(1) + own, vectors + turn[:, None] * left
