"""Every way a molecule of the prediction may stand for one of the reference.

The one idea: a state is a molecule of the prediction with one order of its atoms that the symmetry of the molecule
allows, and the atoms enter by sums alone. ``cross[i, s] = Σ_a b_a a_aᵀ`` over the atoms of reference molecule i and
state s, each seen from its centroid, gives the squared misfit under a turn R as ``own + state_own − 2 Σ R ∘ cross``.
So all states are compared under many rotations at the cost of a matrix product.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from kflow_sci.assembly.scoring.frame import Frame
from kflow_sci.assembly.superpose import best_rotation
from kflow_sci.assembly.symmetry import point_group
from kflow_sci.errors import ScoreError

ALTERNATIVE = 0.3  # Å; an atom permutation this much worse than the best on the centre is tried as well
THIN = 0.3  # Å; a centre whose atoms all lie this near to a line cannot fix its turn about it


@dataclass(frozen=True, eq=False)
class States:
    """The molecules nearest to the centre of a reference, and the states of a prediction.

    Attributes:
        shell: Molecules of the reference, the centre first.
        index: Their atoms that are compared, as numbers of the reference's atoms.
        kind: Which composition each of them has.
        atoms: Number of their atoms that are compared.
        centroid: Mean of those atoms, Å.
        own: Sum of their squared distances from it, Å^2.
        owner: Molecule of the prediction that each state is.
        state_index: Atoms of the prediction in the order that the state gives them.
        state_kind: Composition of each state.
        state_own: As ``own``.
        place: As ``centroid``.
        cross: See above, Å^2.
        arms: Atoms of the centre, seen from its centroid, Å.
    """

    shell: Int[np.ndarray, " k"]
    index: list[Int[np.ndarray, " a"]]
    kind: Int[np.ndarray, " k"]
    atoms: Int[np.ndarray, " k"]
    centroid: Float[np.ndarray, "k 3"]
    own: Float[np.ndarray, " k"]
    owner: Int[np.ndarray, " s"]
    state_index: list[Int[np.ndarray, " a"]]
    state_kind: Int[np.ndarray, " s"]
    state_own: Float[np.ndarray, " s"]
    place: Float[np.ndarray, "s 3"]
    cross: Float[np.ndarray, "k s 3 3"]
    arms: Float[np.ndarray, "a 3"]

    @classmethod
    def of(cls, pred: Frame, ref: Frame, size: int, hydrogens: bool) -> States:
        """List the states.

        Args:
            pred: Prediction; its molecules may be numbered in any order.
            ref: Reference.
            size: Molecules of the reference, those nearest to its centre; all if it has no more.
            hydrogens: Compare all atoms instead of the heavy ones. Molecules with fewer than three heavy atoms are
                compared with all atoms anyway.

        Raises:
            ScoreError: a molecule in the prediction that the reference does not have.
        """
        kinds: dict[bytes, int] = {}
        used: list[Int[np.ndarray, " a"]] = []
        orders: list[Int[np.ndarray, "g a"]] = []
        ref_kind = []
        for atoms in ref.members:
            numbers = ref.numbers[atoms]
            if numbers.tobytes() not in kinds:
                kinds[numbers.tobytes()] = len(kinds)
                heavy = np.flatnonzero(numbers > 1)
                used.append(np.arange(len(numbers)) if hydrogens or len(heavy) < 3 else heavy)
                orders.append(atom_orders(numbers, ref.positions[atoms], used[-1]))
            ref_kind.append(kinds[numbers.tobytes()])
        pred_kind = [kinds.get(pred.numbers[atoms].tobytes(), -1) for atoms in pred.members]
        if -1 in pred_kind:
            raise ScoreError(
                f"molecule {pred_kind.index(-1)} of the prediction has elements or an atom order "
                "that no molecule of the reference has: write its atoms in the order of the reference"
            )
        reach = np.linalg.norm(ref.centroids - ref.centroids[ref.centre], axis=1)
        shell = np.argsort(reach, kind="stable")[:size]
        index = [ref.members[i][used[ref_kind[i]]] for i in shell]
        owner = np.repeat(np.arange(len(pred_kind)), [len(orders[k]) for k in pred_kind])
        state_index = [pred.members[j][order] for j, k in enumerate(pred_kind) for order in orders[k]]
        mine = [ref.positions[atoms] for atoms in index]
        theirs = [pred.positions[atoms] for atoms in state_index]
        centroid, place = np.stack([m.mean(axis=0) for m in mine]), np.stack([t.mean(axis=0) for t in theirs])
        width = max(len(u) for u in used)
        arms, state_arms = np.zeros((len(mine), width, 3)), np.zeros((len(theirs), width, 3))
        for i, points in enumerate(mine):
            arms[i, : len(points)] = points - centroid[i]
        for i, points in enumerate(theirs):
            state_arms[i, : len(points)] = points - place[i]
        return cls(
            shell=shell,
            index=index,
            kind=np.array(ref_kind)[shell],
            atoms=np.array([len(m) for m in mine]),
            centroid=centroid,
            own=np.square(arms).sum(axis=(1, 2)),
            owner=owner,
            state_index=state_index,
            state_kind=np.array(pred_kind)[owner],
            state_own=np.square(state_arms).sum(axis=(1, 2)),
            place=place,
            cross=np.tensordot(arms, state_arms, axes=(1, 1)).transpose(0, 2, 3, 1),
            arms=arms[0],
        )

    def starts(self, tolerance: float = 0.2) -> tuple[Int[np.ndarray, " t"], Float[np.ndarray, "t 3 3"]]:
        """States that the centre can be laid over, and the rotation that does it.

        Args:
            tolerance: Relative, on the distance of the neighbours that fix the turn of a centre on a line.
        """
        state = np.flatnonzero(self.state_kind == self.kind[0])
        rotation, gain = best_rotation(self.cross[0, state])
        misfit = np.maximum(self.own[0] + self.state_own[state] - 2 * gain, 0.0)
        error = np.sqrt(misfit / self.atoms[0])
        least = np.full(self.owner.max() + 1, np.inf)
        np.minimum.at(least, self.owner[state], error)
        keep = error <= least[self.owner[state]] + ALTERNATIVE
        spread = np.linalg.svd(self.arms, compute_uv=False) / np.sqrt(self.atoms[0])
        if spread[1] >= THIN or len(self.shell) < 2:
            return state[keep], rotation[keep]
        return self._thin_starts(state, tolerance)

    def _thin_starts(
        self, state: Int[np.ndarray, " t"], tolerance: float
    ) -> tuple[Int[np.ndarray, " u"], Float[np.ndarray, "u 3 3"]]:
        """Starts of a centre on a line: two near neighbours off that line fix its turn."""
        axis = np.linalg.svd(self.arms)[2][0]
        arm = self.centroid - self.centroid[0]
        length = np.linalg.norm(arm, axis=1)
        beside = np.flatnonzero(length**2 - (arm @ axis) ** 2 > 1.0)[:2]
        states, rotations = [state[:0]], [np.zeros((0, 3, 3))]
        for i in beside:
            there = self.place - self.place[state][:, None]
            fits = np.abs(np.linalg.norm(there, axis=2) - length[i]) <= tolerance * length[i]
            c, s = np.nonzero(
                fits & (self.state_kind == self.kind[i]) & (self.owner != self.owner[state][:, None])
            )
            pull = self.atoms[i] * there[c, s][:, :, None] * arm[i]
            states.append(state[c])
            rotations.append(best_rotation(self.cross[0, state[c]] + self.cross[i, s] + pull)[0])
        return np.concatenate(states), np.concatenate(rotations)


def atom_orders(
    numbers: Int[np.ndarray, " n"], positions: Float[np.ndarray, "n 3"], used: Int[np.ndarray, " a"]
) -> Int[np.ndarray, "g a"]:
    """Orders of the used atoms that the symmetry of the molecule makes equivalent, the given order first.

    Improper operations count too: a mirrored copy of a molecule with such symmetry is the molecule, its atoms in
    another order.
    """
    return _atom_orders(numbers.tobytes(), positions.tobytes(), used.tobytes())


@lru_cache(maxsize=512)
def _atom_orders(numbers_bytes: bytes, positions_bytes: bytes, used_bytes: bytes) -> Int[np.ndarray, "g a"]:
    numbers = np.frombuffer(numbers_bytes, dtype=np.int64)
    positions = np.frombuffer(positions_bytes).reshape(-1, 3)
    used = np.frombuffer(used_bytes, dtype=np.int64)
    centred = positions - positions.mean(axis=0)
    group = point_group(numbers, centred)
    orders = {tuple(used.tolist()): None}
    for operation in np.concatenate([group.proper, group.improper]):
        cost = cdist(centred @ operation.T, centred, "sqeuclidean") + 1e6 * (numbers[:, None] != numbers)
        order = linear_sum_assignment(cost)[1]
        orders[tuple(order[used].tolist())] = None
    return np.array(list(orders))
