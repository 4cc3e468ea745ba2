"""A packing from a CIF, with the molecules as they are in the crystal.

The one idea: a molecule on a symmetry element of its crystal is carried onto itself by some operations, and a packing
has none of those. So the packing is written in the largest subgroup that moves every molecule: P-1 around a
centrosymmetric molecule becomes P1, P21/c becomes P21 or Pc. The crystal stays the same; only the coincidence that
the molecule shares the symmetry is no longer imposed.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Int

from kflow_sci.assembly.lattice.packing import Packing, SpaceGroup
from kflow_sci.assembly.molecule import Molecule
from kflow_sci.assembly.reading.cif import read_cif
from kflow_sci.assembly.reading.crystal import Crystal, molecule_from_crystal, read_crystal
from kflow_sci.errors import PackingError

_SAME_PLACE = 0.3  # Å; the centroids of different molecules are never this close
_MOST_OPERATIONS = (
    96  # of the groups whose subgroups are searched; above it only molecular crystals of high symmetry
)


def packing_from_cif(source: str | Path) -> Packing:
    """The packing of a crystal in the conformer it holds.

    Args:
        source: A path, or the text of a CIF.

    Returns:
        A packing whose ``info`` holds ``id`` (the name of the crystal), ``space_group`` (that of the CIF) and
        ``z_prime`` (molecules per operation in the CIF: below 1 for special positions). Bond orders, charges and
        ``handed`` of the molecules are perceived, see ``molecule_from_crystal``.

    Raises:
        CrystalError: the crystal is refused; ``reason`` is one of ``cif.REASONS``.
        MoleculeError: the geometry cannot be that of one molecule.
        PackingError: molecules share their centroid.
    """
    sites, crystal = read_cif(source), read_crystal(source)
    place = crystal.centroid @ np.linalg.inv(crystal.cell)
    goes_to = _permutation(sites.turn, sites.shift, place, crystal)
    subgroup = _moving_subgroup(sites.turn, sites.shift, goes_to)
    group = SpaceGroup.from_operations(sites.turn[subgroup], sites.shift[subgroup])
    own = []
    seen: set[int] = set()
    for k in [*crystal.centres, *range(len(crystal))]:
        if k not in seen:
            own.append(k)
            seen.update(goes_to[subgroup, k].tolist())
    return Packing(
        molecules=_perceived(crystal),
        group=group,
        cell=group.symmetric_cell(crystal.cell),
        kind=crystal.kind[own],
        place=place[own],
        rotation=crystal.rotation[own],
        parity=crystal.parity[own],
        info={
            "id": crystal.name,
            "space_group": crystal.space_group,
            "z_prime": round(crystal.z_prime, 4),
        },
    )


def _perceived(crystal: Crystal) -> tuple[Molecule, ...]:
    """The templates, with what chemistry can be perceived of the first; the others have its atoms and bonds."""
    known = molecule_from_crystal(crystal)
    return tuple(
        replace(
            template,
            bonds=known.bonds,
            bond_orders=known.bond_orders,
            formal_charges=known.formal_charges,
            handed=known.handed,
        )
        for template in crystal.molecules
    )


def _permutation(
    turn: Int[np.ndarray, "g 3 3"], shift: np.ndarray, place: np.ndarray, crystal: Crystal
) -> Int[np.ndarray, "g n"]:
    """Where each operation takes each molecule of the cell."""
    moved = np.einsum("gij,nj->gni", turn, place) + shift[:, None]
    apart = moved[:, :, None] - place
    apart -= np.round(apart)
    distance = np.linalg.norm(apart @ crystal.cell, axis=-1)
    goes_to = distance.argmin(axis=-1)
    unclear = (distance < _SAME_PLACE).sum(axis=-1) != 1
    if unclear.any():
        raise PackingError(
            f"{crystal.name} holds molecules whose centroids are within {_SAME_PLACE} Å of each other: such "
            "interlocked molecules cannot be told apart by their places"
        )
    return goes_to


def _moving_subgroup(
    turn: Int[np.ndarray, "g 3 3"], shift: np.ndarray, goes_to: Int[np.ndarray, "g n"]
) -> Int[np.ndarray, " h"]:
    """Operations of the largest subgroup in which only the identity leaves any molecule in place, identity first."""
    count = len(turn)
    stays = (goes_to == np.arange(goes_to.shape[1])).any(axis=1)
    identity = int(
        np.flatnonzero((turn == np.eye(3)).all(axis=(1, 2)) & (np.abs(shift) < 1e-9).all(axis=1))[0]
    )
    if stays.sum() == 1:
        return np.concatenate([[identity], np.delete(np.arange(count), identity)])
    product = _products(turn, shift)
    free = [g for g in range(count) if not stays[g]] if count <= _MOST_OPERATIONS else []
    best = frozenset([identity])
    pending, known = [best], {best}
    while pending:
        group = pending.pop()
        if len(group) > len(best) or (len(group) == len(best) and sorted(group) < sorted(best)):
            best = group
        for g in free:
            if g not in group:
                larger = _closure(group | {g}, product)
                if larger not in known and not any(stays[h] for h in larger - {identity}):
                    known.add(larger)
                    pending.append(larger)
    return np.array([identity, *sorted(best - {identity})])


def _products(turn: Int[np.ndarray, "g 3 3"], shift: np.ndarray) -> Int[np.ndarray, "g g"]:
    """Index of the operation that does the second, then the first; lattice translations left out."""

    def rows(w: np.ndarray, t: np.ndarray) -> np.ndarray:
        steps = np.round(t * 24).astype(np.int64) % 24
        return np.concatenate([w.reshape(*w.shape[:-2], 9), steps], axis=-1)

    index = {tuple(row): g for g, row in enumerate(rows(turn, shift).tolist())}
    turns = np.einsum("gij,hjk->ghik", turn, turn)
    shifts = np.einsum("gij,hj->ghi", turn, shift) + shift[:, None]
    table = rows(turns, shifts).reshape(len(turn) ** 2, 12).tolist()
    return np.array([index[tuple(row)] for row in table]).reshape(len(turn), len(turn))


def _closure(members: frozenset[int], product: Int[np.ndarray, "g g"]) -> frozenset[int]:
    found = members
    while True:
        chosen = sorted(found)
        larger = frozenset(np.unique(product[np.ix_(chosen, chosen)]).tolist())
        if larger == found:
            return found
        found = larger
