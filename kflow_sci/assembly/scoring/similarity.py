"""Packing similarity: how many molecules around a centre lie as in the reference, and how well.

The one idea, after COMPACK: take the molecules nearest to a centre of the reference and look for the same surroundings
in the prediction, using no cell, no space group and no numbering. The centre is laid over every molecule of the
prediction in every way its symmetry allows. A neighbour matches where a molecule lies at the same distance from the
centre (20 %), in the same direction (20°) and in the same orientation (20°), and the distances between the matched
neighbours must hold as well (20 %). Then all matched molecules are superimposed, and what fits now is matched anew.

This is a measure of our own in that manner, not a copy of the program: counts may differ from it by some.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from kflow_sci.assembly.scoring.frame import Frame
from kflow_sci.assembly.scoring.states import States
from kflow_sci.assembly.superpose import best_rotation
from kflow_sci.errors import ScoreError

SIZE = 15
DISTANCE = 0.2
ANGLE = 20.0
SOLVED_RMSD = 2.0
PERFECT = 0.01  # Å; a full match this good ends the search

_ROUNDS = 4  # superimpose and match at most so often
_NEVER = 1e9  # the cost of a pair that does not match
_CHUNK = 2_000_000  # pairs judged at once, a bound on memory


@dataclass(frozen=True)
class Overlay:
    """The best match found.

    Attributes:
        n_matched: Matched molecules, the centre included, 1 … ``size``; 0 if even the centre has no counterpart.
        size: Molecules compared: the smaller of what was asked for and what the reference has.
        rmsd: Root mean square distance of the atoms of all matched molecules after superposition, Å.
        rmsd_packed: The smallest such value over all matchings seen that hold more than half of ``size`` molecules, Å;
            NaN without any. Matching as many as possible drags in molecules that spoil ``rmsd``.
        pairs: (molecule of the reference, molecule of the prediction) of the match.
        mirrored: Whether the prediction was inverted for it.
    """

    n_matched: int
    size: int
    rmsd: float
    rmsd_packed: float
    pairs: tuple[tuple[int, int], ...]
    mirrored: bool = False

    @property
    def packed(self) -> bool:
        """More than half of the molecules match: 8 of 15."""
        return 2 * self.n_matched > self.size

    @property
    def solved(self) -> bool:
        """Some matching of more than half of the molecules has an RMSD below 2 Å."""
        return self.rmsd_packed < SOLVED_RMSD


def overlay(
    pred: Frame,
    ref: Frame,
    *,
    size: int = SIZE,
    distance: float = DISTANCE,
    angle: float = ANGLE,
    mirror: bool = False,
    hydrogens: bool = False,
) -> Overlay:
    """Overlay a prediction on the surroundings of the reference's central molecule.

    Args:
        pred: Prediction; its molecules may be numbered in any order.
        ref: Reference. The ``size`` molecules nearest to its central one are compared.
        size: Number of molecules compared, >= 1.
        distance: Relative tolerance on distances, in (0, 1).
        angle: Tolerance on directions and orientations, degrees, in (0, 90). An orientation holds if the atoms, seen
            from their centroid, are displaced no more than a turn by this angle would displace them at most.
        mirror: Also try the inverted prediction and keep the better. For space groups with improper operations the
            mirrored crystal is the same crystal, but a finite cut around one molecule is not its own mirror image.
        hydrogens: Compare all atoms instead of the heavy ones. Molecules with fewer than three heavy atoms are
            compared with all atoms anyway.

    Returns:
        The match with the most molecules, among those the one with the smallest RMSD.

    Raises:
        ScoreError: a tolerance out of range, or a molecule in the prediction that the reference does not have.

    Source:
        Chisholm and Motherwell, J. Appl. Cryst. 38 (2005) 228.
    """
    check_tolerances(size, distance, angle)
    search = _Search.of(pred, ref, size, distance, angle, hydrogens)
    best = search.run()
    if mirror and not (best.n_matched == best.size and best.rmsd < PERFECT):
        inverted = replace(pred, positions=-pred.positions)
        other = _Search.of(inverted, ref, size, distance, angle, hydrogens).run()
        if (other.n_matched, -other.rmsd) > (best.n_matched, -best.rmsd):
            best = replace(other, mirrored=True)
    return best


def check_tolerances(size: int, distance: float, angle: float) -> None:
    """Refuse an overlay that cannot be meant.

    Raises:
        ScoreError: ``size`` below 1, ``distance`` outside (0, 1) or ``angle`` outside (0, 90).
    """
    if size < 1 or not 0 < distance < 1 or not 0 < angle < 90:
        raise ScoreError(
            f"overlay of {size} molecules at {distance:g}, {angle:g}° is out of range: "
            "give size >= 1, distance between 0 and 1, angle between 0 and 90 degrees"
        )


@dataclass(frozen=True, eq=False)
class _Search:
    """One comparison."""

    states: States
    distance: float
    cosine: float
    turn: float  # squared misfit allowed, as a share of ``own``

    @classmethod
    def of(
        cls, pred: Frame, ref: Frame, size: int, distance: float, angle: float, hydrogens: bool
    ) -> _Search:
        return cls(
            states=States.of(pred, ref, size, hydrogens),
            distance=distance,
            cosine=float(np.cos(np.radians(angle))),
            turn=float((2 * np.sin(np.radians(angle) / 2)) ** 2),
        )

    def run(self) -> Overlay:
        """Try every start, those first that could match most."""
        size = len(self.states.shell)
        best = Overlay(0, size, np.nan, np.nan, ())
        state, rotation = self.states.starts(self.distance)
        if not len(state):
            return best
        step = max(1, _CHUNK // (size * len(self.states.owner)))
        bound = np.concatenate(
            [
                1 + self.near(rotation[i : i + step], state[i : i + step]).any(axis=2).sum(axis=1)
                for i in range(0, len(state), step)
            ]
        )
        for t in np.argsort(-bound, kind="stable"):
            if bound[t] < min(best.n_matched, size // 2 + 1):
                break
            best = self.grow(int(state[t]), rotation[t], best)
            if best.n_matched == size and best.rmsd < PERFECT:
                break
        return best

    def near(
        self, rotation: Float[np.ndarray, "t 3 3"], centre: Int[np.ndarray, " t"]
    ) -> Bool[np.ndarray, "t k s"]:
        """Which states suit which neighbour, seen from the centre, by distance and direction of the centroids."""
        arm = self.states.centroid[1:] - self.states.centroid[0]
        length = np.linalg.norm(arm, axis=1)[:, None]
        there = self.states.place - self.states.place[centre][:, None]
        far = np.linalg.norm(there, axis=2)[:, None]
        fits = np.abs(far - length) <= self.distance * length
        fits &= arm @ rotation.transpose(0, 2, 1) @ there.transpose(0, 2, 1) >= self.cosine * length * far
        return (
            fits
            & (self.states.kind[1:, None] == self.states.state_kind)
            & (self.states.owner != self.states.owner[centre][:, None])[:, None]
        )

    def grow(self, state: int, rotation: Float[np.ndarray, "3 3"], best: Overlay) -> Overlay:
        """Match, superimpose the matched and match again, from one start; the better of the result and ``best``."""
        majority = len(self.states.shell) // 2 + 1
        previous = 0
        for _ in range(_ROUNDS):
            mine, theirs = self.match(state, rotation)
            if len(mine) <= previous:
                break
            previous = len(mine)
            rotation, rmsd, deviation = self.superimpose(mine, theirs)
            if (len(mine), -rmsd) > (best.n_matched, -best.rmsd if best.n_matched else 0.0):
                pairs = tuple(
                    (int(self.states.shell[i]), int(self.states.owner[s]))
                    for i, s in zip(mine, theirs, strict=True)
                )
                best = replace(best, n_matched=len(mine), rmsd=rmsd, pairs=pairs)
            while len(mine) >= majority:
                best = replace(best, rmsd_packed=float(np.fmin(best.rmsd_packed, rmsd)))
                stay = np.arange(len(mine)) != 1 + deviation[1:].argmax() if len(mine) > 1 else [False]
                mine, theirs = mine[stay], theirs[stay]
                if len(mine):
                    _, rmsd, deviation = self.superimpose(mine, theirs)
        return best

    def match(
        self, state: int, rotation: Float[np.ndarray, "3 3"]
    ) -> tuple[Int[np.ndarray, " p"], Int[np.ndarray, " p"]]:
        """Neighbours that lie as in the reference: rows of the shell and their states, the centre first."""
        misfit = (
            self.states.own[:, None]
            + self.states.state_own
            - 2 * np.tensordot(self.states.cross, rotation, axes=2)
        )
        oriented = misfit <= self.turn * self.states.own[:, None] + 1e-9
        if not oriented[0, state]:
            return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
        fits = self.near(rotation[None], np.array([state]))[0] & oriented[1:]
        shift = self.states.place[state] + (self.states.centroid - self.states.centroid[0]) @ rotation.T
        error = misfit / self.states.atoms[:, None] + cdist(shift, self.states.place, "sqeuclidean")
        error = np.where(
            np.concatenate([np.zeros((1, len(self.states.owner)), dtype=bool), fits]), error, _NEVER
        )
        # The best state of every molecule, then the best molecule for every neighbour, as many as possible.
        cost = np.full((len(self.states.shell), self.states.owner.max() + 1), _NEVER)
        for s in np.flatnonzero(fits.any(axis=0)):
            cost[:, self.states.owner[s]] = np.minimum(cost[:, self.states.owner[s]], error[:, s])
        i, j = linear_sum_assignment(cost)
        i, j = i[cost[i, j] < _NEVER], j[cost[i, j] < _NEVER]
        chosen = [
            int(np.where(self.states.owner == b, error[a], np.inf).argmin())
            for a, b in zip(i, j, strict=True)
        ]
        return self.consistent(np.concatenate([[0], i]), np.array([state, *chosen]))

    def consistent(
        self, mine: Int[np.ndarray, " p"], theirs: Int[np.ndarray, " p"]
    ) -> tuple[Int[np.ndarray, " p"], Int[np.ndarray, " p"]]:
        """Drop neighbours, those in most conflicts first, until all distances between the matched hold."""
        ours = cdist(self.states.centroid[mine], self.states.centroid[mine])
        conflict = (
            np.abs(cdist(self.states.place[theirs], self.states.place[theirs]) - ours) > self.distance * ours
        )
        conflict[0] = conflict[:, 0] = False  # the neighbours have been judged from the centre
        stay = np.ones(len(mine), dtype=bool)
        while conflict.any():
            worst = int(conflict.sum(axis=1).argmax())
            conflict[worst] = conflict[:, worst] = stay[worst] = False
        return mine[stay], theirs[stay]

    def superimpose(
        self, mine: Int[np.ndarray, " p"], theirs: Int[np.ndarray, " p"]
    ) -> tuple[Float[np.ndarray, "3 3"], float, Float[np.ndarray, " p"]]:
        """Rotation, RMSD and the deviation of each molecule, Å, with all matched atoms superimposed."""
        weight = self.states.atoms[mine][:, None].astype(np.float64)
        source, target = self.states.centroid[mine], self.states.place[theirs]
        source = source - (weight * source).sum(axis=0) / weight.sum()
        target = target - (weight * target).sum(axis=0) / weight.sum()
        cross = self.states.cross[mine, theirs]
        rotation = best_rotation(cross.sum(axis=0) + (weight * target).T @ source)[0]
        squares = (
            self.states.own[mine] + self.states.state_own[theirs] - 2 * (cross * rotation).sum(axis=(1, 2))
        )
        squares = np.maximum(squares, 0.0) + weight[:, 0] * np.square(source @ rotation.T - target).sum(
            axis=1
        )
        return rotation, float(np.sqrt(squares.sum() / weight.sum())), np.sqrt(squares / weight[:, 0])
