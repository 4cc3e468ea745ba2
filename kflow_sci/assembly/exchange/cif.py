"""Clusters as cif: each in a P1 box with room about it, bond orders in the items that the dictionary has for them.

The one idea: a cluster has no lattice, so the box is only a frame that programs of crystals ask for; it is so much
larger than the molecules that a reader can tell it from a crystal.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from kflow_sci.assembly.elements import CRYSTAL_VOLUME, NUMBER_OF, SYMBOLS
from kflow_sci.assembly.exchange.flat import AROMATIC, Flat
from kflow_sci.errors import ClusterError

if TYPE_CHECKING:
    import gemmi

MARGIN = 5.0  # Å from the outermost atoms to each face
BOX_FILLED = 0.6  # a P1 cell filled less than this by its molecules is a box about a cluster, not a crystal
_TYPES = {1.0: "sing", 2.0: "doub", 3.0: "trip", AROMATIC: "arom"}
_LARGE = 20.0  # Å^3 for an atom of unknown volume


def cif_block(flat: Flat, name: str) -> str:
    """One data block: the atoms, moved so that the box begins at the origin, and their bonds.

    Args:
        flat: Atoms, bonds and orders.
        name: Of the block; what a block name may not have becomes an underscore.
    """
    low = flat.positions.min(axis=0) - MARGIN
    box = np.ptp(flat.positions, axis=0) + 2 * MARGIN
    lines = [
        f"data_{re.sub('[^A-Za-z0-9_.-]', '_', name) or 'cluster'}",
        "# a cluster in a box: the cell is no lattice",
        *(f"_cell_length_{x} {length:.6f}" for x, length in zip("abc", box, strict=True)),
        *(f"_cell_angle_{x} 90" for x in ("alpha", "beta", "gamma")),
        "_space_group_name_H-M_alt 'P 1'",
        "_space_group_IT_number 1",
        "loop_\n_space_group_symop_operation_xyz\n'x, y, z'",
        "loop_\n_chemical_conn_atom_number\n_chemical_conn_atom_type_symbol\n_chemical_conn_atom_charge",
    ]
    symbols = [SYMBOLS[z] for z in flat.numbers]
    charges = flat.charges if flat.charges is not None else np.zeros(len(symbols), dtype=np.int64)
    lines += [f"{i} {s} {q}" for i, (s, q) in enumerate(zip(symbols, charges, strict=True), 1)]
    if flat.bonds is not None and flat.orders is not None and len(flat.bonds):
        lines.append(
            "loop_\n_chemical_conn_bond_atom_1\n_chemical_conn_bond_atom_2\n_chemical_conn_bond_type"
        )
        lines += [
            f"{i + 1} {j + 1} {_TYPES[float(order)]}"
            for (i, j), order in zip(flat.bonds.tolist(), flat.orders, strict=True)
        ]
    lines.append(
        "loop_\n_atom_site_label\n_atom_site_type_symbol\n_atom_site_fract_x\n_atom_site_fract_y\n_atom_site_fract_z\n"
        "_atom_site_chemical_conn_number"
    )
    for i, (symbol, (x, y, z)) in enumerate(zip(symbols, (flat.positions - low) / box, strict=True), 1):
        lines.append(f"{symbol}{i} {symbol} {x:.8f} {y:.8f} {z:.8f} {i}")
    return "\n".join([*lines, ""])


def read_boxes(text: str, name: str) -> list[Flat]:
    """The clusters of a cif that holds boxes; none if the first block with atoms is a crystal.

    Raises:
        ClusterError: the text is no cif, or a block breaks off.
    """
    import gemmi

    try:
        document = gemmi.cif.read_string(text)
    except ValueError as error:
        raise ClusterError(f"{name} is not a cif ({' '.join(str(error).split())}): mend it") from None
    blocks = [block for block in document if len(block.find_values("_atom_site_fract_x"))]
    if not blocks or not all(_is_box(block) for block in blocks):
        return []
    return [_box(block, f"block {block.name} of {name}") for block in blocks]


def _is_box(block: gemmi.cif.Block) -> bool:
    import gemmi

    structure = gemmi.make_small_structure_from_block(block)
    listed = [
        value
        for tag in ("_space_group_symop_operation_xyz", "_symmetry_equiv_pos_as_xyz")
        for value in block.find_values(tag)
    ]
    if len(listed) > 1 or (not listed and structure.spacegroup_hm.replace(" ", "") not in ("P1", "")):
        return False
    numbers = np.array([site.element.atomic_number for site in structure.sites])
    known = np.where(numbers < len(SYMBOLS), CRYSTAL_VOLUME[np.clip(numbers, 0, len(SYMBOLS) - 1)], np.nan)
    filled = float(np.nan_to_num(known, nan=_LARGE).sum())
    return filled < BOX_FILLED * float(structure.cell.volume)


def _box(block: gemmi.cif.Block, label: str) -> Flat:
    import gemmi

    structure = gemmi.make_small_structure_from_block(block)
    cell = structure.cell
    places = [cell.orthogonalize(site.fract).tolist() for site in structure.sites]
    numbers = np.array([site.element.atomic_number for site in structure.sites])
    site_of = {number: i for i, number in enumerate(block.find_values("_atom_site_chemical_conn_number"))}
    order_of = {word: order for order, word in _TYPES.items()}
    bonds, orders = [], []
    for a, b, word in block.find(
        ["_chemical_conn_bond_atom_1", "_chemical_conn_bond_atom_2", "_chemical_conn_bond_type"]
    ):
        if a not in site_of or b not in site_of or word not in order_of:
            raise ClusterError(
                f"{label}: the bond '{a} {b} {word}' names atoms or an order that are not there"
            )
        bonds.append(sorted((site_of[a], site_of[b])))
        orders.append(order_of[word])
    charges = np.zeros(len(numbers), dtype=np.int64)
    for number, symbol, charge in block.find(
        ["_chemical_conn_atom_number", "_chemical_conn_atom_type_symbol", "_chemical_conn_atom_charge"]
    ):
        if number in site_of and symbol in NUMBER_OF and re.fullmatch(r"[-+]?\d+", charge):
            charges[site_of[number]] = int(charge)
    known = bool(bonds)
    return Flat(
        numbers,
        np.array(places, dtype=np.float64).reshape(-1, 3),
        bonds=np.array(bonds, dtype=np.int64) if known else None,
        orders=np.array(orders) if known else None,
        charges=charges,
    )
