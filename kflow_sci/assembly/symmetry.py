"""Body frame and point group of a molecule (being written)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int


@dataclass(frozen=True, eq=False)
class PointGroup:
    """Operations of the body frame that map a molecule onto itself, within a tolerance.

    Attributes:
        proper: Rotations, ``(g, 3, 3)``, the identity first.
        improper: Operations with determinant −1, ``(h, 3, 3)``; empty for a chiral molecule.
    """

    proper: Float[np.ndarray, "g 3 3"]
    improper: Float[np.ndarray, "h 3 3"]

    @property
    def chiral(self) -> bool:
        return len(self.improper) == 0


def body_frame(numbers: Int[np.ndarray, " n"], positions: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "3 3"]:
    _, vectors = np.linalg.eigh(positions.T @ positions)
    vectors[:, 0] *= np.sign(np.linalg.det(vectors))
    return vectors


def point_group(numbers: Int[np.ndarray, " n"], positions: Float[np.ndarray, "n 3"]) -> PointGroup:
    return PointGroup(np.eye(3)[None], np.zeros((0, 3, 3)))
