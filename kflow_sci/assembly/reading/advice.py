"""What to tell a chemist about a molecule: why it is refused, what to give instead, what was decided for them.

The one idea: salts, ions and dummy atoms have a usual way out, and the message names it in the words of the input; what
a SMILES leaves open is decided by the embedding, and said. RDKit is imported where it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kflow_sci.assembly.elements import COVALENT_RADIUS, SYMBOLS
from kflow_sci.assembly.molecule import Molecule
from kflow_sci.errors import MoleculeError

if TYPE_CHECKING:
    from rdkit.Chem import Mol

_FLEXIBLE = 7  # rotatable bonds from which one guessed conformer is rarely that of the crystal


def refuse_charged(molecule: Molecule) -> None:
    """Refuse an ion.

    Raises:
        MoleculeError: the formal charges do not add up to zero; the message names the neutral form if there is one.
    """
    charge = 0 if molecule.formal_charges is None else int(np.sum(molecule.formal_charges))
    if not charge:
        return
    neutral = None
    if molecule.smiles is not None:
        from rdkit import Chem

        neutral = _neutral_form(Chem.MolFromSmiles(molecule.smiles))
    raise MoleculeError(
        f"{molecule.name} has the charge {charge:+d}, but only neutral molecules pack alone: "
        f"give the neutral form{'' if neutral is None else f' {neutral!r}'}; salts are not supported yet"
    )


def refuse_parts(mol: Mol, label: str) -> None:
    """Refuse what a SMILES must not hold: dummy atoms, elements without data, several molecules, a salt.

    Args:
        mol: Of the SMILES, before hydrogens are added.
        label: For messages.

    Raises:
        MoleculeError: what, and what to give instead.
    """
    from rdkit import Chem

    numbers = [atom.GetAtomicNum() for atom in mol.GetAtoms()]
    if 0 in numbers:
        raise MoleculeError(f"{label} holds a dummy atom (*): put what is attached there, [H] if nothing is")
    unknown = sorted({SYMBOLS[z] for z in numbers if np.isnan(COVALENT_RADIUS[z])})
    if unknown and len(numbers) > 1:  # that a single atom is no molecule is said elsewhere
        raise MoleculeError(
            f"{label}: element {', '.join(unknown)} is not supported: "
            "use organic elements (H B C N O F Si P S Cl Br I …)"
        )
    parts = Chem.GetMolFrags(mol, asMols=True)
    if len(parts) == 1:
        return
    charges = [Chem.GetFormalCharge(part) for part in parts]
    if any(charges):
        neutral = _neutral_form(max(parts, key=lambda part: part.GetNumHeavyAtoms()))
        advice = "give one neutral molecule" if neutral is None else f"give the neutral molecule, {neutral!r}"
        ions = " and ".join(f"{abs(c)}{'+' if c > 0 else '-'}" for c in charges if c)
        raise MoleculeError(f"{label} is a salt (charges {ions}), and salts are not supported yet: {advice}")
    names = [Chem.MolToSmiles(part) for part in parts]
    mixture = " ".join(f'"{name}" {4 * names.count(name)}' for name in dict.fromkeys(names))
    raise MoleculeError(
        f"{label} holds {len(parts)} separate molecules: give one, or each with its count: {mixture}"
    )


def _neutral_form(mol: Mol) -> str | None:
    """The SMILES of an organic ion with its protons put back, or None where that leaves a charge."""
    from rdkit import Chem, rdBase
    from rdkit.Chem.MolStandardize import rdMolStandardize

    with rdBase.BlockLogs():
        neutral = rdMolStandardize.Uncharger().uncharge(Chem.Mol(mol))
        if Chem.GetFormalCharge(neutral) or not any(a.GetAtomicNum() == 6 for a in neutral.GetAtoms()):
            return None
        return str(Chem.MolToSmiles(neutral))


def notes_on(molecule: Molecule, tried: int = 1) -> list[str]:
    """What was decided about a molecule that its SMILES left open, one line each; nothing for other sources.

    An open centre that only tells a molecule from its mirror image is no matter: both hands are used.

    Args:
        molecule: As read.
        tried: Conformers of it that are used.
    """
    if molecule.smiles is None:
        return []
    from rdkit import Chem, rdBase
    from rdkit.Chem import rdMolDescriptors

    notes = []
    with rdBase.BlockLogs():
        mol = Chem.MolFromSmiles(molecule.smiles)
        elements = list(Chem.FindPotentialStereo(mol))
    centres = [e for e in elements if e.type == Chem.StereoType.Atom_Tetrahedral]
    open_centres = sum(e.specified == Chem.StereoSpecified.Unspecified for e in centres)
    open_bonds = sum(
        e.specified == Chem.StereoSpecified.Unspecified and e.type == Chem.StereoType.Bond_Double
        for e in elements
    )
    left = [f"{open_centres} of {len(centres)} stereocentres"] if open_centres and len(centres) > 1 else []
    left += [f"{open_bonds} double bond{'s' * (open_bonds > 1)}"] if open_bonds else []
    if left:
        notes.append(
            f"{molecule.name}: the SMILES leaves {' and '.join(left)} open; one form was chosen for all copies"
        )
    turning = rdMolDescriptors.CalcNumRotatableBonds(mol)
    if turning >= _FLEXIBLE and tried == 1:
        notes.append(
            f"{molecule.name} has {turning} rotatable bonds and is kept rigid in one guessed conformer; --conformers 5"
            " tries more, a file states one"
        )
    if any(atom.GetIsotope() for atom in mol.GetAtoms()):
        notes.append(f"{molecule.name}: isotopes are not told apart; masses are those of the elements")
    return notes
