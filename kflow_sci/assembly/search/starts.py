"""Where trials start: random crystals near the density that the atoms predict.

The one idea: a proposal is a function of the number of the trial and nothing else. Trial t draws from a stream of its
own, so a trial is the same whoever runs it, in whatever order, and a search continues where it was stopped.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from jaxtyping import Float

from kflow_sci.assembly.lattice.packing import Packing, SpaceGroup
from kflow_sci.assembly.molecule import Molecule
from kflow_sci.errors import PackingError

# How often a group is tried. Crystals of the train split, each in the largest subgroup that moves every molecule (so
# that P21 holds many that are P21/c around a centrosymmetric molecule), of 193. They hold no C2/c with one molecule in
# general position; its weight is that of P21/c times 587/5951, the ratio of such homomolecular crystals in Belsky,
# Zorkaya & Zorky 1995, as cited in International Tables C (2006), section 9.7.4. A group with two settings is tried
# half the time in each: with the angle below 120 degrees they reach every shape.
COMMON = {
    "P21/c": 35, "P21/n": 35, "P-1": 43, "P21": 37, "P212121": 11, "P1": 11, "C2/c": 3.5, "I2/a": 3.5, "Pna21": 6,
    "Pbca": 3, "C2": 1, "I2": 1, "Cc": 1, "Ia": 1, "Pca21": 1, "Pc": 0.5, "Pn": 0.5,
}  # fmt: skip

MOST_MOLECULES = 48  # in a cell


class Proposal(Protocol):
    """Where trial t of a search starts; must be fit to be sent to other processes.

    A learned proposal is any class with these three; what it learns, it learns before the search.
    """

    @property
    def molecules(self) -> tuple[Molecule, ...]:
        """The templates of every start: the very same tuple each time."""
        ...

    @property
    def settings(self) -> list[Any]:
        """Plain values (json) that change whenever a start would: name, seed, checksums."""
        ...

    def __call__(self, trial: int) -> Packing:
        """The start of a trial, the same for the same number.

        Its ``info`` may hold ``strain``, kJ/mol per molecule: what its conformers cost, which is added to the energy.
        """
        ...


@dataclass(frozen=True, eq=False)
class RandomProposal:
    """Random crystals of a molecule.

    The group is drawn by weight; the axes are log-normal; the angles uniform (monoclinic 90 … 120, triclinic 65 … 115
    degrees); the volume is uniform between ``loosest`` and ``densest`` times the expected one; places and orientations
    are uniform. Each independent molecule is one of the conformers. In groups without mirrors, glides and inversions
    all copies have one hand: the crystal and its mirror image have one energy, so the template's is taken.

    Attributes:
        conformers: One molecule in one or more rigid shapes.
        groups: The space groups.
        weights: One per group, > 0.
        z_prime: Independent molecules.
        seed: >= 0.
        strain: Energy of each conformer above the lowest, kJ/mol; none if empty.
        densest: Smallest start volume as a multiple of ``Molecule.crystal_volume``.
        loosest: Largest.
        spread: Standard deviation of the logarithms of the axes.
    """

    conformers: tuple[Molecule, ...]
    groups: tuple[SpaceGroup, ...]
    weights: tuple[float, ...]
    z_prime: int = 1
    seed: int = 0
    strain: tuple[float, ...] = ()
    densest: float = 1.15
    loosest: float = 1.7
    spread: float = 0.35

    @property
    def molecules(self) -> tuple[Molecule, ...]:
        """The conformers."""
        return self.conformers

    @property
    def settings(self) -> list[Any]:
        """All attributes, as plain values."""
        return [
            "random", self.seed, self.z_prime, self.densest, self.loosest, self.spread,
            [group.name for group in self.groups], list(self.weights), list(self.strain),
            checksum(self.conformers),
        ]  # fmt: skip

    def __call__(self, trial: int) -> Packing:
        """Trial number ``trial``."""
        rng = np.random.default_rng([self.seed, trial])
        weights = np.array(self.weights) / sum(self.weights)
        group = self.groups[int(rng.choice(len(self.groups), p=weights))]
        kind = rng.integers(len(self.conformers), size=self.z_prime)
        expected = self.conformers[0].crystal_volume * self.z_prime * len(group)
        cell = random_cell(group, rng.uniform(self.densest, self.loosest) * expected, self.spread, rng)
        strain = {"strain": float(np.mean([self.strain[k] for k in kind]))} if self.strain else {}
        mixed = self.z_prime > 1 and not self.conformers[0].handed
        parity = rng.choice([1, -1], size=self.z_prime) if mixed else np.ones(self.z_prime, dtype=np.int64)
        if mixed:
            parity[0] = 1
        return Packing(
            molecules=self.conformers,
            group=group,
            cell=cell,
            kind=kind,
            place=rng.uniform(size=(self.z_prime, 3)),
            rotation=random_rotations(self.z_prime, rng),
            parity=parity,
            info={"trial": trial, **strain},
        )


def random_cell(
    group: SpaceGroup, volume: float, spread: float, rng: np.random.Generator
) -> Float[np.ndarray, "3 3"]:
    """A cell of a crystal system with random axes and angles.

    Args:
        group: The space group; its free cell parameters are drawn.
        volume: Å^3, of the whole cell.
        spread: Standard deviation of the logarithms of the axes.
        rng: The stream.
    """
    lengths = np.exp(spread * rng.standard_normal(3))
    angles = np.full(3, 90.0)
    if group.system == "triclinic":
        while True:
            angles = rng.uniform(65.0, 115.0, size=3)
            if angles.sum() < 350 and 2 * angles.max() < angles.sum() - 10:
                break
    elif group.system == "monoclinic":
        angles[_monoclinic_axis(group)] = rng.uniform(90.0, 120.0)
    elif group.system in ("trigonal", "hexagonal"):
        angles[2] = 120.0
    if group.system in ("tetragonal", "trigonal", "hexagonal"):
        lengths[1] = lengths[0]
    elif group.system == "cubic":
        lengths[:] = 1.0
    cos_a, cos_b, cos_g = np.cos(np.radians(angles))
    unit = np.array([[1, cos_g, cos_b], [cos_g, 1, cos_a], [cos_b, cos_a, 1]])
    cell = np.linalg.cholesky(unit * np.outer(lengths, lengths))
    nearest = np.einsum("kij,kmn,mn->ij", group.cell_basis, group.cell_basis, cell)
    return nearest * (volume / np.linalg.det(nearest)) ** (1 / 3)


def _monoclinic_axis(group: SpaceGroup) -> int:
    """The axis across which the free angle lies: b in the usual settings."""
    lower = group.cell_basis[-1]
    return {(1, 0): 2, (2, 0): 1, (2, 1): 0}[tuple(np.argwhere(np.abs(lower) > 0.5)[0].tolist())]


def random_rotations(count: int, rng: np.random.Generator) -> Float[np.ndarray, "n 3 3"]:
    """Uniform proper rotations, from uniform unit quaternions."""
    from scipy.spatial.transform import Rotation

    return Rotation.from_quat(rng.standard_normal((count, 4))).as_matrix()


def named_groups(names: str | Sequence[str]) -> tuple[list[SpaceGroup], bool]:
    """The groups of a list, and whether it says ``common``.

    Raises:
        PackingError: a name is unknown, or there is none.
    """
    words = [w.strip() for w in (names.split(",") if isinstance(names, str) else names)]
    words = [w for w in words if w]
    if not words:
        raise PackingError("no space group is named: give --groups common, or names such as P21/c,P-1")
    common = words == ["common"]
    return [SpaceGroup.named(word) for word in (COMMON if common else words)], common


def choose_groups(
    names: str | Sequence[str], molecule: Molecule
) -> tuple[tuple[SpaceGroup, ...], tuple[float, ...]]:
    """Space groups of a search and how often each is tried.

    Args:
        names: ``"common"``, or names or numbers (a text may hold several, separated by commas). Named groups are tried
            in the proportions of ``COMMON``, those that are not in it like the rarest there.
        molecule: A ``handed`` one packs only in groups without mirrors, glides and inversions.

    Raises:
        PackingError: a name is unknown, or no group is fit for a handed molecule.
    """
    groups, common = named_groups(names)
    known = {SpaceGroup.named(name).name: weight for name, weight in COMMON.items()}
    weights = [known.get(group.name, min(COMMON.values())) for group in groups]
    if molecule.handed:
        improper = [group.name for group in groups if group.hands]
        if improper and not common:
            raise PackingError(
                f"{improper[0]} holds both hands, but the stereocentres of {molecule.name} fix one: choose among "
                "P1, P21, C2, P212121 …, or give the molecule without stereo marks"
            )
        fit = [(g, w) for g, w in zip(groups, weights, strict=True) if not g.hands]
        groups, weights = [g for g, _ in fit], [w for _, w in fit]
    return tuple(groups), tuple(weights)


def check_start(molecule: Molecule, groups: Sequence[SpaceGroup], z_prime: int) -> None:
    """Refuse what no trial could start from.

    Raises:
        PackingError: more independent molecules than 1 or 2, or a cell with more than ``MOST_MOLECULES`` molecules.
        MoleculeError: an element without a known volume.
    """
    if z_prime not in (1, 2):
        raise PackingError(f"z-prime is {z_prime}, but 1 or 2 independent molecules are searched: choose one")
    largest = max(groups, key=len)
    if len(largest) * z_prime > MOST_MOLECULES:
        raise PackingError(
            f"{largest.name} with {z_prime} independent molecules has {len(largest) * z_prime} in the cell (limit "
            f"{MOST_MOLECULES}): choose a group with fewer operations"
        )
    if not math.isfinite(molecule.crystal_volume):
        raise PackingError(f"no crystal volume is known for {molecule.name}: choose another molecule")


def checksum(molecules: Sequence[Molecule]) -> str:
    """Changes with the elements and the shapes of molecules."""
    digest = hashlib.sha256()
    for molecule in molecules:
        digest.update(np.ascontiguousarray(molecule.numbers).tobytes())
        digest.update(np.round(molecule.positions, 6).tobytes())
    return digest.hexdigest()[:16]
