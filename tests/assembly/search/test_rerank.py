"""A second opinion by an ASE calculator."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.lj import LennardJones

from kflow_sci.assembly.search.rerank import find_calculator, rerank
from kflow_sci.errors import PackingError
from tests.assembly.lattice.test_packing import packing


class Denser(Calculator):
    """Energy in eV: the volume of the cell in Å^3, so that the densest crystal is the lowest."""

    implemented_properties = ["energy"]  # noqa: RUF012

    def calculate(self, atoms: Any = None, properties: Any = None, system_changes: Any = all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        self.results = {"energy": atoms.get_volume()}


class Lost(Denser):
    """Gives nothing."""

    def calculate(self, atoms: Any = None, properties: Any = None, system_changes: Any = all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        self.results = {"energy": float("nan")}


class Broken(Denser):
    """Fails."""

    def calculate(self, atoms: Any = None, properties: Any = None, system_changes: Any = all_changes) -> None:
        raise RuntimeError("no\nconvergence")


CRYSTALS = [
    packing("P-1", np.diag([6.0, 7.0, 8.0]), info={"rank": 1, "energy": -50.0}),
    packing("P21/c", np.diag([6.0, 7.0, 8.0]), info={"rank": 2, "energy": -40.0}),
]


def test_crystals_are_sorted_anew_per_molecule_and_keep_their_lattice_energy() -> None:
    # 336 Å^3 are 168 per molecule in P-1 and 84 in P21/c; 84 eV are 84 * 96.485 kJ/mol.
    found = rerank(CRYSTALS, Denser())
    assert [p.info["rank"] for p in found] == [1, 2]
    assert [p.info["rank_before"] for p in found] == [2, 1]
    assert [p.info["energy"] for p in found] == [-40.0, -50.0]
    np.testing.assert_allclose([p.info["above"] for p in found], [0, 84 * 96.48533212], atol=2e-3)


def test_a_calculator_that_fails_is_reported_in_one_line() -> None:
    for calculator in (Broken(), Lost()):
        with pytest.raises(PackingError) as error:
            rerank(CRYSTALS, calculator)
        assert "\n" not in str(error.value)


def test_calculators_go_by_module_and_name() -> None:
    assert find_calculator("ase.calculators.lj:LennardJones") is LennardJones


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("LennardJones", "no colon"),
        ("ase.calculators.no:LJ", "cannot be imported"),
        ("ase.calculators.lj:No", "has no No"),
        ("ase.calculators.lj:__doc__", "makes no calculator"),
    ],
)
def test_names_of_no_calculator_are_refused(name: str, message: str) -> None:
    with pytest.raises(PackingError, match=message):
        find_calculator(name)
