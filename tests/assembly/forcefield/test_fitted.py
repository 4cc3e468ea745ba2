"""The project's own contacts: who has which, and where the table ends."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import erfc

from kflow_sci.assembly.forcefield.fitted import TABLE, atom_kinds
from kflow_sci.assembly.forcefield.parameters import KJ_PER_KCAL, force_field
from kflow_sci.assembly.molecule import Molecule
from kflow_sci.assembly.reading.embed import from_smiles
from kflow_sci.errors import ConfigError, MoleculeError


@pytest.mark.parametrize(
    ("smiles", "kinds"),
    [
        ("O", ["O2", "HO", "HO"]),
        ("NC=O", ["C3", "H", "HN", "HN", "N3", "O1"]),
        ("CC#N", ["C3", "C4", "H", "H", "H", "N2"]),
        ("CS", ["C4", "H", "H", "H", "HN", "S"]),
        ("ClBr", ["Br", "Cl"]),
    ],
)
def test_kinds_are_elements_and_their_neighbours(smiles, kinds):
    assert sorted(atom_kinds(from_smiles(smiles))) == sorted(kinds)


def test_unlike_atoms_take_geometric_means_and_other_elements_uffs():
    field = force_field((from_smiles("CP"),))
    kinds = sorted(set(atom_kinds(from_smiles("CP"))))
    carbon, phosphorus = kinds.index("C4"), kinds.index("P")
    # Phosphorus in UFF: 4.147 Å and 0.305 kcal/mol, Rappé et al. 1992; its distance is stretched by 1.02.
    assert field.distance[phosphorus, phosphorus] == pytest.approx(1.02 * 4.147)
    assert field.depth[phosphorus, phosphorus] == pytest.approx(0.305 * KJ_PER_KCAL)
    assert field.distance[carbon, phosphorus] == pytest.approx(np.sqrt(1.02 * 4.147 * TABLE["C4"][0]))
    assert field.depth[carbon, phosphorus] == pytest.approx(np.sqrt(0.305 * KJ_PER_KCAL * TABLE["C4"][1]))
    assert (field.name, field.form, field.charge_name) == ("fitted", "12-6", "MMFF94")


def test_charges_come_from_the_sure_structure_of_a_thioamide():
    from kflow_sci.assembly.forcefield.bond_orders import bond_orders
    from kflow_sci.assembly.reading.perceive import molecule_from_atoms

    # Guessed from distances, thiophene has been given S+ and O-; no structure needs a charge.
    known = from_smiles("O=Cc1ccc(Br)s1")
    guessed = molecule_from_atoms(known.numbers, known.positions, "bromothiophenecarbaldehyde")
    assert not bond_orders(guessed)[1].any()
    assert force_field((guessed,)).charge_name == "MMFF94"


def test_bad_input_is_refused_in_one_line():
    with pytest.raises(ConfigError, match="contacts is 'w99', but must be one of fitted, auto, mmff, uff"):
        force_field((from_smiles("O"),), contacts="w99")
    krypton = Molecule(np.array([36, 1]), np.array([[0, 0, 0], [1.4, 0, 0.0]]))
    with pytest.raises(MoleculeError, match="no van der Waals energy is known for Kr"):
        force_field((krypton,), "none")


def test_compiled_error_function_and_contacts_against_scipy_and_the_textbook():
    from kflow_sci.assembly.forcefield.contact import BUFFERED_14_7, MIE_12_6, contact_of, screened

    for x in np.linspace(0.0, 9.0, 91):
        value, gauss = screened(float(x))
        assert value == pytest.approx(erfc(x), abs=5e-11)
        assert gauss == pytest.approx(np.exp(-(x**2)), rel=1e-13, abs=1e-300)
    # A well of depth 2 at 3 Å: its bottom, and four sigma-like places by the formula.
    for r in (2.5, 3.0, 4.0):
        share = 3.0 / r
        value, slope = contact_of(MIE_12_6, 2.0 * 3.0**12, 0.0, 4.0 * 3.0**6, r)
        assert value == pytest.approx(2 * (share**12 - 2 * share**6))
        assert slope == pytest.approx(24 / r * (share**6 - share**12), abs=1e-12)
    # Halgren 1996: at the distance of least energy the buffered well is -depth.
    assert contact_of(BUFFERED_14_7, 2.0, 1 / 3.0, 0.0, 3.0)[0] == pytest.approx(-2.0)
