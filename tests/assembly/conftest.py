"""A molecule that many tests read, write and copy."""

from __future__ import annotations

import pytest

from kflow_sci.assembly.molecule import Molecule
from kflow_sci.assembly.reading.embed import from_smiles


@pytest.fixture(scope="session")
def aspirin() -> Molecule:
    return from_smiles("CC(=O)Oc1ccccc1C(=O)O", conformers=1)
