"""Which of many relaxed crystals are the same.

The one idea: one crystal has one energy, one density and one set of distances between its molecules. The first two
sort out nearly all pairs at once; for the rest the mean distances from an atom to its 1st, 2nd … k-th neighbour in
other molecules are compared, element by element. They do not depend on cell, setting, origin, numbering or hand.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy.spatial import cKDTree

from kflow_sci.assembly.lattice.packing import Packing

ENERGY = 0.25  # kJ/mol
VOLUME = 0.01  # relative
DISTANCE = 0.08  # Å, largest difference of the mean distances
NEIGHBOURS = 32
_GROW = 1.3


def fingerprint(packing: Packing, neighbours: int = NEIGHBOURS) -> Float[np.ndarray, "e k"]:
    """Mean distance from the atoms of each element to their nearest atoms in other molecules.

    Args:
        packing: The crystal.
        neighbours: How many neighbours of each atom, k.

    Returns:
        Å, one row per element in the order of atomic numbers, each in rising order.

    Source:
        The average minimum distances of Widdowson et al., MATCH Commun. Math. Comput. Chem. 87 (2022) 529, per element
        and without the neighbours inside the molecule, which packing does not change.
    """
    index, place, orientation = packing.images()
    cell, inverse = packing.cell, np.linalg.inv(packing.cell)
    templates = [packing.molecules[packing.kind[i]] for i in index]
    atoms = [m.positions @ turn.T for m, turn in zip(templates, orientation, strict=True)]
    own = range(len(packing))
    reach = max(m.radius for m in packing.molecules)
    # A sphere that holds the wanted neighbours at the mean density of atoms, with some to spare.
    per_volume = len(np.concatenate(atoms)) / (packing.volume * packing.copies)
    radius = 1.5 * ((neighbours + len(atoms[0])) / per_volume * 3 / (4 * np.pi)) ** (1 / 3) + 1.0
    while True:
        steps = np.ceil((radius + 2 * reach) * np.linalg.norm(inverse, axis=0)).astype(int)
        ranges = [np.arange(-n, n + 1) for n in steps]
        shifts = np.stack(np.meshgrid(*ranges, indexing="ij"), axis=-1).reshape(-1, 3)
        rows, numbers = [], []
        for i in own:
            others, found = _others(i, place, atoms, shifts, cell, radius + reach + templates[i].radius)
            distance, _ = cKDTree(others).query(found, k=neighbours)
            rows.append(distance)
            numbers.append(templates[i].numbers)
        distances, kinds = np.concatenate(rows), np.concatenate(numbers)
        if distances.max() <= radius:
            return np.stack([distances[kinds == z].mean(axis=0) for z in np.unique(kinds)])
        radius *= _GROW


def _others(
    i: int, place: np.ndarray, atoms: list[np.ndarray], shifts: np.ndarray, cell: np.ndarray, radius: float
) -> tuple[Float[np.ndarray, "m 3"], Float[np.ndarray, "a 3"]]:
    """Atoms of the molecules around molecule i, and its own, all relative to its centroid."""
    offset = (place - place[i] + shifts[:, None]) @ cell
    near = np.linalg.norm(offset, axis=-1) <= radius
    near[(shifts == 0).all(axis=1), i] = False
    found = [offset[near[:, k], k, None] + atoms[k] for k in range(len(atoms))]
    return np.concatenate([x.reshape(-1, 3) for x in found]), atoms[i]


def distinct(
    packings: Sequence[Packing],
    *,
    energy: float = ENERGY,
    volume: float = VOLUME,
    distance: float = DISTANCE,
    most: int | None = None,
) -> list[list[int]]:
    """The distinct crystals among packings sorted by energy.

    Args:
        packings: Lowest energy first; ``info["energy"]`` in kJ/mol per molecule.
        energy: Packings further apart than this are different, kJ/mol.
        volume: … than this share of the volume.
        distance: … than this in any row of the ``fingerprint``, Å.
        most: Stop after so many.

    Returns:
        For each kind, lowest energy first, the indices of the packings found equal to its first, itself included. A
        packing that would be the first of a further kind than ``most`` ends the search.
    """
    kinds: list[list[int]] = []
    seen: dict[int, np.ndarray] = {}

    def known(k: int) -> np.ndarray:
        if k not in seen:
            seen[k] = fingerprint(packings[k])
        return seen[k]

    def kind_of(k: int) -> list[int] | None:
        for kind in reversed(kinds):
            other = packings[kind[0]]
            if packings[k].info["energy"] - other.info["energy"] > energy:
                return None
            near = abs(packings[k].volume - other.volume) <= volume * other.volume
            if near and np.abs(known(k) - known(kind[0])).max() <= distance:
                return kind
        return None

    for k in range(len(packings)):
        kind = kind_of(k)
        if kind is not None:
            kind.append(k)
        elif most is not None and len(kinds) == most:
            break
        else:
            kinds.append([k])
    return kinds
