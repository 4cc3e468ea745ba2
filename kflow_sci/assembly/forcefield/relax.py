"""Relax crystals: cell, places and orientations to a minimum of the lattice energy, the symmetry kept.

The one idea: most of a descent needs little accuracy. Three stages let the cut-off grow while a pressure that closes
loose starts falls to zero, so the first and longest part of the way costs a fraction of the last.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from kflow_sci.assembly.forcefield.parameters import ForceField
from kflow_sci.assembly.forcefield.system import DAMPING, bodies_of, system_of, tables_of
from kflow_sci.errors import ConfigError

if TYPE_CHECKING:
    from kflow_sci.assembly.lattice.packing import Packing


@dataclass(frozen=True)
class Stage:
    """One part of the way down.

    Attributes:
        reach: Cut-off beyond the radii of two molecules, Å; see ``energy.lattice_energy``.
        pressure: kJ/mol/Å^3; 1 is 1.66 GPa.
        iterations: Most steps of L-BFGS.
    """

    reach: float
    pressure: float
    iterations: int


STAGES = (Stage(3.0, 0.5, 25), Stage(5.0, 0.05, 40), Stage(8.0, 0.0, 60))
# Largest component of the gradient, per molecule, at which a crystal counts as relaxed, kJ/mol/Å.
TOLERANCE = 0.05
# A crystal this much larger or smaller than the volume its molecules usually take has flown apart or collapsed.
LOOSEST, TIGHTEST = 3.0, 0.4
# Why a descent that ended beyond ``descent.STUCK`` is no crystal, in the order of the constants there.
_FAILURES = ("collapsed cell", "flew apart: a huge cell", "energy not finite")


@dataclass(frozen=True)
class Relaxed:
    """What became of a start.

    Attributes:
        packing: Where it ended; ``info`` gains ``energy`` (kJ/mol per molecule) and ``volume`` (Å^3 per molecule).
        energy: kJ/mol per molecule, ``nan`` for a failure.
        volume: Å^3 per molecule.
        gradient: Largest component of the gradient, kJ/mol/Å per molecule.
        converged: Whether that is below the tolerance.
        calls: Energies computed.
        failure: Why it is no crystal, in words; empty for one.
    """

    packing: Packing
    energy: float
    volume: float
    gradient: float
    converged: bool
    calls: int
    failure: str = ""


def relax(
    packings: Sequence[Packing],
    field: ForceField,
    *,
    stages: Sequence[Stage] = STAGES,
    tolerance: float = TOLERANCE,
) -> list[Relaxed]:
    """Relax each crystal to a nearby minimum.

    Cell parameters that the crystal system leaves free, places and orientations of the independent molecules move; the
    space group stays. One compiled loop per stage, which releases the interpreter: threads can relax side by side. The
    result depends on the start alone.

    Args:
        packings: Starts, of any space groups, all of the molecules that ``field`` was made for.
        field: From ``parameters.force_field``.
        stages: Parts of the way, in order.
        tolerance: Largest component of the gradient that counts as none, kJ/mol/Å, > 0.

    Returns:
        In order. A start that collapses, flies apart or has no finite energy comes back with a ``failure``.

    Raises:
        ConfigError: no stages, a tolerance or cut-off out of range, or a field made for other molecules.
    """
    if not stages or not tolerance > 0:
        raise ConfigError(
            f"relaxing with {len(stages)} stages and tolerance {tolerance:g}: give at least one stage and > 0"
        )
    return [_relax(packing, field, stages, tolerance) for packing in packings]


def _relax(packing: Packing, field: ForceField, stages: Sequence[Stage], tolerance: float) -> Relaxed:
    from kflow_sci.assembly.forcefield.descent import NOT_FINITE, STUCK, descend

    bodies, tables, symmetry, cell, place, orientation = system_of(packing, field, stages[0].reach)
    start = bodies_of(packing.molecules, field)[1]
    gyration = np.array(
        [
            max(float(np.sqrt((bodies.atoms[start[k] : start[k + 1]] ** 2).sum(axis=1).mean())), 0.5)
            for k in packing.kind
        ]
    )
    basis = np.ascontiguousarray(packing.group.cell_basis)
    calls, end, energy, slope = 0, NOT_FINITE, np.nan, np.inf
    if np.isfinite(cell).all() and np.isfinite(place).all() and np.isfinite(orientation).all():
        for stage in stages:
            tables = tables_of(packing.molecules, field, float(stage.reach), DAMPING)
            cell, place, orientation, energy, slope, end, used = descend(
                stage.iterations, tolerance, stage.pressure, gyration, basis,
                bodies, tables, symmetry, cell, place, orientation,
            )  # fmt: skip
            calls += used
            if end > STUCK:
                break
    volume = float(np.linalg.det(cell)) / (len(symmetry.handed) * len(place))
    failure = _FAILURES[end - STUCK - 1] if end > STUCK else _judge(volume, packing)
    if failure:
        return Relaxed(packing, np.nan, volume, np.inf, False, calls, failure)
    rotation = packing.parity[:, None, None] * orientation
    # Rounding of many small turns is taken out, so that rotations stay rotations.
    left, _, right = np.linalg.svd(rotation)
    energy = float(energy) - stages[-1].pressure * volume
    moved = replace(
        packing,
        cell=cell,
        place=place,
        rotation=left @ right,
        info={**packing.info, "energy": round(energy, 4), "volume": round(volume, 3)},
    )
    return Relaxed(moved, energy, volume, float(slope), bool(slope < tolerance), calls)


def _judge(volume: float, packing: Packing) -> str:
    """Why a cell of this volume is no crystal; empty if it may be one."""
    usual = float(np.mean([packing.molecules[k].crystal_volume for k in packing.kind]))
    if volume > LOOSEST * usual:
        return f"flew apart: {volume:.0f} Å^3 per molecule, usual are {usual:.0f}"
    if volume < TIGHTEST * usual:
        return f"collapsed: {volume:.0f} Å^3 per molecule, usual are {usual:.0f}"
    return ""
