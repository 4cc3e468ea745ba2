"""PM-atom at the best assignment of molecules and, within each, the best of the atom orders its symmetry allows.

The one idea: every superposition of the reference's centre on a molecule of the prediction, in every order of its atoms
and either hand, gives a linear assignment of molecules and orders, so a renumbered truth is met exactly. Where none
fits, the sum of squares is a quadratic assignment over (molecule, order); its pair terms are tabulated once by a matrix
product, and the best starts are improved by swapping two molecules or reordering one until nothing helps.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import permutations, product
from math import factorial

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from kflow_sci.assembly.scoring.frame import Frame
from kflow_sci.assembly.scoring.matching import EXACT, assignment
from kflow_sci.assembly.scoring.published import packing_matching
from kflow_sci.assembly.scoring.states import States
from kflow_sci.assembly.superpose import best_rotation
from kflow_sci.errors import ScoreError

STARTS = 48  # superpositions, of those that promise most, that are assigned
IMPROVED = 48  # starts improved by swaps
KICKS = 32  # times that the best one is disturbed and improved again
ENUMERATED = 20_000  # arrangements up to which all are tried, so that the result is the minimum
TABLE = 20_000_000  # entries of the table of pair terms, and of the distances behind it; beyond it swaps are left out
_CHUNK = 4_000_000  # misfits held at once
_NEVER = 1e12
_MAX_SWAPS = 400

Arrangement = Int[np.ndarray, " n"]


def matched_pm_atom(pred: Frame, ref: Frame) -> float:
    """PM-atom at the best assignment of molecules and of symmetry-equivalent atoms.

    Args:
        pred: Prediction; its molecules may be numbered in any order, their atoms stand in the order of the reference.
        ref: Reference, with as many molecules of each kind.

    Returns:
        Root mean square difference of the two atom distance matrices, diagonal included, Å; lower is better. 0
        (rounding apart) for a renumbered, moved or mirrored truth, and for one whose molecules were carried onto
        themselves by their symmetry. The minimum where there are at most 20,000 arrangements, else an upper bound;
        NaN if a coordinate is not finite.

    Raises:
        ScoreError: the two differ in the number of molecules, or in the molecules.
    """
    if pred.n_molecules != ref.n_molecules or len(pred.numbers) != len(ref.numbers):
        raise ScoreError(
            f"{pred.describe()} cannot be matched to {ref.describe()}: give the same molecules in both"
        )
    if not (np.isfinite(pred.positions).all() and np.isfinite(ref.positions).all()):
        return float("nan")
    states = States.of(pred, ref, ref.n_molecules, hydrogens=True)
    candidates = _by_superposition(states, pred, ref)
    best = min(_misfit(states, pred, ref, arrangement) for arrangement in candidates[:2])
    if best < EXACT:
        return best
    table = _Table.of(states, pred, ref)
    if table is None:
        return min([best, *(_misfit(states, pred, ref, arrangement) for arrangement in candidates[2:8])])
    best_one = table.all_tried()
    if best_one is None:
        candidates += _by_centroids(states, pred, ref)
        unique = np.unique(np.stack(candidates), axis=0)
        first = unique[np.argsort([-table.overlap(a) for a in unique], kind="stable")][:IMPROVED]
        improved = [table.improve(a) for a in first]
        best_one = table.kicked(improved[int(np.argmax([table.overlap(a) for a in improved]))])
    return min(best, _misfit(states, pred, ref, best_one))


def _misfit(states: States, pred: Frame, ref: Frame, arrangement: Arrangement) -> float:
    """PM-atom of one arrangement: the state that stands for each molecule of the shell."""
    mine = np.concatenate(states.index)
    theirs = np.concatenate([states.state_index[s] for s in arrangement])
    return packing_matching(pred.positions[theirs], ref.positions[mine])


def _by_superposition(states: States, pred: Frame, ref: Frame) -> list[Arrangement]:
    """Arrangements that lie nearest in space after laying the centre over the prediction, the nearest first."""
    found: dict[bytes, tuple[float, Arrangement]] = {}
    for hand in (1.0, -1.0):
        seen = (
            states
            if hand > 0
            else States.of(replace(pred, positions=-pred.positions), ref, ref.n_molecules, hydrogens=True)
        )
        state, rotation = seen.starts()
        if not len(state):
            continue
        owners = np.flatnonzero(np.diff(seen.owner, prepend=-1))
        bound = np.concatenate(
            [np.minimum.reduce(misfit, axis=2).sum(axis=1) for misfit in _chunks(seen, state, rotation)]
        )
        for t in np.argsort(bound, kind="stable")[:STARTS]:
            arrangement, error = _assign(seen, _misfits(seen, state[[t]], rotation[[t]])[0], owners)
            for _ in range(2):
                again, less = _assign(seen, _overlaid(seen, arrangement), owners)
                if less >= error - 1e-9:
                    break
                arrangement, error = again, less
            key = arrangement.tobytes()
            if key not in found or error < found[key][0]:
                found[key] = (error, arrangement)
            if error < 1e-12:
                break
    ordered = sorted(found.values(), key=lambda entry: entry[0])
    return [arrangement for _, arrangement in ordered] or [_by_index(states)]


def _chunks(states: States, state: np.ndarray, rotation: np.ndarray) -> list[Float[np.ndarray, "t n s"]]:
    step = max(1, _CHUNK // (len(states.shell) * len(states.owner)))
    return [_misfits(states, state[i : i + step], rotation[i : i + step]) for i in range(0, len(state), step)]


def _misfits(
    states: States, state: Int[np.ndarray, " t"], rotation: Float[np.ndarray, "t 3 3"]
) -> Float[np.ndarray, "t n s"]:
    """Squared distance, Å^2, of the atoms of each molecule from each state, with the centre laid over some states."""
    moved = (states.centroid - states.centroid[0]) @ rotation.transpose(0, 2, 1) + states.place[state][
        :, None
    ]
    return _squares(states, rotation, moved)


def _squares(
    states: States, rotation: Float[np.ndarray, "t 3 3"], moved: Float[np.ndarray, "t n 3"]
) -> Float[np.ndarray, "t n s"]:
    turned = np.tensordot(rotation.reshape(-1, 9), states.cross.reshape(*states.cross.shape[:2], 9), (1, 2))
    gap = (
        np.square(moved).sum(axis=2)[:, :, None]
        + np.square(states.place).sum(axis=1)
        - 2 * moved @ states.place.T
    )
    squares = states.own[:, None] + states.state_own - 2 * turned + states.atoms[:, None] * gap
    return np.where(states.kind[:, None] == states.state_kind, np.maximum(squares, 0.0), _NEVER)


def _overlaid(states: States, arrangement: Arrangement) -> Float[np.ndarray, "n s"]:
    """The misfits after all atoms of an arrangement were superimposed."""
    weight = states.atoms[:, None].astype(np.float64)
    middle = (weight * states.centroid).sum(axis=0) / weight.sum()
    place = states.place[arrangement]
    there = (weight * place).sum(axis=0) / weight.sum()
    cross = states.cross[np.arange(len(arrangement)), arrangement].sum(axis=0)
    rotation = best_rotation(cross + (weight * (place - there)).T @ (states.centroid - middle))[0]
    return _squares(states, rotation[None], ((states.centroid - middle) @ rotation.T + there)[None])[0]


def _assign(
    states: States, misfit: Float[np.ndarray, "n s"], owners: Int[np.ndarray, " m"]
) -> tuple[Arrangement, float]:
    """The best molecule for each of the reference, each in its best order, and the sum of squares, Å^2."""
    cost = np.minimum.reduceat(misfit, owners, axis=1)
    rows, columns = linear_sum_assignment(cost)
    allowed = np.where(states.owner == columns[:, None], misfit, np.inf)
    return allowed.argmin(axis=1), float(cost[rows, columns].sum())


def _by_centroids(states: States, pred: Frame, ref: Frame) -> list[Arrangement]:
    """The arrangement of the best PM-center, and the numbering as given, each molecule in the order of its atoms."""
    first = np.flatnonzero(np.diff(states.owner, prepend=-1))
    kinds = states.state_kind[first]
    order = assignment(pred.centroids, ref.centroids[states.shell], (kinds, states.kind))
    return [first[order], _by_index(states)]


def _by_index(states: States) -> Arrangement:
    """The numbering as given; kinds by their order where it does not fit."""
    first = np.flatnonzero(np.diff(states.owner, prepend=-1))
    kinds = states.state_kind[first]
    order = states.shell.copy()
    if not np.array_equal(kinds[order], states.kind):
        order[np.argsort(states.kind, kind="stable")] = np.argsort(kinds, kind="stable")
    return first[order]


@dataclass(frozen=True, eq=False)
class _Table:
    """Pair terms ``pair[i, s, j, t] = Σ_ab d_ab(i, j) d_ab(s, t)``: the more they sum to, the smaller PM-atom.

    States are renumbered so that molecule m in order o is ``m * orders + o``; kinds with fewer orders repeat some.
    """

    pair: Float[np.ndarray, "n s n s"]
    orders: int
    state: Int[np.ndarray, " s"]  # the state of ``States`` that each of ours is
    ours: Int[np.ndarray, " z"]  # and back
    fits: Bool[np.ndarray, "n m"]  # which molecule may stand for which

    @classmethod
    def of(cls, states: States, pred: Frame, ref: Frame) -> _Table | None:
        """Tabulate; None where that would take too much memory."""
        first = np.flatnonzero(np.diff(states.owner, prepend=-1))
        count = np.diff(first, append=len(states.owner))
        orders, n, width = int(count.max()), len(states.shell), max(len(atoms) for atoms in states.index)
        size = orders * n
        if max(n * n, width * width) * size * size > TABLE:
            return None
        state = (first[:, None] + np.arange(orders) % count[:, None]).ravel()
        theirs = _blocks(pred.positions, [states.state_index[s] for s in state], width)
        mine = _blocks(ref.positions, states.index, width)
        pair = mine.reshape(n * n, -1) @ theirs.reshape(size * size, -1).T
        pair = np.ascontiguousarray(pair.reshape(n, n, size, size).transpose(0, 2, 1, 3))
        ours = np.zeros(len(states.owner), dtype=np.int64)
        ours[state[::-1]] = np.arange(size)[::-1]
        return cls(pair, orders, state, ours, states.kind[:, None] == states.state_kind[first])

    def all_tried(self) -> Arrangement | None:
        """The best of all arrangements; None if there are too many to try."""
        n = len(self.fits)
        if n > 8 or factorial(n) * self.orders**n > ENUMERATED:
            return None
        owners = np.array(list(permutations(range(n))))
        owners = owners[self.fits[np.arange(n), owners].all(axis=1)]
        turns = np.array(list(product(range(self.orders), repeat=n)))
        every = (owners[:, None] * self.orders + turns).reshape(-1, n)
        i = np.arange(n)
        overlap = self.pair[i[:, None], every[:, :, None], i, every[:, None]].sum(axis=(1, 2))
        return self.state[every[int(overlap.argmax())]]

    def overlap(self, arrangement: Arrangement) -> float:
        """What is to be large."""
        mine, i = self.ours[arrangement], np.arange(len(arrangement))
        return float(self.pair[i[:, None], mine[:, None], i, mine].sum(dtype=np.float64))

    def kicked(self, arrangement: Arrangement) -> Arrangement:
        """Move up to five like molecules round in a ring, improve, keep what is better; the same draws every time."""
        rng = np.random.default_rng(0)
        best, most = arrangement, self.overlap(arrangement)
        for _ in range(KICKS):
            like = np.flatnonzero((self.fits == self.fits[rng.integers(len(self.fits))]).all(axis=1))
            ring = rng.permutation(like)[:5]
            tried = best.copy()
            tried[ring] = best[np.roll(ring, 1)]
            tried = self.improve(tried)
            if self.overlap(tried) > most:
                best, most = tried, self.overlap(tried)
        return best

    def improve(self, arrangement: Arrangement) -> Arrangement:
        """Swap two molecules, both reordered as is best, or reorder one, as long as that helps."""
        pair, g, n = self.pair, self.orders, len(arrangement)
        chosen = self.ours[arrangement].copy()
        i = np.arange(n)
        size = g * n
        alone = pair[i[:, None], np.arange(size), i[:, None], np.arange(size)]
        least = 1e-6 * abs(self.overlap(arrangement))
        for _ in range(_MAX_SWAPS):
            owner = chosen // g
            # All pair terms of molecule i as state s with the others as they are.
            with_rest = (
                pair[:, :, i, chosen].sum(axis=2)
                - pair[i[:, None], np.arange(size), i[:, None], chosen[:, None]]
            )
            base = with_rest[i, chosen] + 0.5 * alone[i, chosen]
            of = owner[:, None] * g + np.arange(g)
            turn = with_rest[i[:, None], of] + 0.5 * alone[i[:, None], of] - base[:, None]
            side = (
                with_rest[i[:, None, None], of]
                + 0.5 * alone[i[:, None, None], of]
                - pair[i[:, None, None], of, i[:, None], chosen[:, None]]
            )
            both = pair[
                i[:, None, None, None], of[None, :, :, None], i[None, :, None, None], of[:, None, None, :]
            ]
            gain = both + side[:, :, :, None] + side.transpose(1, 0, 2)[:, :, None, :]
            held = pair[i[:, None], chosen[:, None], i, chosen] - base[:, None] - base
            held = np.where(
                self.fits[:, owner] & self.fits[:, owner].T & ~np.eye(n, dtype=bool), held, -_NEVER
            )
            gain = gain + held[:, :, None, None]
            best, best_turn = int(gain.argmax()), int(turn.argmax())
            if max(gain.ravel()[best], turn.ravel()[best_turn]) <= least:
                break
            if turn.ravel()[best_turn] > gain.ravel()[best]:
                a, p = np.unravel_index(best_turn, turn.shape)
                chosen[a] = of[a, p]
            else:
                a, b, p, q = np.unravel_index(best, gain.shape)
                chosen[a], chosen[b] = of[b, p], of[a, q]
        return self.state[chosen]


def _blocks(
    positions: Float[np.ndarray, "atoms 3"], index: list[Int[np.ndarray, " a"]], width: int
) -> Float[np.ndarray, "s s w w"]:
    """Distances between the atoms of all pairs of molecules, padded with zeros, in single precision."""
    flat = np.concatenate(index)
    whole = cdist(positions[flat], positions[flat]).astype(np.float32)
    if len(flat) == width * len(index):
        return np.ascontiguousarray(whole.reshape(len(index), width, len(index), width).transpose(0, 2, 1, 3))
    blocks = np.zeros((len(index), len(index), width, width), dtype=np.float32)
    ends = np.cumsum([len(atoms) for atoms in index])
    for i, (end, atoms) in enumerate(zip(ends, index, strict=True)):
        for j, (stop, others) in enumerate(zip(ends, index, strict=True)):
            blocks[i, j, : len(atoms), : len(others)] = whole[
                end - len(atoms) : end, stop - len(others) : stop
            ]
    return blocks
