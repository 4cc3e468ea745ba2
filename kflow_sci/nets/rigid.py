"""Equivariant velocity net for clusters of rigid molecules.

The one idea: every copy carries its own frame O = pR, in which all that it sees (where the others are, how they are
turned, how they touch) is a plain number. A message-passing net on these invariants answers in the same frame; turning
the answer back gives a polar vector for the translation (O u) and an axial one for the rotation (R u). So the net is
equivariant under rotation, reflection, translation and renumbering by construction, at the price of an ordinary net.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from kflow_sci.nets.embed import MoleculeEncoder, MoleculeTable, fourier_features, gaussians

_DISTANCES = 16
_CONTACTS = 10
_GEOMETRY = _DISTANCES + 3 + 3 + 9 + 1 + 3 * 6 + _CONTACTS
_TIME = 6


class RigidState(NamedTuple):
    """Poses of a padded batch.

    Attributes:
        centroid: Å, ``(batch, bodies, 3)``.
        rotation: Proper, ``(batch, bodies, 3, 3)``.
        parity: +1 or −1, ``(batch, bodies)``.
        kind: Row of the molecule table, ``(batch, bodies)``.
        mask: True for real bodies, ``(batch, bodies)``.
        length: Unit of length: edge of the cube one molecule fills at the wanted density, Å, ``(batch,)``.
    """

    centroid: Float[Tensor, "batch bodies 3"]
    rotation: Float[Tensor, "batch bodies 3 3"]
    parity: Float[Tensor, "batch bodies"]
    kind: Int[Tensor, "batch bodies"]
    mask: Bool[Tensor, "batch bodies"]
    length: Float[Tensor, " batch"]


class Neighbours(NamedTuple):
    """Nearest neighbours by centroid distance: their index and whether they are real."""

    index: Int[Tensor, "batch bodies k"]
    mask: Bool[Tensor, "batch bodies k"]


def nearest(state: RigidState, k: int) -> Neighbours:
    """The k nearest other bodies of each body (all others, if there are fewer)."""
    bodies = state.centroid.shape[1]
    both = state.mask[:, :, None] & state.mask[:, None]
    both = both & ~torch.eye(bodies, dtype=torch.bool, device=both.device)
    squared = (state.centroid[:, :, None] - state.centroid[:, None]).square().sum(-1).masked_fill(~both, torch.inf)
    value, index = squared.topk(min(k, bodies - 1), dim=-1, largest=False)
    return Neighbours(index, torch.isfinite(value))


def take(x: Float[Tensor, "batch bodies ..."], index: Int[Tensor, "batch bodies k"]) -> Float[Tensor, "batch bodies k ..."]:
    """Rows of x at the neighbours' indices."""
    batch, bodies = x.shape[:2]
    row = index + bodies * torch.arange(batch, device=x.device)[:, None, None]
    return x.reshape(batch * bodies, -1).index_select(0, row.reshape(-1)).view(*index.shape, *x.shape[2:])


@torch.no_grad()
def geometry(state: RigidState, table: MoleculeTable, near: Neighbours, contacts: int) -> Float[Tensor, "batch bodies k f"]:
    """What each body sees of its neighbours, in its own frame; invariant under all motions and reflections.

    Distance, direction in both frames, relative orientation and handedness; and for the ``contacts`` nearest neighbours
    how the surfaces meet: push and torque of three contact forces and a histogram of surface gaps.
    """
    frame = state.parity[..., None, None] * state.rotation
    frame_j = take(frame, near.index)
    offset = take(state.centroid, near.index) - state.centroid[:, :, None]
    distance = offset.norm(dim=-1, keepdim=True).clamp(min=1e-6)
    unit = offset / distance
    relative = frame[:, :, None].transpose(-1, -2) @ frame_j
    scaled = distance[..., 0] / state.length[:, None, None]
    touch = _contact(state, table, near.index[..., :contacts], frame)
    touch = nn.functional.pad(touch, (0, 0, 0, near.index.shape[-1] - touch.shape[2]))
    parts = [
        gaussians(scaled, 0.2, 3.0, _DISTANCES),
        torch.einsum("bnij,bnki->bnkj", frame, unit),
        -torch.einsum("bnkij,bnki->bnkj", frame_j, unit),
        relative.flatten(-2),
        (state.parity[:, :, None] * take(state.parity, near.index))[..., None],
        touch,
    ]
    return torch.cat(parts, dim=-1) * near.mask[..., None]


def _contact(
    state: RigidState, table: MoleculeTable, index: Int[Tensor, "batch bodies k"], frame: Tensor
) -> Float[Tensor, "batch bodies k f"]:
    own = table.bead[state.kind] @ frame.transpose(-1, -2)
    absolute = own + state.centroid[:, :, None]
    mask = table.bead_mask[state.kind]
    radius, charge = table.bead_radius[state.kind], table.bead_charge[state.kind]
    other = take(absolute, index) - state.centroid[:, :, None, None]
    batch, bodies, k, beads, _ = other.shape
    mine = own[:, :, None].expand(-1, -1, k, -1, -1)
    distance = torch.cdist(mine.reshape(-1, beads, 3), other.reshape(-1, beads, 3), compute_mode="donot_use_mm_for_euclid_dist")
    distance = distance.view(batch, bodies, k, beads, beads).clamp(min=0.1)
    real = mask[:, :, None, :, None] & take(mask, index)[:, :, :, None]
    gap = distance - radius[:, :, None, :, None] - take(radius, index)[:, :, :, None]
    gap = gap.masked_fill(~real, 4.0).clamp(max=4.0)
    inverse = 1.0 / distance
    overlap = (-gap).clamp(0.0, 3.0)
    shell = torch.exp(-(gap / 0.7).square())
    product = charge[:, :, None, :, None] * take(charge, index)[:, :, :, None]
    forces = (overlap * inverse, shell * inverse, 10.0 * product * inverse.pow(3))
    out = []
    for weight in forces:
        lever = weight @ other
        push = weight.sum(-1, keepdim=True) * mine - lever
        torque = torch.linalg.cross(mine, -lever).sum(-2)
        push = push.sum(-2)
        # Squashed to length < 1: many atoms in contact must not drown the rest.
        push = push / (1.0 + push.norm(dim=-1, keepdim=True))
        torque = torque / (4.0 + torque.norm(dim=-1, keepdim=True))
        out.append(torch.einsum("bnij,bnki->bnkj", frame, push))
        out.append(torch.einsum("bnij,bnki->bnkj", state.parity[..., None, None] * frame, torque))
    closest = gap.amin(-1)
    histogram = gaussians(closest, -2.0, 2.5, _CONTACTS).sum(-2)
    return torch.cat([*out, torch.log1p(histogram)], dim=-1)


class _Layer(nn.Module):
    def __init__(self, hidden: int, edge: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(hidden)
        self.receive = nn.Linear(hidden, hidden)
        self.send = nn.Linear(hidden, hidden, bias=False)
        self.edge = nn.Linear(edge, hidden, bias=False)
        self.message = nn.Linear(hidden, hidden + 1)
        self.modulate = nn.Linear(hidden, 2 * hidden)
        self.update = nn.Sequential(nn.Linear(3 * hidden, 2 * hidden), nn.SiLU(), nn.Linear(2 * hidden, hidden))

    def forward(self, h: Tensor, edge: Tensor, near: Neighbours, mask: Tensor, time: Tensor) -> Tensor:
        scale, shift = self.modulate(time)[:, None].chunk(2, dim=-1)
        x = self.norm(h) * (1.0 + scale) + shift
        pair = nn.functional.silu(self.receive(x)[:, :, None] + take(self.send(x), near.index) + self.edge(edge))
        message = self.message(pair)
        message = nn.functional.silu(message[..., :-1]) * torch.sigmoid(message[..., -1:])
        message = (message * near.mask[..., None]).sum(2) / near.mask.sum(2, keepdim=True).clamp(min=1).sqrt()
        whole = (x * mask).sum(1, keepdim=True) / mask.sum(1, keepdim=True).clamp(min=1.0)
        return h + self.update(torch.cat([x, message, whole.expand_as(x)], dim=-1))


class RigidNet(nn.Module):
    """Translation (polar, Å) and rotation vector (axial, rad) for every body.

    Args:
        n_shells: Shells of the schedule; the net is told their progress.
        hidden: Width.
        layers: Rounds of messages.
        edge: Width of the pair features.
        neighbours: Bodies each body listens to.
        contacts: Of these, how many are looked at bead by bead.
    """

    def __init__(
        self, n_shells: int, hidden: int = 96, layers: int = 4, edge: int = 48, neighbours: int = 16, contacts: int = 8
    ) -> None:
        super().__init__()
        self.neighbours, self.contacts = neighbours, contacts
        self.encoder = MoleculeEncoder(hidden)
        self.time = nn.Sequential(nn.Linear(2 * _TIME + 1 + n_shells, hidden), nn.SiLU(), nn.Linear(hidden, hidden))
        self.edge = nn.Sequential(nn.Linear(_GEOMETRY, edge), nn.SiLU(), nn.Linear(edge, edge), nn.SiLU())
        self.place = nn.Linear(4 + 2, hidden)
        self.layers = nn.ModuleList([_Layer(hidden, edge) for _ in range(layers)])
        self.norm = nn.LayerNorm(hidden)
        self.head = nn.Sequential(nn.Linear(hidden, hidden), nn.SiLU(), nn.Linear(hidden, 6))
        last = self.head[-1]
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def encode(self, table: MoleculeTable) -> Float[Tensor, "molecules hidden"]:
        """One vector per molecule; compute it once and pass it to every call."""
        return self.encoder(table)

    def forward(
        self,
        state: RigidState,
        table: MoleculeTable,
        encoded: Float[Tensor, "molecules hidden"],
        s: Float[Tensor, " batch"],
        alpha: Float[Tensor, "batch shells"],
    ) -> tuple[Float[Tensor, "batch bodies 3"], Float[Tensor, "batch bodies 3"]]:
        """Answer for the poses at flow time s with shell progress alpha.

        The translations of a cluster sum to zero: the whole is not to drift.
        """
        mask = state.mask.to(state.centroid.dtype)[..., None]
        count = mask.sum(1, keepdim=True)
        near = nearest(state, self.neighbours)
        frame = state.parity[..., None, None] * state.rotation
        from_centre = (state.centroid - (state.centroid * mask).sum(1, keepdim=True) / count) * mask
        from_centre = from_centre / state.length[:, None, None]
        place = torch.cat(
            [
                torch.einsum("bnij,bni->bnj", frame, from_centre),
                from_centre.norm(dim=-1, keepdim=True),
                count.log().expand(-1, mask.shape[1], -1) / 3.0,
                (state.length[:, None] / table.length[state.kind])[..., None] - 1.0,
            ],
            dim=-1,
        )
        time = self.time(torch.cat([fourier_features(s, _TIME), alpha], dim=-1))
        h = encoded[state.kind] + self.place(place) + time[:, None]
        edge = self.edge(geometry(state, table, near, self.contacts))
        for layer in self.layers:
            h = layer(h, edge, near, mask, time)
        answer = self.head(self.norm(h)) * mask
        move = torch.einsum("bnij,bnj->bni", frame, answer[..., :3]) * state.length[:, None, None]
        move = move - (move * mask).sum(1, keepdim=True) / count
        turn = torch.einsum("bnij,bnj->bni", state.rotation, answer[..., 3:])
        return move * mask, turn * mask
