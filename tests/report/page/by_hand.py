"""Candidates whose every number is known."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from kflow_sci.assembly.cluster import Cluster
from kflow_sci.assembly.model.walk import Walk
from kflow_sci.assembly.molecule import Molecule
from kflow_sci.report.page.payload import Candidate

STOPS, SHELLS = 5, 2


def water() -> Molecule:
    half = np.radians(104.5 / 2)
    hydrogen = 0.96 * np.array([np.sin(half), np.cos(half), 0.0])
    positions = np.array([[0.0, 0.0, 0.0], hydrogen, hydrogen * [-1, 1, 1]])
    return Molecule(np.array([8, 1, 1]), positions - positions.mean(0), bonds=np.array([[0, 1], [0, 2]]))


def poses(copies: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A row of molecules 3 Å apart, disturbed, in random orientations."""
    rng = np.random.default_rng(seed)
    centroid = np.stack([3.0 * np.arange(copies), np.zeros(copies), np.zeros(copies)], axis=1)
    centroid += rng.uniform(-0.3, 0.3, size=centroid.shape)
    return centroid, Rotation.random(copies, random_state=seed).as_matrix()


def cluster(copies: int = 4, seed: int = 0, molecule: Molecule | None = None, **info: object) -> Cluster:
    parity = np.where(np.arange(copies) % 2, -1, 1)
    return Cluster((molecule or water(),), np.zeros(copies, int), *poses(copies, seed), parity, dict(info))


def walked(made: Cluster, seed: int = 9) -> Candidate:
    """A walk that gathers the molecules from twice as far, all turned as in the end but the first, which turns."""
    times = np.linspace(0.0, 1.0, STOPS)
    centroid = made.centroid * (2.0 - times)[:, None, None]
    rotation = np.repeat(made.rotation[None], STOPS, axis=0)
    about = np.array([0.0, 0.0, 1.0])
    rotation[:, 0] = Rotation.from_rotvec(np.outer(1.0 - times, about)).as_matrix() @ made.rotation[0]
    progress = np.stack([np.clip(2 * times, 0, 1), np.clip(2 * times - 1, 0, 1)], axis=1)
    walk = Walk(times, progress.sum(1), progress, centroid, rotation, progress**2 * 1.5, progress**2 * 0.25)
    return Candidate(made, walk)
