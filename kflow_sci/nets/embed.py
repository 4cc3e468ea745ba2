"""Turning scalars, atoms and molecules into vectors a network can use.

The one idea: a molecule is rigid, so it is encoded once, in its own frame, where its coordinates are
invariants; every copy then carries the same vector, and only its pose changes.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

N_ELEMENTS = 54
_SHELLS = 12


class MoleculeTable(NamedTuple):
    """The distinct molecules of a batch, padded to the same number of atoms and beads.

    Beads are the atoms that stand for the surface of the molecule in contact features: all atoms of a small
    molecule, a well-spread subset of a large one.

    Attributes:
        element: Atomic number, 0 for padding, ``(molecules, atoms)``.
        position: Body frame, Å, ``(molecules, atoms, 3)``.
        bead: Body-frame position of the beads, Å, ``(molecules, beads, 3)``.
        bead_radius: Van der Waals radius, Å; 0 for padding.
        bead_charge: Rough partial charge, e; 0 for padding.
        bead_mask: True for real beads.
        group: Proper symmetry operations, padded with the identity, ``(molecules, ops, 3, 3)``.
        length: Edge of the cube one molecule fills in a crystal, Å, ``(molecules,)``.
    """

    element: Int[Tensor, "molecules atoms"]
    position: Float[Tensor, "molecules atoms 3"]
    bead: Float[Tensor, "molecules beads 3"]
    bead_radius: Float[Tensor, "molecules beads"]
    bead_charge: Float[Tensor, "molecules beads"]
    bead_mask: Bool[Tensor, "molecules beads"]
    group: Float[Tensor, "molecules ops 3 3"]
    length: Float[Tensor, " molecules"]


def gaussians(x: Float[Tensor, "..."], low: float, high: float, count: int) -> Float[Tensor, "... count"]:
    """Evenly spaced Gaussian bumps on [low, high], one spacing wide."""
    centre = torch.linspace(low, high, count, dtype=x.dtype, device=x.device)
    # Cut at e^-30: denormal numbers carry nothing and are slow on CPUs.
    return torch.exp(
        (-0.5 * ((x[..., None] - centre) * ((count - 1) / (high - low))).square()).clamp(min=-30.0)
    )


def fourier_features(s: Float[Tensor, "..."], count: int) -> Float[Tensor, "... features"]:
    """``s`` and ``sin, cos(π m s)`` for m = 1 … count."""
    phase = math.pi * s[..., None] * torch.arange(1, count + 1, dtype=s.dtype, device=s.device)
    return torch.cat([s[..., None], torch.sin(phase), torch.cos(phase)], dim=-1)


class MoleculeEncoder(nn.Module):
    """One vector per molecule from its elements and body-frame coordinates.

    Atoms see their neighbours through one round of messages whose weights depend on the body-frame difference
    vector, so the vector knows where in the frame each group sits.

    Args:
        hidden: Width of the result.
        width: Width of the atom vectors.
    """

    def __init__(self, hidden: int, width: int = 64) -> None:
        super().__init__()
        self.element = nn.Embedding(N_ELEMENTS, width)
        self.place = nn.Linear(4, width)
        self.pair = nn.Parameter(torch.randn(_SHELLS, width) / math.sqrt(_SHELLS))
        self.update = nn.Sequential(nn.Linear(2 * width, width), nn.SiLU(), nn.Linear(width, width))
        self.pool = nn.Sequential(nn.Linear(5 * width + 2, hidden), nn.SiLU(), nn.Linear(hidden, hidden))

    def forward(self, table: MoleculeTable) -> Float[Tensor, "molecules hidden"]:
        real = (table.element > 0).to(table.position.dtype)[..., None]
        count = real.sum(1)
        position = table.position / 3.0
        radius = position.norm(dim=-1, keepdim=True)
        atom = self.element(table.element) + self.place(torch.cat([position, radius], dim=-1))
        distance = (table.position[:, :, None] - table.position[:, None]).norm(dim=-1)
        # Σ_b Σ_g W_gw G_abg x_bw, summed over b first: the pairwise array of width w is never made.
        near = gaussians(distance, 0.8, 5.2, _SHELLS)
        heard = torch.einsum("tabg,tbw->tagw", near, torch.nn.functional.silu(atom) * real)
        message = torch.einsum("tagw,gw->taw", heard, self.pair)
        atom = (atom + self.update(torch.cat([atom, message / 4.0], dim=-1))) * real
        mean = atom.sum(1) / count
        peak = atom.masked_fill(real == 0, -1e4).amax(1)
        moment = torch.einsum("taw,tai->tiw", atom, position) / count[..., None]
        size = torch.stack([count[:, 0].sqrt() / 4.0, table.length / 6.0], dim=-1)
        return self.pool(torch.cat([mean, peak, moment.flatten(1), size], dim=-1))
