"""Contacts fitted to true crystals: the project's own table of Lennard-Jones parameters, and who has which.

The one idea: few numbers, asked of the crystals themselves. An atom's kind is its element and how many neighbours it
has; each kind has a distance and a depth. They were chosen so that the train crystals, relaxed, stay where they are,
with the depths of H and C pulled towards measured lattice energies. ``benchmarks/forcefield_fit.py`` is the recipe,
``benchmarks/forcefield.md`` the comparison with the tables of others.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, Int

from kflow_sci.assembly.bonds import bonded_pairs
from kflow_sci.assembly.molecule import Molecule
from kflow_sci.errors import MoleculeError

# Distance of least energy (Å) and depth (kJ/mol) of two like atoms in 12-6 contacts; HN is a hydrogen on N or S, HO one
# on O, and a number is that of an atom's neighbours: C4 has four, C3 fewer; N3 has three or more, O2 two.
TABLE = {
    "H": (3.102, 0.102), "HN": (2.008, 0.061), "HO": (1.693, 0.050), "C4": (3.969, 0.318), "C3": (3.944, 0.381),
    "N3": (3.806, 0.721), "N2": (3.601, 0.280), "O2": (3.498, 0.299), "O1": (3.342, 0.287), "F": (3.528, 0.224),
    "S": (4.029, 1.264), "Cl": (4.001, 1.366), "Br": (4.204, 0.994),
}  # fmt: skip
# Elements that the train crystals lack keep the table they come from; the fit made UFF's distances this much larger.
STRETCH = 1.02
_DONORS = {"N": "HN", "S": "HN", "O": "HO"}
# Elements told apart by their neighbours: from this many on the first name holds, below the second.
_CROWDED = {"C": (4, "C4", "C3"), "N": (3, "N3", "N2"), "O": (2, "O2", "O1")}


def atom_kinds(molecule: Molecule) -> list[str]:
    """Kind of each atom: a key of ``TABLE``, or the symbol of an element that it lacks."""
    pairs = bonded_pairs(molecule)
    count = np.bincount(pairs.ravel(), minlength=len(molecule))
    partner = np.full(len(molecule), -1)
    for one, other in (pairs.T, pairs.T[::-1]):
        partner[one] = other
    kinds = []
    for atom, symbol in enumerate(molecule.symbols):
        kind = symbol
        if symbol == "H" and partner[atom] >= 0:
            kind = _DONORS.get(molecule.symbols[partner[atom]], "H")
        elif symbol in _CROWDED:
            from_here, many, few = _CROWDED[symbol]
            kind = many if count[atom] >= from_here else few
        kinds.append(kind)
    return kinds


def fitted_contacts(
    molecules: tuple[Molecule, ...], others: Mapping[str, tuple[float, float]]
) -> tuple[tuple[Int[np.ndarray, " n"], ...], Float[np.ndarray, "t t"], Float[np.ndarray, "t t"]]:
    """Types of the atoms, and distance (Å) and depth (kJ/mol) of each pair of types; geometric means for unlike ones.

    Args:
        molecules: The templates.
        others: Distance and depth of like atoms of the elements that the table lacks.

    Raises:
        MoleculeError: an element is in neither table.
    """
    kinds = [atom_kinds(molecule) for molecule in molecules]
    known = sorted({kind for of_one in kinds for kind in of_one})
    missing = [kind for kind in known if kind not in TABLE and kind not in others]
    if missing:
        raise MoleculeError(
            f"no van der Waals energy is known for {', '.join(missing)}: such molecules cannot be relaxed or ranked"
        )
    stretched = {k: (STRETCH * distance, depth) for k, (distance, depth) in others.items()}
    values = np.array([TABLE.get(kind) or stretched[kind] for kind in known])
    distance, depth = (np.sqrt(np.outer(column, column)) for column in values.T)
    types = tuple(np.array([known.index(kind) for kind in of_one]) for of_one in kinds)
    return types, distance, depth
