"""The compiled descent that relaxes one crystal: L-BFGS over cell, centroids and turns at one cut-off.

The one idea: every coordinate is measured by how far it moves atoms. Cell parameters are lengths already, centroids
move along the Cartesian axes of the starting cell, and a turn is a rotation vector times the molecule's radius of
gyration; then the first guess of the Hessian is a multiple of one, and a limit on a step is a limit on motion.

Loading this module loads numba; callers import it where they need it.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from kflow_sci.assembly.forcefield.contact import FAST
from kflow_sci.assembly.forcefield.images import Bodies, Symmetry, Tables
from kflow_sci.assembly.forcefield.kernel import sum_pairs

# Pairs of steps that L-BFGS remembers.
MEMORY = 8
# Longest step of any coordinate in one iteration, Å.
LONGEST = 0.4
# How the descent of a stage ended.
STEPS_DONE, CONVERGED, STUCK, COLLAPSED, APART, NOT_FINITE = 0, 1, 2, 3, 4, 5


@njit(nogil=True, cache=True, fastmath=FAST, error_model="numpy")
def rotation_of(turn: np.ndarray) -> np.ndarray:
    """The rotation about a vector by its length."""
    x, y, z = turn
    square = x * x + y * y + z * z
    angle = math.sqrt(square)
    if angle < 1e-4:
        s, c = 1.0 - square / 6.0, 0.5 - square / 24.0
    else:
        s, c = math.sin(angle) / angle, (1.0 - math.cos(angle)) / square
    rotation = np.empty((3, 3))
    rotation[0, 0], rotation[0, 1], rotation[0, 2] = (
        1.0 - c * (y * y + z * z),
        c * x * y - s * z,
        c * x * z + s * y,
    )
    rotation[1, 0], rotation[1, 1], rotation[1, 2] = (
        c * x * y + s * z,
        1.0 - c * (x * x + z * z),
        c * y * z - s * x,
    )
    rotation[2, 0], rotation[2, 1], rotation[2, 2] = (
        c * x * z - s * y,
        c * y * z + s * x,
        1.0 - c * (x * x + y * y),
    )
    return rotation


@njit(nogil=True, cache=True, fastmath=FAST, error_model="numpy")
def _pull_back(turn: np.ndarray, slope: np.ndarray) -> np.ndarray:
    """Gradient by the rotation vector from the gradient by a small further turn: the transposed left Jacobian."""
    square = turn[0] ** 2 + turn[1] ** 2 + turn[2] ** 2
    angle = math.sqrt(square)
    if angle < 1e-3:
        first, second = 0.5 - square / 24.0, 1.0 / 6.0 - square / 120.0
    else:
        first, second = (1.0 - math.cos(angle)) / square, (angle - math.sin(angle)) / (square * angle)
    once = _cross(slope, turn)
    return slope + first * once + second * _cross(once, turn)


@njit(inline="always", error_model="numpy")
def _cross(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    w = np.empty(3)
    w[0] = u[1] * v[2] - u[2] * v[1]
    w[1] = u[2] * v[0] - u[0] * v[2]
    w[2] = u[0] * v[1] - u[1] * v[0]
    return w


@njit(nogil=True, cache=True, fastmath=FAST, error_model="numpy")
def _energy(
    x: np.ndarray, gradient: np.ndarray, gyration: np.ndarray, basis: np.ndarray, pressure: float,
    bodies: Bodies, tables: Tables, symmetry: Symmetry, cell0: np.ndarray, place0: np.ndarray, orientation0: np.ndarray,
) -> tuple[float, int, np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
    """Enthalpy per molecule and its gradient by the coordinates; then cell, places and orientations there."""
    z, p = len(place0), len(basis)
    cell, place, orientation = cell0.copy(), place0.copy(), np.empty((z, 3, 3))
    for k in range(p):
        cell += x[k] * basis[k]
    inverse = np.linalg.inv(cell0)
    for i in range(z):
        for a in range(3):
            for b in range(3):
                place[i, b] += x[p + 3 * i + a] * inverse[a, b]
        turn = x[p + 3 * z + 3 * i : p + 3 * z + 3 * i + 3] / gyration[i]
        orientation[i] = rotation_of(turn) @ orientation0[i]
    by_cell, by_place, by_turn = np.empty((3, 3)), np.empty((z, 3)), np.empty((z, 3))
    volume = np.linalg.det(cell)
    if not volume > 0.0:
        return np.inf, -1, cell, place, orientation
    contacts, charges, tail, images = sum_pairs(
        bodies, tables, symmetry, cell, place, orientation, by_cell, by_place, by_turn
    )
    work = pressure * volume / len(symmetry.handed)
    by_cell += work * np.linalg.inv(cell).T
    for k in range(p):
        gradient[k] = (by_cell * basis[k]).sum() / z
    for i in range(z):
        for a in range(3):
            slope = 0.0
            for b in range(3):
                slope += inverse[a, b] * by_place[i, b]
            gradient[p + 3 * i + a] = slope / z
        turn = x[p + 3 * z + 3 * i : p + 3 * z + 3 * i + 3] / gyration[i]
        pulled = _pull_back(turn, by_turn[i])
        for a in range(3):
            gradient[p + 3 * z + 3 * i + a] = pulled[a] / gyration[i] / z
    return (contacts + charges + tail + work) / z, images, cell, place, orientation


@njit(nogil=True, cache=True, fastmath=FAST, error_model="numpy")
def descend(
    iterations: int, tolerance: float, pressure: float, gyration: np.ndarray, basis: np.ndarray,
    bodies: Bodies, tables: Tables, symmetry: Symmetry, cell0: np.ndarray, place0: np.ndarray, orientation0: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, float, float, int, int]:  # fmt: skip
    """Lower the enthalpy from one pose.

    Args:
        iterations: Most steps.
        tolerance: The largest component of the gradient that counts as none, kJ/mol/Å.
        pressure: kJ/mol/Å^3, >= 0.
        gyration: Radius of gyration of each independent molecule, Å, ``(z,)``.
        basis: Directions in which the cell may change, ``(k, 3, 3)``.
        bodies: The molecules.
        tables: Constants of the pairs.
        symmetry: The operations.
        cell0: The start.
        place0: The start.
        orientation0: The start.

    Returns:
        Cell, places, orientations, enthalpy per molecule, largest component of the gradient, how it ended (one of the
        constants above), and the energies computed.
    """
    z, p = len(place0), len(basis)
    n = p + 6 * z
    x, gradient = np.zeros(n), np.zeros(n)
    value, images, cell, place, orientation = _energy(
        x, gradient, gyration, basis, pressure, bodies, tables, symmetry, cell0, place0, orientation0
    )
    calls = 1
    if images < 0 or not math.isfinite(value):
        end = COLLAPSED if images < 0 else (APART if value == np.inf else NOT_FINITE)
        return cell, place, orientation, value, np.inf, end, calls
    steps, changes = np.zeros((MEMORY, n)), np.zeros((MEMORY, n))
    rho, alpha = np.zeros(MEMORY), np.zeros(MEMORY)
    known, newest = 0, 0
    trial = np.empty(n)
    end = STEPS_DONE
    for _ in range(iterations):
        if np.abs(gradient).max() < tolerance:
            end = CONVERGED
            break
        direction = -gradient
        for back in range(known):
            k = (newest - 1 - back) % MEMORY
            alpha[k] = rho[k] * (steps[k] * direction).sum()
            direction -= alpha[k] * changes[k]
        if known > 0:
            k = (newest - 1) % MEMORY
            direction /= rho[k] * (changes[k] * changes[k]).sum()
        for back in range(known - 1, -1, -1):
            k = (newest - 1 - back) % MEMORY
            direction += (alpha[k] - rho[k] * (changes[k] * direction).sum()) * steps[k]
        downhill = (direction * gradient).sum()
        if not downhill < 0.0:
            direction = -gradient
            downhill = -(gradient * gradient).sum()
            known = 0
        longest = np.abs(direction).max()
        length = min(1.0, (LONGEST if known > 0 else 0.1) / longest)
        found = False
        for _attempt in range(12):
            moved = x + length * direction
            here, images, tried_cell, tried_place, tried_orientation = _energy(
                moved, trial, gyration, basis, pressure, bodies, tables, symmetry, cell0, place0, orientation0
            )
            calls += 1
            if images >= 0 and math.isfinite(here) and here <= value + 1e-4 * length * downhill:
                found = True
                break
            # The parabola through value and slope here and the value there, within bounds.
            shorter = 0.1
            if images >= 0 and math.isfinite(here):
                shorter = -0.5 * downhill * length / (here - value - downhill * length)
            length *= min(max(shorter, 0.1), 0.5)
        if not found:
            if known == 0:
                end = STUCK
                break
            known = 0
            continue
        step, change = moved - x, trial - gradient
        curvature = (step * change).sum()
        if curvature > 1e-10 * (change * change).sum():
            steps[newest], changes[newest], rho[newest] = step, change, 1.0 / curvature
            newest = (newest + 1) % MEMORY
            known = min(known + 1, MEMORY)
        x, value = moved, here
        gradient[:] = trial
        cell, place, orientation = tried_cell, tried_place, tried_orientation
    slope = np.abs(gradient).max()
    if end == STEPS_DONE and slope < tolerance:
        end = CONVERGED
    return cell, place, orientation, value, slope, end, calls
