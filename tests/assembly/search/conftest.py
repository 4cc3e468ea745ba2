"""A molecule with few atoms, and what a search of it needs."""

from __future__ import annotations

import pytest

from kflow_sci.assembly.forcefield.parameters import ForceField
from kflow_sci.assembly.search.setup import Problem, make_field, make_problem, read_conformers


@pytest.fixture(scope="session")
def urea() -> Problem:
    shapes, strain = read_conformers("NC(N)=O")
    return make_problem(shapes, strain, "P21/c,P-1,P212121")


@pytest.fixture(scope="session")
def urea_field(urea: Problem) -> ForceField:
    return make_field(urea.conformers)
