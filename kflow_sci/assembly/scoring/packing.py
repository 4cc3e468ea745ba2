"""How well molecules are packed: clashes, density, neighbours, contacts.

The one idea: none of these numbers changes when the cluster is turned, mirrored, or its molecules are renumbered, and
none needs the reference to be numbered in the same order. What counts as a clash is fixed in ``assembly.contacts``, the
same for scoring and for relaxing.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist

from kflow_sci.assembly.bonds import find_bonds
from kflow_sci.assembly.contacts import ACCEPTORS, CLASH_FRACTION, contact_limits, polar_hydrogens
from kflow_sci.assembly.elements import COVALENT_RADIUS, VAN_DER_WAALS_RADIUS, look_up
from kflow_sci.assembly.scoring.frame import Frame
from kflow_sci.errors import ScoreError

CONTACT_GAP = 0.5
CONTACT_REACH = 1.5  # sums of van der Waals radii; no contact beyond
LAST = 96  # curium, the last element with a covalent radius
REACH = 3.0  # Å; farther from an atom than this no space is counted as its own


def _even_directions(count: int) -> Float[np.ndarray, "count 3"]:
    """Directions spread evenly over the sphere, on a Fibonacci spiral."""
    z = 1 - (2 * np.arange(count) + 1) / count
    turn = np.pi * (1 + np.sqrt(5)) * np.arange(count)
    across = np.sqrt(1 - z**2)
    return np.stack([across * np.cos(turn), across * np.sin(turn), z], axis=1)


_DIRECTIONS = _even_directions(400)


def radii(numbers: Int[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Van der Waals radius of each atom, Å: Bondi's, or covalent radius + 0.8 Å where he gives none.

    Raises:
        ScoreError: an element beyond curium, which has neither.

    Source:
        ``elements.VAN_DER_WAALS_RADIUS``; for metals that are not there Cordero et al., Dalton Trans. 2008, 2832.
    """
    radius = look_up(VAN_DER_WAALS_RADIUS, numbers)
    rare = np.isnan(radius)
    if rare.any():
        from ase.data import covalent_radii

        radius[rare & (numbers <= LAST)] = covalent_radii[numbers[rare & (numbers <= LAST)]] + 0.8
    unknown = numbers[np.isnan(radius)]
    if len(unknown):
        raise ScoreError(
            f"element number {unknown[0]} has no van der Waals radius: clashes and contacts cannot be counted"
        )
    return radius


def own_polar_hydrogens(
    numbers: Int[np.ndarray, " n"], positions: Float[np.ndarray, "n 3"], molecule: Int[np.ndarray, " n"]
) -> Bool[np.ndarray, " n"]:
    """Hydrogens bonded to N, O, F or S of their own molecule: those that make hydrogen bonds."""
    # Molecules moved far apart keep no bonds but their own.
    spread = 1e3 + 2 * float(np.ptp(positions, axis=0).max(initial=0.0))
    known = np.flatnonzero(~np.isnan(look_up(COVALENT_RADIUS, numbers)))
    apart = positions + np.outer(molecule, [spread, 0.0, 0.0])
    return polar_hydrogens(numbers, known[find_bonds(numbers[known], apart[known])].reshape(-1, 2))


def clash_pairs(
    numbers: Int[np.ndarray, " n"],
    positions: Float[np.ndarray, "n 3"],
    molecule: Int[np.ndarray, " n"],
    polar: Bool[np.ndarray, " n"] | None = None,
) -> int:
    """Number of pairs of atoms of different molecules that are too close.

    A pair clashes below 0.8 of the sum of its van der Waals radii; a hydrogen on N, O, F or S and an acceptor (N, O, F,
    S, Cl, Br, I) below 0.55 of it, as hydrogen bonds are that short.

    Args:
        numbers: Atomic numbers.
        positions: Å.
        molecule: Molecule of each atom.
        polar: Which atoms are such hydrogens; without it they are found in ``positions``.

    Returns:
        The count, each pair once; divide by the number of molecules for the rate. 0 is best.

    Raises:
        ScoreError: an element without a radius.

    Source:
        Bondi, J. Phys. Chem. 68 (1964) 441. The limit of 0.8 alone rejects 43 % of true crystals, with the exception
        for hydrogen bonds 0.6 %.
    """
    radius = radii(numbers)
    if polar is None:
        polar = own_polar_hydrogens(numbers, positions, molecule)
    pairs = cKDTree(positions).query_pairs(
        2 * CLASH_FRACTION * float(radius.max(initial=0)), output_type="ndarray"
    )
    pairs = pairs[molecule[pairs[:, 0]] != molecule[pairs[:, 1]]]
    distance = np.linalg.norm(np.subtract(*positions[pairs.T]), axis=1)
    return int(np.count_nonzero(distance < contact_limits(pairs, radius, polar, np.isin(numbers, ACCEPTORS))))


def voronoi_volume(positions: Float[np.ndarray, "n 3"], molecule: Int[np.ndarray, " n"], which: int) -> float:
    """Space that one molecule takes among the others: the points nearer to its atoms than to any other atom.

    A point counts only within 3 Å of an atom, so that the cells of a molecule that is not surrounded on all sides stay
    finite; cells inside a crystal end before that. Each cell is star-shaped about its atom and is integrated over 400
    fixed directions, exact to about 0.1 %.

    Args:
        positions: Å.
        molecule: Molecule of each atom.
        which: The molecule, best the one nearest to the centre.

    Returns:
        Å^3; NaN if a coordinate is not finite or two atoms coincide. For the central molecule of 17 cut from a
        crystal 1.09 of its share of the unit cell (5–95 %: 1.00–1.28), because so few do not always enclose it;
        scaling the centroids of such a cut to 1.16 of its volume gives 1.14. So compare clusters of equal size with
        each other, not with a cell.
    """
    if not np.isfinite(positions).all():
        return float("nan")
    own = positions[molecule == which]
    total = 0.0
    for atom, near in zip(own, cKDTree(positions).query_ball_point(own, 2 * REACH), strict=True):
        gap = positions[near] - atom
        squared = np.square(gap).sum(axis=1)
        if np.count_nonzero(squared < 1e-12) > 1:
            return float("nan")
        gap, squared = gap[squared >= 1e-12], squared[squared >= 1e-12]
        # The plane half-way to a neighbour at d meets the ray along u at |d|² / 2 u·d.
        inverse = (_DIRECTIONS @ (2 * gap / squared[:, None]).T).max(axis=1, initial=1 / REACH)
        total += 4 * np.pi / 3 * float((inverse**-3.0).mean())
    return total


def gyration_volume(centroids: Float[np.ndarray, "n 3"]) -> float:
    """Volume per molecule of the ball with the radius of gyration of the centroids.

    Returns:
        Å^3 per molecule: ``4π/3 (5/3)^(3/2) Rg³ / n``. For 17 molecules cut from a crystal 1.00 of their share of the
        unit cell (5–95 %: .92–1.09); 0 for a single molecule.

    Source:
        A uniform ball of radius R has Rg² = 3 R² / 5.
    """
    squared = float(np.square(centroids - centroids.mean(axis=0)).sum(axis=1).mean())
    return 4.0 * np.pi / 3.0 * (5.0 / 3.0 * squared) ** 1.5 / len(centroids)


def coordination(
    numbers: Int[np.ndarray, " n"],
    positions: Float[np.ndarray, "n 3"],
    molecule: Int[np.ndarray, " n"],
    which: int,
) -> int:
    """Number of molecules in contact with one.

    Two molecules touch if some pair of their atoms is closer than the sum of the van der Waals radii + 0.5 Å.

    Raises:
        ScoreError: an element without a radius.
    """
    radius = radii(numbers)
    own = molecule == which
    gap = cdist(positions[~own], positions[own]) - radius[~own, None] - radius[own]
    return len(np.unique(molecule[~own][(gap < CONTACT_GAP).any(axis=1)]))


def contact_distance(pred: Frame, ref: Frame) -> float:
    """How far the nearest contacts of all atoms are from those of the reference.

    For every atom and every element the nearest atom of that element in another molecule is taken, its distance divided
    by the sum of the two van der Waals radii and cut at 1.5, beyond which there is no contact. The values of a pair of
    elements, of both sides, are a distribution; prediction and reference hold equally many.

    Returns:
        The Wasserstein distances of these distributions, each times its number of values, summed and divided by the
        number of contacts in the reference: by how many sums of radii a contact is off, with the most favourable
        pairing. 0 for a renumbered, turned or mirrored truth; NaN if a coordinate is not finite, or without contacts.

    Raises:
        ScoreError: an element without a radius.
    """
    if not np.isfinite(pred.positions).all():
        return float("nan")
    mine, theirs = _contacts(pred), _contacts(ref)
    total = sum(float(np.abs(np.sort(mine[pair]) - np.sort(theirs[pair])).sum()) for pair in theirs)
    count = sum(int(np.count_nonzero(values < CONTACT_REACH)) for values in theirs.values())
    return total / count if count else float("nan")


def _contacts(frame: Frame) -> dict[tuple[int, int], Float[np.ndarray, " k"]]:
    """Scaled distance of each atom to the nearest of each element in another molecule, by pair of elements."""
    radius = radii(frame.numbers)
    distance = cdist(frame.positions, frame.positions)
    distance[frame.molecule[:, None] == frame.molecule] = np.inf
    elements = np.unique(frame.numbers)
    of = [np.flatnonzero(frame.numbers == z) for z in elements]
    found: dict[tuple[int, int], Float[np.ndarray, " k"]] = {}
    for j, there in enumerate(of):
        nearest = distance[:, there].min(axis=1) / (radius + radius[there[0]])
        nearest = np.minimum(nearest, CONTACT_REACH)
        for i, here in enumerate(of):
            pair = (min(i, j), max(i, j))
            found[pair] = np.concatenate([found[pair], nearest[here]]) if pair in found else nearest[here]
    return found
