"""CIFs that other programs read as the crystal that was meant."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import gemmi
import numpy as np
import pytest

from kflow_sci.assembly.lattice.cif import cif_text, write_cif
from kflow_sci.assembly.lattice.packing import Packing, operations_of
from kflow_sci.assembly.lattice.reading import packing_from_cif
from kflow_sci.assembly.lattice.reduction import reduced
from kflow_sci.errors import PackingError
from tests.assembly.lattice.test_packing import packing
from tests.assembly.lattice.test_reduction import sheared
from tests.crystals_by_hand import BENZENE, CARBON_DIOXIDE, UREA, chfclbr_p21c

CRYSTALS = {
    "P21/c": packing_from_cif(chfclbr_p21c()),
    "P21/n": reduced(sheared()),
    "from P-42_1m": packing_from_cif(UREA),
    "from Pbca": packing_from_cif(BENZENE),
    "from Pa-3": packing_from_cif(CARBON_DIOXIDE),
    "C2/c": packing("C2/c", np.diag([12.0, 7.0, 8.0])),
    "R3": packing("R3", np.array([[10.0, 0, 0], [-5.0, 75**0.5, 0], [0, 0, 9.0]])),
    "origin elsewhere": packing(group="P-1", place=np.array([[0.4, 0.3, 0.2]])),
}


def shifted() -> Packing:
    crystal = CRYSTALS["origin elsewhere"]
    return Packing(
        crystal.molecules, operations_of(["x,y,z", "-x+1/3,-y,-z"]), crystal.cell, crystal.kind, crystal.place,
        crystal.rotation, crystal.parity,
    )  # fmt: skip


@pytest.mark.parametrize("name", CRYSTALS)
def test_gemmi_ase_and_pymatgen_read_the_same_crystal(name: str) -> None:
    import ase.io
    from pymatgen.io.cif import CifParser

    crystal = CRYSTALS[name]
    text = cif_text(crystal)
    count = sum(len(crystal.molecules[k]) for k in crystal.kind) * len(crystal.group)
    block = gemmi.cif.read_string(text)[0]
    small = gemmi.make_small_structure_from_block(block)
    assert len(small.get_all_unit_cell_sites()) == count
    np.testing.assert_allclose(small.cell.parameters, crystal.parameters, atol=1e-5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        atoms: Any = ase.io.read(io.StringIO(text), format="cif")
        structure = CifParser.from_str(text).parse_structures(primitive=False)[0]
    assert len(atoms) == len(structure) == count
    assert atoms.get_volume() == pytest.approx(crystal.volume * crystal.copies, rel=1e-5)
    assert float(structure.density) == pytest.approx(crystal.density, rel=1e-3)
    # The shortest distances between atoms are bonds in all three.
    nearest = np.sort(atoms.get_all_distances(mic=True) + 99 * np.eye(count), axis=1)[:, 0]
    matrix = structure.distance_matrix + 99 * np.eye(count)
    np.testing.assert_allclose(np.sort(nearest), np.sort(matrix.min(axis=1)), atol=1e-3)


@pytest.mark.parametrize("name", CRYSTALS)
def test_our_own_reader_finds_the_packing_again(name: str) -> None:
    crystal = CRYSTALS[name]
    again = packing_from_cif(cif_text(crystal))
    assert again.group.number == crystal.group.number
    assert again.volume == pytest.approx(crystal.volume, rel=1e-6)
    assert again.copies == crystal.copies


def test_a_group_of_no_table_is_written_by_its_operations_alone() -> None:
    text = cif_text(shifted())
    assert "space_group_name" not in text and "'-x+1/3,-y,-z'" in text
    assert packing_from_cif(text).group.number == 2


def test_the_formula_the_multiplicity_and_the_energy_are_stated() -> None:
    crystal = packing(info={"id": "ice / one", "energy": -51.25})
    text = cif_text(crystal)
    assert text.startswith("data_ice___one\n")
    assert "_chemical_formula_sum 'H2 O'" in text and "_cell_formula_units_Z 4" in text
    assert "# lattice energy -51.250 kJ/mol per molecule" in text


def test_a_molecule_on_a_symmetry_element_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(PackingError, match="symmetry element"):
        write_cif(tmp_path / "x.cif", packing("P-1", place=np.zeros((1, 3))))
    assert not list(tmp_path.iterdir())
