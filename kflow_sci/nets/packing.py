"""A network for crystals: what cell, orientation and place a packing should move to.

The one idea: the axes of a cell in its standard orientation are a frame that every crystal has, so the molecule is
looked at in that frame, turned as it lies in the crystal; the frame it came in cannot matter. What the molecule meets
there (gaps, pushes, charges of the nearest images) is measured, not learned.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from kflow_sci.nets.embed import MoleculeEncoder, MoleculeTable, fourier_features, gaussians

_TIMES = 4
_GAPS = 6
_MESSAGE = 20 + _GAPS


class GroupTable(NamedTuple):
    """The operations of space groups, padded to the same number.

    Attributes:
        rotation: On fractional coordinates, ``(groups, ops, 3, 3)``.
        cartesian: The same in Cartesian coordinates, ``(groups, ops, 3, 3)``.
        translation: ``(groups, ops, 3)``.
        mask: True for real operations; the identity comes first, ``(groups, ops)``.
    """

    rotation: Float[Tensor, "groups ops 3 3"]
    cartesian: Float[Tensor, "groups ops 3 3"]
    translation: Float[Tensor, "groups ops 3"]
    mask: Bool[Tensor, "groups ops"]


class Surroundings(NamedTuple):
    """The nearest images of the central molecule.

    Attributes:
        offset: From the central centroid, Å, ``(batch, images, 3)``.
        orientation: Of the image, maybe improper, ``(batch, images, 3, 3)``.
        turn: Cartesian operation that makes the image, ``(batch, images, 3, 3)``.
    """

    offset: Float[Tensor, "batch images 3"]
    orientation: Float[Tensor, "batch images 3 3"]
    turn: Float[Tensor, "batch images 3 3"]


def surroundings(
    cell: Float[Tensor, "batch 3 3"],
    rotation: Float[Tensor, "batch 3 3"],
    place: Float[Tensor, "batch 3"],
    group: Int[Tensor, " batch"],
    table: GroupTable,
    images: int,
) -> Surroundings:
    """Images by the distance of their centroids.

    Args:
        cell: Å.
        rotation: Of the central molecule.
        place: Fractional.
        group: Row of the table.
        table: Of the groups.
        images: How many.
    """
    apart = torch.einsum("bgij,bj->bgi", table.rotation[group], place) + table.translation[group]
    apart = apart - place[:, None]
    apart = apart - apart.round()
    steps = torch.cartesian_prod(*[torch.arange(-1.0, 2.0, dtype=cell.dtype, device=cell.device)] * 3)
    offset = torch.einsum("bgsi,bij->bgsj", apart[:, :, None] + steps, cell).flatten(1, 2)
    distance = offset.norm(dim=-1)
    own = torch.zeros_like(table.mask[0][:, None].expand(-1, len(steps)), dtype=torch.bool)
    own[0] = (steps == 0).all(-1)
    absent = (~table.mask[group])[:, :, None] | own
    distance = distance.masked_fill(absent.flatten(1), torch.inf)
    index = distance.topk(images, dim=1, largest=False).indices
    turn = table.cartesian[group].gather(1, (index // len(steps))[..., None, None].expand(-1, -1, 3, 3))
    place_of = offset.gather(1, index[..., None].expand(-1, -1, 3))
    return Surroundings(place_of, turn @ rotation[:, None], turn)


def meetings(
    near: Surroundings, rotation: Float[Tensor, "batch 3 3"], table: MoleculeTable
) -> tuple[Float[Tensor, "batch images features"], Float[Tensor, "batch totals"]]:
    """What the central molecule meets at each image, and the sums over them.

    Args:
        near: The images.
        rotation: Of the central molecule.
        table: One row per crystal; its beads are the surface.

    Returns:
        Invariant under a change of the frame of the molecule, covariant with the frame of the cell.
    """
    body = table.bead @ rotation.transpose(1, 2)
    other = torch.einsum("bki,bnji->bnkj", table.bead, near.orientation) + near.offset[:, :, None]
    apart = body[:, None, :, None] - other[:, :, None]
    distance = apart.norm(dim=-1).clamp(min=0.3)
    touch = (table.bead_radius[:, :, None] + table.bead_radius[:, None]).clamp(min=0.1)[:, None]
    both = (table.bead_mask[:, :, None] & table.bead_mask[:, None])[:, None].to(distance.dtype)
    ratio = distance / touch
    gaps = torch.log1p((gaussians(ratio, 0.4, 1.6, _GAPS) * both[..., None]).sum((2, 3)))
    push = (1.15 - ratio).clamp(min=0.0) * both / distance
    product = (table.bead_charge[:, :, None] * table.bead_charge[:, None])[:, None] * both
    pull = product / distance.clamp(min=1.5)
    charge_force = pull / distance.clamp(min=1.5).square()

    def force_and_torque(weight: Tensor) -> tuple[Tensor, Tensor]:
        force = (weight[..., None] * apart).sum(3)
        arm = body[:, None].expand_as(force)
        return force.sum(2), torch.linalg.cross(arm, force).sum(2) / 3.0

    length = table.length[:, None, None]
    steric, electric = force_and_torque(push), force_and_torque(20.0 * charge_force)
    parts = [
        near.offset / length,
        near.offset.norm(dim=-1, keepdim=True) / length,
        near.turn.diagonal(dim1=-2, dim2=-1),
        gaps,
        *(torch.asinh(x) for x in (*steric, *electric)),
        torch.asinh(20.0 * pull.sum((2, 3)))[..., None],
    ]
    strain = torch.einsum("bni,bnj->bij", steric[0], near.offset).flatten(1) / table.length[:, None]
    totals = [x.sum(1) for x in (*steric, *electric)]
    return torch.cat(parts, dim=-1), torch.asinh(torch.cat([*totals, strain], dim=-1))


def extents(
    positions: Float[Tensor, "batch atoms 3"],
    real: Bool[Tensor, "batch atoms"],
    cell: Float[Tensor, "batch 3 3"],
) -> Float[Tensor, "batch 12"]:
    """Second moments of the atoms in the frame of the cell (Å) and half widths along its axes and its face normals."""
    axes = torch.nn.functional.normalize(cell, dim=-1)
    normals = torch.nn.functional.normalize(torch.linalg.inv(cell).transpose(1, 2), dim=-1)
    along = torch.einsum("bai,bki->bak", positions, torch.cat([axes, normals], dim=1)).abs()
    reach = along.masked_fill(~real[..., None], 0.0).amax(1)
    moment = torch.einsum("bai,baj->bij", positions, positions) / real.sum(1)[:, None, None]
    i, j = torch.tril_indices(3, 3)
    return torch.cat([torch.asinh(moment[:, i, j]), reach], dim=-1)


class PackingNet(nn.Module):
    """Where a crystal on the path should end.

    Args:
        groups: Number of space groups.
        shells: Number of shells of the flow.
        hidden: Width.
        layers: Residual layers.
        images: Neighbouring molecules that are looked at.
    """

    def __init__(self, groups: int, shells: int, hidden: int, layers: int, images: int) -> None:
        super().__init__()
        self.images = images
        self.group = nn.Embedding(groups, 32)
        self.encoder = MoleculeEncoder(hidden // 2, width=32)
        self.message = nn.Sequential(
            nn.Linear(_MESSAGE + 32, hidden // 2), nn.SiLU(), nn.Linear(hidden // 2, hidden // 2), nn.SiLU()
        )
        known = 32 + hidden // 2 + hidden // 2 + 21 + 12 + 1 + 6 + 3 + 2 * _TIMES + 1 + shells
        self.inward = nn.Linear(known, hidden)
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(hidden), nn.Linear(hidden, 2 * hidden), nn.SiLU(), nn.Linear(2 * hidden, hidden)
            )
            for _ in range(layers)
        )
        last = nn.Linear(hidden, 12)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.outward = nn.Sequential(nn.LayerNorm(hidden), last)

    def forward(
        self,
        cell: Float[Tensor, "batch 3 3"],
        rotation: Float[Tensor, "batch 3 3"],
        place: Float[Tensor, "batch 3"],
        group: Int[Tensor, " batch"],
        table: MoleculeTable,
        groups: GroupTable,
        s: Float[Tensor, " batch"],
        alpha: Float[Tensor, "batch shells"],
    ) -> Float[Tensor, "batch 12"]:
        """The way to the end of the path: volume (1), shape (5), turn in the frame of the cell (3), place (3).

        Args:
            cell: Standard orientation, Å.
            rotation: Of the independent molecule, proper.
            place: Fractional.
            group: Row of ``groups``.
            table: One row per crystal.
            groups: The space groups.
            s: Flow time.
            alpha: Progress of each shell.
        """
        near = surroundings(cell, rotation, place, group, groups, self.images)
        met, totals = meetings(near, rotation, table)
        kind = self.group(group)
        met = torch.cat([met, kind[:, None].expand(-1, self.images, -1)], dim=-1)
        heard = self.message(met).mean(1)
        positions = table.position @ rotation.transpose(1, 2)
        turned = table._replace(position=positions)
        length = table.length[:, None]
        i, j = torch.tril_indices(3, 3)
        volume = torch.linalg.det(cell).log() - 3.0 * table.length.log() - groups.mask[group].sum(1).log()
        heights = 1.0 / torch.linalg.inv(cell).norm(dim=1)
        x = torch.cat(
            [
                kind,
                self.encoder(turned),
                heard,
                totals,
                extents(positions, table.element > 0, cell),
                volume[:, None],
                cell[:, i, j] / length / 2.0,
                heights / length,
                fourier_features(s, _TIMES),
                alpha,
            ],
            dim=-1,
        )
        x = self.inward(x)
        for layer in self.layers:
            x = x + layer(x)
        return self.outward(x)
