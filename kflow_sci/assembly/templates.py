"""Atoms in space become poses of rigid templates.

The one idea: a molecule that a known template fits, as it stands or as its mirror image, is a copy of it; any other
becomes a template itself. So whatever a file holds comes back atom by atom, and equal molecules share one template.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from jaxtyping import Float, Int

from kflow_sci.assembly.cluster import Cluster
from kflow_sci.assembly.molecule import Molecule
from kflow_sci.assembly.superpose import superpose_either_hand

RIGID = 0.01  # Å; a template lies within this of every atom of its copies
Make = Callable[[Int[np.ndarray, " a"], Float[np.ndarray, "a 3"]], Molecule]
"""``(numbers, positions) -> molecule``, in the order of these atoms"""


class Templates:
    """Templates met so far, and the poses of molecules about them.

    Args:
        known: Templates to begin with.
        rigid: Largest distance of an atom from where its template has it, Å.
    """

    def __init__(self, known: Iterable[Molecule] = (), rigid: float = RIGID) -> None:
        self.rigid = rigid
        self._known: dict[bytes, list[Molecule]] = {}
        for molecule in known:
            self._known.setdefault(_key(molecule.numbers), []).append(molecule)

    def __len__(self) -> int:
        return sum(len(molecules) for molecules in self._known.values())

    def fit(
        self, numbers: Int[np.ndarray, " a"], points: Float[np.ndarray, "a 3"], make: Make
    ) -> tuple[Molecule, Float[np.ndarray, " 3"], Float[np.ndarray, "3 3"], int]:
        """The template of a molecule and its pose about it.

        Args:
            numbers: Atomic numbers.
            points: Å.
            make: Called for a molecule that no template fits; what it makes is remembered.

        Returns:
            Template, centroid, proper rotation and parity.
        """
        middle = points.mean(axis=0)
        known = self._known.setdefault(_key(numbers), [])
        for template in known:
            parity, rotation, left = superpose_either_hand(template.positions, points - middle)
            if left.max() < self.rigid:
                return template, middle, rotation, parity
        template = make(numbers, points)
        known.append(template)
        parity, rotation, _ = superpose_either_hand(template.positions, points - middle)
        return template, middle, rotation, parity

    def cluster(
        self,
        members: Iterable[tuple[Int[np.ndarray, " a"], Float[np.ndarray, "a 3"], Make]],
        info: dict[str, object] | None = None,
    ) -> Cluster:
        """Molecules, each as ``fit`` takes it, as one cluster; templates in the order of first use."""
        molecules: list[Molecule] = []
        poses, kind = [], []
        for numbers, points, make in members:
            template, *pose = self.fit(numbers, points, make)
            place = next((i for i, other in enumerate(molecules) if other is template), len(molecules))
            if place == len(molecules):
                molecules.append(template)
            kind.append(place)
            poses.append(pose)
        centroid, rotation, parity = (np.array(column) for column in zip(*poses, strict=True))
        return Cluster(tuple(molecules), np.array(kind), centroid, rotation, parity, dict(info or {}))


def _key(numbers: Int[np.ndarray, " a"]) -> bytes:
    return np.asarray(numbers, dtype=np.int64).tobytes()
