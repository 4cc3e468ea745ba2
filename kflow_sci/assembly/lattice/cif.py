"""A packing as CIF: cell, operations, and the atoms of the asymmetric unit.

The one idea: the operations are always listed, so any program can rebuild the crystal; the group's name is added only
where the listed operations are those of the tables under that name.
"""

from __future__ import annotations

import os
import re
from collections import Counter

import numpy as np

from kflow_sci.assembly.elements import hill_formula
from kflow_sci.assembly.lattice.cutting import refuse_special_positions
from kflow_sci.assembly.lattice.packing import Packing, triplets_of
from kflow_sci.files import atomic_write

_WIDTH = 12


def write_cif(path: str | os.PathLike[str], packing: Packing) -> None:
    """Write one packing, whole or not at all.

    Raises:
        PackingError: a molecule lies on a symmetry element.
        OutputError: the file cannot be written.
    """
    text = cif_text(packing)
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="ascii")


def cif_text(packing: Packing) -> str:
    """The text of a CIF with one data block, named by ``info["id"]``.

    Fractional coordinates have eight decimals. What is known of the energy stands in a comment, since no CIF item
    holds it.

    Raises:
        PackingError: a molecule lies on a symmetry element.
    """
    refuse_special_positions(packing)
    group = packing.group
    lengths = packing.parameters
    counts = Counter(int(z) for k in packing.kind for z in packing.molecules[k].numbers)
    shared = int(np.gcd.reduce(list(counts.values()))) if len(packing) > 1 else 1
    whole = len(packing) if shared % len(packing) == 0 else 1
    formula = hill_formula({z: n // whole for z, n in counts.items()})
    energy = packing.info.get("energy")
    lines = [
        f"data_{_block_name(packing)}",
        "# computed by kflow_sci: rigid molecules, no temperature, no disorder",
        *([f"# lattice energy {energy:.3f} kJ/mol per molecule"] if isinstance(energy, float) else []),
        f"_chemical_formula_sum '{' '.join(re.findall('[A-Z][a-z]?[0-9]*', formula))}'",
        f"_cell_formula_units_Z {packing.copies if whole > 1 or len(packing) == 1 else len(group)}",
        *(f"_cell_length_{x} {value:.6f}" for x, value in zip("abc", lengths[:3], strict=True)),
        *(
            f"_cell_angle_{x} {value:.6f}"
            for x, value in zip(("alpha", "beta", "gamma"), lengths[3:], strict=True)
        ),
        f"_cell_volume {packing.volume * packing.copies:.4f}",
        f"_exptl_crystal_density_diffrn {packing.density:.4f}",
        f"_symmetry_Int_Tables_number {group.number}",
        f"_symmetry_cell_setting {group.system}",
        *([f"_symmetry_space_group_name_H-M '{_plain(group.name)}'"] if group.is_tabulated else []),
        "loop_",
        "_symmetry_equiv_pos_as_xyz",
        *(f"  '{triplet}'" for triplet in triplets_of(group)),
        "loop_",
        "_atom_site_label",
        "_atom_site_type_symbol",
        "_atom_site_fract_x",
        "_atom_site_fract_y",
        "_atom_site_fract_z",
        "_atom_site_occupancy",
        *_sites(packing),
    ]
    return "\n".join(lines) + "\n"


def _block_name(packing: Packing) -> str:
    name = str(packing.info.get("id", packing.molecules[0].name))
    return re.sub(r"[^A-Za-z0-9_.+-]", "_", name)[:70] or "packing"


def _plain(name: str) -> str:
    """The name without the suffix for origin or axes, which other programs do not read."""
    return name.split(":")[0]


def _sites(packing: Packing) -> list[str]:
    inverse = np.linalg.inv(packing.cell)
    lines = []
    seen: Counter[str] = Counter()
    for k, place, parity, rotation in zip(
        packing.kind, packing.place, packing.parity, packing.rotation, strict=True
    ):
        molecule = packing.molecules[k]
        atoms = (place % 1.0) + (parity * molecule.positions @ rotation.T) @ inverse
        for symbol, (x, y, z) in zip(molecule.symbols, atoms, strict=True):
            seen[symbol] += 1
            numbers = " ".join(f"{value:{_WIDTH}.8f}" for value in (x, y, z))
            lines.append(f"{symbol + str(seen[symbol]):6s} {symbol:2s} {numbers} 1")
    return lines
