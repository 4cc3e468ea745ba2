"""Contacts and screened charges of two atoms, and the switch that ends them, as functions that vectorise.

The one idea: everything is sums, products and exponentials written out as such; a call of the mathematical library
inside the innermost loop would cost ten times as much.

Loading this module loads numba; callers import it where they need it.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit, types
from numba.extending import intrinsic

from kflow_sci.assembly.forcefield.wells import buffered_14_7

# Forms of contacts, see ``contact_of``.
EXP_6, MIE_12_6, MIE_9_6, BUFFERED_14_7 = 0, 1, 2, 3
# Reordering sums and products is harmless here; not-a-number and infinity keep their meaning.
FAST = {"nsz", "arcp", "contract", "afn", "reassoc"}

_buffered_14_7: Any = njit(inline="always", fastmath=FAST, error_model="numpy")(buffered_14_7)


@intrinsic
def _as_double(typing: Any, bits: Any) -> Any:
    """The double with these 64 bits."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], context.get_value_type(types.float64))

    return types.float64(types.int64), generate


@njit(inline="always", fastmath={"contract"}, error_model="numpy")
def _exp(x: float) -> float:
    """e^x for x in [-700, 700] to about 1 unit in the last place, in a form that vectorises.

    Cody and Waite's reduction to |f| <= ln 2 / 2, then Taylor's series to the thirteenth power.
    """
    k = math.floor(x * 1.4426950408889634 + 0.5)
    f = x - k * 6.93145751953125e-1 - k * 1.42860682030941723212e-6
    p = 1.0 / 6227020800.0
    p = p * f + 1.0 / 479001600.0
    p = p * f + 1.0 / 39916800.0
    p = p * f + 1.0 / 3628800.0
    p = p * f + 1.0 / 362880.0
    p = p * f + 1.0 / 40320.0
    p = p * f + 1.0 / 5040.0
    p = p * f + 1.0 / 720.0
    p = p * f + 1.0 / 120.0
    p = p * f + 1.0 / 24.0
    p = p * f + 1.0 / 6.0
    p = p * f + 0.5
    p = p * f + 1.0
    p = p * f + 1.0
    return p * _as_double((np.int64(k) + np.int64(1023)) << np.int64(52))  # type: ignore[call-arg]


@njit(inline="always", fastmath=FAST, error_model="numpy")
def contact_of(form: int, a: float, b: float, c: float, r: float) -> tuple[float, float]:
    """Contact of two atoms at a distance, kJ/mol, and its slope."""
    v = 1.0 / r
    cube = v * v * v
    sixth = cube * cube
    if form == EXP_6:
        repulsion = a * _exp(-b * r)
        dispersion = c * sixth
        return repulsion - dispersion, 6.0 * dispersion * v - b * repulsion
    if form == MIE_12_6:
        repulsion = a * sixth * sixth
        dispersion = c * sixth
        return repulsion - dispersion, (6.0 * dispersion - 12.0 * repulsion) * v
    if form == MIE_9_6:
        repulsion = a * sixth * cube
        dispersion = c * sixth
        return repulsion - dispersion, (6.0 * dispersion - 9.0 * repulsion) * v
    well, slope = _buffered_14_7(r * b)
    return a * well, a * b * slope


# exp(x²) erfc(x) as a polynomial in 1 / (1 + x / 2), rising powers: fitted to scipy's at 400 Chebyshev nodes of
# 0 <= x <= 8; the error of erfc is below 3e-11 for all x >= 0.
ERFC = (
    7.677337803919e-07, 0.2820803180412, 0.2821610041076, 0.2474537658853, 0.1662127205523, 0.1491327296148,
    -0.2596148600517, 0.5997671382675, -1.182280924184, 1.243276777874, -0.72648641497, 0.2291438224977,
    -0.03084684539638,
)  # fmt: skip


@njit(inline="always", fastmath=FAST, error_model="numpy")
def screened(x: float) -> tuple[float, float]:
    """erfc(x) and exp(-x²) for x >= 0."""
    t = 1.0 / (1.0 + 0.5 * x)
    p = ERFC[12]
    p = p * t + ERFC[11]
    p = p * t + ERFC[10]
    p = p * t + ERFC[9]
    p = p * t + ERFC[8]
    p = p * t + ERFC[7]
    p = p * t + ERFC[6]
    p = p * t + ERFC[5]
    p = p * t + ERFC[4]
    p = p * t + ERFC[3]
    p = p * t + ERFC[2]
    p = p * t + ERFC[1]
    p = p * t + ERFC[0]
    gauss = _exp(-min(x * x, 700.0))
    return p * gauss, gauss


@njit(inline="always", fastmath=FAST, error_model="numpy")
def switch(t: float) -> tuple[float, float]:
    """Falls smoothly from 1 to 0 as t runs from 0 to 1; value and slope."""
    if t <= 0.0:
        return 1.0, 0.0
    if t >= 1.0:
        return 0.0, 0.0
    return 1.0 - t * t * t * (10.0 - t * (15.0 - 6.0 * t)), -30.0 * t * t * (1.0 - t) * (1.0 - t)
