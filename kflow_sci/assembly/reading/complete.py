"""Whether the molecule of a crystal is all there, and the only kind there is.

The one idea: a formula in the file decides where there is one; geometry is asked where no formula can tell, that is
where the file states none or where no hydrogen was found at all (programs compute the formula from the sites).
"""

from __future__ import annotations

from collections import Counter

import numpy as np
from jaxtyping import Float, Int

from kflow_sci.assembly.bonds import partners
from kflow_sci.assembly.elements import SYMBOLS, hill_formula
from kflow_sci.assembly.molecule import MAX_ATOMS
from kflow_sci.errors import CrystalError

# Geometry of atoms that need no hydrogen; Å and degrees. Values from the usual bond lengths (Allen et al.,
# J. Chem. Soc. Perkin Trans. 2 (1987) S1), with room for the errors of old structures.
_TERMINAL_TRIPLE = 1.28  # C≡C, C≡N, C≡O are shorter, N=N=N too
_TERMINAL_DOUBLE = 1.36  # C=O and C-O(-) are shorter, C-OH is longer only in alcohols
_LINEAR = 145.0  # a carbon with two partners and a smaller angle lacks hydrogens
_FLAT = 345.0  # a carbon with three partners whose angles sum to less is a pyramid without its top


def check_one_kind(
    numbers: Int[np.ndarray, " n"], label: Int[np.ndarray, " n"], stated: Counter[int] | None, name: str
) -> None:
    """Refuse a cell that holds several kinds of molecule, or a kind that is not the stated formula.

    Args:
        numbers: Atomic numbers of all atoms of the cell.
        label: Molecule of each atom.
        stated: Atoms per formula unit as the file says, or None.
        name: For messages.

    Raises:
        CrystalError: ``several_molecules``, ``molecule`` (too few or too many atoms), ``missing_hydrogens`` or
            ``formula``.
    """
    kinds = Counter(
        tuple(sorted(Counter(numbers[label == k].tolist()).items())) for k in range(int(label.max()) + 1)
    )
    found = {hill_formula(dict(kind)): count for kind, count in kinds.items()}
    if len(kinds) > 1:
        listed = " + ".join(f"{found[formula]} {formula}" for formula in sorted(found)[:4])
        more = f" + {len(found) - 4} more kinds" if len(found) > 4 else ""
        raise CrystalError(
            "several_molecules",
            f"{name} holds {listed}{more} per cell: give a crystal of one kind of molecule",
        )
    molecule = Counter(dict(next(iter(kinds))))
    (formula,) = found
    if not 2 <= molecule.total() <= MAX_ATOMS:
        raise CrystalError(
            "molecule",
            f"{name} is made of {formula}, {molecule.total()} atom(s): 2 to {MAX_ATOMS} are possible",
        )
    if stated is not None:
        _check_formula(molecule, stated, name)


def _check_formula(molecule: Counter[int], stated: Counter[int], name: str) -> None:
    heavy, stated_heavy = (sum(c for z, c in x.items() if z != 1) for x in (molecule, stated))
    texts = f"{name} states {hill_formula(stated)}, but its sites make {hill_formula(molecule)}"
    if any(stated[z] * heavy != molecule[z] * stated_heavy for z in (stated | molecule) if z != 1):
        raise CrystalError("formula", f"{texts}: complete the sites or correct the formula")
    if heavy and molecule[1] * stated_heavy < stated[1] * heavy:
        raise CrystalError("missing_hydrogens", f"{texts}: add the hydrogens that are missing")
    if heavy and molecule[1] * stated_heavy > stated[1] * heavy:
        raise CrystalError("formula", f"{texts}: correct the formula or the hydrogens")


def check_valences(
    numbers: Int[np.ndarray, " n"],
    positions: Float[np.ndarray, "n 3"],
    bonds: Int[np.ndarray, "m 2"],
    stated: Counter[int] | None,
    name: str,
) -> None:
    """Refuse a molecule whose geometry asks for hydrogens, where no formula with hydrogens vouches for it.

    Args:
        numbers: Atomic numbers of one molecule.
        positions: Å, the whole molecule in one piece.
        bonds: Pairs of atom indices.
        stated: Atoms per formula unit as the file says, or None.
        name: For messages.

    Raises:
        CrystalError: ``missing_hydrogens``.
    """
    if stated is not None and (numbers == 1).any():
        return
    for atom in np.flatnonzero(np.isin(numbers, (6, 7, 8))):
        bonded = partners(bonds, atom)
        if not np.isin(numbers[bonded], (1, 5, 6, 7, 8)).all():
            continue  # next to silicon, sulfur or a metal, lengths and angles say little
        if lacks_hydrogen(int(numbers[atom]), positions[bonded] - positions[atom]):
            raise CrystalError(
                "missing_hydrogens",
                f"{name} has a {SYMBOLS[numbers[atom]]} with {len(bonded)} bonded atom(s) that by its geometry lacks "
                "hydrogen: add the hydrogens",
            )


def lacks_hydrogen(number: int, arms: Float[np.ndarray, "k 3"]) -> bool:
    """Whether the geometry of a carbon, nitrogen or oxygen asks for a hydrogen more.

    Args:
        number: 6, 7 or 8.
        arms: From the atom to those bonded to it, Å.
    """
    length = np.linalg.norm(arms, axis=1)
    if len(arms) == 1:
        return bool(length[0] > {6: _TERMINAL_TRIPLE, 7: _TERMINAL_TRIPLE, 8: _TERMINAL_DOUBLE}[number])
    if number != 6 or len(arms) > 3:
        return False
    unit = arms / length[:, None]
    first, second = np.triu_indices(len(arms), 1)
    cosine = np.clip((unit[first] * unit[second]).sum(axis=1), -1.0, 1.0)
    return bool(np.degrees(np.arccos(cosine)).sum() < (_LINEAR if len(arms) == 2 else _FLAT))
