"""The net of AssembleFlow that listens to molecules alone: invariant point attention.

The one idea: every molecule carries a frame; points that it proposes in its frame are compared in space, so attention
knows the geometry and the result does not depend on where the cluster stands. After each round the frames themselves
move, and the last ones are the answer.

Source:
    Guo, Bengio and Liu, AssembleFlow, ICLR (2025); the attention is that of Jumper et al., Nature 596 (2021) 583,
    supplementary algorithm 22.
"""

from __future__ import annotations

import math

import roma
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from kflow_sci.nets.assembleflow import PairFrames, Placed, TimeEncoder, small_turn
from kflow_sci.nets.embed import MoleculeTable

_SCALE = 0.1  # of positions inside the attention: Å to nm
_SOFT = 1e-8
_HEAD_WEIGHT = math.log(math.e - 1.0)  # softplus of it is 1


class PointAttention(nn.Module):
    """One round of invariant point attention.

    Args:
        hidden: Features of a molecule and of a pair.
        heads: Heads, each with ``hidden`` features.
        points: Points of a query and of a key.
        values: Points of a value.
        as_published: Every molecule takes its own value instead of its neighbour's, so that only features of pairs
            carry news; and the scale of the scalar part.
    """

    def __init__(self, hidden: int, heads: int, points: int, values: int, as_published: bool) -> None:
        super().__init__()
        self.heads, self.points, self.values, self.as_published = heads, points, values, as_published
        self.scalars = nn.Linear(hidden, 3 * heads * hidden, bias=False)
        self.vectors = nn.Linear(hidden, 3 * heads * (2 * points + values), bias=False)
        self.bias = nn.Linear(hidden, heads)
        self.pair = nn.Linear(hidden, hidden // 4)
        self.weight = nn.Parameter(torch.full((heads,), _HEAD_WEIGHT))
        self.out = nn.Linear(heads * (hidden // 4 + hidden + 4 * values), hidden)
        _zero(self.out)

    def forward(
        self,
        h: Float[Tensor, "batch bodies hidden"],
        pair: Float[Tensor, "batch bodies bodies hidden"],
        frame: Float[Tensor, "batch bodies 3 3"],
        place: Float[Tensor, "batch bodies 3"],
        near: Bool[Tensor, "batch bodies bodies"],
    ) -> Float[Tensor, "batch bodies hidden"]:
        query, key, value = self.scalars(h).unflatten(-1, (self.heads, -1)).chunk(3, dim=-1)
        local = self.vectors(h).unflatten(-1, (self.heads, -1, 3))
        absolute = torch.einsum("bnij,bnhpj->bnhpi", frame, local) + place[:, :, None, None]
        query_point, key_point, value_point = absolute.split([self.points, self.points, self.values], dim=-2)
        scale = self.points if self.as_published else 1.0 / h.shape[-1]
        score = torch.einsum("bihd,bjhd->bijh", query, key) * math.sqrt(scale / 3.0)
        score = score + math.sqrt(1.0 / 3.0) * self.bias(pair)
        squared = (query_point[:, :, None] - key_point[:, None]).square().sum((-1, -2))
        strength = nn.functional.softplus(self.weight) * math.sqrt(2.0 / (27.0 * self.points))
        score = score - 0.5 * strength * squared
        share = score.masked_fill(~near[..., None], -torch.inf).softmax(2).nan_to_num(0.0)
        if self.as_published:
            some = share.sum(2)
            scalar, point = value * some[..., None], value_point * some[..., None, None]
        else:
            scalar = torch.einsum("bijh,bjhd->bihd", share, value)
            point = torch.einsum("bijh,bjhvx->bihvx", share, value_point)
        point = torch.einsum("bnij,bnhpi->bnhpj", frame, point - place[:, :, None, None])
        length = (point.square().sum(-1) + _SOFT).sqrt()
        news = torch.einsum("bijh,bijd->bihd", share, self.pair(pair))
        return self.out(torch.cat([x.flatten(2) for x in (scalar, point, length, news)], dim=-1))


class _Block(nn.Module):
    def __init__(self, hidden: int, attention: PointAttention, last: bool) -> None:
        super().__init__()
        self.attention = attention
        self.after = nn.LayerNorm(hidden)
        self.skip = nn.Linear(hidden, hidden)
        self.update = nn.Sequential(
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
        )
        self.norm = nn.LayerNorm(hidden)
        self.move = nn.Linear(hidden, 6)
        self.pair: nn.ModuleDict | None = None
        if not last:
            wide = hidden + 2 * (hidden // 2)
            self.pair = nn.ModuleDict(
                {
                    "node": nn.Linear(hidden, hidden // 2),
                    "trunk": nn.Sequential(
                        nn.Linear(wide, wide), nn.ReLU(), nn.Linear(wide, wide), nn.ReLU()
                    ),
                    "out": nn.Linear(wide, hidden),
                    "norm": nn.LayerNorm(hidden),
                }
            )
            _zero(self.pair["out"])
        for layer in (self.skip, self.update[-1], self.move):
            _zero(layer)

    def forward(
        self, h: Tensor, first: Tensor, pair: Tensor, frame: Tensor, place: Tensor, near: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        h = self.after(h + self.attention(h, pair, frame, place, near))
        h = h + self.skip(first)
        h = self.norm(h + self.update(h))
        return h, self.pairs(h, pair), self.move(h)

    def pairs(self, h: Tensor, pair: Tensor) -> Tensor:
        """The next features of pairs, from the present ones and those of both molecules."""
        if self.pair is None:
            return pair
        node = self.pair["node"](h)
        ends = (node[:, :, None].expand(-1, -1, h.shape[1], -1), node[:, None].expand(-1, h.shape[1], -1, -1))
        wide = torch.cat([pair, *ends], dim=-1)
        return self.pair["norm"](self.pair["out"](self.pair["trunk"](wide) + wide))


class MoleculeNet(nn.Module):
    """Where each molecule will end, from the poses of all molecules.

    Args:
        hidden: Features.
        layers: Rounds of attention and of moves.
        heads: Of the attention.
        points: Points of a query.
        values: Points of a value.
        cutoff: Molecules farther away than this are not seen, Å.
        as_published: See ``PointAttention``; also, the moves are made along the axes of the world and not along those
            of the molecule, the hand of a molecule is not seen, and the origin is where the caller put it.
    """

    def __init__(
        self,
        hidden: int,
        layers: int,
        heads: int,
        points: int,
        values: int,
        cutoff: float,
        as_published: bool,
    ) -> None:
        super().__init__()
        self.cutoff, self.as_published = cutoff, as_published
        self.time = TimeEncoder(hidden)
        self.time_of_molecule = nn.Sequential(nn.SiLU(), nn.Linear(2 * hidden, hidden))
        self.hand = None if as_published else nn.Linear(1, hidden, bias=False)
        self.frames = PairFrames(hidden)
        self.blocks = nn.ModuleList(
            _Block(hidden, PointAttention(hidden, heads, points, values, as_published), i == layers - 1)
            for i in range(layers)
        )

    def forward(
        self,
        placed: Placed,
        table: MoleculeTable,
        encoded: Float[Tensor, "molecules atoms hidden"],
        s: Float[Tensor, " batch"],
    ) -> tuple[Float[Tensor, "batch bodies 3"], Float[Tensor, "batch bodies 4"]]:
        """Centroid (Å) and unit quaternion of every body at the end of the flow."""
        count = (table.element > 0).sum(1, keepdim=True)
        first = (encoded.sum(1) / count)[placed.kind] + self.time_of_molecule(self.time(s))[:, None]
        if self.hand is not None:
            first = first + self.hand(placed.parity[..., None])
        bodies = placed.mask.shape[1]
        itself = torch.eye(bodies, dtype=torch.bool, device=s.device)
        receiver, sender = placed.centroid[:, :, None], placed.centroid[:, None]
        near = placed.mask[:, :, None] & placed.mask[:, None] & ~itself
        near = near & ((receiver - sender).norm(dim=-1) <= self.cutoff)
        _, pair = self.frames(*torch.broadcast_tensors(sender, receiver))
        h, place, quaternion = first, placed.centroid * _SCALE, placed.quaternion
        for block in self.blocks:
            frame = roma.unitquat_to_rotmat(quaternion)
            h, pair, answer = block(h, first, pair, frame, place, near)
            turn, move = answer.chunk(2, dim=-1)
            if self.as_published:
                place, quaternion = place + move, roma.quat_product(small_turn(turn), quaternion)
            else:
                place = place + torch.einsum("bnij,bnj->bni", frame, move)
                quaternion = roma.quat_product(quaternion, small_turn(turn))
        return place / _SCALE, quaternion


def _zero(layer: nn.Module) -> None:
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
