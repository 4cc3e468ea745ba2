"""Charges of a crystal summed to convergence after Ewald: the check of the truncated sum, and a better last word.

The one idea: charges of one molecule do not act on each other, so their own interaction is taken out of the sum over
all charges of the cell. Plain arrays and no gradient: once per crystal is often enough.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float
from scipy.special import erfc

from kflow_sci.assembly.forcefield.parameters import COULOMB, ForceField
from kflow_sci.errors import ConfigError

if TYPE_CHECKING:
    from kflow_sci.assembly.lattice.packing import Packing


def ewald_energy(packing: Packing, field: ForceField, *, accuracy: float = 1e-8) -> float:
    """Energy between the charges of different molecules, kJ/mol per molecule, in a conducting surrounding.

    Args:
        packing: The crystal.
        field: Its charges are used.
        accuracy: Relative size of the terms left out, in (0, 1).

    Raises:
        ConfigError: ``accuracy`` out of range.

    Source:
        Ewald, Ann. Phys. 369 (1921) 253.
    """
    index, place, orientation = packing.images()
    kinds = packing.kind[index]
    arms = [packing.molecules[k].positions @ turn.T for k, turn in zip(kinds, orientation, strict=True)]
    positions = np.concatenate([f @ packing.cell + arm for f, arm in zip(place, arms, strict=True)])
    charges = np.concatenate([field.charges[k] for k in kinds])
    own = 0.0
    for k, arm in zip(kinds, arms, strict=True):
        distance = np.linalg.norm(arm[:, None] - arm, axis=-1)
        first, second = np.triu_indices(len(arm), 1)
        own += float(np.sum(field.charges[k][first] * field.charges[k][second] / distance[first, second]))
    return COULOMB * (madelung_sum(packing.cell, positions, charges, accuracy) - own) / len(kinds)


def madelung_sum(
    cell: Float[np.ndarray, "3 3"],
    positions: Float[np.ndarray, "n 3"],
    charges: Float[np.ndarray, " n"],
    accuracy: float = 1e-8,
) -> float:
    """Half the sum of ``q q' / r`` over all charges of the cell and all others, in e²/Å; the cell is neutral.

    Args:
        cell: Rows are the cell vectors, Å.
        positions: Å; no two charges in one place.
        charges: Elementary charges, adding up to 0.
        accuracy: Relative size of the terms left out, in (0, 1).

    Raises:
        ConfigError: ``accuracy`` out of range.
    """
    if not 0 < accuracy < 1:
        raise ConfigError(f"accuracy is {accuracy:g}, but must lie between 0 and 1: give 1e-8")
    volume = abs(np.linalg.det(cell))
    # Both halves fall off as a Gaussian; this width gives them about equally many terms.
    width = np.sqrt(np.pi) * (len(charges) / volume**2) ** (1 / 6)
    decay = np.sqrt(-np.log(accuracy))
    reciprocal = 2 * np.pi * np.linalg.inv(cell).T
    lattice = _points_within(cell, decay / width + _diameter(positions))
    waves = _points_within(reciprocal, 2 * width * decay)

    apart = positions[:, None] - positions
    real = 0.0
    for step in lattice:
        distance = np.linalg.norm(apart + step, axis=-1)
        if not step.any():
            np.fill_diagonal(distance, np.inf)
        real += 0.5 * float(charges @ (erfc(width * distance) / distance) @ charges)
    waves = waves[(waves != 0).any(axis=1)]
    square = (waves**2).sum(axis=1)
    factor = np.exp(-square / (4 * width**2)) / square
    phase = waves @ positions.T
    amplitude = (np.cos(phase) @ charges) ** 2 + (np.sin(phase) @ charges) ** 2
    long = 2 * np.pi / volume * float(factor @ amplitude)
    itself = -width / np.sqrt(np.pi) * float(charges @ charges)
    return real + long + itself


def _diameter(positions: Float[np.ndarray, "n 3"]) -> float:
    return float(np.linalg.norm(np.ptp(positions, axis=0)))


def _points_within(basis: Float[np.ndarray, "3 3"], radius: float) -> Float[np.ndarray, "m 3"]:
    """Lattice points within a sphere about the origin."""
    reach = np.floor(radius * np.linalg.norm(np.linalg.inv(basis), axis=0)).astype(int)
    ranges = [np.arange(-n, n + 1) for n in reach]
    steps = np.stack(np.meshgrid(*ranges, indexing="ij"), axis=-1).reshape(-1, 3)
    points = steps @ basis
    return points[np.linalg.norm(points, axis=1) <= radius]
