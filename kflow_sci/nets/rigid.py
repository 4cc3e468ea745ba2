"""Equivariant velocity net for clusters of rigid molecules.

The one idea: every copy carries its own frame O = pR, in which all that it sees (where the others are, how
they are turned, how they touch) is a plain number. A message-passing net on these invariants answers in the
same frame; turning the answer back gives a polar vector for the translation (O u) and an axial one for the
rotation (R u). So the net is equivariant under rotation, reflection, translation and renumbering by
construction, at the price of an ordinary net.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from kflow_sci.nets.embed import MoleculeEncoder, MoleculeTable, fourier_features, gaussians

_DISTANCES = 16
_CONTACTS = 10
_FORCES = 3
_GEOMETRY = _DISTANCES + 3 + 3 + 9 + 1 + 6 * _FORCES + _CONTACTS
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

    node: Int[Tensor, "batch bodies k"]
    mask: Bool[Tensor, "batch bodies k"]


def nearest(state: RigidState, k: int) -> Neighbours:
    """The k nearest other bodies of each body (all others, if there are fewer)."""
    bodies = state.centroid.shape[1]
    both = state.mask[:, :, None] & state.mask[:, None]
    both = both & ~torch.eye(bodies, dtype=torch.bool, device=both.device)
    squared = (
        (state.centroid[:, :, None] - state.centroid[:, None]).square().sum(-1).masked_fill(~both, torch.inf)
    )
    value, index = squared.topk(min(k, bodies - 1), dim=-1, largest=False)
    return Neighbours(index, torch.isfinite(value))


def take(
    x: Float[Tensor, "batch bodies ..."], index: Int[Tensor, "batch bodies k"]
) -> Float[Tensor, "batch bodies k ..."]:
    """Rows of x at the neighbours' indices."""
    batch, bodies = x.shape[:2]
    row = index + bodies * torch.arange(batch, device=x.device)[:, None, None]
    return x.reshape(batch * bodies, -1).index_select(0, row.reshape(-1)).view(*index.shape, *x.shape[2:])


class View(NamedTuple):
    """What each body sees of each neighbour, in its own frame; invariant under all motions and reflections.

    Attributes:
        features: Distances, directions in both frames, relative rotation and handedness, contacts.
        polar: Direction to the neighbour and pushes of the contact forces, frame O, ``(batch, bodies, k,
            vectors, 3)``.
        axial: Turn towards the neighbour's orientation and torques of the contact forces, frame R, same
            shape.
    """

    features: Float[Tensor, "batch bodies k f"]
    polar: Float[Tensor, "batch bodies k v 3"]
    axial: Float[Tensor, "batch bodies k v 3"]


@torch.no_grad()
def look(state: RigidState, table: MoleculeTable, near: Neighbours, contacts: int) -> View:
    """The view of every body; the ``contacts`` nearest neighbours are looked at bead by bead."""
    frame = state.parity[..., None, None] * state.rotation
    offset = take(state.centroid, near.node) - state.centroid[:, :, None]
    distance = offset.norm(dim=-1, keepdim=True).clamp(min=1e-6)
    unit = offset / distance
    turn = _relative_rotation(state, table, near)
    # sin(angle) times the axis of the turn that would bring this body into the orientation of the neighbour.
    towards = 0.5 * torch.stack(
        [
            turn[..., 2, 1] - turn[..., 1, 2],
            turn[..., 0, 2] - turn[..., 2, 0],
            turn[..., 1, 0] - turn[..., 0, 1],
        ],
        dim=-1,
    )
    push, torque, histogram = _contact(state, table, near.node[..., :contacts], frame)
    missing = near.node.shape[-1] - push.shape[2]
    push, torque = (nn.functional.pad(x, (0, 0, 0, 0, 0, missing)) for x in (push, torque))
    ahead = torch.einsum("bnij,bnki->bnkj", frame, unit)
    features = [
        gaussians(distance[..., 0] / state.length[:, None, None], 0.2, 3.0, _DISTANCES),
        ahead,
        -torch.einsum("bnkij,bnki->bnkj", take(frame, near.node), unit),
        turn.flatten(-2),
        (state.parity[:, :, None] * take(state.parity, near.node))[..., None],
        push.flatten(-2),
        torque.flatten(-2),
        nn.functional.pad(histogram, (0, 0, 0, missing)),
    ]
    real = near.mask[..., None]
    polar = torch.cat([ahead[..., None, :], push], dim=-2) * real[..., None]
    axial = torch.cat([towards[..., None, :], torque], dim=-2) * real[..., None]
    return View(torch.cat(features, dim=-1) * real, polar, axial)


def _relative_rotation(
    state: RigidState, table: MoleculeTable, near: Neighbours
) -> Float[Tensor, "batch bodies k 3 3"]:
    """``R_iᵀ R_j g``, g the symmetry operation of the neighbour's molecule that makes the angle smallest."""
    turn = state.rotation[:, :, None].transpose(-1, -2) @ take(state.rotation, near.node)
    if table.group.shape[1] == 1:
        return turn
    group = take(table.group[state.kind], near.node)
    trace = torch.einsum("bnkij,bnkoji->bnko", turn, group)
    best = trace.argmax(-1)[..., None, None, None].expand(-1, -1, -1, 1, 3, 3)
    return turn @ group.gather(3, best).squeeze(3)


def _contact(
    state: RigidState, table: MoleculeTable, index: Int[Tensor, "batch bodies k"], frame: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Pushes and torques of three contact forces, and the histogram of the gaps between two surfaces."""
    own = table.bead[state.kind] @ frame.transpose(-1, -2)
    mask = table.bead_mask[state.kind]
    radius, charge = table.bead_radius[state.kind], table.bead_charge[state.kind]
    other = take(own + state.centroid[:, :, None], index) - state.centroid[:, :, None, None]
    batch, bodies, k, beads, _ = other.shape
    mine = own[:, :, None].expand(-1, -1, k, -1, -1)
    distance = torch.cdist(
        mine.reshape(-1, beads, 3), other.reshape(-1, beads, 3), compute_mode="donot_use_mm_for_euclid_dist"
    )
    distance = distance.view(batch, bodies, k, beads, beads).clamp_(min=0.1)
    inverse = distance.reciprocal()
    # Padding is a bead of radius −1e4, so that its gaps are wide without another array of masks.
    size = radius.masked_fill(~mask, -1e4)
    gap = distance.sub_(size[:, :, None, :, None] + take(size, index)[:, :, :, None]).clamp_(max=4.0)
    overlap = gap.clamp(-3.0, 0.0).neg_().mul_(inverse)
    shell = gap.square().mul_(-1.0 / 0.49).exp_().mul_(inverse)
    coulomb = charge[:, :, None, :, None] * take(10.0 * charge, index)[:, :, :, None]
    coulomb *= inverse * inverse * inverse
    # One bilinear form of (x, 1) and (x', 1) per force holds its push and its torque.
    one = torch.ones_like(own[..., :1])
    left = torch.cat([own, one], dim=-1).transpose(-1, -2)[:, :, None]
    right = torch.cat([other, torch.ones_like(other[..., :1])], dim=-1)
    form = torch.stack([left @ (weight @ right) for weight in (overlap, shell, coulomb)], dim=-3)
    push = form[..., :3, 3] - form[..., 3, :3]
    torque = torch.stack(
        [
            form[..., 2, 1] - form[..., 1, 2],
            form[..., 0, 2] - form[..., 2, 0],
            form[..., 1, 0] - form[..., 0, 1],
        ],
        dim=-1,
    )
    # Squashed to length < 1: many atoms in contact must not drown the rest.
    push = push / (1.0 + push.norm(dim=-1, keepdim=True))
    torque = torque / (4.0 + torque.norm(dim=-1, keepdim=True))
    push = torch.einsum("bnij,bnkvi->bnkvj", frame, push)
    torque = torch.einsum("bnij,bnkvi->bnkvj", state.rotation, torque)
    histogram = torch.log1p(gaussians(gap.amin(-1), -2.0, 2.5, _CONTACTS).sum(-2))
    return push, torque, histogram


class _Layer(nn.Module):
    def __init__(self, hidden: int, edge: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(hidden)
        self.receive = nn.Linear(hidden, hidden)
        self.send = nn.Linear(hidden, hidden, bias=False)
        self.edge = nn.Linear(edge, hidden, bias=False)
        self.message = nn.Linear(hidden, hidden + 1)
        self.modulate = nn.Linear(hidden, 2 * hidden)
        self.update = nn.Sequential(
            nn.Linear(3 * hidden, 2 * hidden), nn.SiLU(), nn.Linear(2 * hidden, hidden)
        )

    def forward(self, h: Tensor, edge: Tensor, near: Neighbours, mask: Tensor, time: Tensor) -> Tensor:
        scale, shift = self.modulate(time)[:, None].chunk(2, dim=-1)
        x = self.norm(h) * (1.0 + scale) + shift
        pair = nn.functional.silu(
            self.receive(x)[:, :, None] + take(self.send(x), near.node) + self.edge(edge)
        )
        message = self.message(pair)
        message = nn.functional.silu(message[..., :-1]) * torch.sigmoid(message[..., -1:])
        message = (message * near.mask[..., None]).sum(2) / near.mask.sum(2, keepdim=True).clamp(min=1).sqrt()
        whole = (x * mask).sum(1, keepdim=True) / mask.sum(1, keepdim=True).clamp(min=1.0)
        return h + self.update(torch.cat([x, message, whole.expand_as(x)], dim=-1))


class _Readout(nn.Module):
    """The answer in the body frame: a plain head, and sums over neighbours of the vectors a body sees.

    The sums matter: turning towards the orientation of a neighbour is one weight here, and a hard function
    for a head.
    """

    def __init__(self, hidden: int, edge: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(hidden)
        self.receive = nn.Linear(hidden, hidden)
        self.send = nn.Linear(hidden, hidden, bias=False)
        self.edge = nn.Linear(edge, hidden, bias=False)
        self.weigh = nn.Linear(hidden, 2 * (1 + _FORCES))
        self.head = nn.Sequential(nn.Linear(hidden, hidden), nn.SiLU(), nn.Linear(hidden, 6))
        for last in (self.weigh, self.head[-1]):
            for parameter in last.parameters():
                nn.init.zeros_(parameter)

    def forward(self, h: Tensor, edge: Tensor, view: View, near: Neighbours) -> tuple[Tensor, Tensor]:
        x = self.norm(h)
        pair = nn.functional.silu(
            self.receive(x)[:, :, None] + take(self.send(x), near.node) + self.edge(edge)
        )
        polar, axial = self.weigh(pair).chunk(2, dim=-1)
        move, turn = self.head(x).chunk(2, dim=-1)
        move = move + torch.einsum("bnkv,bnkvj->bnj", polar, view.polar)
        return move, turn + torch.einsum("bnkv,bnkvj->bnj", axial, view.axial)


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
        self,
        n_shells: int,
        hidden: int = 96,
        layers: int = 4,
        edge: int = 48,
        neighbours: int = 16,
        contacts: int = 8,
    ) -> None:
        super().__init__()
        self.neighbours, self.contacts = neighbours, contacts
        self.encoder = MoleculeEncoder(hidden)
        self.time = nn.Sequential(
            nn.Linear(2 * _TIME + 1 + n_shells, hidden), nn.SiLU(), nn.Linear(hidden, hidden)
        )
        self.edge = nn.Sequential(nn.Linear(_GEOMETRY, edge), nn.SiLU(), nn.Linear(edge, edge), nn.SiLU())
        self.place = nn.Linear(4 + 2, hidden)
        self.layers = nn.ModuleList([_Layer(hidden, edge) for _ in range(layers)])
        self.readout = _Readout(hidden, edge)

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
        view = look(state, table, near, self.contacts)
        edge = self.edge(view.features)
        for layer in self.layers:
            h = layer(h, edge, near, mask, time)
        move, turn = self.readout(h, edge, view, near)
        move = torch.einsum("bnij,bnj->bni", frame, move) * state.length[:, None, None] * mask
        move = move - move.sum(1, keepdim=True) / count
        return move * mask, torch.einsum("bnij,bnj->bni", state.rotation, turn) * mask
