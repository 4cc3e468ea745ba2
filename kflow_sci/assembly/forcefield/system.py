"""What a crystal or a cluster is to the sums: arrays of constants and poses, and the energy that comes out.

The one idea: constants depend on molecules, force field and group alone and are kept, so that a relaxation builds them
once; a cluster is a crystal with one operation and no lattice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from kflow_sci.assembly.cluster import Cluster
from kflow_sci.assembly.forcefield.parameters import COULOMB, FORMS, ForceField
from kflow_sci.assembly.molecule import Molecule
from kflow_sci.errors import ClusterError, ConfigError

if TYPE_CHECKING:
    from kflow_sci.assembly.forcefield.images import Bodies, Symmetry, Tables
    from kflow_sci.assembly.lattice.packing import Packing

# Reach beyond the radii of two molecules, Å: at 8 every two atoms closer than 6 Å count in full.
REACH = 8.0
# Width of the shell in which a pair of molecules is switched off, Å.
SWITCH = 2.0
# Ewald's damping, 1/Å: at 6 Å a bare charge counts 1 % in the direct sum, and less in a neutral molecule.
DAMPING = 0.3
# Waves whose Gaussian is smaller than exp(-CUT) are left out: at most some 1e-5 kJ/mol.
CUT = 16.0
# Below this share of the distance of least energy a pair of atoms repels no harder: the energy goes on linearly.
WALL = 0.6
# The same for atoms without a well (polar hydrogens in UFF), Å: below any hydrogen bond.
BARE_WALL = 1.2


@dataclass(frozen=True)
class LatticeEnergy:
    """Energy between the molecules, kJ/mol per molecule, with the sign of binding (negative).

    Attributes:
        total: The sum of the two.
        van_der_waals: Contacts, and the dispersion of what lies beyond the limit.
        coulomb: Charges; in crystals after Ewald, in a conducting surrounding.
        by_cell: Gradient by the rows of the cell at fixed fractions and fixed Cartesian orientations, kJ/mol/Å,
            ``(3, 3)``; it holds for changes of the cell that keep its symmetry. None if not asked for, or a cluster.
        by_place: By the fractional centroids, kJ/mol, ``(z, 3)``; for clusters by the centroids, kJ/mol/Å.
        by_turn: By the turns δ of ``R <- exp(δ) R`` at δ = 0, kJ/mol/rad, ``(z, 3)``.
    """

    total: float
    van_der_waals: float
    coulomb: float
    by_cell: Float[np.ndarray, "3 3"] | None = None
    by_place: Float[np.ndarray, "z 3"] | None = None
    by_turn: Float[np.ndarray, "z 3"] | None = None


def check_sum(images: int, energy: float) -> None:
    """Refuse the result of a sum that went wrong.

    Raises:
        ClusterError: too many images, or an energy that is not finite.
    """
    from kflow_sci.assembly.forcefield.images import MOST_IMAGES

    if images < 0:
        raise ClusterError(
            f"more than {MOST_IMAGES} images lie within the cut-off: the cell is flat or collapsed; give a larger one"
        )
    if not np.isfinite(energy):
        raise ClusterError("the energy is not finite: check that cell, places and rotations are")


class System(NamedTuple):
    """What the kernel takes: constants of the molecules and the group, then the pose."""

    bodies: Bodies
    tables: Tables
    symmetry: Symmetry
    cell: Float[np.ndarray, "3 3"]
    place: Float[np.ndarray, "z 3"]
    orientation: Float[np.ndarray, "z 3 3"]


def system_of(packing: Packing | Cluster, field: ForceField, cutoff: float | None) -> System:
    """The arrays of one crystal or cluster.

    Raises:
        ConfigError: ``cutoff`` out of range, or a field made for other molecules.
    """
    from kflow_sci.assembly.forcefield.images import Bodies

    cluster = isinstance(packing, Cluster)
    if cutoff is None:
        cutoff = np.inf if cluster else REACH
    if not cutoff > 2.0 or (np.isinf(cutoff) and not cluster):
        raise ConfigError(
            f"cutoff is {cutoff:g} Å, but must be more than 2 and, for a crystal, finite: give 8"
        )
    atoms, start, radius, charges = bodies_of(packing.molecules, field)
    orientation = np.ascontiguousarray(packing.parity[:, None, None] * packing.rotation, dtype=np.float64)
    bodies = Bodies(atoms, start, radius, charges, np.ascontiguousarray(packing.kind, dtype=np.int64))
    tables = tables_of(packing.molecules, field, float(cutoff), 0.0 if cluster else DAMPING)
    if isinstance(packing, Cluster):
        one = np.eye(3)[None]
        symmetry = symmetry_of(one, np.zeros((1, 3)), one, periodic=False)
        return System(bodies, tables, symmetry, np.eye(3), _plain(packing.centroid), orientation)
    group = packing.group
    symmetry = _group(group.rotations, group.translations, group.cartesian)
    return System(bodies, tables, symmetry, _plain(packing.cell), _plain(packing.place), orientation)


def _plain(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values, dtype=np.float64)


@lru_cache(maxsize=64)
def bodies_of(
    molecules: tuple[Molecule, ...], field: ForceField
) -> tuple[
    Float[np.ndarray, "n 3"], Int[np.ndarray, " k1"], Float[np.ndarray, " k"], Float[np.ndarray, " n"]
]:
    """All atoms of the templates, where each template starts, radii and charges.

    Raises:
        ConfigError: the field was made for other molecules, or its charges do not add up to zero.
    """
    counts = [len(molecule) for molecule in molecules]
    if [len(types) for types in field.types] != counts:
        raise ConfigError(
            f"the force field was made for molecules of {[len(t) for t in field.types]} atoms, these have {counts}: "
            "call force_field with these molecules"
        )
    for molecule, charges in zip(molecules, field.charges, strict=True):
        if abs(charges.sum()) > 0.01:
            raise ConfigError(
                f"{molecule.name}: charges add up to {charges.sum():.2f}, but must to 0: give a neutral molecule"
            )
    start = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    radius = np.array([molecule.radius for molecule in molecules])
    return (
        np.concatenate([m.positions for m in molecules]),
        start,
        radius,
        np.concatenate(field.charges),
    )


@lru_cache(maxsize=64)
def tables_of(molecules: tuple[Molecule, ...], field: ForceField, reach: float, damping: float) -> Tables:
    """Constants of every pair of atoms of the templates."""
    from kflow_sci.assembly.forcefield.images import Tables

    types = np.concatenate(field.types)
    pairs = np.ix_(types, types)
    a, b, c = (np.ascontiguousarray(table[pairs]) for table in coefficients(field))
    charge = np.concatenate(field.charges)
    wall = np.where(field.depth > 0, WALL * field.distance, BARE_WALL)[pairs]
    return Tables(
        form=FORMS.index(field.form),
        a=a,
        b=b,
        c=c,
        wall=np.ascontiguousarray(wall),
        product=COULOMB * np.outer(charge, charge),
        damping=damping,
        own=np.array([_own(m, q, damping) for m, q in zip(molecules, field.charges, strict=True)]),
        tail=_tail(molecules, field, reach),
        reach=reach,
    )


def coefficients(field: ForceField) -> tuple[Float[np.ndarray, "t t"], ...]:
    """The constants a, b, c of ``contact.contact_of`` for every pair of types."""
    distance, depth = field.distance, field.depth
    sixth = distance**6
    nothing = np.zeros_like(depth)
    if field.form == "exp-6":
        steep = field.steepness
        scale = depth / (1.0 - 6.0 / steep)
        return scale * 6.0 / steep * np.exp(steep), steep / distance, scale * sixth
    if field.form == "12-6":
        return depth * sixth**2, nothing, 2.0 * depth * sixth
    if field.form == "9-6":
        return 2.0 * depth * distance**9, nothing, 3.0 * depth * sixth
    # Far away the buffered 14-7 well goes as the seventh power; the sixth is for the tail alone.
    return depth, 1.0 / distance, nothing


def _own(molecule: Molecule, charges: Float[np.ndarray, " n"], damping: float) -> float:
    """Minus the energy that the smeared charges of one molecule have among themselves, kJ/mol."""
    from scipy.special import erf

    first, second = np.triu_indices(len(molecule), 1)
    distance = np.linalg.norm(molecule.positions[first] - molecule.positions[second], axis=1)
    pairs = float(np.sum(charges[first] * charges[second] * erf(damping * distance) / distance))
    return -COULOMB * (pairs + damping / np.sqrt(np.pi) * float(charges @ charges))


def _tail(molecules: Sequence[Molecule], field: ForceField, reach: float) -> Float[np.ndarray, "k k"]:
    """Dispersion that the switch cuts off in a uniform surrounding, kJ Å^3 / mol, for each pair of templates.

    ``−Σ c ∫ (1 − s(r)) r^-6 4 π r² dr``, the distance of the atoms taken as that of the centroids.
    """
    nodes, weights = np.polynomial.legendre.leggauss(16)
    t = 0.5 * (nodes + 1.0)
    missing = t**3 * (10.0 - t * (15.0 - 6.0 * t))
    c6 = coefficients(field)[2]
    tail = np.zeros((len(molecules), len(molecules)))
    if np.isinf(reach):
        return tail
    for k, mine in enumerate(molecules):
        for m, other in enumerate(molecules):
            limit = mine.radius + other.radius + reach
            r = limit - SWITCH * (1.0 - t)
            integral = 0.5 * SWITCH * (weights * missing * r**-4.0).sum() + limit**-3.0 / 3.0
            tail[k, m] = -4.0 * np.pi * integral * c6[np.ix_(field.types[k], field.types[m])].sum()
    return tail


_GROUPS: dict[bytes, Symmetry] = {}


def _group(rotations: np.ndarray, translations: np.ndarray, cartesian: np.ndarray) -> Symmetry:
    key = np.ascontiguousarray(rotations, dtype=np.float64).tobytes() + _plain(translations).tobytes()
    if key not in _GROUPS:
        _GROUPS[key] = symmetry_of(rotations, translations, cartesian, periodic=True)
    return _GROUPS[key]


def symmetry_of(
    rotations: np.ndarray, translations: np.ndarray, cartesian: np.ndarray, *, periodic: bool
) -> Symmetry:
    """The operations with their inverses."""
    from kflow_sci.assembly.forcefield.images import Symmetry

    rotations, translations, cartesian = _plain(rotations), _plain(translations), _plain(cartesian)
    undone = np.rint(np.linalg.inv(rotations))
    shift = -np.einsum("gij,gj->gi", undone, translations)
    same = (undone[:, None] == rotations[None]).all(axis=(2, 3))
    rest = shift[:, None] - translations[None]
    same &= (np.abs(rest - np.rint(rest)) < 1e-6).all(axis=2)
    inverse = same.argmax(axis=1)
    back = np.rint(shift - translations[inverse])
    handed = np.rint(np.linalg.det(rotations))
    return Symmetry(rotations, translations, cartesian, handed, inverse, back, periodic)
