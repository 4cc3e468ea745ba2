"""Give two conformers of one molecule the same atom order.

The one idea: the bond graphs say which orders are possible, the shapes say which of them is meant. All graph matches
are tried where there are few of them; where there are many (methyl and trifluoromethyl groups multiply them), the
skeleton without end atoms is matched and the end atoms go to the nearest place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment

from kflow_sci.assembly.superpose import superpose_either_hand

if TYPE_CHECKING:
    from rdkit import Chem

MAX_MATCHES = 5000


@dataclass(frozen=True, eq=False)
class Match:
    """Conformer B in the order of conformer A.

    Attributes:
        order: ``B[order]`` corresponds to A atom by atom, ``(n,)``.
        parity: −1 if the mirror image of A fits B better than A does.
        rotation: Proper rotation of the best fit ``B[order] ≈ centre + parity * A R^T``, ``(3, 3)``.
        rmsd: Root mean square distance after the fit, Å.
        largest: Largest distance of an atom after the fit, Å.
    """

    order: Int[np.ndarray, " n"]
    parity: int
    rotation: Float[np.ndarray, "3 3"]
    rmsd: float
    largest: float


def match_conformers(
    numbers_a: Int[np.ndarray, " n"],
    a: Float[np.ndarray, "n 3"],
    bonds_a: Int[np.ndarray, "m 2"],
    numbers_b: Int[np.ndarray, " n"],
    b: Float[np.ndarray, "n 3"],
    bonds_b: Int[np.ndarray, "m 2"],
    limit: int = MAX_MATCHES,
) -> Match | None:
    """The order of B's atoms that fits A best among those that keep elements and bonds.

    Args:
        numbers_a: Atomic numbers of A.
        a: Its positions, Å, any frame.
        bonds_a: Its bonds, pairs of atom indices.
        numbers_b: The same of B.
        b: The same of B.
        bonds_b: The same of B.
        limit: Graph matches to try before only the skeleton is matched.

    Returns:
        None if the bond graphs differ.
    """
    if len(numbers_a) != len(numbers_b) or len(bonds_a) != len(bonds_b):
        return None
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    orders = _graph_matches(numbers_a, bonds_a, numbers_b, bonds_b, limit)
    if not len(orders):
        return None
    if len(orders) < limit:
        return _finish(a, b, _best_order(a, b, orders))
    return _finish(a, b, _skeleton_order(numbers_a, a, bonds_a, numbers_b, b, bonds_b, orders, limit))


def _finish(a: np.ndarray, b: np.ndarray, order: np.ndarray) -> Match:
    parity, rotation, left = superpose_either_hand(a, b[order])
    return Match(order, parity, rotation, float(np.sqrt((left**2).mean())), float(left.max()))


def _best_order(a: np.ndarray, b: np.ndarray, orders: np.ndarray) -> np.ndarray:
    """The order of lowest RMSD, mirror image allowed, by the singular values of the covariances alone."""
    # The better of the two hands has the overlap s1 + s2 + s3, so signs play no part.
    chunks = np.array_split(orders, len(orders) // 500 + 1)
    overlap = [np.linalg.svd(np.einsum("kni,nj->kij", b[k], a), compute_uv=False).sum(axis=1) for k in chunks]
    return orders[int(np.concatenate(overlap).argmax())]


def _coloured(colour: list[int], bonds: np.ndarray) -> Chem.Mol:
    """An RDKit graph whose atoms carry a colour; the colour sits in the isotope, so chemistry plays no part."""
    from rdkit import Chem

    molecule = Chem.RWMol()
    for c in colour:
        atom = Chem.Atom(6)
        atom.SetIsotope(c)
        molecule.AddAtom(atom)
    for i, j in bonds:
        molecule.AddBond(int(i), int(j), Chem.BondType.SINGLE)
    return molecule


def _graph_matches(
    colour_a: np.ndarray, bonds_a: np.ndarray, colour_b: np.ndarray, bonds_b: np.ndarray, limit: int
) -> Int[np.ndarray, "k n"]:
    if sorted(colour_a) != sorted(colour_b) or len(bonds_a) != len(bonds_b):
        return np.zeros((0, len(colour_a)), dtype=np.int64)
    label = {c: k + 1 for k, c in enumerate(sorted(set(colour_a)))}
    query = _coloured([label[c] for c in colour_a], bonds_a)
    target = _coloured([label[c] for c in colour_b], bonds_b)
    found = target.GetSubstructMatches(query, uniquify=False, maxMatches=limit)
    return np.array(found, dtype=np.int64).reshape(-1, len(colour_a))


def _skeleton_order(
    numbers_a: np.ndarray, a: np.ndarray, bonds_a: np.ndarray,
    numbers_b: np.ndarray, b: np.ndarray, bonds_b: np.ndarray,
    orders: np.ndarray, limit: int,
) -> np.ndarray:  # fmt: skip
    """Match the atoms with two or more neighbours, then place each end atom at the nearest of its likes."""
    core_a, colour_a, sub_a, parent_a = _skeleton(numbers_a, bonds_a)
    core_b, colour_b, sub_b, parent_b = _skeleton(numbers_b, bonds_b)
    cores = _graph_matches(colour_a, sub_a, colour_b, sub_b, limit) if len(core_a) > 3 else orders[:0]
    if not len(cores):
        return _best_order(a, b, orders)
    start = core_b[_best_order(a[core_a] - a[core_a].mean(0), b[core_b] - b[core_b].mean(0), cores)]
    order = np.full(len(a), -1)
    order[core_a] = start
    shown_a, shown_b = core_a, start
    for _ in range(5):
        middle_a, middle_b = a[shown_a].mean(0), b[shown_b].mean(0)
        parity, rotation, _left = superpose_either_hand(a[shown_a] - middle_a, b[shown_b] - middle_b)
        moved = middle_b + parity * (a - middle_a) @ rotation.T
        previous = order.copy()
        for i, j in zip(core_a, start, strict=True):
            ends_a, ends_b = np.flatnonzero(parent_a == i), np.flatnonzero(parent_b == j)
            cost = np.linalg.norm(moved[ends_a][:, None] - b[ends_b][None], axis=-1)
            cost = cost + 1e6 * (numbers_a[ends_a][:, None] != numbers_b[ends_b][None])
            rows, columns = linear_sum_assignment(cost)
            order[ends_a[rows]] = ends_b[columns]
        if (order == previous).all():
            break
        shown_a, shown_b = np.arange(len(a)), order
    return order


def _skeleton(
    numbers: np.ndarray, bonds: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Atoms with two or more bonds, a colour that counts their end atoms, their bonds, and each end atom's holder."""
    degree = np.bincount(bonds.ravel(), minlength=len(numbers))
    core = np.flatnonzero(degree > 1)
    parent = np.full(len(numbers), -1)
    for i, j in bonds:
        for end, holder in ((i, j), (j, i)):
            if degree[end] == 1:
                parent[end] = holder
    colours = []
    for i in core:
        colour = int(numbers[i])
        for z in sorted(numbers[parent == i]):
            colour = colour * 64 + int(z)
        colours.append(colour)
    index = np.full(len(numbers), -1)
    index[core] = np.arange(len(core))
    inside = (degree[bonds] > 1).all(axis=1) if len(bonds) else np.zeros(0, dtype=bool)
    return core, np.array(colours, dtype=object), index[bonds[inside]], parent
