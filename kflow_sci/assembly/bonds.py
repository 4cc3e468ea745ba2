"""Which atoms are bonded, from distances alone, and what follows from bonds alone.

The one idea: two atoms are bonded if they are closer than the sum of their covalent radii + 0.4 Å, except that a
hydrogen keeps its nearest partner only, unless a second one is about as near. The rule is one function on pairs that
are near each other, so molecules, loose atoms and the images of a unit cell are judged alike.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from kflow_sci.assembly.elements import BOND_RADIUS

if TYPE_CHECKING:
    from kflow_sci.assembly.molecule import Molecule

BOND_SLACK = 0.4  # Å beyond the sum of covalent radii; the usual choice of the structure databases
ONE_PARTNER = 1.2  # a hydrogen is bonded to its nearest atom and to others only if they are hardly farther


def bond_reach(numbers: Int[np.ndarray, " n"]) -> float:
    """Distance beyond which no two of these atoms are bonded, Å."""
    return 2 * float(BOND_RADIUS[numbers].max(initial=0.0)) + BOND_SLACK


def are_bonded(
    numbers: Int[np.ndarray, " n"],
    i: Int[np.ndarray, " p"],
    j: Int[np.ndarray, " p"],
    distance: Float[np.ndarray, " p"],
) -> Bool[np.ndarray, " p"]:
    """Which pairs of near atoms are bonds.

    Args:
        numbers: Atomic numbers, ``(n,)``; each with a covalent radius.
        i: First atom of each pair. All pairs within ``bond_reach`` must be there, once or in both directions.
        j: Second atom.
        distance: Å.

    Returns:
        True for bonds. Hydrogens are bonded to each other only where there is nothing but hydrogen.
    """
    radius = BOND_RADIUS[numbers]
    hydrogen = numbers == 1
    bonded = distance < radius[i] + radius[j] + BOND_SLACK
    bonded &= ~(hydrogen[i] & hydrogen[j]) | bool(hydrogen.all())
    # A hydrogen in a short hydrogen bond belongs to its donor; one in the middle belongs to both (and bridges).
    nearest = np.full(len(numbers), np.inf)
    for atom in (i, j):
        np.minimum.at(nearest, atom[bonded], distance[bonded])
    reach = np.where(hydrogen, ONE_PARTNER * nearest, np.inf)
    return bonded & (distance <= np.minimum(reach[i], reach[j]))


def find_bonds(numbers: Int[np.ndarray, " n"], positions: Float[np.ndarray, "n 3"]) -> Int[np.ndarray, "m 2"]:
    """Bonds among any number of atoms in space.

    Args:
        numbers: Atomic numbers, ``(n,)``.
        positions: Å, ``(n, 3)``.

    Returns:
        Pairs i < j in lexical order; see ``are_bonded``.
    """
    pairs = cKDTree(positions).query_pairs(bond_reach(numbers), output_type="ndarray").astype(np.int64)
    i, j = pairs.T
    pairs = pairs[are_bonded(numbers, i, j, np.linalg.norm(positions[i] - positions[j], axis=1))]
    return pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]


@lru_cache(maxsize=256)
def bonded_pairs(molecule: Molecule) -> Int[np.ndarray, "m 2"]:
    """The molecule's own bonds; where it has none, those that ``find_bonds`` finds."""
    if len(molecule.bonds):
        return np.asarray(molecule.bonds, dtype=np.int64)
    return find_bonds(molecule.numbers, molecule.positions)


def fragments(n: int, bonds: Int[np.ndarray, "m 2"]) -> Int[np.ndarray, " n"]:
    """Connected part that each of ``n`` atoms belongs to, numbered by first atom."""
    i, j = bonds.T
    graph = coo_array((np.ones(len(bonds), dtype=bool), (i, j)), shape=(n, n))
    return connected_components(graph, directed=False)[1].astype(np.int64)


def partners(bonds: Int[np.ndarray, "m 2"], atom: int | np.integer) -> Int[np.ndarray, " k"]:
    """Atoms bonded to one atom."""
    return np.concatenate([bonds[bonds[:, 0] == atom, 1], bonds[bonds[:, 1] == atom, 0]])
