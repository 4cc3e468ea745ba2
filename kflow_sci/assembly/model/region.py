"""Where molecules may be: a ball or a box about the origin, as PackMol has them.

The one idea: a region knows its volume, draws points, and moves a molecule that sticks out back in, as a whole.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial import cKDTree

from kflow_sci.errors import ClusterError

_ROUNDS = 12  # of mutual repulsion; more change little
_INSIDE_ROUNDS = 4  # a molecule that sticks out of a ball at two ends is moved more than once


class Region(Protocol):
    """A convex place about the origin."""

    @property
    def volume(self) -> float:
        """Å^3."""

    def draw(self, count: int, rng: np.random.Generator) -> Float[np.ndarray, "n 3"]:
        """Uniform points, Å."""

    def clip(self, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
        """The nearest points inside."""

    def confine(
        self,
        centroid: Float[np.ndarray, "copies 3"],
        arm: Float[np.ndarray, "atoms 3"],
        first: Int[np.ndarray, " copies+1"],
    ) -> Float[np.ndarray, "copies 3"]:
        """Centroids, moved so that atoms come inside as far as the molecule fits.

        Args:
            centroid: Å.
            arm: Atoms about their centroids, Å.
            first: First atom of each copy, and the number of atoms.
        """

    def __str__(self) -> str:
        """For messages and settings."""


@dataclass(frozen=True)
class Sphere:
    """A ball.

    Attributes:
        radius: Å.

    Raises:
        ClusterError: the radius is not a positive number.
    """

    radius: float

    def __post_init__(self) -> None:
        if not 0.0 < self.radius < math.inf:
            raise ClusterError(f"the sphere has radius {self.radius:g} Å, but must be a positive number")

    @property
    def volume(self) -> float:
        return 4.0 / 3.0 * math.pi * self.radius**3

    def draw(self, count: int, rng: np.random.Generator) -> Float[np.ndarray, "n 3"]:
        direction = rng.normal(size=(count, 3))
        length = self.radius * rng.random((count, 1)) ** (1.0 / 3.0)
        return direction / np.linalg.norm(direction, axis=1, keepdims=True) * length

    def clip(self, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
        length = np.linalg.norm(points, axis=1, keepdims=True)
        return points * np.minimum(1.0, self.radius / np.maximum(length, 1e-9))

    def confine(
        self,
        centroid: Float[np.ndarray, "copies 3"],
        arm: Float[np.ndarray, "atoms 3"],
        first: Int[np.ndarray, " copies+1"],
    ) -> Float[np.ndarray, "copies 3"]:
        owner = np.repeat(np.arange(len(centroid)), np.diff(first))
        moved = centroid.copy()
        for _ in range(_INSIDE_ROUNDS):
            place = moved[owner] + arm
            length = np.linalg.norm(place, axis=1)
            farthest = np.array([a + length[a:b].argmax() for a, b in itertools.pairwise(first)])
            over = np.maximum(length[farthest] - self.radius, 0.0)
            if not over.any():
                break
            moved -= (over / length[farthest].clip(1e-9))[:, None] * place[farthest]
        return moved

    def __str__(self) -> str:
        return f"sphere of radius {self.radius:g} Å"


@dataclass(frozen=True)
class Box:
    """A box with its sides along the axes.

    Attributes:
        sides: Å.

    Raises:
        ClusterError: a side is not a positive number.
    """

    sides: tuple[float, float, float]

    def __post_init__(self) -> None:
        if not all(0.0 < side < math.inf for side in self.sides):
            raise ClusterError(f"the box has sides {self.sides} Å, but they must be positive numbers")

    @property
    def volume(self) -> float:
        return math.prod(self.sides)

    def draw(self, count: int, rng: np.random.Generator) -> Float[np.ndarray, "n 3"]:
        return (rng.random((count, 3)) - 0.5) * np.array(self.sides)

    def clip(self, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
        half = np.array(self.sides) / 2
        return np.clip(points, -half, half)

    def confine(
        self,
        centroid: Float[np.ndarray, "copies 3"],
        arm: Float[np.ndarray, "atoms 3"],
        first: Int[np.ndarray, " copies+1"],
    ) -> Float[np.ndarray, "copies 3"]:
        half = np.array(self.sides) / 2
        low = centroid + np.minimum.reduceat(arm, first[:-1])
        high = centroid + np.maximum.reduceat(arm, first[:-1])
        moved = centroid + np.maximum(-half - low, 0.0) - np.maximum(high - half, 0.0)
        # What is longer than the box stands out equally at both ends.
        return np.where(high - low > 2 * half, centroid - (low + high) / 2, moved)

    def __str__(self) -> str:
        return f"box of {' × '.join(f'{side:g}' for side in self.sides)} Å"


def outside(
    region: Region,
    centroid: Float[np.ndarray, "copies 3"],
    arm: Float[np.ndarray, "atoms 3"],
    first: Int[np.ndarray, " copies+1"],
    slack: float = 0.01,
) -> int:
    """How many copies have an atom outside by more than ``slack`` Å."""
    owner = np.repeat(np.arange(len(centroid)), np.diff(first))
    place = centroid[owner] + arm
    out = np.linalg.norm(region.clip(place) - place, axis=1) > slack
    return len(np.unique(owner[out]))


def even_points(region: Region, count: int, rng: np.random.Generator) -> Float[np.ndarray, "n 3"]:
    """Points that fill a region evenly: uniform ones, after some rounds of mutual repulsion, in random order.

    Args:
        region: Where.
        count: How many.
        rng: Of the draws.
    """
    points = region.draw(count, rng)
    spacing = (region.volume / count) ** (1.0 / 3.0)
    for _ in range(_ROUNDS):
        i, j = cKDTree(points).query_pairs(spacing, output_type="ndarray").T
        offset = points[i] - points[j]
        distance = np.maximum(np.linalg.norm(offset, axis=1, keepdims=True), 1e-9)
        push = 0.4 * np.maximum(spacing - distance, 0.0) * offset / distance
        np.add.at(points, i, push)
        np.subtract.at(points, j, push)
        points = region.clip(points)
    return points
