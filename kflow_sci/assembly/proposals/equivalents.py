"""All the ways to write one crystal down: choice of axes, of origin, of the independent molecule, of its own frame.

The one idea: a change of axes and origin that carries the operations of a group into those of the same group (the
normaliser) gives another description of the same crystal; the choice of the independent molecule is a special case. A
target is written in the description nearest to its start, so that it is not blurred by choices that mean nothing.
"""

from __future__ import annotations

import itertools
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from kflow_sci.assembly.lattice.packing import Packing, SpaceGroup
from kflow_sci.errors import PackingError

_GRID = 4  # origins are looked for at quarters of the axes: enough for all groups without diamond glides
_WIDEST = 0.5  # largest cosine of an angle of the cell in a description; starts reach 0.42 (65 degrees)


class Changes(NamedTuple):
    """Changes of axes ``axes @ cell`` and of coordinates ``inv(axes).T @ f + shift`` from one group to another."""

    axes: Int[np.ndarray, "n 3 3"]
    shift: Float[np.ndarray, "n 3"]


class Equivalents(NamedTuple):
    """Descriptions of one crystal with one independent molecule of parity +1.

    Attributes:
        cell: Standard orientation, Å, ``(n, 3, 3)``.
        rotation: Proper rotations, ``(n, 3, 3)``.
        place: Fractional, ``(n, 3)``; the origins of ``origins`` are equivalent besides.
    """

    cell: Float[np.ndarray, "n 3 3"]
    rotation: Float[np.ndarray, "n 3 3"]
    place: Float[np.ndarray, "n 3"]


@lru_cache(maxsize=1)
def _small_matrices() -> Int[np.ndarray, "n 3 3"]:
    """Whole matrices of entries −1, 0, 1 with determinant ±1."""
    every = np.array(list(itertools.product((-1, 0, 1), repeat=9)), dtype=np.int64).reshape(-1, 3, 3)
    return every[np.abs(np.round(np.linalg.det(every))) == 1]


@lru_cache(maxsize=256)
def changes(group: SpaceGroup, target: SpaceGroup) -> Changes:
    """Changes of axes by entries −1, 0, 1 that turn the operations of a group into those of another.

    Args:
        group: The group of the present description.
        target: The group wanted; the same for the normaliser.

    Returns:
        One change for every choice of axes, with one of the origins that do; ``origins`` gives the others. None if the
        groups are of different kinds.
    """
    matrices = _small_matrices()
    if len(group) != len(target):
        return Changes(matrices[:0], np.zeros((0, 3)))
    back = np.round(np.linalg.inv(matrices)).astype(np.int64).transpose(0, 2, 1)
    turned = np.einsum("nij,gjk,nlk->ngil", back, group.rotations, matrices)
    codes = _codes(turned)
    wanted = _codes(target.rotations)
    fits = (np.sort(codes, axis=1) == np.sort(wanted)).all(axis=1)
    grid = np.array(list(itertools.product(range(_GRID), repeat=3))) / _GRID
    moved = np.einsum("gj,nij->ngi", group.translations, back)
    asked = np.sort(_with_steps(wanted, target.translations))
    # Most changes need no shift; only the others are tried with one after the other.
    still = (np.sort(_with_steps(codes, moved), axis=1) == asked).all(axis=1)
    axes, shifts = [], []
    for n in np.flatnonzero(fits):
        if still[n]:
            axes.append(matrices[n])
            shifts.append(grid[0])
            continue
        steps = moved[n] + np.einsum("gij,sj->sgi", np.eye(3) - turned[n], grid)
        same = (np.sort(_with_steps(codes[n], steps), axis=1) == asked).all(axis=1)
        if same.any():
            axes.append(matrices[n])
            shifts.append(grid[np.flatnonzero(same)[0]])
    return Changes(np.array(axes, dtype=np.int64).reshape(-1, 3, 3), np.array(shifts).reshape(-1, 3))


def _codes(rotations: Int[np.ndarray, "... 3 3"]) -> Int[np.ndarray, "..."]:
    """A whole number for every matrix of small entries."""
    return (rotations.reshape(*rotations.shape[:-2], 9) + 5) @ 11 ** np.arange(9)


def _with_steps(codes: Int[np.ndarray, "..."], steps: Float[np.ndarray, "... 3"]) -> Int[np.ndarray, "..."]:
    whole = np.round(steps * 24).astype(np.int64) % 24
    return codes * 24**3 + whole @ np.array([576, 24, 1])


@lru_cache(maxsize=256)
def origins(group: SpaceGroup) -> tuple[Float[np.ndarray, "n 3"], Bool[np.ndarray, " 3"]]:
    """Shifts of the origin that change no operation.

    Returns:
        The discrete ones ``(n, 3)`` with those along free axes left out, and which axes are free (polar).
    """
    fixed = np.eye(3) - group.rotations
    free = (fixed == 0).all(axis=(0, 1))
    grid = np.array(list(itertools.product(range(_GRID), repeat=3))) / _GRID
    centring = group.translations[(group.rotations == np.eye(3, dtype=int)).all(axis=(1, 2))]
    moved = np.einsum("gij,sj->sgi", fixed, grid)
    apart = moved[:, :, None] - centring
    apart = np.abs(apart - np.round(apart)).max(axis=-1).min(axis=-1)
    return grid[(apart < 1e-9).all(axis=1) & (grid[:, free] == 0).all(axis=1)], free


def in_setting(packing: Packing, target: SpaceGroup) -> Packing | None:
    """The same crystal in another setting of its group, with the shortest axes; None if there is no way."""
    found = changes(packing.group, target)
    if not len(found.axes):
        return None
    moved = found.axes @ packing.cell
    best = int((moved**2).sum(axis=(1, 2)).round(6).argmin())
    cell, spin, place = _described(
        packing, Changes(found.axes[best : best + 1], found.shift[best : best + 1])
    )
    orientation = spin[0] @ (packing.parity[:, None, None] * packing.rotation)
    parity = np.where(np.linalg.det(orientation) > 0, 1, -1)
    return Packing(
        packing.molecules, target, target.symmetric_cell(cell[0]), packing.kind, place[0] % 1.0,
        parity[:, None, None] * orientation, parity, packing.info,
    )  # fmt: skip


def _described(
    packing: Packing, by: Changes
) -> tuple[Float[np.ndarray, "n 3 3"], Float[np.ndarray, "n 3 3"], Float[np.ndarray, "n z 3"]]:
    """Cells, the turns (maybe improper) of all that is Cartesian, and places."""
    moved = by.axes @ packing.cell
    cell = np.linalg.cholesky(moved @ moved.transpose(0, 2, 1))
    spin = (np.linalg.inv(moved) @ cell).transpose(0, 2, 1)
    back = np.linalg.inv(by.axes).transpose(0, 2, 1)
    return cell, spin, np.einsum("nij,zj->nzi", back, packing.place) + by.shift[:, None]


def equivalents(packing: Packing) -> Equivalents:
    """Descriptions of a crystal in its own group, in cells whose angles lie between 60 and 120 degrees.

    Raises:
        PackingError: it has more than one independent molecule, or is of a hand that no description has: its templates
            must be mirrored first.
    """
    if len(packing) != 1:
        raise PackingError(f"equivalents are known for 1 independent molecule, not {len(packing)}")
    by = changes(packing.group, packing.group)
    moved = (by.axes.reshape(-1, 3) @ packing.cell).reshape(-1, 3, 3)
    unit = moved / np.sqrt((moved**2).sum(axis=2, keepdims=True))
    # There are thousands of changes of triclinic cells; products of rows are faster than small matrices.
    widest = np.max(
        [np.abs((unit[:, i] * unit[:, j]).sum(axis=1)) for i, j in ((0, 1), (0, 2), (1, 2))], axis=0
    )
    usual = widest <= max(_WIDEST, float(widest.min()) + 1e-6)
    cell, spin, place = _described(packing, Changes(by.axes[usual], by.shift[usual]))
    own = spin @ (packing.parity[0] * packing.rotation[0])
    symmetry = packing.molecules[packing.kind[0]].symmetry
    every = np.concatenate([symmetry.proper, symmetry.improper.reshape(-1, 3, 3)])
    rotation = np.einsum("nij,kjl->nkil", own, every)
    n, k = np.nonzero(np.linalg.det(rotation) > 0)
    if not len(n):
        raise PackingError("the crystal holds the other hand of its molecule alone: mirror it first")
    return Equivalents(cell[n], rotation[n, k], place[n, 0])
