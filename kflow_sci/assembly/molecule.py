"""A rigid molecule: what every copy in a cluster shares.

The one idea: a molecule is stored in its own canonical frame (centroid at the origin, axes from
``symmetry.body_frame``), so that whoever turns the input, the stored coordinates stay the same up to the
molecule's own symmetry. A copy is then nothing but a pose: centroid, rotation and parity.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int

from kflow_sci.assembly.elements import COVALENT_RADIUS, SYMBOLS, crystal_volume, hill_formula
from kflow_sci.assembly.symmetry import PointGroup, body_frame, point_group
from kflow_sci.errors import MoleculeError

MAX_ATOMS = 200


@dataclass(frozen=True, eq=False)
class Molecule:
    """One rigid molecule in its body frame.

    Attributes:
        numbers: Atomic numbers, ``(n,)``.
        positions: Å, ``(n, 3)``; unweighted mean at the origin, canonical axes. Build with
            ``Molecule.build``.
        bonds: Pairs of atom indices, ``(m, 2)``; empty where unknown.
        bond_orders: ``(m,)``; 1, 2, 3 or 1.5.
        formal_charges: ``(n,)``.
        name: A label for tables and files.
        smiles: Where the molecule came from one, else None.
        handed: True if copies must all have the same hand (the input fixed a stereocentre), else False: a
            crystal may then hold both mirror images.
    """

    numbers: Int[np.ndarray, " n"]
    positions: Float[np.ndarray, "n 3"]
    bonds: Int[np.ndarray, "m 2"] = field(default_factory=lambda: np.zeros((0, 2), dtype=np.int64))
    bond_orders: Float[np.ndarray, " m"] = field(default_factory=lambda: np.zeros(0))
    formal_charges: Int[np.ndarray, " n"] | None = None
    name: str = "molecule"
    smiles: str | None = None
    handed: bool = False

    @classmethod
    def build(
        cls,
        numbers: Int[np.ndarray, " n"],
        positions: Float[np.ndarray, "n 3"],
        **fields: object,
    ) -> tuple[Molecule, Float[np.ndarray, " 3"], Float[np.ndarray, "3 3"]]:
        """Bring atoms into the body frame.

        Args:
            numbers: Atomic numbers, ``(n,)``.
            positions: Any frame, Å, ``(n, 3)``.
            fields: The other attributes of ``Molecule``.

        Returns:
            The molecule and the pose ``(centroid, rotation)`` that gives the input back:
            ``positions = centroid + molecule.positions @ rotation.T``.

        Raises:
            MoleculeError: fewer than 2 or more than ``MAX_ATOMS`` atoms, an unknown element, coordinates that
                are not finite, or two atoms closer than 0.4 Å.
        """
        numbers = np.asarray(numbers, dtype=np.int64)
        positions = np.asarray(positions, dtype=np.float64)
        check_atoms(numbers, positions, str(fields.get("name", "molecule")))
        centroid = positions.mean(axis=0)
        rotation = body_frame(numbers, positions - centroid)
        return cls(numbers, (positions - centroid) @ rotation, **fields), centroid, rotation  # type: ignore[arg-type]

    def __len__(self) -> int:
        return len(self.numbers)

    @cached_property
    def symmetry(self) -> PointGroup:
        """Rotations (and improper operations) of the body frame that map the molecule onto itself."""
        return point_group(self.numbers, self.positions)

    @property
    def symbols(self) -> list[str]:
        """Element symbols."""
        return [SYMBOLS[z] for z in self.numbers]

    @cached_property
    def formula(self) -> str:
        """Hill formula: C, H, then the alphabet."""
        return hill_formula(Counter(self.numbers.tolist()))

    @property
    def mass(self) -> float:
        """Molar mass, g/mol, standard atomic weights."""
        from ase.data import atomic_masses

        return float(atomic_masses[self.numbers].sum())

    @cached_property
    def crystal_volume(self) -> float:
        """Expected volume per molecule in a crystal, Å^3."""
        return crystal_volume(self.numbers)

    @cached_property
    def radius(self) -> float:
        """Distance of the farthest atom from the centroid, Å."""
        return float(np.linalg.norm(self.positions, axis=1).max())


def check_composition(numbers: Int[np.ndarray, " n"], name: str) -> None:
    """Refuse a list of atoms that cannot be one rigid molecule, whatever their positions.

    Raises:
        MoleculeError: fewer than 2 or more than ``MAX_ATOMS`` atoms, or an element without a covalent radius.
    """
    n = len(numbers)
    if n < 2:
        raise MoleculeError(
            f"{name}: {n} atom(s), but a rigid molecule needs at least 2 (a single atom has no orientation)"
        )
    if n > MAX_ATOMS:
        raise MoleculeError(
            f"{name}: {n} atoms, more than the limit of {MAX_ATOMS}: give one smaller molecule"
        )
    unknown = sorted({int(z) for z in numbers if not 0 < z < len(SYMBOLS) or np.isnan(COVALENT_RADIUS[z])})
    if unknown:
        label = ", ".join(SYMBOLS[z] if 0 < z < len(SYMBOLS) else f"number {z}" for z in unknown)
        raise MoleculeError(
            f"{name}: element {label} is not supported: use organic elements (H B C N O F Si P S Cl Br I …)"
        )


def check_atoms(numbers: Int[np.ndarray, " n"], positions: Float[np.ndarray, "n 3"], name: str) -> None:
    """Refuse atoms that cannot be one rigid molecule.

    Raises:
        MoleculeError: see ``Molecule.build``.
    """
    check_composition(numbers, name)
    n = len(numbers)
    if positions.shape != (n, 3):
        raise MoleculeError(f"{name}: positions have shape {positions.shape}, expected ({n}, 3)")
    if not np.isfinite(positions).all():
        bad = int(np.argmin(np.isfinite(positions).all(axis=1)))
        raise MoleculeError(f"{name}: atom {bad} has a coordinate that is not finite: mend the coordinates")
    distance = np.linalg.norm(positions[:, None] - positions[None], axis=-1)
    np.fill_diagonal(distance, np.inf)
    if distance.min() < 0.4:
        i, j = np.unravel_index(int(distance.argmin()), distance.shape)
        raise MoleculeError(
            f"{name}: atoms {i} and {j} are {distance.min():.2f} Å apart (limit 0.4 Å): they overlap, mend them"
        )
