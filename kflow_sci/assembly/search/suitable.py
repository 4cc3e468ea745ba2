"""Which molecules a search of rigid crystals can treat, and what it says of the others.

The one idea: everything that would make the answer meaningless is found before the first trial, and refused in one
line: what, how much, the limit, the mend.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kflow_sci.assembly.elements import CRYSTAL_VOLUME, SYMBOLS, look_up
from kflow_sci.assembly.molecule import Molecule
from kflow_sci.errors import MoleculeError

if TYPE_CHECKING:
    from kflow_sci.assembly.forcefield.parameters import ForceField

MOST_ATOMS = 100
MOST_ROTATABLE = 3  # above it one guessed conformer is hardly ever that of the crystal


def check_molecule(molecule: Molecule, *, guessed: bool, conformers: int = 1) -> None:
    """Refuse a molecule whose crystals cannot be searched.

    Args:
        molecule: With coordinates.
        guessed: Whether its conformer is a guess (from a SMILES) and not given.
        conformers: How many of them are tried.

    Raises:
        MoleculeError: an element without volume and contacts, more than 100 atoms, an ion, a radical, or a flexible
            molecule with one guessed conformer.
    """
    numbers = molecule.numbers
    unknown = sorted({SYMBOLS[z] for z in numbers[np.isnan(look_up(CRYSTAL_VOLUME, numbers))]})
    if unknown:
        raise MoleculeError(
            f"{molecule.name} holds {', '.join(unknown)}, but crystals of H, C, N, O, F, P, S, Cl, Br, I alone can be "
            "searched: give a molecule without it"
        )
    if len(molecule) > MOST_ATOMS:
        raise MoleculeError(
            f"{molecule.name} has {len(molecule)} atoms (limit {MOST_ATOMS} in a search): give a smaller molecule"
        )
    charge = 0 if molecule.formal_charges is None else int(molecule.formal_charges.sum())
    if charge:
        raise MoleculeError(
            f"{molecule.name} has the charge {charge:+d}, but only neutral molecules can be searched: give the neutral "
            "molecule"
        )
    if int(numbers.sum()) % 2:
        raise MoleculeError(
            f"{molecule.name} has an odd number of electrons ({int(numbers.sum())}): a radical, or a hydrogen is "
            "missing: give a closed-shell molecule with all hydrogens"
        )
    if guessed and conformers == 1:
        from kflow_sci.assembly.reading.identity import rotatable_bonds

        flexible = rotatable_bonds(molecule) or 0
        if flexible > MOST_ROTATABLE:
            raise MoleculeError(
                f"{molecule.name} has {flexible} rotatable bonds (limit {MOST_ROTATABLE} for one rigid guess): its "
                "crystal will hold another conformer; give --conformers 10, or a file with the conformer of interest"
            )


def check_field(field: ForceField, molecule: Molecule) -> None:
    """Refuse a force field that knows no charges of a molecule that surely has some.

    Raises:
        MoleculeError: there are none, and they were not declined.
    """
    if field.charge_name == "none" and np.isin(molecule.numbers, (7, 8)).any():
        raise MoleculeError(
            f"no charges were found for {molecule.name} (its bonds make no sense to RDKit), and without them its "
            "packing means little: give a file with bond orders (sdf, mol2), or --charges none to go on"
        )
