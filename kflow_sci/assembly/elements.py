"""Radii and volumes per element, each table with its source.

Arrays are indexed by atomic number; NaN marks an element without a value.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, Int

from kflow_sci.errors import MoleculeError

SYMBOLS = (
    "X H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr Rb Sr Y Zr "
    "Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W Re Os Ir Pt "
    "Au Hg Tl Pb Bi Po At Rn Fr Ra Ac Th Pa U Np Pu Am Cm Bk Cf Es Fm Md No Lr Rf Db Sg Bh Hs Mt Ds Rg Cn Nh Fl Mc "
    "Lv Ts Og"
).split()
NUMBER_OF = {symbol: number for number, symbol in enumerate(SYMBOLS)}


def _table(values: dict[str, float]) -> Float[np.ndarray, " z"]:
    table = np.full(len(SYMBOLS), np.nan)
    for symbol, value in values.items():
        table[NUMBER_OF[symbol]] = value
    table.setflags(write=False)
    return table


# Single-bond covalent radii, Å. Cordero et al., Dalton Trans. 2008, 2832 (carbon: sp3).
COVALENT_RADIUS = _table(
    {
        "H": 0.31, "Li": 1.28, "Be": 0.96, "B": 0.84, "C": 0.76, "N": 0.71, "O": 0.66, "F": 0.57, "Na": 1.66,
        "Mg": 1.41, "Al": 1.21, "Si": 1.11, "P": 1.07, "S": 1.05, "Cl": 1.02, "K": 2.03, "Ca": 1.76, "As": 1.19,
        "Se": 1.20, "Br": 1.20, "Sn": 1.39, "Te": 1.38, "I": 1.39,
    }
)  # fmt: skip

# The same source for all elements up to curium: what tells bonds in structures that kflow stores and scores but
# does not make, such as complexes of metals. kflow makes no molecule with an element that COVALENT_RADIUS lacks.
_OTHER_RADII = _table(
    {
        "He": 0.28, "Ne": 0.58, "Ar": 1.06, "Sc": 1.70, "Ti": 1.60, "V": 1.53, "Cr": 1.39, "Mn": 1.39,
        "Fe": 1.32, "Co": 1.26, "Ni": 1.24, "Cu": 1.32, "Zn": 1.22, "Ga": 1.22, "Ge": 1.20, "Kr": 1.16,
        "Rb": 2.20, "Sr": 1.95, "Y": 1.90, "Zr": 1.75, "Nb": 1.64, "Mo": 1.54, "Tc": 1.47, "Ru": 1.46,
        "Rh": 1.42, "Pd": 1.39, "Ag": 1.45, "Cd": 1.44, "In": 1.42, "Sb": 1.39, "Xe": 1.40, "Cs": 2.44,
        "Ba": 2.15, "La": 2.07, "Ce": 2.04, "Pr": 2.03, "Nd": 2.01, "Pm": 1.99, "Sm": 1.98, "Eu": 1.98,
        "Gd": 1.96, "Tb": 1.94, "Dy": 1.92, "Ho": 1.92, "Er": 1.89, "Tm": 1.90, "Yb": 1.87, "Lu": 1.87,
        "Hf": 1.75, "Ta": 1.70, "W": 1.62, "Re": 1.51, "Os": 1.44, "Ir": 1.41, "Pt": 1.36, "Au": 1.36,
        "Hg": 1.32, "Tl": 1.45, "Pb": 1.46, "Bi": 1.48, "Po": 1.40, "At": 1.50, "Rn": 1.50, "Fr": 2.60,
        "Ra": 2.21, "Ac": 2.15, "Th": 2.06, "Pa": 2.00, "U": 1.96, "Np": 1.90, "Pu": 1.87, "Am": 1.80,
        "Cm": 1.69,
    }
)  # fmt: skip
BOND_RADIUS = np.where(np.isnan(COVALENT_RADIUS), _OTHER_RADII, COVALENT_RADIUS)
BOND_RADIUS.setflags(write=False)

# Van der Waals radii, Å. Bondi, J. Phys. Chem. 68 (1964) 441; hydrogen 1.09 would be Rowland & Taylor 1996, here
# Bondi's 1.20 is kept; boron, aluminium and calcium from Mantina et al., J. Phys. Chem. A 113 (2009) 5806.
BONDI_RADIUS = _table(
    {
        "H": 1.20, "B": 1.92, "C": 1.70, "N": 1.55, "O": 1.52, "F": 1.47, "Na": 2.27, "Mg": 1.73, "Al": 1.84,
        "Si": 2.10, "P": 1.80, "S": 1.80, "Cl": 1.75, "K": 2.75, "Ca": 2.31, "As": 1.85, "Se": 1.90, "Br": 1.85,
        "Sn": 2.17, "Te": 2.06, "I": 1.98,
    }
)  # fmt: skip

# Van der Waals radii of all elements with a covalent radius, Å: Bondi's, or covalent radius + 0.8 Å where he has none.
VAN_DER_WAALS_RADIUS = np.where(np.isnan(BONDI_RADIUS), COVALENT_RADIUS + 0.8, BONDI_RADIUS)
VAN_DER_WAALS_RADIUS.setflags(write=False)

# Mean volume of an atom in an organic crystal, Å^3. After Hofmann, Acta Cryst. B58 (2002) 489.
CRYSTAL_VOLUME = _table(
    {
        "H": 5.08, "C": 13.87, "N": 11.8, "O": 11.39, "F": 11.17, "P": 29.5, "S": 25.2, "Cl": 25.8, "Br": 32.7,
        "I": 46.2,
    }
)  # fmt: skip

# Pauling electronegativities in Allred's revision, J. Inorg. Nucl. Chem. 17 (1961) 215.
ELECTRONEGATIVITY = _table(
    {
        "H": 2.20, "Li": 0.98, "Be": 1.57, "B": 2.04, "C": 2.55, "N": 3.04, "O": 3.44, "F": 3.98, "Na": 0.93,
        "Mg": 1.31, "Al": 1.61, "Si": 1.90, "P": 2.19, "S": 2.58, "Cl": 3.16, "K": 0.82, "Ca": 1.00, "As": 2.18,
        "Se": 2.55, "Br": 2.96, "Sn": 1.96, "Te": 2.10, "I": 2.66,
    }
)  # fmt: skip


def look_up(table: Float[np.ndarray, " z"], numbers: Int[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Values of a table for numbers that may lie outside it; NaN where it has none."""
    return np.where(numbers < len(SYMBOLS), table[np.clip(numbers, 0, len(SYMBOLS) - 1)], np.nan)


def hill_formula(counts: Mapping[int, int]) -> str:
    """Hill formula of atom counts by atomic number: C, H, then the alphabet."""
    symbols = {SYMBOLS[z]: count for z, count in counts.items() if count}
    order = sorted(symbols, key=lambda s: (s != "C", s != "H", s) if "C" in symbols else (True, True, s))
    return "".join(s + (str(symbols[s]) if symbols[s] > 1 else "") for s in order)


def crystal_volume(numbers: Int[np.ndarray, " n"]) -> float:
    """Volume one molecule takes in its crystal, Å^3, as the sum of mean atomic volumes.

    Predicts the volume of organic crystals to a few per cent without looking at the packing.

    Raises:
        MoleculeError: an element has no entry in the table.

    Source:
        Hofmann, Acta Cryst. B58 (2002) 489.
    """
    volume = CRYSTAL_VOLUME[numbers]
    if np.isnan(volume).any():
        unknown = ", ".join(sorted({SYMBOLS[z] for z in numbers[np.isnan(volume)]}))
        raise MoleculeError(
            f"no crystal volume is known for {unknown}: give the density (--density, g/cm^3) instead"
        )
    return float(volume.sum())
