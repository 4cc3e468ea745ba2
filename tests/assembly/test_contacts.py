"""What counts as a clash, by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from kflow_sci.assembly.bonds import bonded_pairs
from kflow_sci.assembly.cluster import Cluster
from kflow_sci.assembly.contacts import clashing_pairs, polar_hydrogens
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
