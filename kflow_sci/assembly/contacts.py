"""Short contacts between rigid molecules: what counts as a clash, and where the close pairs are.

The one idea: a contact limit is 0.8 of the sum of the van der Waals radii, except between a polar hydrogen
and an acceptor, where it is 0.55: a single limit of 0.8 would fail four in ten true crystals through their
hydrogen bonds. ``Stack`` lays many clusters out as flat arrays, so that a batch costs one neighbour search
and no loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.spatial import cKDTree

from kflow_sci.assembly.bonds import bonded_pairs
from kflow_sci.assembly.cluster import Cluster
from kflow_sci.assembly.elements import VAN_DER_WAALS_RADIUS
from kflow_sci.assembly.molecule import Molecule
from kflow_sci.errors import ClusterError

CLASH_FRACTION = 0.8
HYDROGEN_BOND_FRACTION = 0.55
# A hydrogen bond is shorter than this share of the sum of van der Waals radii (2.5 Å for H…O).
HYDROGEN_BOND_REACH = 0.92
CLASH, HYDROGEN_BOND, SHORT = 0, 1, 2  # kinds of close contacts

# Elements whose hydrogens can be donated, and elements that accept them.
DONORS = (7, 8, 9, 16)
ACCEPTORS = (7, 8, 9, 16, 17, 35, 53)


def polar_hydrogens(numbers: Int[np.ndarray, " n"], bonds: Int[np.ndarray, "m 2"]) -> Bool[np.ndarray, " n"]:
    """Hydrogens bonded to N, O, F or S: those that make hydrogen bonds."""
    polar = np.zeros(len(numbers), dtype=bool)
    for hydrogen, partner in (bonds.T, bonds.T[::-1]):
        polar[hydrogen[(numbers[hydrogen] == 1) & np.isin(numbers[partner], DONORS)]] = True
    return polar


def contact_limits(
    pairs: Int[np.ndarray, "p 2"],
    radius: Float[np.ndarray, " n"],
    polar: Bool[np.ndarray, " n"],
    acceptor: Bool[np.ndarray, " n"],
) -> Float[np.ndarray, " p"]:
    """Distance below which each pair of atoms clashes, Å.

    Args:
        pairs: Atoms of different molecules.
        radius: Van der Waals radius of each atom, Å.
        polar: Which atoms are hydrogens that make hydrogen bonds.
        acceptor: Which atoms accept them.
    """
    i, j = pairs.T
    bonding = (polar[i] & acceptor[j]) | (acceptor[i] & polar[j])
    return np.where(bonding, HYDROGEN_BOND_FRACTION, CLASH_FRACTION) * (radius[i] + radius[j])


@lru_cache(maxsize=256)
def _polar_of(molecule: Molecule) -> Bool[np.ndarray, " n"]:
    return polar_hydrogens(molecule.numbers, bonded_pairs(molecule))


@dataclass(frozen=True, eq=False)
class Stack:
    """Many clusters as flat arrays: copies run over all clusters, atoms over all copies.

    Attributes:
        system: Cluster of each copy, ``(copies,)``.
        owner: Copy of each atom, ``(atoms,)``.
        radius: Van der Waals radius of each atom, Å.
        polar: Whether the atom is a polar hydrogen.
        acceptor: Whether the atom accepts a hydrogen bond.
        n_systems: Number of clusters.
        centroid: Å, ``(copies, 3)``.
        arm: Atom minus its centroid, world frame, Å, ``(atoms, 3)``.
    """

    system: Int[np.ndarray, " copies"]
    owner: Int[np.ndarray, " atoms"]
    radius: Float[np.ndarray, " atoms"]
    polar: Bool[np.ndarray, " atoms"]
    acceptor: Bool[np.ndarray, " atoms"]
    n_systems: int
    centroid: Float[np.ndarray, "copies 3"]
    arm: Float[np.ndarray, "atoms 3"]

    @classmethod
    def of(cls, clusters: Sequence[Cluster]) -> Stack:
        """Lay clusters out flat.

        Raises:
            ClusterError: no cluster, an empty one, or one with a pose that is not finite.
        """
        if not clusters or min(len(cluster) for cluster in clusters) == 0:
            raise ClusterError("no molecules to work on: give at least one cluster with at least one copy")
        for number, cluster in enumerate(clusters):
            if not (np.isfinite(cluster.centroid).all() and np.isfinite(cluster.rotation).all()):
                raise ClusterError(
                    f"cluster {number} has a pose that is not finite: count it as failed and leave it out"
                )
        molecules = [cluster.molecules[k] for cluster in clusters for k in cluster.kind]
        numbers = np.concatenate([molecule.numbers for molecule in molecules])
        orientation = np.concatenate([cluster.orientation for cluster in clusters]).astype(np.float64)
        return cls(
            system=np.repeat(np.arange(len(clusters)), [len(cluster) for cluster in clusters]),
            owner=np.repeat(np.arange(len(molecules)), [len(molecule) for molecule in molecules]),
            radius=VAN_DER_WAALS_RADIUS[numbers],
            polar=np.concatenate([_polar_of(molecule) for molecule in molecules]),
            acceptor=np.isin(numbers, ACCEPTORS),
            n_systems=len(clusters),
            centroid=np.concatenate([cluster.centroid for cluster in clusters]).astype(np.float64),
            arm=np.concatenate(
                [m.positions @ turn.T for m, turn in zip(molecules, orientation, strict=True)]
            ),
        )

    @property
    def positions(self) -> Float[np.ndarray, "atoms 3"]:
        """Å."""
        return self.centroid[self.owner] + self.arm

    def limits(self, pairs: Int[np.ndarray, "p 2"]) -> Float[np.ndarray, " p"]:
        """Distance below which each pair of atoms clashes, Å."""
        return contact_limits(pairs, self.radius, self.polar, self.acceptor)

    def close_pairs(
        self,
        reach: float,
        centroid: Float[np.ndarray, "copies 3"],
        arm: Float[np.ndarray, "atoms 3"],
        live: Bool[np.ndarray, " b"] | None = None,
    ) -> Int[np.ndarray, "p 2"]:
        """Pairs of atoms of different copies of one cluster within ``reach`` Å, in the order of their
        numbers.

        Args:
            reach: Å.
            centroid: Where the copies are now, Å.
            arm: How their atoms lie about them now, Å.
            live: Clusters to look at; all if None.
        """
        system = self.system[self.owner]
        atoms = np.arange(len(self.owner)) if live is None else np.flatnonzero(live[system])
        # A fourth coordinate keeps the clusters apart, so that one tree serves them all without loss of
        # digits.
        points = np.column_stack([centroid[self.owner] + arm, system * (2.0 * reach + 1.0)])[atoms]
        pairs = atoms[
            cKDTree(points, compact_nodes=False, balanced_tree=False).query_pairs(
                reach, output_type="ndarray"
            )
        ]
        pairs = pairs[self.owner[pairs[:, 0]] != self.owner[pairs[:, 1]]]
        return pairs[np.argsort(pairs[:, 0] * len(self.owner) + pairs[:, 1])]


def clashing_pairs(clusters: Sequence[Cluster]) -> Float[np.ndarray, " b"]:
    """Clashing pairs of atoms per molecule of each cluster.

    A pair of atoms of two molecules clashes below 0.8 of the sum of their van der Waals radii; a hydrogen on
    N, O, F or S and an acceptor (N, O, F, S, Cl, Br, I) clash below 0.55 of it. Each pair counts once.

    Returns:
        Number of clashing pairs divided by the number of molecules; 0 is best.

    Raises:
        ClusterError: an empty cluster, or a pose that is not finite.

    Source:
        Radii of Bondi, J. Phys. Chem. 68 (1964) 441. The factor 0.8 alone would reject 43 % of true crystals,
        the exception for hydrogen bonds leaves 0.6 %.
    """
    stack = Stack.of(clusters)
    pairs = stack.close_pairs(2.0 * CLASH_FRACTION * float(stack.radius.max()), stack.centroid, stack.arm)
    distance = np.linalg.norm(np.subtract(*stack.positions[pairs.T]), axis=1)
    clashing = distance < stack.limits(pairs)
    count = np.bincount(stack.system[stack.owner[pairs[clashing, 0]]], minlength=stack.n_systems)
    return count / np.bincount(stack.system)


class Contacts(NamedTuple):
    """Close contacts of one cluster.

    Attributes:
        pairs: Atoms of different molecules, ``(p, 2)``; of a hydrogen bond the hydrogen first.
        kind: ``CLASH``, ``HYDROGEN_BOND`` or ``SHORT`` (neither of them), ``(p,)``.
        distance: Å, ``(p,)``.
    """

    pairs: Int[np.ndarray, "p 2"]
    kind: Int[np.ndarray, " p"]
    distance: Float[np.ndarray, " p"]


def close_contacts(clusters: Sequence[Cluster]) -> list[Contacts]:
    """Pairs of atoms of different molecules that are closer than the sum of their van der Waals radii.

    A pair is a clash below its limit (see ``clashing_pairs``). Else it is a hydrogen bond if a hydrogen on N, O, F or S
    is nearer than 0.92 of the sum to an acceptor (N, O, F, S, Cl, Br, I) and the angle at the hydrogen exceeds 120°.
    Atoms of elements without a radius have no contacts.

    Raises:
        ClusterError: an empty cluster, or a pose that is not finite.
    """
    stack = Stack.of(clusters)
    pairs = stack.close_pairs(2.0 * float(np.nanmax(stack.radius, initial=0.0)), stack.centroid, stack.arm)
    # Hydrogen first where there is one to donate to the other.
    turned = stack.acceptor[pairs[:, 0]] & stack.polar[pairs[:, 1]]
    pairs = np.where(turned[:, None], pairs[:, ::-1], pairs)
    distance = np.linalg.norm(np.subtract(*stack.positions[pairs.T]), axis=1)
    size = stack.radius[pairs].sum(axis=1)
    near = distance < size
    pairs, distance, size = pairs[near], distance[near], size[near]

    first, second = pairs.T
    sizes = np.bincount(stack.owner)
    molecules = [cluster.molecules[k] for cluster in clusters for k in cluster.kind]
    donor = np.concatenate([_donor_of(m) for m in molecules]) + np.repeat(np.cumsum(sizes) - sizes, sizes)
    along = stack.positions[second] - stack.positions[first]
    back = stack.positions[donor[first]] - stack.positions[first]
    straight = (along * back).sum(axis=1) < -0.5 * distance * np.linalg.norm(back, axis=1)
    bond = stack.polar[first] & stack.acceptor[second] & straight & (distance < HYDROGEN_BOND_REACH * size)
    kind = np.where(distance < stack.limits(pairs), CLASH, np.where(bond, HYDROGEN_BOND, SHORT))

    system = stack.system[stack.owner[first]]
    begin = np.searchsorted(stack.system[stack.owner], np.arange(stack.n_systems))
    return [
        Contacts(pairs[of] - begin[i], kind[of], distance[of])
        for i, of in enumerate(system == j for j in range(stack.n_systems))
    ]


@lru_cache(maxsize=256)
def _donor_of(molecule: Molecule) -> Int[np.ndarray, " n"]:
    """The atom each atom is bonded to, the last one of several; itself where there is none."""
    donor = np.arange(len(molecule), dtype=np.int64)
    i, j = bonded_pairs(molecule).T
    donor[i], donor[j] = j, i
    return donor
