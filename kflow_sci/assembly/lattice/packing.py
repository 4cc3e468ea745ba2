"""A crystal of rigid molecules: a cell, a space group, and one pose for each independent molecule.

The one idea: with the cell in its standard orientation (a along x, b in the xy plane) the Cartesian form Q of every
operation does not change with the free cell parameters. So a packing is a handful of numbers, all of them free: the
coordinates of the cell in ``SpaceGroup.cell_basis``, and six per independent molecule. Symmetry cannot be broken.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int

from kflow_sci.assembly.molecule import Molecule
from kflow_sci.errors import PackingError

if TYPE_CHECKING:
    import gemmi

DALTON_PER_CUBIC_ANGSTROM = 1.0 / 0.602214076  # g/cm^3

# Axes and angles (degrees) that have the symmetry of each system and no more.
_TYPICAL = {
    "triclinic": (7.0, 8.0, 9.0, 81.0, 94.0, 103.0),
    "monoclinic": (7.0, 8.0, 9.0, 90.0, 104.0, 90.0),
    "orthorhombic": (7.0, 8.0, 9.0, 90.0, 90.0, 90.0),
    "tetragonal": (7.0, 7.0, 9.0, 90.0, 90.0, 90.0),
    "trigonal": (7.0, 7.0, 9.0, 90.0, 90.0, 120.0),
    "hexagonal": (7.0, 7.0, 9.0, 90.0, 90.0, 120.0),
    "cubic": (7.0, 7.0, 7.0, 90.0, 90.0, 90.0),
}


@dataclass(frozen=True, eq=False)
class SpaceGroup:
    """The operations of a crystal on fractional coordinates, ``f -> W f + w``.

    Attributes:
        name: Hermann–Mauguin name, as in ``P 1 21/c 1``.
        number: In the International Tables, 1 … 230.
        system: triclinic, monoclinic, orthorhombic, tetragonal, trigonal, hexagonal or cubic.
        rotations: W, ``(g, 3, 3)``; the identity first, centring included.
        translations: w in [0, 1), ``(g, 3)``.
    """

    name: str
    number: int
    system: str
    rotations: Int[np.ndarray, "g 3 3"]
    translations: Float[np.ndarray, "g 3"]

    @classmethod
    def named(cls, name: str | int) -> SpaceGroup:
        """A space group by its name in any setting of the tables, or by its number.

        Args:
            name: As in ``P21/c``, ``P 1 21/n 1``, ``I2/a``, ``14``.

        Raises:
            PackingError: there is no such group, or its axes are rhombohedral.
        """
        return _named(str(name).strip())

    @classmethod
    def from_operations(
        cls, rotations: Int[np.ndarray, "g 3 3"], translations: Float[np.ndarray, "g 3"]
    ) -> SpaceGroup:
        """A space group from its operations, in whatever setting and with whatever origin.

        Args:
            rotations: W, ``(g, 3, 3)``, a group together with the translations, in any order.
            translations: w, ``(g, 3)``, whole multiples of 1/24.

        Raises:
            PackingError: the operations are those of no space group.
        """
        import gemmi
        import spglib

        steps = np.round(np.asarray(translations) * gemmi.Op.DEN).astype(int) % gemmi.Op.DEN
        identity = (rotations == np.eye(3, dtype=int)).all(axis=(1, 2)) & (steps == 0).all(axis=1)
        order = np.concatenate([np.flatnonzero(identity), np.flatnonzero(~identity)])
        rotations, steps = np.asarray(rotations)[order], steps[order]
        known: Any = gemmi.find_spacegroup_by_ops(gemmi.GroupOps(_gemmi(rotations, steps)))
        if known is not None:
            return cls(known.hm, known.number, _system(known), rotations, steps / gemmi.Op.DEN)
        kind: Any = spglib.get_spacegroup_type_from_symmetry(rotations, steps / gemmi.Op.DEN)
        if kind is None or not identity.any():
            raise PackingError(f"{len(order)} operations form no space group: complete or correct them")
        usual = gemmi.find_spacegroup_by_number(kind.number)
        return cls(usual.hm, kind.number, _system(usual), rotations, steps / gemmi.Op.DEN)

    def __len__(self) -> int:
        """Number of operations, centring included."""
        return len(self.rotations)

    @property
    def hands(self) -> bool:
        """Whether the group holds mirrors, glides or inversions, so that its crystals hold both hands."""
        return bool((np.linalg.det(self.rotations) < 0).any())

    @cached_property
    def is_tabulated(self) -> bool:
        """Whether ``named`` gives these very operations under this name."""
        usual = _named(self.name)
        return set(triplets_of(usual)) == set(triplets_of(self))

    @cached_property
    def cartesian(self) -> Float[np.ndarray, "g 3 3"]:
        """Q, the rotation parts on Cartesian columns, for every cell in the standard orientation."""
        metric = _typical_metric(self)
        turned = np.linalg.cholesky(metric).T
        return turned @ self.rotations @ np.linalg.inv(turned)

    @cached_property
    def cell_basis(self) -> Float[np.ndarray, "k 3 3"]:
        """Orthonormal basis of the cells that have the symmetry: every one is ``sum_k p_k cell_basis[k]``.

        There are 6 for triclinic cells, 4 monoclinic, 3 orthorhombic, 2 tetragonal, trigonal and hexagonal, 1 cubic.
        All are lower triangular; diagonal entries come before the others, and are positive.
        """
        lower = [(0, 0), (1, 1), (2, 2), (1, 0), (2, 0), (2, 1)]
        units = np.zeros((6, 3, 3))
        for k, place in enumerate(lower):
            units[k][place] = 1.0
        # A cell L (rows a, b, c) has the operation W with Cartesian form Q if transpose(L) W = Q transpose(L).
        transposed = units.transpose(0, 2, 1)
        broken = transposed[:, None] @ self.rotations - self.cartesian @ transposed[:, None]
        _, size, axes = np.linalg.svd(broken.reshape(6, -1).T, full_matrices=False)
        broken_axes = axes[:6][size > 1e-9]
        projector = np.eye(6) - broken_axes.T @ broken_axes
        free: list[np.ndarray] = []
        for k in range(
            6
        ):  # Gram-Schmidt in the order of ``lower``, so that axes of their own keep their names
            vector = projector[k] - sum((v * (v @ projector[k]) for v in free), np.zeros(6))
            if np.linalg.norm(vector) > 1e-6:
                free.append(vector / np.linalg.norm(vector))
        return np.einsum("kn,nij->kij", np.array(free), units)

    def symmetric_cell(self, cell: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "3 3"]:
        """The cell, turned to the standard orientation, that has the symmetry exactly and is closest to a given one.

        Args:
            cell: Rows are the cell vectors in any orientation, Å, ``(3, 3)``.

        Raises:
            PackingError: the cell encloses no volume, or the group would change it by more than 5 %.
        """
        standard = standard_cell(cell)
        nearest = np.einsum("kij,kmn,mn->ij", self.cell_basis, self.cell_basis, standard)
        worst = float(np.abs(nearest - standard).max() / np.abs(standard).max())
        if worst > 0.05:
            raise PackingError(
                f"the cell does not fit {self.name} ({self.system}): its vectors would move by {worst:.0%} (limit 5%): "
                "choose another group or cell"
            )
        return nearest


def standard_cell(cell: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "3 3"]:
    """The same cell with a along x and b in the xy plane.

    Args:
        cell: Rows are the cell vectors, Å, ``(3, 3)``; a left-handed set is inverted.

    Raises:
        PackingError: the vectors are not finite or enclose no volume.
    """
    cell = np.asarray(cell, dtype=np.float64)
    finite = bool(np.isfinite(cell).all()) and cell.shape == (3, 3)
    metric = cell @ cell.T if finite else np.zeros((3, 3))
    lengths = np.sqrt(np.diag(metric))
    if not finite or not abs(np.linalg.det(cell)) > 1e-4 * max(float(lengths.prod()), 1e-12):
        raise PackingError(
            "the cell vectors enclose no volume: give three lengths > 0 and angles that close a cell"
        )
    return np.linalg.cholesky(metric)


@dataclass(frozen=True, eq=False)
class Packing:
    """A crystal of rigid molecules.

    Image g of independent molecule i in the cell shifted by the whole numbers t has the fractional centroid
    ``W_g place_i + w_g + t`` and the orientation ``Q_g parity_i rotation_i``; it is the mirror image of its template
    where that has determinant −1.

    Attributes:
        molecules: The distinct templates.
        group: The space group.
        cell: Rows a, b, c in Å, standard orientation, ``(3, 3)``.
        kind: Template of each independent molecule, ``(z,)``.
        place: Fractional centroids, ``(z, 3)``.
        rotation: Proper rotations, ``(z, 3, 3)``.
        parity: +1, or −1 for the mirror image of the template, ``(z,)``.
        info: Plain values that travel with the packing (id, energy in kJ/mol per molecule).
    """

    molecules: tuple[Molecule, ...]
    group: SpaceGroup
    cell: Float[np.ndarray, "3 3"]
    kind: Int[np.ndarray, " z"]
    place: Float[np.ndarray, "z 3"]
    rotation: Float[np.ndarray, "z 3 3"]
    parity: Int[np.ndarray, " z"]
    info: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        z = len(self.kind)
        shapes = {"cell": (3, 3), "place": (z, 3), "rotation": (z, 3, 3), "parity": (z,)}
        for name, shape in shapes.items():
            if getattr(self, name).shape != shape:
                raise PackingError(
                    f"{name} of a packing has shape {getattr(self, name).shape}, expected {shape} for {z} molecules"
                )

    def __len__(self) -> int:
        """Independent molecules."""
        return len(self.kind)

    @property
    def copies(self) -> int:
        """Molecules in the cell."""
        return len(self) * len(self.group)

    @property
    def volume(self) -> float:
        """Å^3 per molecule."""
        return float(np.linalg.det(self.cell)) / self.copies

    @property
    def density(self) -> float:
        """g/cm^3, with the standard atomic weights."""
        mass = sum(self.molecules[k].mass for k in self.kind) / len(self)
        return mass / self.volume * DALTON_PER_CUBIC_ANGSTROM

    @property
    def parameters(self) -> tuple[float, float, float, float, float, float]:
        """a, b, c in Å and alpha, beta, gamma in degrees."""
        lengths = np.linalg.norm(self.cell, axis=1)
        unit = self.cell / lengths[:, None]
        cosines = [unit[1] @ unit[2], unit[0] @ unit[2], unit[0] @ unit[1]]
        angles = np.degrees(np.arccos(np.clip(cosines, -1, 1)))
        return (*(float(x) for x in lengths), *(float(x) for x in angles))  # type: ignore[return-value]

    def images(self) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, "n 3"], Float[np.ndarray, "n 3 3"]]:
        """All molecules of the cell: operation after operation, in each the independent ones in order.

        Returns:
            Index of the independent molecule ``(n,)``, fractional centroid in [0, 1) ``(n, 3)`` and orientation
            (``parity * rotation`` of the image, determinant ±1) ``(n, 3, 3)``.
        """
        place = np.einsum("gij,zj->gzi", self.group.rotations, self.place) + self.group.translations[:, None]
        own = self.parity[:, None, None] * self.rotation
        turned = np.einsum("gij,zjk->gzik", self.group.cartesian, own)
        index = np.tile(np.arange(len(self)), len(self.group))
        return index, place.reshape(-1, 3) % 1.0, turned.reshape(-1, 3, 3)


@lru_cache(maxsize=64)
def _named(name: str) -> SpaceGroup:
    import gemmi

    found = (
        gemmi.find_spacegroup_by_number(int(name))
        if name.isdecimal()
        else gemmi.find_spacegroup_by_name(name.replace("_", ""))
    )
    if found is None:
        raise PackingError(f"there is no space group {name!r}: {_hint(name)}")
    if found.ext == "R":
        raise PackingError(
            f"the space group {found.xhm()} has rhombohedral axes: give {found.hm}:H, its hexagonal ones"
        )
    operations = list(found.operations())
    rotations = np.array([o.rot for o in operations], dtype=np.int64) // gemmi.Op.DEN
    translations = np.array([o.tran for o in operations]) % gemmi.Op.DEN / gemmi.Op.DEN
    return SpaceGroup(found.hm, found.number, _system(found), rotations, translations)


def _hint(name: str) -> str:
    import gemmi

    if name.lstrip("-").isdecimal():
        return "numbers run from 1 to 230"
    plain: dict[str, str] = {}
    for group in gemmi.spacegroup_table():
        for spelling in (group.short_name(), group.hm.replace(" ", "")):
            plain.setdefault(spelling.lower(), group.short_name())
    wanted = "".join(name.split()).replace("_", "").lower()
    near = difflib.get_close_matches(wanted, plain, n=3, cutoff=0.0)
    names = list(dict.fromkeys(plain[spelling] for spelling in near))
    return f"the nearest are {', '.join(names)}"


def _system(group: gemmi.SpaceGroup) -> str:
    return str(group.crystal_system_str())


def triplets_of(group: SpaceGroup) -> list[str]:
    """The operations as ``-x,y+1/2,-z+1/2``, in their order."""
    import gemmi

    steps = np.round(group.translations * gemmi.Op.DEN).astype(int)
    return [operation.triplet() for operation in _gemmi(group.rotations, steps)]


def operations_of(triplets: Sequence[str]) -> SpaceGroup:
    """The group of operations written as ``-x,y+1/2,-z+1/2``.

    Raises:
        PackingError: a triplet cannot be read, or the operations are those of no space group.
    """
    import gemmi

    try:
        operations = [gemmi.Op(triplet) for triplet in triplets]
    except (RuntimeError, TypeError) as error:
        raise PackingError(f"a symmetry operation cannot be read ({error}): correct it") from None
    rotations = np.array([o.rot for o in operations], dtype=np.int64) // gemmi.Op.DEN
    return SpaceGroup.from_operations(rotations, np.array([o.tran for o in operations]) / gemmi.Op.DEN)


def _gemmi(rotations: np.ndarray, steps: np.ndarray) -> list[gemmi.Op]:
    import gemmi

    operations = []
    for turn, step in zip(rotations, steps, strict=True):
        operation = gemmi.Op()
        operation.rot = (turn * gemmi.Op.DEN).tolist()
        operation.tran = step.tolist()
        operations.append(operation)
    return operations


def _typical_metric(group: SpaceGroup) -> Float[np.ndarray, "3 3"]:
    """A metric with the symmetry of the group and no other: an odd cell averaged over the operations."""
    a, b, c, *angles = _TYPICAL["triclinic"]
    cosines = np.cos(np.radians(angles))
    unit = np.array([[1, cosines[2], cosines[1]], [cosines[2], 1, cosines[0]], [cosines[1], cosines[0], 1]])
    metric = unit * np.outer([a, b, c], [a, b, c])
    return np.einsum("gki,kl,glj->ij", group.rotations, metric, group.rotations) / len(group)
