"""The compiled sum over pairs of molecules, with its gradient: one kernel for crystals and clusters.

The one idea: for a pair of molecules, the inner loop runs over their images and not over their atoms. The parameters
of an atom pair are then constants of the loop, the images lie side by side in memory, and the processor takes several
at once.

Loading this module loads numba; callers import it where they need it.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from kflow_sci.assembly.forcefield.contact import FAST, contact_of, screened, switch
from kflow_sci.assembly.forcefield.images import MOST_IMAGES, Bodies, Symmetry, Tables, find_images
from kflow_sci.assembly.forcefield.system import SWITCH
from kflow_sci.assembly.forcefield.waves import sum_waves

# Atoms closer than this count as this far apart, Å: keeps the square root smooth.
_NEAREST = 1e-6


@njit(nogil=True, cache=True, fastmath=FAST, error_model="numpy")
def sum_pairs(
    bodies: Bodies,
    tables: Tables,
    symmetry: Symmetry,
    cell: np.ndarray,
    place: np.ndarray,
    orientation: np.ndarray,
    by_cell: np.ndarray,
    by_place: np.ndarray,
    by_turn: np.ndarray,
) -> tuple[float, float, float, int]:
    """Energy of the asymmetric unit, kJ/mol, and its gradient (written into the last three arrays).

    Returns:
        Contacts, charges, tail, and the number of images summed (−1: too many).
    """
    z, g = len(bodies.kind), len(symmetry.handed)
    by_cell[:] = 0.0
    by_place[:] = 0.0
    by_turn[:] = 0.0
    largest = 0
    for k in range(len(bodies.radius)):
        largest = max(largest, bodies.start[k + 1] - bodies.start[k])
    arms = np.empty((g, z, 3, largest))
    for j in range(z):
        first, last = bodies.start[bodies.kind[j]], bodies.start[bodies.kind[j] + 1]
        for k in range(g):
            turned = symmetry.cartesian[k] @ orientation[j]
            for b in range(last - first):
                for x in range(3):
                    arms[k, j, x, b] = (
                        turned[x, 0] * bodies.atoms[first + b, 0]
                        + turned[x, 1] * bodies.atoms[first + b, 1]
                        + turned[x, 2] * bodies.atoms[first + b, 2]
                    )
    room = 256 if symmetry.periodic else 1
    operation = np.empty(room, dtype=np.int64)
    apart, weight = np.empty((room, 3)), np.empty(room)
    contacts, charges, tail = 0.0, 0.0, 0.0
    images = 0
    for i in range(z):
        for j in range(i, z):
            limit = bodies.radius[bodies.kind[i]] + bodies.radius[bodies.kind[j]] + tables.reach
            m = find_images(i, j, limit, cell, place, symmetry, operation, apart, weight)
            while m < 0 and room < MOST_IMAGES:
                room *= 4
                operation = np.empty(room, dtype=np.int64)
                apart, weight = np.empty((room, 3)), np.empty(room)
                m = find_images(i, j, limit, cell, place, symmetry, operation, apart, weight)
            if m < 0:
                return np.nan, np.nan, np.nan, -1
            if m > 0:
                one, two = _sum_images(
                    i, j, m, limit, bodies, tables, symmetry, cell, arms, operation, apart, weight,
                    by_cell, by_place, by_turn,
                )  # fmt: skip
                contacts += one
                charges += two
                images += m
    if symmetry.periodic:
        for i in range(z):
            charges += tables.own[bodies.kind[i]]
            for j in range(z):
                tail += tables.tail[bodies.kind[i], bodies.kind[j]]
        tail *= 0.5 * g / abs(np.linalg.det(cell))
        # d V = V tr(cell⁻¹ d cell)
        by_cell -= tail * np.linalg.inv(cell).T
        charges += sum_waves(bodies, tables.damping, symmetry, cell, place, arms, by_cell, by_place, by_turn)
    return contacts, charges, tail, images


@njit(nogil=True, cache=True, fastmath=FAST, error_model="numpy")
def _sum_images(
    i: int, j: int, m: int, limit: float, bodies: Bodies, tables: Tables, symmetry: Symmetry, cell: np.ndarray,
    arms: np.ndarray, operation: np.ndarray, apart: np.ndarray, weight: np.ndarray,
    by_cell: np.ndarray, by_place: np.ndarray, by_turn: np.ndarray,
) -> tuple[float, float]:  # fmt: skip
    """Molecule i with all m images of molecule j; adds to the gradients."""
    first, second = bodies.start[bodies.kind[i]], bodies.start[bodies.kind[j]]
    many, others = bodies.start[bodies.kind[i] + 1] - first, bodies.start[bodies.kind[j] + 1] - second
    form, damping = tables.form, tables.damping
    spread = 2.0 / math.sqrt(math.pi) * damping
    shift = np.empty((3, m))
    on, fading = np.empty(m), np.empty(m)
    for q in range(m):
        square = 0.0
        for x in range(3):
            if symmetry.periodic:
                d = apart[q, 0] * cell[0, x] + apart[q, 1] * cell[1, x] + apart[q, 2] * cell[2, x]
            else:
                d = apart[q, x]
            shift[x, q] = d
            square += d * d
        d = math.sqrt(square)
        value, slope = switch((d - limit + SWITCH) / SWITCH)
        on[q] = weight[q] * value
        fading[q] = weight[q] * slope / SWITCH / max(d, _NEAREST)
    contact, charge = np.zeros(m), np.zeros(m)
    force, torque = np.zeros((3, m)), np.zeros((3, m))
    at, pull, arm = np.empty((3, m)), np.empty((3, m)), np.empty((3, m))
    own = np.zeros((many, 3))
    for b in range(others):
        for x in range(3):
            for q in range(m):
                arm[x, q] = arms[operation[q], j, x, b]
                at[x, q] = shift[x, q] + arm[x, q]
                pull[x, q] = 0.0
        for a in range(many):
            x0, y0, z0 = arms[0, i, 0, a], arms[0, i, 1, a], arms[0, i, 2, a]
            ka, kb, kc = (
                tables.a[first + a, second + b],
                tables.b[first + a, second + b],
                tables.c[first + a, second + b],
            )
            wall, product = tables.wall[first + a, second + b], tables.product[first + a, second + b]
            gx, gy, gz = 0.0, 0.0, 0.0
            for q in range(m):
                dx, dy, dz = at[0, q] - x0, at[1, q] - y0, at[2, q] - z0
                r = math.sqrt(max(dx * dx + dy * dy + dz * dz, _NEAREST * _NEAREST))
                held = max(r, wall)
                value, slope = contact_of(form, ka, kb, kc, held)
                inverse = 1.0 / held
                screen, gauss = screened(damping * held)
                electric = product * screen * inverse
                electric_slope = -(electric + product * spread * gauss) * inverse
                contact[q] += value + slope * (r - held)
                charge[q] += electric + electric_slope * (r - held)
                u = on[q] * (slope + electric_slope) / r
                pull[0, q] += u * dx
                pull[1, q] += u * dy
                pull[2, q] += u * dz
                gx -= u * dx
                gy -= u * dy
                gz -= u * dz
            own[a, 0] += gx
            own[a, 1] += gy
            own[a, 2] += gz
        for q in range(m):
            for x in range(3):
                force[x, q] += pull[x, q]
            torque[0, q] += arm[1, q] * pull[2, q] - arm[2, q] * pull[1, q]
            torque[1, q] += arm[2, q] * pull[0, q] - arm[0, q] * pull[2, q]
            torque[2, q] += arm[0, q] * pull[1, q] - arm[1, q] * pull[0, q]
    contacts, charges = 0.0, 0.0
    for a in range(many):
        x0, y0, z0 = arms[0, i, 0, a], arms[0, i, 1, a], arms[0, i, 2, a]
        by_turn[i, 0] += y0 * own[a, 2] - z0 * own[a, 1]
        by_turn[i, 1] += z0 * own[a, 0] - x0 * own[a, 2]
        by_turn[i, 2] += x0 * own[a, 1] - y0 * own[a, 0]
    f, t = np.empty(3), np.empty(3)
    for q in range(m):
        contacts += on[q] * contact[q]
        charges += on[q] * charge[q]
        k = operation[q]
        for x in range(3):
            f[x] = force[x, q] + fading[q] * (contact[q] + charge[q]) * shift[x, q]
            t[x] = symmetry.handed[k] * torque[x, q]
        for x in range(3):
            for y in range(3):
                by_turn[j, x] += symmetry.cartesian[k, y, x] * t[y]
        if symmetry.periodic:
            for x in range(3):
                along = cell[x, 0] * f[0] + cell[x, 1] * f[1] + cell[x, 2] * f[2]
                by_place[i, x] -= along
                for y in range(3):
                    by_place[j, y] += symmetry.rotations[k, x, y] * along
                    by_cell[x, y] += apart[q, x] * f[y]
        else:
            for x in range(3):
                by_place[i, x] -= f[x]
                by_place[j, x] += f[x]
    return contacts, charges
