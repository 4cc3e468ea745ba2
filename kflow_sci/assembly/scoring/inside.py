"""What must not change inside a molecule: distances, bonds, configuration.

The one idea: a program that moves rigid copies passes all of these by construction, one that moves atoms has to earn
it. Molecules are compared with those of the reference as a set, so numbering and mirror images of a racemate are free.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from kflow_sci.assembly.bonds import find_bonds, partners
from kflow_sci.assembly.elements import COVALENT_RADIUS, look_up
from kflow_sci.assembly.scoring.frame import Frame

SAME_CONFORMER = 1e-6  # Å; molecules of the reference whose distances differ by no more are one conformer
BOND_TOLERANCE = 0.25  # a bond is broken if its length is off by more than this share
PYRAMIDAL = (15, 16, 33, 34, 52)  # P, S, As, Se, Te keep three partners in their order
FLAT = 0.1  # Å^3; four partners that span less have no hand


@dataclass(frozen=True, eq=False)
class Internal:
    """The inside of every molecule of a reference, kind by kind.

    Attributes:
        frame: The reference.
    """

    frame: Frame

    @cached_property
    def kinds(self) -> dict[bytes, _Kind]:
        """One entry for each sequence of elements."""
        found: dict[bytes, list[Int[np.ndarray, " a"]]] = {}
        for atoms in self.frame.members:
            found.setdefault(self.frame.numbers[atoms].tobytes(), []).append(atoms)
        return {
            key: _Kind.of(
                self.frame.numbers[members[0]], np.stack([self.frame.positions[a] for a in members])
            )
            for key, members in found.items()
        }

    def compare(self, pred: Frame) -> dict[str, float]:
        """Measures of one sample.

        Args:
            pred: Its molecules have the atoms of those of the reference, in any order of molecules.

        Returns:
            ``distortion``: largest change of a distance inside a molecule against the nearest conformer of the
            reference, Å. ``distortion_rms``: root mean square of all such changes, Å. ``broken_bonds``: share of the
            bonds whose length is off by more than 25 %. ``chirality_kept``: share of stereocentres with the
            configuration of the reference's molecules, assigned as is best, so that a racemate keeps its numbers of
            either hand and its order is free. The first three are 0 for rigid copies. NaN where there is no bond or no
            stereocentre, and where a coordinate is not finite.

        Source:
            The limit of 25 % is that of PoseBusters: Buttenschoen, Morris and Deane, Chem. Sci. 15 (2024) 3130.
        """
        points: dict[bytes, list[Float[np.ndarray, "a 3"]]] = {}
        for atoms in pred.members:
            points.setdefault(pred.numbers[atoms].tobytes(), []).append(pred.positions[atoms])
        largest, squares, count, broken, bonds, kept, centres = 0.0, 0.0, 0, 0, 0, 0, 0
        for key, mine in points.items():
            kind, stack = self.kinds[key], np.stack(mine)
            for molecule in stack:
                shape = cdist(molecule, molecule)
                change = np.abs(kind.shapes - shape)
                nearest = int(change.max(axis=(1, 2)).argmin())
                largest = float(np.maximum(largest, change[nearest].max()))
                squares += float(np.square(change[nearest]).sum())
                count += shape.size - len(shape)
            length = _lengths(stack, kind.bonds)
            broken += int(np.count_nonzero(~(np.abs(length / kind.length - 1.0) <= BOND_TOLERANCE)))
            bonds += length.size
            kept += _agreeing(kind.signs, _signs(stack, kind.centres))
            centres += len(stack) * len(kind.centres)
        return {
            "distortion": largest,
            "distortion_rms": float(np.sqrt(squares / count)) if count else float("nan"),
            "broken_bonds": broken / bonds if bonds else float("nan"),
            "chirality_kept": kept / centres if centres else float("nan"),
        }


@dataclass(frozen=True, eq=False)
class _Kind:
    """Molecules of one composition.

    Attributes:
        shapes: Distance matrices of the different conformers, Å.
        bonds: Pairs of atoms.
        length: Mean length of each bond, Å.
        centres: Four partners of each stereocentre, or three and the centre itself.
        signs: Their hand in every molecule of the reference.
    """

    shapes: Float[np.ndarray, "c a a"]
    bonds: Int[np.ndarray, "m 2"]
    length: Float[np.ndarray, " m"]
    centres: Int[np.ndarray, "s 4"]
    signs: Int[np.ndarray, "n s"]

    @classmethod
    def of(cls, numbers: Int[np.ndarray, " a"], positions: Float[np.ndarray, "n a 3"]) -> _Kind:
        shapes: list[Float[np.ndarray, "a a"]] = []
        for points in positions:
            shape = cdist(points, points)
            if all(np.abs(shape - other).max() > SAME_CONFORMER for other in shapes):
                shapes.append(shape)
        bonds = bonds_of(numbers, positions[0])
        centres = stereocentres(numbers, bonds)
        length = _lengths(positions, bonds).mean(axis=0)
        return cls(np.stack(shapes), bonds, length, centres, _signs(positions, centres))


def bonds_of(numbers: Int[np.ndarray, " a"], positions: Float[np.ndarray, "a 3"]) -> Int[np.ndarray, "m 2"]:
    """Bonds of one molecule, as ``bonds.find_bonds``; none to elements without a covalent radius there."""
    known = np.flatnonzero(~np.isnan(look_up(COVALENT_RADIUS, numbers)))
    return known[find_bonds(numbers[known], positions[known])].reshape(-1, 2)


def stereocentres(numbers: Int[np.ndarray, " a"], bonds: Int[np.ndarray, "m 2"]) -> Int[np.ndarray, "s 4"]:
    """Atoms with four partners that the bonds alone tell apart, or three where the atom keeps a pyramid.

    Centres that differ only by the configuration of others (as in cis and trans rings) are not among them.

    Returns:
        For each centre its four partners, by rank; where it has three, the centre itself comes last.
    """
    rank = numbers.astype(np.int64)
    neighbours = [partners(bonds, a) for a in range(len(rank))]
    for _ in range(len(rank)):
        keys = [(int(rank[a]), *sorted(rank[near].tolist())) for a, near in enumerate(neighbours)]
        places = {key: place for place, key in enumerate(sorted(set(keys)))}
        finer = np.array([places[key] for key in keys])
        done = len(places) == len(np.unique(rank))
        rank = finer
        if done:
            break
    centres = []
    for a, near in enumerate(neighbours):
        least = 3 if numbers[a] in PYRAMIDAL else 4
        if least <= len(near) <= 4 and len(np.unique(rank[near])) == len(near):
            ordered = near[np.argsort(rank[near])].tolist()
            centres.append(ordered if len(near) == 4 else [*ordered, a])
    return np.array(centres, dtype=np.int64).reshape(-1, 4)


def _signs(positions: Float[np.ndarray, "n a 3"], centres: Int[np.ndarray, "s 4"]) -> Int[np.ndarray, "n s"]:
    """Hand of each centre: the sign of the volume that its partners span; 0 where they lie in a plane."""
    a, b, c, d = (positions[:, centres[:, k]] for k in range(4))
    volume = np.einsum("nsx,nsx->ns", a - d, np.cross(b - d, c - d))
    return np.where(np.abs(volume) < FLAT, 0, np.sign(volume)).astype(np.int64)


def _agreeing(ref: Int[np.ndarray, "n s"], pred: Int[np.ndarray, "m s"]) -> int:
    """Centres with the same hand, molecules assigned as is best."""
    same = ((ref[:, None] == pred) | (ref[:, None] == 0)).sum(axis=2)  # without a hand there is none to lose
    rows, columns = linear_sum_assignment(-same)
    return int(same[rows, columns].sum())


def _lengths(
    positions: Float[np.ndarray, "n a 3"], bonds: Int[np.ndarray, "m 2"]
) -> Float[np.ndarray, "n m"]:
    return np.linalg.norm(positions[:, bonds[:, 0]] - positions[:, bonds[:, 1]], axis=2)
