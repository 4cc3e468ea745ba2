"""The long-range half of Ewald's sum, compiled: the charges of a crystal as waves, with the gradient.

The one idea: places are fractions and molecules are rigid, so a wave's phase is ``2 π h · place + k · arm``; all
derivatives follow from one vector per atom, the sum of ``k`` times the slope by its phase.

Loading this module loads numba; callers import it where they need it.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from kflow_sci.assembly.forcefield.contact import FAST
from kflow_sci.assembly.forcefield.images import Bodies, Symmetry
from kflow_sci.assembly.forcefield.parameters import COULOMB
from kflow_sci.assembly.forcefield.system import CUT

# More waves than this are the sign of a crystal that flew apart.
MOST_WAVES = 100_000


@njit(nogil=True, cache=True, fastmath=FAST, error_model="numpy")
def sum_waves(
    bodies: Bodies,
    damping: float,
    symmetry: Symmetry,
    cell: np.ndarray,
    place: np.ndarray,
    arms: np.ndarray,
    by_cell: np.ndarray,
    by_place: np.ndarray,
    by_turn: np.ndarray,
) -> float:
    """Energy of the asymmetric unit, kJ/mol, own part of the molecules included; adds to the gradients.

    Args:
        bodies: The molecules with their charges.
        damping: Ewald's, 1/Å, > 0.
        symmetry: The operations.
        cell: Å.
        place: Fractions.
        arms: Atoms of every image of every molecule from their centroid, Å, ``(g, z, 3, m)``.
        by_cell: Gradient to add to.
        by_place: The same.
        by_turn: The same.

    Returns:
        The energy; infinite, and no gradient, where there would be too many waves.
    """
    z, g = len(bodies.kind), len(symmetry.handed)
    inverse = np.linalg.inv(cell)
    volume = abs(np.linalg.det(cell))
    count = 0
    for i in range(z):
        count += g * (bodies.start[bodies.kind[i] + 1] - bodies.start[bodies.kind[i]])
    charge, fraction, arm = np.empty(count), np.empty((3, count)), np.empty((3, count))
    at = 0
    some = False
    for k in range(g):
        for i in range(z):
            first = bodies.start[bodies.kind[i]]
            for b in range(bodies.start[bodies.kind[i] + 1] - first):
                charge[at] = bodies.charges[first + b]
                some = some or charge[at] != 0.0
                for x in range(3):
                    arm[x, at] = arms[k, i, x, b]
                    f = symmetry.translations[k, x]
                    for y in range(3):
                        f += symmetry.rotations[k, x, y] * place[i, y] + arms[k, i, y, b] * inverse[y, x]
                    fraction[x, at] = 2.0 * math.pi * f
                at += 1
    if not some:
        return 0.0
    # k = 2 π cell⁻¹ h; |h_x| <= |k| |row x of cell| / 2 π
    longest = 2.0 * damping * math.sqrt(CUT)
    most = np.empty(3, dtype=np.int64)
    for x in range(3):
        most[x] = int(longest * math.sqrt((cell[x] * cell[x]).sum()) / (2.0 * math.pi))
    if (most[0] + 1.0) * (2.0 * most[1] + 1.0) * (2.0 * most[2] + 1.0) > MOST_WAVES:
        return np.inf
    cosine, sine = np.empty((3, most.max() + 1, count)), np.empty((3, most.max() + 1, count))
    for x in range(3):
        for a in range(count):
            cosine[x, 0, a], sine[x, 0, a] = 1.0, 0.0
        if most[x] > 0:
            for a in range(count):
                cosine[x, 1, a], sine[x, 1, a] = math.cos(fraction[x, a]), math.sin(fraction[x, a])
        for h in range(2, most[x] + 1):
            for a in range(count):
                c, s = cosine[x, h - 1, a], sine[x, h - 1, a]
                cosine[x, h, a] = c * cosine[x, 1, a] - s * sine[x, 1, a]
                sine[x, h, a] = s * cosine[x, 1, a] + c * sine[x, 1, a]
    slope = np.zeros((3, count))
    plane_c, plane_s, c, s = np.empty(count), np.empty(count), np.empty(count), np.empty(count)
    wave = np.empty(3)
    total = 0.0
    for hx in range(most[0] + 1):
        for hy in range(-most[1] if hx > 0 else 0, most[1] + 1):
            sign = 1.0 if hy >= 0 else -1.0
            for a in range(count):
                cx, sx = cosine[0, hx, a], sine[0, hx, a]
                cy, sy = cosine[1, abs(hy), a], sign * sine[1, abs(hy), a]
                plane_c[a] = cx * cy - sx * sy
                plane_s[a] = cx * sy + sx * cy
            for hz in range(-most[2] if hx > 0 or hy > 0 else 1, most[2] + 1):
                square = 0.0
                for x in range(3):
                    wave[x] = 2.0 * math.pi * (inverse[x, 0] * hx + inverse[x, 1] * hy + inverse[x, 2] * hz)
                    square += wave[x] * wave[x]
                if square > longest * longest:
                    continue
                sign = 1.0 if hz >= 0 else -1.0
                real, imaginary = 0.0, 0.0
                for a in range(count):
                    cz, sz = cosine[2, abs(hz), a], sign * sine[2, abs(hz), a]
                    c[a] = charge[a] * (plane_c[a] * cz - plane_s[a] * sz)
                    s[a] = charge[a] * (plane_c[a] * sz + plane_s[a] * cz)
                    real += c[a]
                    imaginary += s[a]
                fall = 0.25 / (damping * damping)
                factor = 4.0 * math.pi * COULOMB / volume * math.exp(-fall * square) / square / g
                energy = factor * (real * real + imaginary * imaginary)
                total += energy
                for a in range(count):
                    by_phase = 2.0 * factor * (imaginary * c[a] - real * s[a])
                    slope[0, a] += by_phase * wave[0]
                    slope[1, a] += by_phase * wave[1]
                    slope[2, a] += by_phase * wave[2]
                # d k = −cell⁻¹ d cell k
                for x in range(3):
                    along = wave[0] * inverse[0, x] + wave[1] * inverse[1, x] + wave[2] * inverse[2, x]
                    for y in range(3):
                        by_cell[x, y] += 2.0 * energy * (fall + 1.0 / square) * along * wave[y]
    by_cell -= total * inverse.T
    at = 0
    force, torque = np.empty(3), np.empty(3)
    for k in range(g):
        for i in range(z):
            force[:] = 0.0
            torque[:] = 0.0
            for _ in range(bodies.start[bodies.kind[i] + 1] - bodies.start[bodies.kind[i]]):
                for x in range(3):
                    force[x] += slope[x, at]
                    along = (
                        arm[0, at] * inverse[0, x] + arm[1, at] * inverse[1, x] + arm[2, at] * inverse[2, x]
                    )
                    for y in range(3):
                        by_cell[x, y] -= along * slope[y, at]
                torque[0] += arm[1, at] * slope[2, at] - arm[2, at] * slope[1, at]
                torque[1] += arm[2, at] * slope[0, at] - arm[0, at] * slope[2, at]
                torque[2] += arm[0, at] * slope[1, at] - arm[1, at] * slope[0, at]
                at += 1
            for x in range(3):
                along = cell[x, 0] * force[0] + cell[x, 1] * force[1] + cell[x, 2] * force[2]
                for y in range(3):
                    by_place[i, y] += symmetry.rotations[k, x, y] * along
                    by_turn[i, y] += symmetry.handed[k] * symmetry.cartesian[k, x, y] * torque[x]
    return total
