"""Clusters of rigid molecules: templates plus poses.

The one idea: copy i is ``x = c_i + p_i R_i t`` with t the template of its kind, R a proper rotation and p =
±1 the parity (−1 inverts the template through its centroid). Nothing else of a cluster is stored, so bond
lengths cannot change. ``ClusterBatch`` is the same for many clusters at once, padded and masked, as tensors.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int

from kflow_sci.assembly.molecule import Molecule
from kflow_sci.errors import ClusterError

if TYPE_CHECKING:
    from ase import Atoms


@dataclass(frozen=True, eq=False)
class Cluster:
    """Copies of rigid molecules in space.

    Attributes:
        molecules: The distinct templates.
        kind: Template of each copy, ``(n,)``.
        centroid: Å, ``(n, 3)``.
        rotation: Proper rotations, ``(n, 3, 3)``.
        parity: +1, or −1 for the mirror image, ``(n,)``.
        info: Plain values that travel with the cluster (id, volume per molecule in Å^3, scores).
    """

    molecules: tuple[Molecule, ...]
    kind: Int[np.ndarray, " n"]
    centroid: Float[np.ndarray, "n 3"]
    rotation: Float[np.ndarray, "n 3 3"]
    parity: Int[np.ndarray, " n"]
    info: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n = len(self.kind)
        shapes = {"centroid": (n, 3), "rotation": (n, 3, 3), "parity": (n,)}
        for name, shape in shapes.items():
            if getattr(self, name).shape != shape:
                raise ClusterError(
                    f"{name} has shape {getattr(self, name).shape}, expected {shape} for {n} copies"
                )
        if n and not 0 <= self.kind.min() <= self.kind.max() < len(self.molecules):
            raise ClusterError(
                f"kind runs to {self.kind.max()}, but there are {len(self.molecules)} molecules"
            )

    def __len__(self) -> int:
        return len(self.kind)

    @property
    def orientation(self) -> Float[np.ndarray, "n 3 3"]:
        """``p R``: the orthogonal matrix that turns each template into place."""
        return self.parity[:, None, None] * self.rotation

    def positions_of(self, i: int) -> Float[np.ndarray, "a 3"]:
        """Atom positions of copy i, Å."""
        return self.centroid[i] + self.molecules[self.kind[i]].positions @ self.orientation[i].T

    @property
    def positions(self) -> Float[np.ndarray, "atoms 3"]:
        """All atom positions, Å, copy after copy, in template order."""
        return np.concatenate([self.positions_of(i) for i in range(len(self))])

    @property
    def numbers(self) -> Int[np.ndarray, " atoms"]:
        """Atomic number of every atom, copy after copy."""
        return np.concatenate([self.molecules[k].numbers for k in self.kind])

    @property
    def molecule_of(self) -> Int[np.ndarray, " atoms"]:
        """Index of the copy each atom belongs to."""
        return np.repeat(np.arange(len(self)), [len(self.molecules[k]) for k in self.kind])

    def take(self, copies: Int[np.ndarray, " m"] | slice) -> Cluster:
        """The cluster of the chosen copies."""
        return Cluster(
            self.molecules,
            self.kind[copies],
            self.centroid[copies],
            self.rotation[copies],
            self.parity[copies],
            self.info,
        )

    def to_ase(self) -> Atoms:
        """ASE atoms with a per-atom ``molecule`` index and ``info`` carried over."""
        from ase import Atoms

        atoms = Atoms(numbers=self.numbers, positions=self.positions)
        atoms.new_array("molecule", self.molecule_of)
        atoms.info.update(self.info)
        return atoms
