"""What counts as a clash, by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from kflow_sci.assembly.bonds import bonded_pairs
from kflow_sci.assembly.cluster import Cluster
from kflow_sci.assembly.contacts import (
    CLASH,
    HYDROGEN_BOND,
    SHORT,
    clashing_pairs,
    close_contacts,
    polar_hydrogens,
)
from kflow_sci.assembly.molecule import Molecule
from kflow_sci.errors import ClusterError


def water() -> Molecule:
    half = np.radians(104.5 / 2)
    hydrogen = 0.96 * np.array([np.sin(half), np.cos(half), 0.0])
    positions = np.array([[0.0, 0.0, 0.0], hydrogen, hydrogen * [-1, 1, 1]])
    return Molecule(np.array([8, 1, 1]), positions - positions.mean(0))


def carbon_dioxide() -> Molecule:
    return Molecule(np.array([8, 6, 8]), np.array([[-1.16, 0, 0], [0, 0, 0], [1.16, 0, 0]]))


def pair(molecule: Molecule, apart: np.ndarray) -> Cluster:
    """Two copies in the same orientation."""
    centroid = np.stack([np.zeros(3), np.asarray(apart, dtype=float)])
    return Cluster((molecule,), np.zeros(2, int), centroid, np.tile(np.eye(3), (2, 1, 1)), np.ones(2, int))


def test_parallel_carbon_dioxide_clashes_atom_by_atom():
    # Bondi: C 1.70, O 1.52. C...C clashes below 2.72, O...O below 2.432, C...O (sqrt(d² + 1.16²)) below 2.576 Å.
    assert clashing_pairs([pair(carbon_dioxide(), [0, 2.75, 0])])[0] == 0
    assert clashing_pairs([pair(carbon_dioxide(), [0, 2.70, 0])])[0] == 1 / 2
    assert clashing_pairs([pair(carbon_dioxide(), [0, 2.42, 0])])[0] == 3 / 2
    assert clashing_pairs([pair(carbon_dioxide(), [0, 2.29, 0])])[0] == 7 / 2


def test_hydrogen_bond_may_be_shorter():
    # O-H...O=C=O on one line: H...O clashes below 0.55 (1.20 + 1.52) = 1.496 Å instead of 2.176 Å.
    donor, acceptor = water(), carbon_dioxide()
    bond = donor.positions[1] - donor.positions[0]
    turn = Rotation.align_vectors([[1.0, 0, 0]], [bond])[0].as_matrix()
    hydrogen = turn @ donor.positions[1]
    for hydrogen_to_oxygen, clashes in ((1.50, 0), (1.49, 1 / 2)):
        centroid = np.stack([-hydrogen, [hydrogen_to_oxygen + 1.16, 0, 0]])
        rotation = np.stack([turn, np.eye(3)])
        cluster = Cluster((donor, acceptor), np.array([0, 1]), centroid, rotation, np.ones(2, int))
        assert clashing_pairs([cluster])[0] == clashes


def test_hydrogen_on_carbon_makes_no_hydrogen_bond():
    formaldehyde = Molecule(
        np.array([6, 8, 1, 1]), np.array([[0, 0, 0], [1.21, 0, 0], [-0.58, 0.94, 0], [-0.58, -0.94, 0]])
    )
    assert not polar_hydrogens(formaldehyde.numbers, bonded_pairs(formaldehyde)).any()
    assert polar_hydrogens(water().numbers, bonded_pairs(water())).tolist() == [False, True, True]


def test_contacts_between_clusters_of_a_batch_do_not_count():
    alone = pair(carbon_dioxide(), [0, 9.0, 0])
    assert clashing_pairs([alone, alone, alone]).tolist() == [0, 0, 0]


def test_pose_that_is_not_finite_is_refused():
    with pytest.raises(ClusterError, match="cluster 1 has a pose that is not finite"):
        clashing_pairs([pair(water(), [5, 0, 0]), pair(water(), [np.nan, 0, 0])])
    with pytest.raises(ClusterError, match="at least one"):
        clashing_pairs([])


def hydrogen_bond(hydrogen_to_oxygen: float, angle: float) -> Cluster:
    """Water giving a hydrogen bond to the end of carbon dioxide, with an angle at the hydrogen in degrees."""
    donor = water()
    turn = Rotation.align_vectors([[1.0, 0, 0]], [donor.positions[1] - donor.positions[0]])[0].as_matrix()
    away = np.radians(180.0 - angle)
    along = np.array([np.cos(away), np.sin(away), 0.0])
    oxygen = turn @ donor.positions[1] + hydrogen_to_oxygen * along
    acceptor = Rotation.align_vectors([along], [[1.0, 0, 0]])[0].as_matrix()
    return Cluster(
        (donor, carbon_dioxide()),
        np.array([0, 1]),
        np.stack([np.zeros(3), oxygen + 1.16 * along]),
        np.stack([turn, acceptor]),
        np.ones(2, int),
    )


def test_kinds_of_close_contacts_by_hand() -> None:
    # H 1.20, O 1.52 Å: a clash below 0.55 · 2.72 = 1.496, a hydrogen bond below 0.92 · 2.72 = 2.502, short below 2.72.
    kinds = {1.48: CLASH, 1.51: HYDROGEN_BOND, 2.49: HYDROGEN_BOND, 2.52: SHORT, 2.71: SHORT}
    found = close_contacts([hydrogen_bond(distance, 180.0) for distance in kinds])
    for contacts, (distance, kind) in zip(found, kinds.items(), strict=True):
        # Atoms 0, 1, 2 are O, H, H of water; 3 is the near oxygen of carbon dioxide. The hydrogen comes first.
        at = contacts.pairs.tolist().index([1, 3])
        assert contacts.kind[at] == kind
        assert contacts.distance[at] == pytest.approx(distance)
    assert [1, 3] not in close_contacts([hydrogen_bond(2.73, 180.0)])[0].pairs.tolist()


def test_a_bent_hydrogen_bond_is_a_short_contact() -> None:
    straight, bent = close_contacts([hydrogen_bond(2.3, 125.0), hydrogen_bond(2.3, 115.0)])
    assert straight.kind[straight.pairs.tolist().index([1, 3])] == HYDROGEN_BOND
    assert bent.kind[bent.pairs.tolist().index([1, 3])] == SHORT


def test_clashes_are_those_that_are_counted() -> None:
    rng = np.random.default_rng(0)
    clusters = [
        Cluster(
            (water(), carbon_dioxide()),
            rng.integers(0, 2, 8),
            2.2 * rng.normal(size=(8, 3)),
            Rotation.random(8, random_state=seed).as_matrix(),
            np.ones(8, int),
        )
        for seed in range(3)
    ]
    clashes = [(contacts.kind == CLASH).sum() / 8 for contacts in close_contacts(clusters)]
    assert min(clashes) > 0
    assert np.allclose(clashes, clashing_pairs(clusters))
