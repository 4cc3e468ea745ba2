"""Drawn starts: rigid, random, and the same for the same seed and id."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from kflow_sci.assembly.cluster import Cluster
from kflow_sci.assembly.data.starts import centred_on_start, noised_start
from kflow_sci.assembly.molecule import Molecule
from kflow_sci.errors import ClusterError


def row(copies: int, gap: float = 4.0) -> Cluster:
    """Molecules along x, ``gap`` apart."""
    dimer = Molecule(np.array([7, 8]), np.array([[-0.6, 0, 0], [0.6, 0, 0]]))
    places = np.arange(copies)[:, None] * [gap, 0.0, 0.0]
    turns = np.broadcast_to(np.eye(3), (copies, 3, 3)).copy()
    return Cluster(
        (dimer,), np.zeros(copies, dtype=int), places, turns, np.ones(copies, dtype=int), {"id": "row"}
    )


def test_displacements_have_the_spread_asked_for() -> None:
    # Half of 4 Å along each axis; the standard error of a deviation over 1800 numbers is 1.7 %.
    start = noised_start(row(600), 0, spread=0.5)
    assert (start.centroid - row(600).centroid).std() == pytest.approx(2.0, rel=0.07)
    assert np.abs((start.centroid - row(600).centroid).mean(axis=0)).max() < 0.35


def test_rotations_are_uniform() -> None:
    # The angle θ has the density (1 − cos θ)/π, so the mean cos θ is −1/2 and the trace has mean 0 and deviation 1.
    start = noised_start(row(900), 1)
    assert np.linalg.det(start.rotation) == pytest.approx(np.ones(900))
    assert np.trace(start.rotation, axis1=1, axis2=2).mean() == pytest.approx(0.0, abs=0.12)
    assert np.abs(start.rotation.mean(axis=0)).max() < 0.08


def test_the_seed_and_the_id_decide() -> None:
    cluster = row(5)
    same, other, renamed = (
        noised_start(cluster, 0),
        noised_start(cluster, 1),
        replace(cluster, info={"id": "x"}),
    )
    assert (noised_start(cluster, 0).centroid == same.centroid).all()
    assert (other.centroid != same.centroid).all()
    assert (noised_start(renamed, 0).centroid != same.centroid).all()
    assert (noised_start(cluster, 0, spread=0.0).centroid == cluster.centroid).all()


def test_both_states_are_centred_on_the_atoms_of_the_start() -> None:
    cluster = row(5)
    final, start = centred_on_start(cluster, noised_start(cluster, 0))
    assert np.abs(start.positions.mean(axis=0)).max() < 1e-9
    assert np.ptp(final.centroid - cluster.centroid, axis=0) == pytest.approx(np.zeros(3), abs=1e-9)


def test_what_cannot_be_noised_is_refused() -> None:
    for cluster, spread in ((row(1), 0.5), (row(3), -0.1), (row(3), np.nan), (row(3), np.inf)):
        with pytest.raises(ClusterError, match="noised start"):
            noised_start(cluster, 0, spread)
