"""Whether atoms without stated bonds are a whole molecule: hydrogens are what files lose most often.

The one idea: geometry tells a carbon, or an end of a chain, that is not saturated; the count of electrons and the
search for a structure of closed shells tell the rest, as what lost one hydrogen has an odd number of electrons.
RDKit is imported here at the top, so this module is to be imported where it is used.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from rdkit import Chem

from kflow_sci.assembly.bonds import partners
from kflow_sci.assembly.elements import SYMBOLS
from kflow_sci.assembly.reading.complete import lacks_hydrogen
from kflow_sci.errors import MoleculeError

# A neutral oxygen at the end of a bond is doubly bonded: C=O has 1.19 to 1.27 Å, C-OH of acids and phenols 1.31 to
# 1.37. Allen et al., J. Chem. Soc. Perkin Trans. 2 (1987) S1.
_DOUBLE_BONDED_OXYGEN = 1.30
# Elements whose neutral molecules nearly always have a structure of closed shells and usual valences.
_USUAL = (1, 6, 7, 8, 9, 17, 35, 53)
_ADD = "add hydrogens with coordinates (for example obabel -h)"


def check_carbons(
    numbers: Int[np.ndarray, " n"],
    positions: Float[np.ndarray, "n 3"],
    bonds: Int[np.ndarray, "m 2"],
    name: str,
) -> None:
    """Refuse carbons whose geometry asks for more hydrogens: one partner and no triple bond, or two and an angle.

    Args:
        numbers: Atomic numbers.
        positions: Å.
        bonds: Pairs of atoms.
        name: For messages.

    Raises:
        MoleculeError: there is such a carbon.
    """
    for carbon in np.flatnonzero(numbers == 6):
        arms = positions[partners(bonds, carbon)] - positions[carbon]
        if len(arms) in (1, 2) and lacks_hydrogen(6, arms):
            raise MoleculeError(
                f"{name} seems to lack hydrogens (carbon {carbon} has only {len(arms)} bonded atom(s)): {_ADD}"
            )


def check_whole(
    numbers: Int[np.ndarray, " n"],
    positions: Float[np.ndarray, "n 3"],
    bonds: Int[np.ndarray, "m 2"],
    mol: Chem.Mol | None,
    gave_up: bool,
    name: str,
) -> None:
    """Refuse atoms that are no neutral molecule of closed shells: hydrogens of N and O are missing, or it is an ion.

    Of 254 real crystals none is refused; with one hydrogen taken from N or O all 147 are, with all of them 133 of 147,
    with any two 62 of 85. It cannot see two hydrogens missing where a double bond then fits, as one of each NH2 of
    o-phenylenediamine, nor an even number next to sulfur that RDKit finds no structure for.

    Args:
        numbers: Atomic numbers.
        positions: Å.
        bonds: Pairs of atoms.
        mol: With the orders and charges that were found for these bonds, or None.
        gave_up: There is none because the search was too long.
        name: For messages.

    Raises:
        MoleculeError: which atom, or what speaks against it.
    """
    charge = (
        np.zeros(len(numbers)) if mol is None else np.array([a.GetFormalCharge() for a in mol.GetAtoms()])
    )
    for atom in np.flatnonzero(np.isin(numbers, (7, 8))):
        bonded = partners(bonds, atom)
        if len(bonded) != 1 or not np.isin(numbers[bonded], (1, 6, 7, 8)).all():
            continue  # next to boron, silicon, sulfur or phosphorus lengths say little
        arms = positions[bonded] - positions[atom]
        length = float(np.linalg.norm(arms))
        long = numbers[atom] == 8 and numbers[bonded[0]] == 6 and length > _DOUBLE_BONDED_OXYGEN
        if charge[atom] == 0 and (long or lacks_hydrogen(int(numbers[atom]), arms)):
            what = f"{SYMBOLS[numbers[atom]]} {atom} has one bond, of {length:.2f} Å"
            raise MoleculeError(f"{name} seems to lack hydrogens ({what}): {_ADD}")
    if int(numbers.sum()) % 2:
        what = "has an odd number of electrons"
    elif mol is None and not gave_up and np.isin(numbers, _USUAL).all():
        what = "has no neutral structure with usual valences"
    else:
        return
    raise MoleculeError(
        f"{name} {what}, so it lacks hydrogens, or is an ion or a radical: {_ADD}, or give its SMILES or sdf, which "
        "tell a radical"
    )
