"""What the baselines share: checked arguments, random orientations, hands and streams.

The one idea: sample i of a seed is drawn from its own stream, so it is the same however many samples are asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial.transform import Rotation

from kflow_sci.assembly.cluster import Cluster
from kflow_sci.assembly.molecule import Molecule
from kflow_sci.errors import ClusterError


def streams(copies: int, n: int, seed: int, volume: float) -> Iterator[np.random.Generator]:
    """One random stream for each sample.

    Raises:
        ClusterError: fewer than one copy or sample, a negative seed, or a volume that is not positive.
    """
    limits = {"copies": (copies, 1), "n": (n, 1), "seed": (seed, 0)}
    for name, (value, least) in limits.items():
        if value < least:
            raise ClusterError(f"{name} is {value}, but must be at least {least}: give a larger number")
    if not np.isfinite(volume) or volume <= 0:
        raise ClusterError(
            f"volume is {volume}, but a molecule takes a positive, finite volume: give it in Å^3"
        )
    return (np.random.default_rng([seed, i]) for i in range(n))


def refuse_start(method: str, start: Sequence[Cluster] | None) -> None:
    """Say that a method draws its own start.

    Raises:
        ClusterError: a start is given.
    """
    if start is not None:
        raise ClusterError(f"{method} has no use for a start: leave it out")


def random_rotations(count: int, rng: np.random.Generator) -> Float[np.ndarray, "count 3 3"]:
    """Rotations uniform on SO(3), from normalised Gaussian quaternions."""
    return Rotation.from_quat(rng.normal(size=(count, 4))).as_matrix()


def random_parities(molecule: Molecule, count: int, rng: np.random.Generator) -> Int[np.ndarray, " count"]:
    """Both hands with equal chance; one hand where the molecule fixes it, and where it is its own mirror image."""
    if molecule.handed or not molecule.symmetry.chiral:
        return np.ones(count, dtype=np.int64)
    return rng.choice([1, -1], size=count)


def ball_radius(copies: int, volume: float) -> float:
    """Radius of the ball that holds the copies at this volume per molecule, Å."""
    return float((3.0 * copies * volume / (4.0 * np.pi)) ** (1.0 / 3.0))


def place(
    molecule: Molecule, centroid: Float[np.ndarray, "n 3"], volume: float, rng: np.random.Generator
) -> Cluster:
    """Copies at the given places, in random orientations and hands."""
    copies = len(centroid)
    return Cluster(
        (molecule,),
        np.zeros(copies, dtype=np.int64),
        centroid,
        random_rotations(copies, rng),
        random_parities(molecule, copies, rng),
        {"volume": volume},
    )
