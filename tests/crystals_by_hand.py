"""Crystals typed from the literature, as CIF text, and made-up ones whose answer is known by construction."""

from __future__ import annotations

import numpy as np

# Urea at 12 K, neutrons. Swaminathan, Craven & McMullan, Acta Cryst. B40 (1984) 300.
UREA = """data_urea
_chemical_formula_sum 'C H4 N2 O'
_cell_length_a 5.565(1)
_cell_length_b 5.565(1)
_cell_length_c 4.684(1)
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_symmetry_space_group_name_H-M 'P -4 21 m'
loop_
_atom_site_label
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
C1 0 0.5 0.3260
O1 0 0.5 0.5953
N1 0.1459 0.6459 0.1766
H1 0.2575 0.7575 0.2827
H2 0.1441 0.6441 -0.0380
"""

# Benzene at 138 K, neutrons. Bacon, Curry & Wilson, Proc. R. Soc. A279 (1964) 98.
BENZENE = """data_benzene
_chemical_formula_sum 'C6 H6'
_cell_length_a 7.39
_cell_length_b 9.42
_cell_length_c 6.81
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_symmetry_space_group_name_H-M 'P b c a'
loop_
_atom_site_label
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
C1 -0.0569 0.1387 -0.0054
C2 -0.1335 0.0460 0.1264
C3 -0.0774 -0.0925 0.1295
H1 -0.0976 0.2447 -0.0177
H2 -0.2409 0.0794 0.2218
H3 -0.1371 -0.1631 0.2312
"""

# Carbon dioxide at 150 K, X-rays. Simon & Peters, Acta Cryst. B36 (1980) 2750.
CARBON_DIOXIDE = """data_carbon_dioxide
_chemical_formula_sum 'C O2'
_cell_length_a 5.624(2)
_cell_length_b 5.624(2)
_cell_length_c 5.624(2)
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_space_group_IT_number 205
loop_
_atom_site_label
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
C1 0 0 0
O1 0.1185 0.1185 0.1185
"""

# A chiral molecule with five different elements (bond lengths as in textbooks), for crystals known by construction.
CHFCLBR_SYMBOLS = ("C", "H", "F", "Cl", "Br")
_DIRECTIONS = np.array([[0, 0, 0], [1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / np.sqrt(3)
CHFCLBR = np.array([0, 1.09, 1.36, 1.76, 1.94])[:, None] * _DIRECTIONS

P21C = ("x,y,z", "-x,y+1/2,-z+1/2", "-x,-y,-z", "x,-y+1/2,z+1/2")


def cif(
    symbols: tuple[str, ...],
    fractional: np.ndarray,
    cell: tuple[float, ...],
    operations: tuple[str, ...] = ("x,y,z",),
    *,
    formula: str | None = None,
    name: str = "made_up",
    columns: dict[str, list[str]] | None = None,
) -> str:
    """A CIF of the given sites; ``columns`` adds further ``_atom_site_`` columns."""
    keys = ("length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma")
    lines = [f"data_{name}", *(f"_cell_{key} {value}" for key, value in zip(keys, cell, strict=True))]
    if formula:
        lines.append(f"_chemical_formula_sum '{formula}'")
    if operations:
        lines += ["loop_", "_space_group_symop_operation_xyz", *(f"'{o}'" for o in operations)]
    columns = columns or {}
    lines += ["loop_", "_atom_site_label", "_atom_site_type_symbol"]
    lines += [f"_atom_site_fract_{x}" for x in "xyz"] + [f"_atom_site_{key}" for key in columns]
    for k, (symbol, f) in enumerate(zip(symbols, fractional, strict=True)):
        extra = [values[k] for values in columns.values()]
        lines.append(" ".join([f"{symbol}{k + 1}", symbol, *(f"{v:.9f}" for v in f), *extra]))
    return "\n".join(lines) + "\n"


def cell_vectors(cell: tuple[float, ...]) -> np.ndarray:
    """Rows a, b, c in Å; a along x, b in the xy plane."""
    a, b, c = cell[:3]
    alpha, beta, gamma = np.radians(cell[3:])
    x = np.cos(beta)
    y = (np.cos(alpha) - np.cos(beta) * np.cos(gamma)) / np.sin(gamma)
    return np.array(
        [[a, 0, 0], [b * np.cos(gamma), b * np.sin(gamma), 0], [c * x, c * y, c * np.sqrt(1 - x * x - y * y)]]
    )


def chfclbr_p21c(cell: tuple[float, ...] = (6.9, 8.1, 10.2, 90, 104, 90)) -> str:
    """CHFClBr in a general position of P2₁/c; a made-up packing."""
    place = np.array([0.27, 0.13, 0.31])
    return cif(
        CHFCLBR_SYMBOLS,
        CHFCLBR @ np.linalg.inv(cell_vectors(cell)) + place,
        cell,
        P21C,
        formula="C H Br Cl F",
    )
