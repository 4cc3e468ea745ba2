"""The same crystal in a shorter cell.

The one idea: a change of cell vectors by whole numbers changes the operations and the fractional places with it, and
nothing else. Triclinic cells are reduced after Niggli; monoclinic ones in the plane across their axis, so that the
setting keeps its axis and its name (P21/c becomes P21/n where that cell is shorter); all others are as short as their
symmetry allows.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from kflow_sci.assembly.lattice.packing import Packing, SpaceGroup, standard_cell
from kflow_sci.errors import PackingError

# Settings of the monoclinic groups that the tables and most programs prefer, for either choice of the short axes.
_USUAL = (
    "P 1 21/c 1", "P 1 21/n 1", "C 1 2/c 1", "I 1 2/a 1", "P 1 c 1", "P 1 n 1", "C 1 c 1", "I 1 a 1", "C 1 2 1",
    "I 1 2 1", "P 1 2/c 1", "P 1 2/n 1",
)  # fmt: skip


def reduced(packing: Packing) -> Packing:
    """The packing in the shortest cell that its crystal system allows; places lie in [0, 1).

    Args:
        packing: Any packing.

    Returns:
        The same crystal. Its cell has as many molecules as before; the name of the group is that of the new setting.
    """
    system = packing.group.system
    if system == "triclinic":
        return changed(packing, _niggli_change(packing.cell))
    if system != "monoclinic":
        return changed(packing, np.eye(3, dtype=np.int64))
    axis = _unique_axis(packing.group.rotations)
    change = _monoclinic_change(packing.cell, axis)
    # The two short vectors in either order are one crystal; the setting with the better-known name is taken.
    swap = np.eye(3, dtype=np.int64)
    first, second = sorted({0, 1, 2} - {axis})
    swap[[first, second]] = swap[[second, first]]
    swap[axis] *= -1
    settings = [changed(packing, change), changed(packing, swap @ change)]
    return next((setting for setting in settings if setting.group.name in _USUAL), settings[0])


def changed(packing: Packing, change: Int[np.ndarray, "3 3"]) -> Packing:
    """The packing with the cell vectors ``change @ cell``.

    Args:
        packing: Any packing.
        change: Whole numbers with determinant 1, ``(3, 3)``.

    Raises:
        PackingError: the determinant of ``change`` is not 1.
    """
    if round(float(np.linalg.det(change))) != 1:
        raise PackingError(f"a change of cell needs determinant 1, not {np.linalg.det(change):g}")
    if (change == np.eye(3)).all():
        group, cell, spin, inverse = packing.group, packing.cell, np.eye(3), np.eye(3, dtype=np.int64)
    else:
        inverse = np.round(np.linalg.inv(change)).astype(np.int64).T
        group = SpaceGroup.from_operations(
            inverse @ packing.group.rotations @ change.T, (packing.group.translations @ inverse.T) % 1.0
        )
        moved = change @ packing.cell
        cell = standard_cell(moved)
        spin = (np.linalg.inv(moved) @ cell).T
    return Packing(
        packing.molecules, group, cell, packing.kind, (packing.place @ inverse.T) % 1.0, spin @ packing.rotation,
        packing.parity, packing.info,
    )  # fmt: skip


def niggli_parameters(packing: Packing) -> tuple[float, ...]:
    """a, b, c in Å and the angles in degrees of the Niggli cell of the lattice, centring taken out.

    Two packings with one lattice have the same six numbers, in whatever cells they are written.

    Source:
        Křivý & Gruber, Acta Cryst. A32 (1976) 297; as in gemmi.
    """
    import gemmi

    metric = _primitive(packing)
    metric = metric @ metric.T
    vector = gemmi.GruberVector(
        [*np.diag(metric).tolist(), 2 * metric[1, 2], 2 * metric[0, 2], 2 * metric[0, 1]]
    )
    vector.niggli_reduce(epsilon=1e-6)
    return tuple(float(x) for x in vector.get_cell().parameters)


def _primitive(packing: Packing) -> Float[np.ndarray, "3 3"]:
    """A cell without centring, Å."""
    centring = (packing.group.rotations == np.eye(3, dtype=int)).all(axis=(1, 2))
    vectors = [*np.eye(3), *packing.group.translations[centring][1:]]
    volumes = {
        chosen: abs(np.linalg.det([vectors[k] for k in chosen]))
        for chosen in itertools.combinations(range(len(vectors)), 3)
    }
    smallest = min((v, chosen) for chosen, v in volumes.items() if v > 1e-6)[1]
    return standard_cell(np.array([vectors[k] for k in smallest]) @ packing.cell)


def _niggli_change(cell: Float[np.ndarray, "3 3"]) -> Int[np.ndarray, "3 3"]:
    import spglib

    shorter: Any = spglib.niggli_reduce(cell, eps=1e-6)
    if shorter is None:
        return np.eye(3, dtype=np.int64)
    change = np.round(shorter @ np.linalg.inv(cell)).astype(np.int64)
    return change if round(float(np.linalg.det(change))) == 1 else -change


def _unique_axis(rotations: Int[np.ndarray, "g 3 3"]) -> int:
    """The axis that every operation of a monoclinic group keeps up to its sign, and no other does alone."""
    traces = np.trace(rotations, axis1=1, axis2=2)
    twofold = rotations[np.abs(traces) == 1][0]
    diagonal = np.diag(twofold)
    return int(np.flatnonzero(diagonal * np.sign(traces[np.abs(traces) == 1][0]) < 0)[0])


def _monoclinic_change(cell: Float[np.ndarray, "3 3"], axis: int) -> Int[np.ndarray, "3 3"]:
    """Shortest two vectors across the axis, the angle between them not below 90 degrees."""
    first, second = sorted({0, 1, 2} - {axis})
    change = np.eye(3, dtype=np.int64)
    while True:
        a, c = change[first] @ cell, change[second] @ cell
        if a @ a > c @ c + 1e-9:
            change[[first, second]] = change[[second, first]]
            change[first] *= -1  # keeps the hand of the axes
            continue
        steps = round(float(a @ c / (a @ a)))
        if steps == 0 or abs(abs(a @ c) / (a @ a) - 0.5) < 1e-9:
            break
        change[second] -= steps * change[first]
    if (change[first] @ cell) @ (change[second] @ cell) > 1e-9:
        change[first] *= -1
        change[axis] *= -1
    return change
