"""CIFs: whatever cannot be trusted is refused, each time with one of the known reasons."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from kflow_sci.assembly.reading.cif import REASONS
from kflow_sci.assembly.reading.crystal import read_crystal
from kflow_sci.errors import CrystalError
from tests.crystals_by_hand import BENZENE, UREA, chfclbr_p21c, cif


def atoms(symbols: str, *points: tuple[float, float, float], size: float = 8.0, **options: object) -> str:
    """A CIF of atoms given in Å in a cubic P1 cell."""
    return cif(tuple(symbols.split()), np.array(points) / size, (size, size, size, 90, 90, 90), **options)


CO2 = ((0.0, 0, 0), (1.16, 0, 0), (-1.16, 0, 0))
BAD_CRYSTALS = {
    "an empty text": ("unreadable", "\n"),
    "a text that is no CIF": ("unreadable", "hello\nworld\n"),
    "a loop that was cut off": ("unreadable", UREA[: UREA.index("0.6459")]),
    "no atom sites": ("no_atoms", UREA[: UREA.index("loop_")]),
    "coordinates left open": ("coordinates", UREA.replace("0.5953", "?")),
    "an element without a radius": ("element", atoms("U O O", *CO2)),
    "a dummy element": ("element", atoms("Q O O", *CO2)),
    "no cell length": ("no_cell", UREA.replace("_cell_length_c 4.684(1)\n", "")),
    "an unknown cell length": ("no_cell", UREA.replace("4.684(1)", "?")),
    "a cell length of zero": ("odd_cell", UREA.replace("4.684(1)", "0.0")),
    "an angle beyond 180 degrees": ("odd_cell", UREA.replace("_cell_angle_beta 90", "_cell_angle_beta 190")),
    "angles that enclose nothing": (
        "odd_cell",
        re.sub(r"(_cell_angle_\w+) 90", r"\1 120", chfclbr_p21c().replace(" 104", " 90")),
    ),
    "a cell that contradicts its symmetry": ("odd_cell", UREA.replace("_length_a 5.565(1)", "_length_a 6.2")),
    "no symmetry": ("symmetry", UREA.replace("_symmetry_space_group_name_H-M 'P -4 21 m'\n", "")),
    "an unknown space group": ("symmetry", UREA.replace("P -4 21 m", "P 7")),
    "an operation that cannot be read": ("symmetry", chfclbr_p21c().replace("'-x,-y,-z'", "'-x,-y,-q'")),
    "a fractional rotation": ("symmetry", chfclbr_p21c().replace("'-x,-y,-z'", "'-x,-y,-z/2'")),
    "operations that form no group": ("symmetry", chfclbr_p21c().replace("'-x,-y,-z'\n", "")),
    "an operation that is no motion": ("symmetry", chfclbr_p21c().replace("'-x,-y,-z'", "'-x,-y,-2z'")),
    "operations and number that disagree": (
        "symmetry",
        chfclbr_p21c().replace("data_made_up", "data_made_up\n_space_group_IT_number 19"),
    ),
    "a half occupied site": ("disorder", atoms("C O O", *CO2, columns={"occupancy": ["1", "0.5", "0.5"]})),
    "a disorder group": ("disorder", atoms("C O O", *CO2, columns={"disorder_group": [".", "1", "2"]})),
    "a negative disorder group": ("disorder", atoms("C O O", *CO2, columns={"disorder_group": [".", ".", "-1"]})),
    "alternative sites": ("disorder", atoms("C O O", *CO2, columns={"label_alt_id": [".", "A", "B"]})),
    "atoms on top of each other": ("overlap", atoms("C O O O", *CO2, (1.3, 0.1, 0))),
    "an atom on top of its own image": ("overlap", UREA.replace("C1 0 0.5 0.3260", "C1 0.02 0.5 0.3260")),
    "hydrogens missing by the formula": ("missing_hydrogens", UREA.replace("H2 0.1441 0.6441 -0.0380\n", "")),
    "hydrogens missing by geometry": (
        "missing_hydrogens",
        re.sub(r"H\d .*\n", "", UREA.replace("_chemical_formula_sum 'C H4 N2 O'\n", "")),
    ),
    "a formula computed without the hydrogens": (
        "missing_hydrogens",
        re.sub(r"H\d .*\n", "", BENZENE.replace("'C6 H6'", "'C6'")),
    ),
    "hydrogens without coordinates": ("missing_hydrogens", UREA.replace("0.1441 0.6441 -0.0380", "? ? ?")),
    "attached hydrogens": (
        "missing_hydrogens",
        atoms("C O O", *CO2, columns={"attached_hydrogens": ["2", ".", "."]}),
    ),
    "solvent left out": ("formula", UREA.replace("C H4 N2 O", "C3 H10 Cl2 N4 O2")),
    "more hydrogens than stated": ("formula", UREA.replace("C H4 N2 O", "C H3 N2 O")),
    "a chain without end": ("polymer", atoms("C O", (0, 0, 0), (1.2, 0, 0), size=2.4)),
    "diamond": ("polymer", cif(("C",), np.full((1, 3), 1 / 8), (3.567, 3.567, 3.567, 90, 90, 90), ("x,y,z",)).replace(
        "loop_\n_space_group_symop_operation_xyz\n'x,y,z'", "_space_group_name_H-M_alt 'F d -3 m'")),
    "two kinds of molecule": ("several_molecules", atoms("C O O N N", *CO2, (4, 4, 4), (4, 5.1, 4))),
    "isomers": (
        "several_molecules",
        atoms("N N O N O N", (0, 0, 0), (1.13, 0, 0), (2.31, 0, 0), (4, 4, 4), (5.2, 4, 4), (6.4, 4, 4), size=10),
    ),
    "single atoms": ("molecule", atoms("Cl", (0, 0, 0))),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_CRYSTALS)
def test_what_cannot_be_used_is_refused_with_a_reason(case: str) -> None:
    reason, text = BAD_CRYSTALS[case]
    with pytest.raises(CrystalError) as caught:
        read_crystal(text)
    message = str(caught.value)
    assert caught.value.reason == reason, message
    assert "\n" not in message and len(message) > 20


def test_every_reason_is_explained_and_tried() -> None:
    assert {reason for reason, _ in BAD_CRYSTALS.values()} == set(REASONS)


def test_two_kinds_of_molecule_are_named() -> None:
    with pytest.raises(CrystalError, match=r"1 CO2 \+ 1 N2"):
        read_crystal(BAD_CRYSTALS["two kinds of molecule"][1])


@pytest.mark.parametrize(
    "content",
    [b"", b"\x00\x01\x02\xff", b"\x89PNG\r\n\x1a\n\x00", None],
    ids=["empty", "binary", "png", "missing"],
)
def test_files_that_are_no_cif_are_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "x.cif"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CrystalError, match=r"x\.cif") as caught:
        read_crystal(path)
    assert caught.value.reason == "unreadable"
