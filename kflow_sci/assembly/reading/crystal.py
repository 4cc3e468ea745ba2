"""Crystals: the molecules of a unit cell, and the cluster of the molecules nearest to one of them.

The one idea: a crystal is molecules plus symmetry, so every pose follows from a symmetry operation and is exact; a
fit happens only where a crystal holds several independent molecules that turn out to be the same.

Atoms belong to one molecule where ``bonds.are_bonded`` joins them, across the faces of the cell too. Whatever is not
one kind of ordered, complete, finite molecule is refused with a ``CrystalError`` whose ``reason`` is one of
``cif.REASONS``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import breadth_first_order, connected_components
from scipy.spatial import cKDTree

from kflow_sci.assembly.bonds import are_bonded, bond_reach
from kflow_sci.assembly.cluster import Cluster
from kflow_sci.assembly.molecule import Molecule
from kflow_sci.assembly.reading.cif import Sites, read_cif
from kflow_sci.assembly.reading.complete import check_one_kind, check_valences
from kflow_sci.assembly.reading.match import match_conformers
from kflow_sci.assembly.symmetry import body_frame
from kflow_sci.errors import ClusterError, CrystalError

MERGE_DISTANCE = 0.1  # Å; images of an atom closer than this are the atom itself on a special position
OVERLAP_DISTANCE = 0.4  # Å; different atoms closer than this cannot be
SAME_MOLECULE = 1e-3  # Å; independent molecules that superimpose this well share one template
TIE_DISTANCE = 1e-3  # Å; distances this close count as equal when the nearest molecules are chosen


@dataclass(frozen=True, eq=False)
class Crystal:
    """The molecules of one unit cell.

    Attributes:
        name: Name of the file without its suffix, or of the data block.
        cell: Rows are the cell vectors, Å, ``(3, 3)``.
        molecules: The distinct templates; all in the same atom order.
        kind: Template of each molecule in the cell, ``(z,)``.
        centroid: Å, ``(z, 3)``, inside the cell.
        rotation: Proper rotations, ``(z, 3, 3)``.
        parity: −1 where the molecule is the mirror image of its template, ``(z,)``.
        centres: One molecule of the cell for each symmetry-independent one, in the order of the file.
        space_group: Hermann–Mauguin name.
        operations: Number of symmetry operations of the cell.
    """

    name: str
    cell: Float[np.ndarray, "3 3"]
    molecules: tuple[Molecule, ...]
    kind: Int[np.ndarray, " z"]
    centroid: Float[np.ndarray, "z 3"]
    rotation: Float[np.ndarray, "z 3 3"]
    parity: Int[np.ndarray, " z"]
    centres: tuple[int, ...]
    space_group: str
    operations: int

    def __len__(self) -> int:
        """Molecules in the cell."""
        return len(self.kind)

    @property
    def formula(self) -> str:
        return self.molecules[0].formula

    @property
    def z_prime(self) -> float:
        """Molecules per asymmetric unit: below 1 where a molecule sits on a symmetry element."""
        return len(self) / self.operations

    @property
    def volume(self) -> float:
        """Volume of the cell per molecule, Å^3."""
        return float(abs(np.linalg.det(self.cell))) / len(self)

    @property
    def density(self) -> float:
        """g/cm^3, with the mean atomic masses."""
        import gemmi

        mass = sum(gemmi.Element(int(z)).weight for z in self.molecules[0].numbers)
        return mass / self.volume / 0.602214076


def read_crystal(source: str | Path) -> Crystal:
    """Read a CIF and find its molecules.

    Args:
        source: A path, or the text of a CIF.

    Raises:
        CrystalError: the crystal is refused; ``reason`` is one of ``cif.REASONS``.
    """
    sites = read_cif(source)
    numbers, fractional, site = _fill_cell(sites)
    i, j, image = _bonds(numbers, fractional, sites.cell)
    label, unwrapped = _components(len(numbers), i, j, image, sites.name)
    position = fractional + unwrapped
    check_one_kind(numbers, label, sites.formula, sites.name)

    templates: list[Molecule] = []
    kind: list[int] = []
    centroid, turn = [], []
    centres: list[int] = []
    placed = np.full(label.max() + 1, False)
    for first in np.unique(site, return_index=True)[1]:
        if placed[label[first]]:
            continue
        members = np.flatnonzero(label == label[first])
        inside = np.isin(i, members) & (i < j)
        bonds = np.unique(np.searchsorted(members, np.stack([i, j], axis=1)[inside]), axis=0)
        middle = position[members].mean(axis=0)
        atoms = (position[members] - middle) @ sites.cell
        check_valences(numbers[members], atoms, bonds, sites.formula, sites.name)
        pose = _independent(numbers[members], atoms, bonds, templates, sites.name)
        centres.append(len(kind))
        for g, (w, t) in enumerate(zip(sites.turn, sites.shift, strict=True)):
            k = label[_nearest(w @ position[first] + t, fractional, site == site[first], sites.cell)]
            if not placed[k]:
                placed[k] = True
                kind.append(pose[0])
                centroid.append((w @ middle + t) % 1)
                turn.append(_cartesian(sites.turn[g], sites.cell) @ pose[1])
    orientation = np.array(turn)
    parity = np.where(np.linalg.det(orientation) > 0, 1, -1)
    return Crystal(
        name=sites.name, cell=sites.cell, molecules=tuple(templates), kind=np.array(kind),
        centroid=np.array(centroid) @ sites.cell, rotation=parity[:, None, None] * orientation, parity=parity,
        centres=tuple(centres), space_group=sites.space_group, operations=len(sites.turn),
    )  # fmt: skip


def molecule_from_crystal(crystal: Crystal) -> Molecule:
    """The first independent molecule of a crystal, as the rigid molecule to assemble anew.

    Bond orders and charges are perceived where RDKit succeeds. It is ``handed`` if it has stereocentres and the crystal
    holds one hand only.

    Raises:
        MoleculeError: the geometry cannot be that of one molecule.
    """
    from kflow_sci.assembly.reading.perceive import molecule_from_atoms

    first = crystal.molecules[crystal.kind[crystal.centres[0]]]
    molecule = molecule_from_atoms(first.numbers, first.positions, first.name, bonds=first.bonds)
    return replace(molecule, handed=molecule.handed and bool((crystal.parity > 0).all()))


def cluster_from_crystal(crystal: Crystal, copies: int, centre: int = 0) -> Cluster:
    """The molecules nearest to a central one, by the distance of their centroids.

    The central molecule comes first, with its centroid at the origin; the others follow from near to far. **Ties**:
    distances that follow each other in steps of at most 0.001 Å are equal. Among equals the molecule with the shorter
    closest atom–atom distance to the central one comes first; if that is equal too (in the same sense), the one whose
    centroid has the larger z, then y, then x coordinate in the body frame of the central molecule. Given
    the central molecule, the order of atoms and operations in the file and the choice of the cell play no part.

    Args:
        crystal: The crystal.
        copies: Number of molecules, at least 1, the central one included.
        centre: Which independent molecule is central, 0 … ``len(crystal.centres) - 1``.

    Returns:
        A cluster whose ``info`` holds ``id`` (the crystal's name, with ``_2`` … added for further centres), ``crystal``
        (the name), ``formula``, ``space_group``, ``z_prime``, ``volume`` (Å^3 per
        molecule in the crystal) and ``density`` (g/cm^3).

    Raises:
        ClusterError: ``copies`` or ``centre`` is out of range.
    """
    if copies < 1:
        raise ClusterError(f"{copies} copies asked for, but a cluster needs at least 1")
    if not 0 <= centre < len(crystal.centres):
        raise ClusterError(
            f"centre {centre} asked for, but {crystal.name} has {len(crystal.centres)} independent one(s)"
        )
    middle = crystal.centres[centre]
    member, offset = _surroundings(crystal, middle, copies)
    orientation = crystal.parity[:, None, None] * crystal.rotation

    def atoms(k: int) -> Float[np.ndarray, "a 3"]:
        return offset[k] + crystal.molecules[crystal.kind[member[k]]].positions @ orientation[member[k]].T

    molecule = crystal.molecules[crystal.kind[middle]]
    central = molecule.positions @ orientation[middle].T
    tree, body = cKDTree(central), offset @ body_frame(molecule.numbers, central)
    order = _sorted_with_ties(
        np.arange(len(member)),
        [
            lambda k: np.linalg.norm(offset[k], axis=1),
            lambda k: np.array([tree.query(atoms(q))[0].min() for q in k]),
            lambda k: -body[k, 2],
            lambda k: -body[k, 1],
            lambda k: -body[k, 0],
        ],
    )
    chosen = np.concatenate([[middle], member[order[: copies - 1]]])
    used = list(dict.fromkeys(crystal.kind[chosen].tolist()))
    return Cluster(
        molecules=tuple(crystal.molecules[k] for k in used),
        kind=np.array([used.index(k) for k in crystal.kind[chosen]]),
        centroid=np.concatenate([np.zeros((1, 3)), offset[order[: copies - 1]]]),
        rotation=crystal.rotation[chosen],
        parity=crystal.parity[chosen],
        info={
            "id": crystal.name + (f"_{centre + 1}" if centre else ""),
            "crystal": crystal.name,
            "formula": crystal.formula,
            "space_group": crystal.space_group,
            "z_prime": round(crystal.z_prime, 4),
            "volume": round(crystal.volume, 3),
            "density": round(crystal.density, 4),
        },
    )


def _surroundings(crystal: Crystal, middle: int, copies: int) -> tuple[np.ndarray, np.ndarray]:
    """Molecules around the central one (itself left out) and their centroids relative to it; at least ``copies``."""
    radius = 1.1 * (copies * crystal.volume * 3 / (4 * np.pi)) ** (1 / 3) + 1.0
    inverse = np.linalg.inv(crystal.cell)
    relative = crystal.centroid - crystal.centroid[middle]
    while True:
        # |cell shift| along an axis is at most radius / (distance of the lattice planes), plus the cell itself
        reach = np.ceil(radius * np.linalg.norm(inverse, axis=0)).astype(int) + 1
        steps = _steps(reach)
        offset = (relative[None] + (steps @ crystal.cell)[:, None]).reshape(-1, 3)
        member = np.tile(np.arange(len(crystal)), len(steps))
        itself = (member == middle) & (np.repeat(np.abs(steps).sum(axis=1), len(crystal)) == 0)
        near = (np.linalg.norm(offset, axis=1) <= radius) & ~itself
        if near.sum() >= copies:
            distance = np.sort(np.linalg.norm(offset[near], axis=1))
            if copies < 2 or distance[copies - 2] < radius - 0.1:  # so that no tie is cut by the sphere
                return member[near], offset[near]
        radius *= 1.2


def _steps(reach: Int[np.ndarray, " 3"]) -> Int[np.ndarray, "k 3"]:
    """All lattice steps of at most ``reach`` cells along each axis."""
    ranges = [np.arange(-n, n + 1) for n in reach]
    return np.stack(np.meshgrid(*ranges, indexing="ij"), axis=-1).reshape(-1, 3)


def _sorted_with_ties(index: np.ndarray, keys: Sequence[Callable[[np.ndarray], np.ndarray]]) -> np.ndarray:
    """Sort by the first key; runs whose neighbours differ by at most ``TIE_DISTANCE`` by the next, and so on."""
    if len(index) < 2 or len(keys) == 0:
        return index
    values = keys[0](index)
    order = np.argsort(values, kind="stable")
    runs = np.split(index[order], np.flatnonzero(np.diff(values[order]) > TIE_DISTANCE) + 1)
    return np.concatenate([_sorted_with_ties(run, keys[1:]) for run in runs])


def _cartesian(turn: Int[np.ndarray, "3 3"], cell: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "3 3"]:
    """A rotation in fractional coordinates as the orthogonal matrix that acts on Cartesian columns."""
    return cell.T @ turn @ np.linalg.inv(cell).T


def _nearest(point: np.ndarray, fractional: np.ndarray, among: np.ndarray, cell: np.ndarray) -> int:
    candidates = np.flatnonzero(among)
    difference = fractional[candidates] - point
    difference -= np.round(difference)
    return int(candidates[np.linalg.norm(difference @ cell, axis=1).argmin()])


def _fill_cell(sites: Sites) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every atom of the cell once: numbers, fractional coordinates in [0, 1), and the site each comes from."""
    numbers, fractional, site = [], [], []
    for s, (number, f) in enumerate(zip(sites.numbers, sites.fractional, strict=True)):
        difference = sites.turn @ f + sites.shift - f
        difference -= np.round(difference)
        own = np.linalg.norm(difference @ sites.cell, axis=1) < MERGE_DISTANCE
        images = (sites.turn @ (f + difference[own].mean(axis=0)) + sites.shift) % 1.0
        kept: list[int] = []
        for k in range(len(images)):
            apart = images[kept] - images[k]
            apart -= np.round(apart)
            if not (np.linalg.norm(apart @ sites.cell, axis=1) < MERGE_DISTANCE).any():
                kept.append(k)
        numbers += [number] * len(kept)
        fractional.append(images[kept])
        site += [s] * len(kept)
    result = np.array(numbers), np.concatenate(fractional), np.array(site)
    i, j, _, distance = _neighbours(result[1], sites.cell, OVERLAP_DISTANCE)
    # A site listed again as the image of an earlier one is dropped; anything else this close is an error.
    again = (distance < MERGE_DISTANCE) & (result[0][i] == result[0][j]) & (result[2][i] != result[2][j])
    dropped = np.unique(np.maximum(result[2][i], result[2][j])[again])
    wrong = ~again & ~np.isin(result[2][i], dropped) & ~np.isin(result[2][j], dropped)
    if wrong.any():
        k = int(np.flatnonzero(wrong)[0])
        a, b = (sites.labels[result[2][q[k]]] for q in (i, j))
        raise CrystalError(
            "overlap",
            f"{sites.name}: sites {a} and {b} come within {distance[k]:.2f} Å (limit {OVERLAP_DISTANCE} Å)",
        )
    keep = ~np.isin(result[2], dropped)
    return result[0][keep], result[1][keep], result[2][keep]


def _neighbours(fractional: np.ndarray, cell: np.ndarray, cutoff: float) -> tuple[np.ndarray, ...]:
    """Ordered pairs ``(i, j + image)`` of different atoms closer than the cutoff, with their distance."""
    pad = cutoff * np.linalg.norm(np.linalg.inv(cell), axis=0)
    reach = np.ceil(pad).astype(int)
    steps = _steps(reach)
    ghosts = (fractional[None] + steps[:, None]).reshape(-1, 3)
    near = ((ghosts >= -pad) & (ghosts < 1 + pad)).all(axis=1)
    atom = np.tile(np.arange(len(fractional)), len(steps))[near]
    image = np.repeat(steps, len(fractional), axis=0)[near]
    tree, ghost_tree = cKDTree(fractional @ cell), cKDTree(ghosts[near] @ cell)
    pairs = tree.sparse_distance_matrix(ghost_tree, cutoff, output_type="ndarray")
    i, j, shift, distance = pairs["i"], atom[pairs["j"]], image[pairs["j"]], pairs["v"]
    other = (i != j) | (shift != 0).any(axis=1)
    order = np.lexsort((distance[other], i[other]))
    return i[other][order], j[other][order], shift[other][order], distance[other][order]


def _bonds(
    numbers: np.ndarray, fractional: np.ndarray, cell: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bonds ``(i, j + image)``, each in both directions."""
    i, j, image, distance = _neighbours(fractional, cell, bond_reach(numbers))
    bonded = are_bonded(numbers, i, j, distance)
    return i[bonded], j[bonded], image[bonded]


def _components(
    n: int, i: np.ndarray, j: np.ndarray, image: np.ndarray, name: str
) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, "n 3"]]:
    """Molecule of each atom, and the cell shift that brings each atom to the rest of its molecule."""
    graph = csr_matrix((np.ones(len(i)), (i, j)), shape=(n, n))
    _, label = connected_components(graph, directed=False)
    step = {(a, b): s for a, b, s in zip(i.tolist(), j.tolist(), image, strict=True)}
    shift = np.zeros((n, 3), dtype=np.int64)
    for start in np.unique(label, return_index=True)[1]:
        order, before = breadth_first_order(graph, start, directed=False)
        for a in order[1:]:
            shift[a] = shift[before[a]] + step[int(before[a]), int(a)]
    if (shift[j] != shift[i] + image).any():
        raise CrystalError("polymer", f"{name} holds a bonded network without end: only molecular crystals")
    return label, shift


def _independent(
    numbers: np.ndarray, positions: np.ndarray, bonds: np.ndarray, templates: list[Molecule], name: str
) -> tuple[int, Float[np.ndarray, "3 3"]]:
    """Template and orientation of an independent molecule; a new template is added where it needs its own.

    A new template takes the atom order of the first one, and its hand: if it looks like the mirror image of the first,
    its mirror image is stored and the parity is −1.
    """
    parity = 1
    matches = []
    for k, template in enumerate(templates):
        match = match_conformers(
            template.numbers, template.positions, template.bonds, numbers, positions, bonds
        )
        if match is None:
            raise CrystalError(
                "several_molecules",
                f"{name} holds molecules of one formula ({template.formula}) but different bonds: only one kind",
            )
        if match.largest <= SAME_MOLECULE:
            return k, match.parity * match.rotation
        matches.append(match)
    if matches:
        order, parity = matches[0].order, matches[0].parity
        numbers, positions, bonds = templates[0].numbers, positions[order], templates[0].bonds
    molecule, _, rotation = Molecule.build(numbers, parity * positions, bonds=bonds, name=name)
    templates.append(molecule)
    return len(templates) - 1, parity * rotation
