"""Energy between the rigid molecules of a cluster, and the order in which candidates are shown.

The one idea: only what happens between molecules changes from candidate to candidate, and van der Waals contacts plus
point charges, in kJ/mol per molecule, is what a chemist can compare with a table. It ranks candidates of one molecule
at one density; it is no criterion of truth: a cluster in vacuum has a large surface, and the force field its errors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from kflow_sci.assembly.cluster import Cluster
from kflow_sci.assembly.contacts import Stack, clashing_pairs
from kflow_sci.assembly.forcefield.parameters import COULOMB, ForceField, force_field
from kflow_sci.assembly.forcefield.wells import buffered_14_7

# MMFF94 adds this to the distance between charges, Å. Halgren, J. Comput. Chem. 17 (1996) 490.
MMFF_BUFFER = 0.05
# Below this share of the distance of least energy a contact grows linearly. Poses of a generator are a few tenths of
# Å off, where a bare wall would report the one closest pair; a true crystal gains about 9 % by it.
WALL = 0.85
# Below this distance, Å, the energy of two charges goes on linearly, so that no overlap can gain without bound.
CHARGE_WALL = 1.4


@dataclass(frozen=True)
class EnergyTerms:
    """Energy between the molecules of one cluster, kJ/mol per molecule.

    Attributes:
        total: ``van_der_waals + coulomb``: the energy to take the cluster apart, with the sign of binding (negative).
        van_der_waals: Repulsion and dispersion.
        coulomb: Point charges.
        central: Half the energy between the innermost molecule and all others. The innermost one has its neighbours
            on all sides, so this is the cluster's best guess at the lattice energy; ``total`` is less negative by
            the surface, where molecules lack neighbours (about a third to a half for 17 molecules).
        force_field: ``MMFF94`` or ``UFF``.
        charges: ``MMFF94``, ``Gasteiger``, ``given`` or ``none``.
    """

    total: float
    van_der_waals: float
    coulomb: float
    central: float
    force_field: str
    charges: str

    def as_info(self) -> dict[str, float | str]:
        """Plain values for ``Cluster.info``, rounded to what they are worth."""
        return {
            "energy": round(self.total, 4),
            "energy_van_der_waals": round(self.van_der_waals, 4),
            "energy_coulomb": round(self.coulomb, 4),
            "energy_central": round(self.central, 4),
            "energy_model": f"{self.force_field} contacts, {self.charges} charges",
        }


def interaction_energy(
    cluster: Cluster, charges: str | Sequence[Float[np.ndarray, " n"]] = "auto"
) -> EnergyTerms:
    """Energy between the molecules of one cluster.

    All pairs of atoms of different molecules, without cut-off, in float64. MMFF94: buffered 14-7 contacts and charges
    at a distance increased by 0.05 Å; UFF: 12-6 contacts and plain charges. Contacts go on linearly below 0.85 of the
    distance of least energy, charges below 1.4 Å.

    Args:
        cluster: Any number of copies and templates.
        charges: See ``forcefield.parameters.force_field``.

    Returns:
        kJ/mol per molecule.

    Raises:
        ClusterError: an empty cluster, or a pose that is not finite.
        ConfigError, MoleculeError: see ``forcefield.parameters.force_field``.

    Source:
        Halgren, J. Comput. Chem. 17 (1996) 490 and 520 (MMFF94); Rappé et al., J. Am. Chem. Soc. 114 (1992) 10024.
        On 36 crystals of small molecules the true cluster has a lower energy than each of eight copies disturbed by
        .15 to .9 Å and two random balls, after their clashes were resolved; Spearman's correlation of energy and
        disturbance is .87 (.82 without the wall).
    """
    field = force_field(cluster.molecules, charges, "auto")
    terms, _ = _sum_pairs(cluster, field, gradient=False)
    return terms


def energy_and_gradient(
    cluster: Cluster, charges: str | Sequence[Float[np.ndarray, " n"]] = "auto"
) -> tuple[EnergyTerms, Float[np.ndarray, "n 3"], Float[np.ndarray, "n 3"]]:
    """The energy and how it changes as the molecules move.

    Returns:
        The terms; the gradient of ``total`` by the centroids, kJ/mol per molecule and Å; and by the turns δ of
        ``R ← exp(δ) R`` at δ = 0, kJ/mol per molecule and rad.

    Raises:
        ClusterError, ConfigError, MoleculeError: as ``interaction_energy``.
    """
    terms, slope = _sum_pairs(cluster, force_field(cluster.molecules, charges, "auto"), gradient=True)
    starts = _starts(cluster)
    arm = Stack.of([cluster]).arm
    return terms, np.add.reduceat(slope, starts), np.add.reduceat(np.cross(arm, slope), starts)


def with_energies(
    clusters: Sequence[Cluster], charges: str | Sequence[Float[np.ndarray, " n"]] = "auto"
) -> list[Cluster]:
    """The clusters with ``energy…`` and ``clashing_pairs`` in their ``info``.

    Raises:
        ClusterError, ConfigError, MoleculeError: as ``interaction_energy``.
    """
    if not clusters:
        return []
    clashes = clashing_pairs(clusters)
    return [
        replace(
            c, info={**c.info, **interaction_energy(c, charges).as_info(), "clashing_pairs": float(clash)}
        )
        for c, clash in zip(clusters, clashes, strict=True)
    ]


def rank(
    clusters: Sequence[Cluster], charges: str | Sequence[Float[np.ndarray, " n"]] = "auto"
) -> list[Cluster]:
    """The clusters, the best first, with energies, clashes and ``rank`` (from 1) in their ``info``.

    Clusters without clashing pairs come first, ordered by energy per molecule, the lowest first; then those with
    clashes, the fewest per molecule first, as the energy of a clash means nothing. Compare candidates of the same
    molecules in equal number only: the energy per molecule falls as clusters grow. Equal candidates keep their order.

    Raises:
        ClusterError, ConfigError, MoleculeError: as ``interaction_energy``.
    """
    known = with_energies(clusters, charges)
    best = sorted(known, key=lambda c: (c.info["clashing_pairs"], c.info["energy"]))
    return [replace(c, info={**c.info, "rank": place}) for place, c in enumerate(best, 1)]


def _starts(cluster: Cluster) -> np.ndarray:
    """First atom of each copy."""
    sizes = [len(cluster.molecules[k]) for k in cluster.kind]
    return np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64)


def _sum_pairs(
    cluster: Cluster, field: ForceField, *, gradient: bool
) -> tuple[EnergyTerms, Float[np.ndarray, "atoms 3"]]:
    """Terms, and the gradient of their total by the atoms (zero unless asked for), each copy against all later ones."""
    stack = Stack.of([cluster])
    positions = stack.positions - stack.centroid.mean(axis=0)
    starts, count = _starts(cluster), len(cluster)
    ends = np.append(starts[1:], len(positions))
    types = np.concatenate([field.types[k] for k in cluster.kind])
    charge = np.concatenate([field.charges[k] for k in cluster.kind])
    charged = bool(np.any(charge))
    buffer = MMFF_BUFFER if field.charge_name == "MMFF94" else 0.0
    # Rows of the tables for each template against all atoms of the cluster, so that a copy only slices them.
    inverse = [(1.0 / field.distance)[t][:, types] for t in field.types]
    depth = [field.depth[t][:, types] for t in field.types]
    per_copy, sums, slope = np.zeros(count), np.zeros(2), np.zeros_like(positions)
    squares = np.einsum("ax,ax->a", positions, positions)
    for i in range(count - 1):
        own, later = slice(starts[i], ends[i]), slice(ends[i], len(positions))
        distance = squares[own, None] + squares[later] - 2.0 * positions[own] @ positions[later].T
        distance = np.sqrt(np.maximum(distance, 1e-12, out=distance), out=distance)
        kind = cluster.kind[i]
        scale, well = inverse[kind][:, later], depth[kind][:, later]
        contact, contact_slope = _contact(field.form, distance * scale)
        energy = well * contact
        sums[0] += energy.sum()
        if charged:
            product = charge[own, None] * charge[later]
            coulomb, coulomb_slope = _coulomb(distance, buffer)
            coulomb *= product
            sums[1] += coulomb.sum()
            energy += coulomb
        per_copy[i] += energy.sum()
        per_copy[i + 1 :] += np.add.reduceat(energy.sum(axis=0), starts[i + 1 :] - ends[i])
        if gradient:
            pull = well * scale * contact_slope
            if charged:
                pull += product * coulomb_slope
            pull /= distance
            slope[own] += pull.sum(axis=1)[:, None] * positions[own] - pull @ positions[later]
            slope[later] += pull.sum(axis=0)[:, None] * positions[later] - pull.T @ positions[own]
    inner = int(np.argmin(np.einsum("nx,nx->n", *2 * [stack.centroid - stack.centroid.mean(axis=0)])))
    van_der_waals, coulomb_sum = sums / count
    terms = EnergyTerms(
        total=float(van_der_waals + coulomb_sum),
        van_der_waals=float(van_der_waals),
        coulomb=float(coulomb_sum),
        central=float(0.5 * per_copy[inner]),
        force_field=field.name,
        charges=field.charge_name,
    )
    return terms, slope / count


def _lennard_jones(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A 12-6 contact in units of its depth at a share of its distance of least energy, and its slope."""
    inverse = 1.0 / x
    cube = inverse * inverse * inverse
    sixth = cube * cube
    return sixth * (sixth - 2.0), 12.0 * inverse * sixth * (1.0 - sixth)


_WELLS: dict[str, Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]] = {
    "14-7": buffered_14_7,
    "12-6": _lennard_jones,
}


def _contact(form: str, share: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same at any share, linear below the wall."""
    x = np.maximum(share, WALL)
    well, slope = _WELLS[form](x)
    return well + slope * (share - x), slope


def _coulomb(distance: np.ndarray, buffer: float) -> tuple[np.ndarray, np.ndarray]:
    """Energy of two unit charges, kJ/mol, and its slope."""
    x = np.maximum(distance, CHARGE_WALL)
    inverse = 1.0 / (x + buffer)
    slope = -COULOMB * inverse * inverse
    return COULOMB * inverse + slope * (distance - x), slope
