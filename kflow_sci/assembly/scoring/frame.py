"""What the scores look at: atoms in space and the molecule each belongs to.

The one idea: a score knows arrays and nothing of how they were made, so the output of any rival can be scored. Within
a molecule the order of the atoms is fixed; molecules of one kind share it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int

from kflow_sci.assembly.bonds import find_bonds, fragments
from kflow_sci.assembly.elements import COVALENT_RADIUS, look_up
from kflow_sci.errors import ScoreError

if TYPE_CHECKING:
    from kflow_sci.assembly.cluster import Cluster


@dataclass(frozen=True, eq=False)
class Frame:
    """Atoms of one cluster.

    Attributes:
        numbers: Atomic numbers, ``(atoms,)``.
        positions: Å, ``(atoms, 3)``.
        molecule: Molecule of each atom, ``(atoms,)``, numbered 0 … n−1 without a gap.
        id: Name of the reference the cluster belongs to; empty where unknown.
        info: Plain values that came with it.
    """

    numbers: Int[np.ndarray, " atoms"]
    positions: Float[np.ndarray, "atoms 3"]
    molecule: Int[np.ndarray, " atoms"]
    id: str = ""
    info: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, cluster: Cluster) -> Frame:
        """The frame of a cluster of rigid molecules."""
        identity = str(cluster.info.get("id", ""))
        return cls(cluster.numbers, cluster.positions, cluster.molecule_of, identity, dict(cluster.info))

    @property
    def n_molecules(self) -> int:
        """Number of molecules."""
        return int(self.molecule.max()) + 1 if len(self.molecule) else 0

    @cached_property
    def members(self) -> list[Int[np.ndarray, " a"]]:
        """Atom indices of each molecule, in file order."""
        order = np.argsort(self.molecule, kind="stable")
        return np.split(order, np.cumsum(np.bincount(self.molecule))[:-1])

    @cached_property
    def centroids(self) -> Float[np.ndarray, "n 3"]:
        """Unweighted mean of the atoms of each molecule, Å."""
        count = np.bincount(self.molecule)
        sums = [np.bincount(self.molecule, weights=self.positions[:, axis]) for axis in range(3)]
        return np.stack(sums, axis=1) / count[:, None]

    @cached_property
    def centre(self) -> int:
        """The molecule whose centroid is nearest to the mean of the centroids; the first of those within 1e-6 Å."""
        distance = np.linalg.norm(self.centroids - self.centroids.mean(axis=0), axis=1)
        return int(np.flatnonzero(distance <= distance.min() + 1e-6)[0])

    def describe(self) -> str:
        """Number of atoms and molecules, for messages."""
        return f"{len(self.numbers)} atoms in {self.n_molecules} molecules"


def number_without_gaps(labels: Iterable[int]) -> Int[np.ndarray, " atoms"]:
    """Rename labels to 0, 1, 2 … in the order in which they first appear."""
    _, first, inverse = np.unique(np.asarray(list(labels)), return_index=True, return_inverse=True)
    rank = np.empty(len(first), dtype=np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[inverse]


def molecules_by_bonds(
    numbers: Int[np.ndarray, " atoms"], positions: Float[np.ndarray, "atoms 3"]
) -> Int[np.ndarray, " atoms"]:
    """Tell molecules apart by their bonds; see ``bonds.find_bonds``.

    Returns:
        Molecule of each atom, numbered by first atom, ``(atoms,)``.

    Raises:
        ScoreError: an element without a covalent radius.
    """
    unknown = numbers[np.isnan(look_up(COVALENT_RADIUS, numbers))]
    if len(unknown):
        raise ScoreError(
            f"element number {unknown[0]} has no covalent radius here, so molecules cannot be told apart: "
            "give a per-atom integer column `molecule` in the file"
        )
    return fragments(len(numbers), find_bonds(numbers, positions))
