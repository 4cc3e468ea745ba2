"""What a search cannot treat is refused before the first trial, each in one line with the mend."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kflow_sci.assembly.forcefield.parameters import force_field
from kflow_sci.assembly.molecule import Molecule
from kflow_sci.assembly.search.setup import (
    make_field,
    make_problem,
    make_proposal,
    read_conformers,
)
from kflow_sci.assembly.search.suitable import check_field, check_molecule
from kflow_sci.errors import KFlowError, MoleculeError, PackingError
from tests.assembly.lattice.test_packing import water


@pytest.mark.parametrize(
    ("smiles", "message"),
    [
        ("C[Si](C)(C)C", "Si"),
        ("[Na+].[Cl-]", "is a salt"),
        ("c1ccccc1.O", "separate molecules"),
        ("C[NH3+]", "charge \\+1"),
        ("C[CH]C", "odd number of electrons"),
        ("[Fe]", "at least 2"),
        ("C[Zn]C", "Zn"),
        ("CCCCCCCC", "5 rotatable bonds"),
        ("not a smiles", "SMILES"),
        ("", "empty"),
    ],
)
def test_molecules_that_cannot_be_searched_are_refused(smiles: str, message: str) -> None:
    with pytest.raises(KFlowError, match=message) as error:
        read_conformers(smiles)
    assert "\n" not in str(error.value)


def test_a_flexible_molecule_is_told_how_flexible_it_is_and_what_to_do() -> None:
    with pytest.raises(MoleculeError, match="--conformers"):
        read_conformers("CCCCCCCC")
    shapes, strain = read_conformers("CCCCCCCC", count=3)
    assert len(shapes) == len(strain) == 3
    assert strain[0] == 0.0 and all(0.0 <= e <= 25.0 for e in strain)


def test_a_conformer_that_is_given_is_taken_whatever_its_bonds(tmp_path: Path) -> None:
    from ase import Atoms

    from kflow_sci.assembly.reading.embed import from_smiles

    octane = from_smiles("CCCCCCCC")
    path = tmp_path / "octane.xyz"
    Atoms(octane.numbers, octane.positions).write(path)
    shapes, strain = read_conformers(path)
    assert len(shapes) == 1 and strain == ()
    with pytest.raises(PackingError, match="states its conformer"):
        read_conformers(path, count=3)


def test_molecules_with_too_many_atoms_are_refused() -> None:
    rng = np.random.default_rng(0)
    many = Molecule(np.full(102, 6), 50 * rng.uniform(size=(102, 3)), name="many")
    with pytest.raises(MoleculeError, match="102 atoms"):
        check_molecule(many, guessed=False)


def test_a_polar_molecule_without_charges_is_refused_and_one_without_poles_is_not() -> None:
    neutral = force_field((water(),), "none")
    with pytest.raises(MoleculeError, match="--charges none"):
        check_field(neutral, water())
    benzene = read_conformers("c1ccccc1")[0]
    check_field(force_field(benzene, "none"), benzene[0])
    assert make_field((water(),), "none").charge_name == "none"


@pytest.mark.parametrize("options", [{"seed": -1}, {"z_prime": 0}, {"groups": "P99"}, {"groups": "Fd-3m"}])
def test_problems_out_of_range_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(PackingError):
        make_problem((water(),), **options)  # type: ignore[arg-type]


def test_an_unknown_proposal_is_refused_and_the_known_ones_named() -> None:
    with pytest.raises(PackingError, match="random"):
        make_proposal(make_problem((water(),)), "magic")


def test_no_conformers_are_refused() -> None:
    with pytest.raises(PackingError, match="conformers is 0"):
        read_conformers("O=C=O", count=0)


def test_a_molecule_is_neutral_if_its_charges_cancel() -> None:
    zwitterion = replace(water(), formal_charges=np.array([-1, 1, 0]))
    check_molecule(zwitterion, guessed=False)
