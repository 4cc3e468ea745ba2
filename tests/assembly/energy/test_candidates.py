"""What is said of candidates when they are ranked."""

from __future__ import annotations

import numpy as np

from kflow_sci.assembly.cluster import Cluster
from kflow_sci.assembly.energy.candidates import crowding, rank_by
from kflow_sci.assembly.molecule import Molecule

NITROGEN = Molecule.build(np.array([7, 7]), np.array([[0.0, 0, 0], [1.098, 0, 0]]), name="N2")[0]


def pair(distance: float) -> Cluster:
    """Two parallel molecules side by side."""
    place = np.array([[0.0, 0, 0], [0, distance, 0]])
    body = np.array(
        [[0.0, 0, 1], [1, 0, 0], [0, 1, 0]]
    )  # whichever axis the molecule lies along, they are parallel
    return Cluster(
        (NITROGEN,), np.zeros(2, dtype=int), place, np.tile(body, (2, 1, 1)), np.ones(2, dtype=int)
    )


def test_clashes_that_are_left_in_the_best_candidate_are_said_with_their_number() -> None:
    # Bondi's radius of N is 1.55 Å, so atoms clash below 0.8 x 3.10 = 2.48 Å. Two molecules side by side at 1.5 Å have
    # clashes; at 4 Å, where the nearest atoms of any arrangement are at least 4 - 1.098 = 2.90 Å apart, none.
    near, far = pair(1.5), pair(4.0)
    assert crowding(rank_by([near, far])) is None
    said = crowding(rank_by([near]))
    assert said is not None and "--density" in said and "\n" not in said
    assert f"{rank_by([near])[0].info['clashing_pairs']:.2f} clashing pairs per molecule" in said
    assert crowding([]) is None
