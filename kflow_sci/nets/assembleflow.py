"""What both nets of AssembleFlow share, and the one that listens to atoms.

The one idea: atoms are described once, by what surrounds them in their own molecule; a pair of points then spans a
frame (the direction between them, their cross product, and the vector normal to both) in which all else is a number,
and sums of such frame vectors are the answer.

Tensors run over the real atoms of a batch, ``n`` in all, and over the ``bodies`` of a cluster as centres. The settings
of the published code and what is done differently here are told in docs/rivals.md.

Source:
    Guo, Bengio and Liu, AssembleFlow, ICLR (2025).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import roma
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from kflow_sci.nets.embed import N_ELEMENTS, MoleculeTable
from kflow_sci.nets.painn import PaiNN, neighbour_edges

_MOST_NEIGHBOURS = 32
_LONGEST_PERIOD = 1e4
_SOFT = 1e-8


class Placed(NamedTuple):
    """Molecules of a padded batch in space, seen from the centre of each cluster.

    Attributes:
        centroid: Å, ``(batch, bodies, 3)``.
        quaternion: Unit, scalar last, ``(batch, bodies, 4)``.
        parity: +1 or −1.
        kind: Row of the molecule table.
        mask: True for real bodies.
    """

    centroid: Float[Tensor, "batch bodies 3"]
    quaternion: Float[Tensor, "batch bodies 4"]
    parity: Float[Tensor, "batch bodies"]
    kind: Int[Tensor, "batch bodies"]
    mask: Bool[Tensor, "batch bodies"]


class AtomEncoder(nn.Module):
    """Features of the atoms of each molecule: PaiNN inside the molecule, once for all its copies and poses.

    Args:
        hidden: Features of an atom.
        interactions: Rounds of PaiNN.
        cutoff: Å.
        radial: Radial functions.
    """

    def __init__(self, hidden: int, interactions: int, cutoff: float, radial: int) -> None:
        super().__init__()
        self.cutoff = cutoff
        self.element = nn.Embedding(N_ELEMENTS, hidden)
        self.net = PaiNN(hidden, interactions, cutoff, radial)

    def forward(self, table: MoleculeTable) -> Float[Tensor, "molecules atoms hidden"]:
        """Zero for padding."""
        real = table.element > 0
        position = table.position[real]
        edges = neighbour_edges(position, real.nonzero()[:, 0], self.cutoff, _MOST_NEIGHBOURS)
        features, _ = self.net(self.element(table.element[real]), position, edges)
        return features.new_zeros(*real.shape, features.shape[-1]).masked_scatter(real[..., None], features)


class TimeEncoder(nn.Module):
    """Features of the flow time, ``2 * hidden`` wide, from sines and cosines of falling frequency."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.waves = hidden // 2
        self.net = nn.Sequential(
            nn.Linear(2 * self.waves, 2 * hidden), nn.SiLU(), nn.Linear(2 * hidden, 2 * hidden)
        )

    def forward(self, s: Float[Tensor, " batch"]) -> Float[Tensor, "batch features"]:
        step = torch.arange(self.waves, dtype=s.dtype, device=s.device) / self.waves
        phase = s[:, None] * torch.exp(-math.log(_LONGEST_PERIOD) * step)
        return self.net(torch.cat([phase.cos(), phase.sin()], dim=-1))


class PairFrames(nn.Module):
    """The frame of a pair of points, and features of where the two lie in it.

    Both depend on where the origin is; it must be a point that moves with the cluster.
    """

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.wave: Tensor
        self.register_buffer("wave", 2.0 * math.pi * torch.randn(hidden))
        self.place = nn.Linear(4 * hidden, hidden)
        self.join = nn.Sequential(nn.Linear(2 * hidden, hidden), nn.SiLU(), nn.Linear(hidden, hidden))

    def forward(
        self, a: Float[Tensor, "... 3"], b: Float[Tensor, "... 3"]
    ) -> tuple[Float[Tensor, "... 3 3"], Float[Tensor, "... hidden"]]:
        """Rows of the frame are the direction from b to a, the normal of both, and the normal of these two."""
        along, normal = _unit(a - b), _unit(torch.linalg.cross(a, b))
        frame = torch.stack([along, normal, torch.linalg.cross(along, normal)], dim=-2)
        places = []
        for point in (a, b):
            # Both points lie in the plane of the first and the third vector.
            phase = torch.einsum("...ij,...j->...i", frame[..., ::2, :], point)[..., None] * self.wave
            places.append(self.place(torch.cat([phase.sin(), phase.cos()], dim=-1).flatten(-2)))
        return frame, self.join(torch.cat(places, dim=-1))


def _unit(x: Float[Tensor, "... 3"]) -> Float[Tensor, "... 3"]:
    return x / (x.norm(dim=-1, keepdim=True) + _SOFT)


class _Attention(nn.Module):
    """Atoms attend to the centres of molecules: several heads, features of the pair in keys and values."""

    def __init__(self, hidden: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key = nn.Linear(hidden, hidden), nn.Linear(hidden, hidden)
        self.value, self.own = nn.Linear(hidden, hidden), nn.Linear(hidden, hidden)
        self.pair = nn.Linear(hidden, hidden, bias=False)
        self.dropout = nn.Dropout(dropout)
        self.after = nn.LayerNorm(hidden)
        self.update = nn.Sequential(
            nn.Linear(hidden, hidden),
            nn.SiLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, hidden),
            nn.LayerNorm(hidden),
        )

    def forward(self, atom: Tensor, centre: Tensor, cluster: Tensor, pair: Tensor, near: Tensor) -> Tensor:
        edge = self.pair(pair).unflatten(-1, (self.heads, -1))
        query = self.query(atom).unflatten(-1, (self.heads, -1))
        key, value = (
            layer(centre).unflatten(-1, (self.heads, -1)).index_select(0, cluster) + edge
            for layer in (self.key, self.value)
        )
        score = torch.einsum("nhd,nbhd->nbh", query, key) / math.sqrt(query.shape[-1])
        share = score.masked_fill(~near[..., None], -torch.inf).softmax(1).nan_to_num(0.0)
        heard = torch.einsum("nbh,nbhd->nhd", self.dropout(share), value).flatten(1)
        atom = atom + self.after(heard + self.own(atom))
        return atom + self.update(atom)


class _Owners(NamedTuple):
    """Which cluster and which body every atom belongs to, and which centres it sees, ``(n, bodies)``."""

    cluster: Int[Tensor, " n"]
    copy: Int[Tensor, " n"]
    near: Bool[Tensor, "n bodies"]
    shape: tuple[int, int]

    def of_molecule(self, x: Float[Tensor, "n k"]) -> Float[Tensor, "batch bodies k"]:
        """Mean over the atoms of each molecule; zero for padding."""
        size = self.shape[0] * self.shape[1]
        count = torch.bincount(self.copy, minlength=size).clamp(min=1).to(x)
        return (x.new_zeros(size, x.shape[-1]).index_add(0, self.copy, x) / count[:, None]).view(
            *self.shape, -1
        )

    def over_centres(self, x: Float[Tensor, "n bodies k"]) -> Float[Tensor, "batch bodies k"]:
        """Mean over the centres an atom sees, then over the atoms of each molecule."""
        seen = self.near.sum(1, keepdim=True).clamp(min=1)
        return self.of_molecule((x * self.near[..., None]).sum(1) / seen)


class _Weights(nn.Module):
    """Three numbers for every pair, from the sum of the features of both ends and those of the pair."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        # One linear layer on both, taken apart: what depends on an atom or a centre alone is computed once for each.
        self.node, self.pair = nn.Linear(hidden, hidden), nn.Linear(hidden, hidden, bias=False)
        self.out = nn.Linear(hidden, 3)

    def forward(self, atom: Tensor, centre: Tensor, cluster: Tensor, pair: Tensor) -> Tensor:
        both = self.node(atom)[:, None] + nn.functional.linear(centre, self.node.weight)[cluster]
        return self.out(nn.functional.silu(both + self.pair(pair)))


class _Layer(nn.Module):
    """Rounds of attention, then two sums of frame vectors: one moves molecules, one turns them."""

    def __init__(self, hidden: int, rounds: int, heads: int, dropout: float, as_published: bool) -> None:
        super().__init__()
        self.rounds = nn.ModuleList(_Attention(hidden, heads, dropout) for _ in range(rounds))
        self.time = nn.Sequential(nn.SiLU(), nn.Linear(2 * hidden, hidden))
        self.move, self.turn = _Weights(hidden), _Weights(hidden)
        self.to_quaternion = nn.Linear(3, 4) if as_published else None

    def forward(
        self, atom: Tensor, owners: _Owners, pair: Tensor, frame: Tensor, time: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        centre = owners.of_molecule(atom)
        for attention in self.rounds:
            atom = attention(atom, centre, owners.cluster, pair, owners.near) + self.time(time)
        centre = owners.of_molecule(atom)
        move, turn = (
            torch.einsum("nbi,nbij->nbj", weights(atom, centre, owners.cluster, pair), frame)
            for weights in (self.move, self.turn)
        )
        if self.to_quaternion is not None:
            turn = nn.functional.normalize(self.to_quaternion(turn), dim=-1)
        return atom, owners.over_centres(move), owners.over_centres(turn)


class AtomNet(nn.Module):
    """Where each molecule will end, from its atoms and the centres of all molecules.

    Args:
        hidden: Features.
        layers: Layers, each with its own answer; the answers add up.
        convs: Rounds of attention per layer.
        heads: Of the attention.
        dropout: In the attention.
        cutoff: Centres farther from an atom than this are not seen, Å.
        as_published: Reproduce what the published code does: of the rounds of a layer only the last has an effect
            (here: there is one), the turning vector becomes an absolute quaternion by a linear map with a bias, and
            the origin is where the caller put it.
    """

    def __init__(
        self,
        hidden: int,
        layers: int,
        convs: int,
        heads: int,
        dropout: float,
        cutoff: float,
        as_published: bool,
    ) -> None:
        super().__init__()
        self.cutoff, self.as_published = cutoff, as_published
        self.time_of_atom = nn.Sequential(nn.SiLU(), nn.Linear(2 * hidden, hidden))
        self.time = TimeEncoder(hidden)
        self.enter = nn.Linear(hidden, hidden)
        self.frames = PairFrames(hidden)
        rounds = 1 if as_published else convs
        self.layers = nn.ModuleList(
            _Layer(hidden, rounds, heads, dropout, as_published) for _ in range(layers)
        )

    def forward(
        self,
        placed: Placed,
        table: MoleculeTable,
        encoded: Float[Tensor, "molecules atoms hidden"],
        s: Float[Tensor, " batch"],
    ) -> tuple[Float[Tensor, "batch bodies 3"], Float[Tensor, "batch bodies 4"]]:
        """Centroid (Å) and quaternion (not normalised if as published) of every body at the end of the flow."""
        bodies = placed.mask.shape[1]
        real = (table.element > 0)[placed.kind] & placed.mask[..., None]
        cluster, body, _ = real.nonzero().unbind(1)
        turned = torch.einsum(
            "bnij,bnaj->bnai", roma.unitquat_to_rotmat(placed.quaternion), table.position[placed.kind]
        )
        position = (placed.centroid[:, :, None] + placed.parity[..., None, None] * turned)[real][:, None]
        centre = placed.centroid[cluster]
        near = placed.mask[cluster] & ((position - centre).norm(dim=-1) <= self.cutoff)
        owners = _Owners(cluster, cluster * bodies + body, near, (len(s), bodies))
        frame, pair = self.frames(*torch.broadcast_tensors(position, centre))
        time = self.time(s)[cluster]
        atom = self.enter(encoded[placed.kind][real] + self.time_of_atom(time))
        ends, turns = [], []
        for layer in self.layers:
            atom, end, turn = layer(atom, owners, pair, frame, time)
            ends.append(end)
            turns.append(turn)
        end, turn = torch.stack(ends).sum(0), torch.stack(turns).sum(0)
        return end, turn if self.as_published else roma.quat_product(small_turn(turn), placed.quaternion)


def small_turn(vector: Float[Tensor, "... 3"]) -> Float[Tensor, "... 4"]:
    """The unit quaternion along ``(vector, 1)``: the turn about the vector by twice the arc tangent of its length."""
    return nn.functional.normalize(nn.functional.pad(vector, (0, 1), value=1.0), dim=-1)
