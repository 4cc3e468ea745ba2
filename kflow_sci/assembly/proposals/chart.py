"""Cells and poses as twelve numbers on one scale each, and back.

The one idea: the logarithm of the volume per molecule over the expected one, five numbers for the shape of the cell, a
rotation vector and a shift of the place, both against the start. In this chart the path is the plain one; numbers
that a crystal system fixes are equal at both ends and never move.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import roma
import torch
from jaxtyping import Float, Int
from torch import Tensor

PARTS = {"volume": 1, "shape": 5, "turn": 3, "place": 3}
SIZE = sum(PARTS.values())
# What one unit is: log of volume, log of ratios of axes and shears, rad, fractions of the axes. About the standard
# deviation of the differences between random starts and crystals.
UNITS = {"volume": 0.15, "shape": 0.35, "turn": 1.0, "place": 0.25}
_ROOT2, _ROOT6 = math.sqrt(2.0), math.sqrt(6.0)


class Crystals(NamedTuple):
    """Crystals with one independent molecule each.

    Attributes:
        cell: Standard orientation, Å, ``(batch, 3, 3)``.
        rotation: Proper, ``(batch, 3, 3)``.
        place: Fractional, ``(batch, 3)``.
        filling: Expected volume of all molecules of the cell, Å^3, ``(batch,)``.
        group: Row of the table of groups, ``(batch,)``.
    """

    cell: Float[Tensor, "batch 3 3"]
    rotation: Float[Tensor, "batch 3 3"]
    place: Float[Tensor, "batch 3"]
    filling: Float[Tensor, " batch"]
    group: Int[Tensor, " batch"]


def shape_of(cell: Float[Tensor, "*b 3 3"]) -> tuple[Float[Tensor, "*b"], Float[Tensor, "*b 5"]]:
    """Logarithm of the volume, and what is left: two ratios of the diagonal, three shears."""
    x, y, z = cell.diagonal(dim1=-2, dim2=-1).log().unbind(-1)
    shape = [
        (x - y) / _ROOT2,
        (x + y - 2.0 * z) / _ROOT6,
        cell[..., 1, 0] / cell[..., 0, 0],
        cell[..., 2, 0] / cell[..., 0, 0],
        cell[..., 2, 1] / cell[..., 1, 1],
    ]
    return x + y + z, torch.stack(shape, dim=-1)


def cell_of(log_volume: Float[Tensor, "*b"], shape: Float[Tensor, "*b 5"]) -> Float[Tensor, "*b 3 3"]:
    """Inverse of ``shape_of``."""
    first, second, *shears = shape.unbind(-1)
    third = log_volume / 3.0
    x = (third + first / _ROOT2 + second / _ROOT6).exp()
    y = (third - first / _ROOT2 + second / _ROOT6).exp()
    z = (third - 2.0 * second / _ROOT6).exp()
    zero = torch.zeros_like(x)
    rows = [x, zero, zero, x * shears[0], y, zero, x * shears[1], y * shears[2], z]
    return torch.stack(rows, dim=-1).unflatten(-1, (3, 3))


def units(like: Tensor) -> Float[Tensor, " size"]:
    """The unit of each number of the chart."""
    return torch.tensor([UNITS[name] for name, size in PARTS.items() for _ in range(size)]).to(like)


def to_chart(crystals: Crystals, base: Crystals) -> Float[Tensor, "batch size"]:
    """The numbers of crystals against the rotations and places of others; places are not wrapped."""
    log_volume, shape = shape_of(crystals.cell)
    turn = roma.rotmat_to_rotvec(crystals.rotation @ base.rotation.transpose(-1, -2))
    volume = (log_volume - crystals.filling.log())[:, None]
    x = torch.cat([volume, shape, turn, crystals.place - base.place], dim=-1)
    return x / units(x)


def from_chart(x: Float[Tensor, "batch size"], base: Crystals) -> Crystals:
    """Inverse of ``to_chart``."""
    volume, shape, turn, move = (x * units(x)).split(list(PARTS.values()), dim=-1)
    cell = cell_of(volume[:, 0] + base.filling.log(), shape)
    rotation = roma.rotvec_to_rotmat(turn.contiguous()) @ base.rotation
    return base._replace(cell=cell, rotation=rotation, place=base.place + move)
