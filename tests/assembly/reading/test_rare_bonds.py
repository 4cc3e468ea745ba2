"""Bonds that MMFF94 has no parameters for come out at the lengths of the experiment."""

from __future__ import annotations

import numpy as np
import pytest

from kflow_sci.assembly.reading.embed import from_smiles


@pytest.mark.parametrize(
    ("smiles", "bond", "length"),
    [
        # Gas-phase bond lengths as in the CRC Handbook of Chemistry and Physics, section 9.
        ("O=C=O", "CO", 1.160),
        ("S=C=S", "CS", 1.553),
        ("O=C=S", "CS", 1.560),
        ("N#N", "NN", 1.098),
        ("[N-]=[N+]=O", "NO", 1.185),
        ("O=S=O", "OS", 1.431),
        ("N#CC#N", "CC", 1.389),
        ("C#CC#C", "CC", 1.384),
        # And where MMFF94 has them, as before.
        ("C#N", "CN", 1.157),
        ("CCO", "CO", 1.431),
    ],
)
def test_bond_lengths_are_those_of_the_experiment(smiles: str, bond: str, length: float) -> None:
    molecule = from_smiles(smiles, conformers=2)
    found = {
        float(np.linalg.norm(molecule.positions[i] - molecule.positions[j]))
        for (i, j), order in zip(molecule.bonds, molecule.bond_orders, strict=True)
        if "".join(sorted(molecule.symbols[i] + molecule.symbols[j])) == bond
        and not (bond == "CC" and order > 1)
    }
    np.testing.assert_allclose(sorted(found), length, atol=0.02)


def test_held_bonds_choose_the_same_conformer_every_time() -> None:
    chain = from_smiles("C#CC#CCCCO", seed=3)
    np.testing.assert_array_equal(from_smiles("C#CC#CCCCO", seed=3).positions, chain.positions)
