"""Which images of molecules are near each other: the values that describe a system, and the search.

The one idea: of two images that a symmetry operation and its inverse make equal, one is listed, so a crystal costs half
the pairs, and a cluster is a crystal without operations.

Loading this module loads numba; callers import it where they need it.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit

# More images of one pair of molecules than this are the sign of a collapsed cell.
MOST_IMAGES = 20000


class Bodies(NamedTuple):
    """The molecules of one system. Atoms of all templates lie one after the other, ``n`` in all."""

    atoms: np.ndarray  # body frames, Å, (n, 3)
    start: np.ndarray  # first atom of each template and the end, (k + 1,)
    radius: np.ndarray  # of each template, Å, (k,)
    charges: np.ndarray  # elementary charges, (n,)
    kind: np.ndarray  # template of each independent molecule, (z,)


class Tables(NamedTuple):
    """Constants of every pair of atoms of the templates, ``(n, n)`` each; see ``contact.contact_of``."""

    form: int
    a: np.ndarray
    b: np.ndarray
    c: np.ndarray
    wall: np.ndarray  # the pair energy goes on linearly below, Å
    product: np.ndarray  # of the charges, times Coulomb's constant, kJ Å / mol
    damping: float  # of the charges summed directly, 1/Å; 0 for a cluster
    own: np.ndarray  # what the sum over waves holds too much of each template, kJ/mol, (k,)
    tail: np.ndarray  # what the switch cuts off, kJ Å^3 / mol, per pair of templates (k, k)
    reach: float  # pairs of molecules count up to radius + radius + reach, Å


class Symmetry(NamedTuple):
    """The operations; one identity and ``periodic`` false for a cluster, whose places are in Å."""

    rotations: np.ndarray  # W, float, (g, 3, 3)
    translations: np.ndarray  # w, (g, 3)
    cartesian: np.ndarray  # Q, (g, 3, 3)
    handed: np.ndarray  # det Q, (g,)
    inverse: np.ndarray  # which operation undoes each one but for a lattice shift, (g,)
    back: np.ndarray  # that shift, as floats, (g, 3)
    periodic: bool


@njit(nogil=True, cache=True, error_model="numpy")
def find_images(
    i: int,
    j: int,
    limit: float,
    cell: np.ndarray,
    place: np.ndarray,
    symmetry: Symmetry,
    operation: np.ndarray,
    apart: np.ndarray,
    weight: np.ndarray,
) -> int:
    """Images of molecule j around molecule i, each pair of molecules once.

    Fills, for each image, its operation, centroid relative to i in fractions and the weight with which it counts for
    the energy of the asymmetric unit.

    Returns:
        Their number, or −1 if they are more than the arrays hold.
    """
    if not symmetry.periodic:
        if i == j:
            return 0
        d = place[j] - place[i]
        if d[0] * d[0] + d[1] * d[1] + d[2] * d[2] >= limit * limit:
            return 0
        operation[0] = 0
        apart[0], weight[0] = d, 1.0
        return 1
    across = np.empty(3)
    inverse = np.linalg.inv(cell)
    for x in range(3):
        across[x] = limit * math.sqrt(inverse[0, x] ** 2 + inverse[1, x] ** 2 + inverse[2, x] ** 2)
    count = 0
    base, low, high, back = np.empty(3), np.empty(3), np.empty(3), np.empty(3)
    for k in range(len(symmetry.rotations)):
        turn = symmetry.rotations[k]
        for x in range(3):
            base[x] = symmetry.translations[k, x] - place[i, x]
            for y in range(3):
                base[x] += turn[x, y] * place[j, y]
            low[x] = math.ceil(-across[x] - base[x])
            high[x] = math.floor(across[x] - base[x])
        undone = symmetry.inverse[k]
        for tx in np.arange(low[0], high[0] + 1.0):
            for ty in np.arange(low[1], high[1] + 1.0):
                for tz in np.arange(low[2], high[2] + 1.0):
                    fx, fy, fz = base[0] + tx, base[1] + ty, base[2] + tz
                    square = 0.0
                    for x in range(3):
                        d = fx * cell[0, x] + fy * cell[1, x] + fz * cell[2, x]
                        square += d * d
                    if square >= limit * limit:
                        continue
                    share = 1.0
                    if i == j:
                        if k == 0 and tx == 0.0 and ty == 0.0 and tz == 0.0:
                            continue
                        if undone < k:
                            continue
                        if undone == k:
                            # The step back is  back − W⁻¹ t.
                            order = 0
                            for x in range(3):
                                back[x] = symmetry.back[k, x]
                                for y in range(3):
                                    t = tx if y == 0 else (ty if y == 1 else tz)
                                    back[x] -= symmetry.rotations[undone, x, y] * t
                                t = tx if x == 0 else (ty if x == 1 else tz)
                                if order == 0:
                                    order = -1 if back[x] < t - 0.5 else (1 if back[x] > t + 0.5 else 0)
                            if order < 0:
                                continue
                            if order == 0:
                                share = 0.5
                    if count == len(weight):
                        return -1
                    operation[count] = k
                    apart[count, 0], apart[count, 1], apart[count, 2] = fx, fy, fz
                    weight[count] = share
                    count += 1
    return count
