"""Lengths of bonds that MMFF94 has no parameters for.

The one idea: RDKit fills such gaps without a word by a rule that gives carbon dioxide bonds of 1.40 Å, where 1.16 Å are
true; so these bonds, few and known from experiment, are held at their lengths while all else relaxes. RDKit is imported
here at the top, so this module is to be imported where it is used.
"""

from __future__ import annotations

from rdkit import Chem, rdBase
from rdkit.Chem import rdForceFieldHelpers

# Pattern and the lengths of its bonds in turn, Å. Gas-phase structures: Herzberg, Electronic Spectra of Polyatomic
# Molecules (1966), and Huber & Herzberg, Constants of Diatomic Molecules (1979); the bond between two sp carbons as in
# butadiyne and cyanogen.
_LENGTHS = tuple(
    (Chem.MolFromSmarts(pattern), lengths)
    for pattern, lengths in (
        ("[#6X2^1]-[#6X2^1]", (1.38,)),
        ("[OX1]=[CX2]=[OX1]", (1.162, 1.162)),
        ("[SX1]=[CX2]=[SX1]", (1.553, 1.553)),
        ("[OX1]=[CX2]=[SX1]", (1.158, 1.560)),
        ("[NX1]#[NX1]", (1.098,)),
        ("[NX1]=[NX2]=[OX1]", (1.128, 1.184)),
        ("[NX1]#[NX2]-[OX1]", (1.128, 1.184)),
        ("[OX1]=[SX2]=[OX1]", (1.431, 1.431)),
        ("[FX1]-[FX1]", (1.412,)),
        ("[ClX1]-[ClX1]", (1.988,)),
        ("[OX1]=[CX2]=[CX2]=[CX2]=[OX1]", (1.163, 1.289, 1.289, 1.163)),
    )
)
_STIFF = 1e5  # kcal/mol/Å²: holds a bond within .01 Å against anything that MMFF94 wants


def rare_bonds(mol: Chem.Mol) -> dict[tuple[int, int], float]:
    """Bonds of these kinds and their lengths, Å."""
    found = {}
    for pattern, lengths in _LENGTHS:
        for match in mol.GetSubstructMatches(pattern):
            for i, j, length in zip(match, match[1:], lengths, strict=False):
                found[min(i, j), max(i, j)] = length
    return found


def relax_holding(
    mol: Chem.Mol, bonds: dict[tuple[int, int], float], iterations: int
) -> list[tuple[int, float]]:
    """Relax all conformers in MMFF94, in place, with some bonds held at their lengths.

    Args:
        mol: With parameters for all atoms, and conformers.
        bonds: See ``rare_bonds``.
        iterations: Most of each conformer.

    Returns:
        Per conformer 0 or, where it was not finished, 1; and the energy, kcal/mol, of which only differences mean
        anything.
    """
    results = []
    with rdBase.BlockLogs():
        properties = rdForceFieldHelpers.MMFFGetMoleculeProperties(mol)
        for conformer in mol.GetConformers():
            field = rdForceFieldHelpers.MMFFGetMoleculeForceField(mol, properties, confId=conformer.GetId())
            for (i, j), length in bonds.items():
                field.MMFFAddDistanceConstraint(i, j, False, length, length, _STIFF)
            field.Initialize()
            results.append((int(field.Minimize(maxIts=iterations)), float(field.CalcEnergy())))
    return results
