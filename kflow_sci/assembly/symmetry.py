"""Canonical axes of a molecule and its point group.

The one idea of the frame: try every frame that the molecule itself offers (principal axes, and atoms where those are
degenerate) and keep the one that maximises a scalar function of the body coordinates that has no symmetry at all.
Frames that tie are then related by a symmetry of the molecule, so the stored coordinates depend neither on how the
input was turned nor on the order of its atoms; no sign rule is needed and small changes move the axes by a little.

The one idea of the point group: an operation that carries a molecule onto itself carries two of its atoms onto two
equivalent ones. All such pairs are tried, each hit is polished by a least-squares fit, and the fits are then made
consistent, so that what is returned is a group and not a list of near misses.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.optimize import linear_sum_assignment

from kflow_sci.assembly.superpose import superpose

DEGENERATE = 0.02  # second moments closer than this share of the largest do not define an axis
FAR = 0.437  # atoms nearer to an axis than this share of the farthest do not define a direction (no idealised ratio)
LINEAR_FOLD = 12  # rotations that stand for the free turn of a linear molecule

# Wave vectors (1/Å), phases and amplitudes of the probe: fixed, incommensurate, of no symmetry.
_WAVES = np.array(
    [
        [0.613, -0.271, 0.449], [-0.187, 0.829, 0.353], [0.977, 0.523, -0.691],
        [0.241, -0.557, -0.881], [-1.129, 0.367, 0.211], [0.433, 1.091, -0.149],
    ]
)  # fmt: skip
_PHASES = np.array([0.31, 1.27, 2.11, 0.83, 1.71, 2.57])
_AMPLITUDES = np.array([1.00, 0.89, 0.77, 0.97, 0.83, 0.71])
_CHUNK = 400_000  # atoms probed at once, a bound on memory


@dataclass(frozen=True, eq=False)
class PointGroup:
    """Operations of the body frame that map a molecule onto itself, within a tolerance.

    Attributes:
        proper: Rotations, ``(g, 3, 3)``, the identity first. They act on column vectors: ``x -> Q x``.
        improper: Operations with determinant −1, ``(h, 3, 3)``; empty for a chiral molecule.
    """

    proper: Float[np.ndarray, "g 3 3"]
    improper: Float[np.ndarray, "h 3 3"]

    @property
    def chiral(self) -> bool:
        """Whether the molecule differs from its mirror image."""
        return len(self.improper) == 0


def body_frame(
    numbers: Int[np.ndarray, " n"], positions: Float[np.ndarray, "n 3"]
) -> Float[np.ndarray, "3 3"]:
    """Canonical axes of a molecule.

    Axis order follows the unweighted second moments, largest first, so a long molecule lies along x and a planar
    one in the xy plane; a spherical top has an atom on x and another in the xy plane.

    Args:
        numbers: Atomic numbers, ``(n,)``.
        positions: Å, ``(n, 3)``, mean at the origin.

    Returns:
        A proper rotation F; ``positions @ F`` are the body coordinates. As a set of (element, xyz) they are the same
        for every rotation and renumbering of the input. A mirror image gets its own frame: mirroring its body
        coordinates need not give those of the molecule.
    """
    weights = np.sqrt(numbers.astype(np.float64))
    frames = _candidate_frames(positions)
    step = max(1, _CHUNK // len(positions))
    scores = np.concatenate(
        [_probe(positions @ frames[i : i + step], weights) for i in range(0, len(frames), step)]
    )
    return frames[int(scores.argmax())]


def _probe(body: Float[np.ndarray, "f n 3"], weights: Float[np.ndarray, " n"]) -> Float[np.ndarray, " f"]:
    """A smooth function of a set of (element, xyz) that no rotation leaves alone."""
    total = np.zeros(body.shape[:2])
    for wave, phase, amplitude in zip(_WAVES, _PHASES, _AMPLITUDES, strict=True):
        total += amplitude * np.sin(body @ wave + phase)
    return total @ weights


def _candidate_frames(positions: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "f 3 3"]:
    """Every proper frame that the molecule defines, axes as columns, largest second moment first."""
    moments, vectors = np.linalg.eigh(positions.T @ positions)
    moments, vectors = moments[::-1], vectors[:, ::-1]
    limit = DEGENERATE * moments[0]
    first_apart, second_apart = moments[0] - moments[1] > limit, moments[1] - moments[2] > limit
    if first_apart and second_apart:
        signs = np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]])
        x, y = signs[:, :1] * vectors[:, 0], signs[:, 1:] * vectors[:, 1]
        return np.stack([x, y, np.cross(x, y)], axis=-1)
    if not first_apart and not second_apart:
        return _frames_of_atom_pairs(positions)
    # A symmetric top: one axis is given up to its sign, the atoms give the directions across it.
    axis = vectors[:, 0] if first_apart else vectors[:, 2]
    across = _directions_across(positions, axis)
    axes = np.repeat(np.stack([axis, -axis]), len(across), axis=0)
    across = np.concatenate([across, across])
    third = np.cross(axes, across)
    return np.stack([axes, across, third] if first_apart else [across, third, axes], axis=-1)


def _directions_across(
    positions: Float[np.ndarray, "n 3"], axis: Float[np.ndarray, " 3"]
) -> Float[np.ndarray, "d 3"]:
    """Unit vectors from an axis to the atoms far from it; any one direction if all atoms lie on the axis."""
    across = positions - np.outer(positions @ axis, axis)
    distance = np.linalg.norm(across, axis=1)
    if distance.max() < 1e-9:
        across = np.cross(axis, np.eye(3)[np.abs(axis).argmin()])[None]
        return across / np.linalg.norm(across)
    far = distance > FAR * distance.max()
    across = across[far] / distance[far, None]
    across -= np.outer(across @ axis, axis)  # rounding is large relative to an atom nearly on the axis
    return across / np.linalg.norm(across, axis=1, keepdims=True)


def _frames_of_atom_pairs(positions: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "f 3 3"]:
    radius = np.linalg.norm(positions, axis=1)
    frames = []
    for i in np.flatnonzero(radius > FAR * radius.max()):
        x = positions[i] / radius[i]
        y = _directions_across(positions, x)
        xs = np.broadcast_to(x, y.shape)
        frames.append(np.stack([xs, y, np.cross(xs, y)], axis=-1))
    return np.concatenate(frames)


def point_group(
    numbers: Int[np.ndarray, " n"], positions: Float[np.ndarray, "n 3"], tolerance: float = 0.3
) -> PointGroup:
    """Operations that map a molecule onto itself.

    Args:
        numbers: Atomic numbers, ``(n,)``.
        positions: Å, ``(n, 3)``, mean at the origin.
        tolerance: Largest displacement of any atom under an operation, Å, > 0. If the operations found under it
            form no group (a molecule that is nearly symmetric in several ways), the tolerance is lowered until they do.

    Returns:
        A group (closed under composition to rounding). A linear molecule has infinitely many operations; it gets
        those of D12h or C12v, that is turns by 30° about its axis instead of all turns. A molecule counts as linear
        if turning it by 180° about its long axis moves no atom by more than the tolerance.
    """
    _, vectors = np.linalg.eigh(positions.T @ positions)
    axis = vectors[:, 2]
    across = np.linalg.norm(positions - np.outer(positions @ axis, axis), axis=1)
    if 2 * across.max() <= tolerance:
        return _linear_group(numbers, positions @ axis, axis, tolerance)
    maps, signs, error = _find_operations(numbers, positions, tolerance)
    keep = _largest_group(maps, signs, error)
    operations = _consistent(positions, maps[keep], signs[keep])
    order = np.argsort(
        -np.trace(operations, axis1=1, axis2=2), kind="stable"
    )  # the identity has the largest trace
    operations, signs = operations[order], signs[keep][order]
    return PointGroup(operations[signs > 0], operations[signs < 0])


def _linear_group(
    numbers: Int[np.ndarray, " n"],
    along: Float[np.ndarray, " n"],
    axis: Float[np.ndarray, " 3"],
    tolerance: float,
) -> PointGroup:
    order, reverse = np.argsort(along), np.argsort(-along)
    reversible = bool(
        np.array_equal(numbers[order], numbers[reverse])
        and np.abs(along[order] + along[reverse]).max() <= tolerance
    )
    x = np.cross(axis, np.eye(3)[np.abs(axis).argmin()])
    x /= np.linalg.norm(x)
    basis = np.stack([x, np.cross(axis, x), axis], axis=-1)
    angle = 2 * np.pi * np.arange(LINEAR_FOLD) / LINEAR_FOLD
    turns = np.zeros((LINEAR_FOLD, 3, 3))
    turns[:, 0, 0] = turns[:, 1, 1] = np.cos(angle)
    turns[:, 1, 0], turns[:, 0, 1], turns[:, 2, 2] = np.sin(angle), -np.sin(angle), 1.0
    proper, improper = [turns], [turns @ np.diag([1.0, -1.0, 1.0])]
    if reversible:
        proper.append(turns @ np.diag([1.0, -1.0, -1.0]))
        improper.append(turns @ np.diag([1.0, 1.0, -1.0]))
    return PointGroup(basis @ np.concatenate(proper) @ basis.T, basis @ np.concatenate(improper) @ basis.T)


def _find_operations(
    numbers: Int[np.ndarray, " n"], positions: Float[np.ndarray, "n 3"], tolerance: float
) -> tuple[Int[np.ndarray, "g n"], Int[np.ndarray, " g"], Float[np.ndarray, " g"]]:
    """Atom maps (``x_a -> x_map[a]``), determinants and largest displacements of all operations under the tolerance."""
    found: dict[tuple[int, bytes], tuple[np.ndarray, float]] = {}
    same = numbers[:, None] == numbers[None]
    candidates, signs = _candidate_operations(same, positions, tolerance)
    gate = 3 * tolerance  # two atoms fix a rotation only roughly
    step = max(1, _CHUNK // len(positions) ** 2)
    for start in range(0, len(candidates), step):
        part = slice(start, start + step)
        moved = positions @ candidates[part].transpose(0, 2, 1)
        squares = _square_distances(moved, positions)
        squares[:, ~same] = np.inf
        hits = np.flatnonzero(squares.min(axis=2).max(axis=1) <= gate**2)
        for hit in hits:
            sign = int(signs[part][hit])
            mapping = _match(squares[hit])
            if (sign, mapping.tobytes()) in found:
                continue
            mapping, error = _polish(positions, same, mapping, sign)
            if error <= tolerance:
                found[sign, mapping.tobytes()] = (mapping, error)
    keys = list(found)
    maps = np.array([found[key][0] for key in keys])
    return maps, np.array([sign for sign, _ in keys]), np.array([found[key][1] for key in keys])


def _candidate_operations(
    same: Bool[np.ndarray, "n n"], positions: Float[np.ndarray, "n 3"], tolerance: float
) -> tuple[Float[np.ndarray, "c 3 3"], Int[np.ndarray, " c"]]:
    """Operations that carry one well-placed pair of atoms onto a like pair; two (det ±1) for each such pair."""
    radius = np.linalg.norm(positions, axis=1)
    alike = same & (np.abs(radius[:, None] - radius) <= tolerance)
    partners = alike.sum(axis=1)

    def rarest(distance: Float[np.ndarray, " n"]) -> int:
        far = distance > FAR * distance.max()
        return int(np.lexsort((-distance, partners, ~far))[0])

    i = rarest(radius)
    x = positions[i] / radius[i]
    j = rarest(np.linalg.norm(positions - np.outer(positions @ x, x), axis=1))
    gap = np.linalg.norm(positions[:, None] - positions[None], axis=-1)
    like = alike[i][:, None] & alike[j][None] & (np.abs(gap - gap[i, j]) <= 2 * tolerance)
    k, m = np.nonzero(like)
    source, good = _pair_frames(positions[[i]], positions[[j]])
    target, good = _pair_frames(positions[k], positions[m])
    target = target[good]
    mirrored = target * np.array([1.0, 1.0, -1.0])
    operations = np.concatenate([target, mirrored]) @ source[0].T
    return np.concatenate([np.eye(3)[None], operations]), np.repeat([1, 1, -1], [1, len(target), len(target)])


def _pair_frames(
    a: Float[np.ndarray, "m 3"], b: Float[np.ndarray, "m 3"]
) -> tuple[Float[np.ndarray, "m 3 3"], Bool[np.ndarray, " m"]]:
    """Frames (axes as columns) with x along a and y towards b, and which of them are defined."""
    x = a / np.linalg.norm(a, axis=1, keepdims=True)
    y = b - np.sum(b * x, axis=1, keepdims=True) * x
    length = np.linalg.norm(y, axis=1, keepdims=True)
    y = y / np.maximum(length, 1e-12)
    return np.stack([x, y, np.cross(x, y)], axis=-1), length[:, 0] > 1e-6


def _square_distances(
    moved: Float[np.ndarray, "c n 3"], fixed: Float[np.ndarray, "n 3"]
) -> Float[np.ndarray, "c n n"]:
    squares = (moved**2).sum(-1)[:, :, None] + (fixed**2).sum(-1) - 2 * moved @ fixed.T
    return np.maximum(squares, 0.0)


def _match(squares: Float[np.ndarray, "n n"]) -> Int[np.ndarray, " n"]:
    """The atom each atom falls on: the nearest of its element, one to one."""
    nearest = squares.argmin(axis=1)
    if len(np.unique(nearest)) == len(nearest):
        return nearest
    return linear_sum_assignment(np.where(np.isinf(squares), 1e6, squares))[1]


def _polish(
    positions: Float[np.ndarray, "n 3"],
    same: Bool[np.ndarray, "n n"],
    mapping: Int[np.ndarray, " n"],
    sign: int,
) -> tuple[Int[np.ndarray, " n"], float]:
    """Fit and match in turn until the match stays; returns it with its largest displacement."""
    for _ in range(5):
        moved = positions @ superpose(positions, positions[mapping], sign).T
        squares = np.where(same, _square_distances(moved[None], positions)[0], np.inf)
        previous, mapping = mapping, _match(squares)
        if np.array_equal(previous, mapping):
            break
    return mapping, float(np.sqrt(squares[np.arange(len(mapping)), mapping].max()))


def _largest_group(
    maps: Int[np.ndarray, "g n"], signs: Int[np.ndarray, " g"], error: Float[np.ndarray, " g"]
) -> Int[np.ndarray, " k"]:
    """Indices of the operations below the largest tolerance at which they are closed under composition."""
    index = {(int(s), m.tobytes()): i for i, (s, m) in enumerate(zip(signs, maps, strict=True))}
    g = len(maps)
    table = np.full((g, g), -1)
    for i in range(g):
        products = maps[i][maps]  # first operation j, then operation i
        for j in range(g):
            table[i, j] = index.get((int(signs[i] * signs[j]), products[j].tobytes()), -1)
    order = np.argsort(error, kind="stable")
    while True:
        allowed = np.zeros(g + 1, dtype=bool)  # the last entry answers for products that were not found
        allowed[order] = True
        if allowed[table[np.ix_(order, order)]].all():
            return order
        # Operations of one class are equal up to rounding and go together.
        order = order[error[order] < error[order[-1]] - 1e-6]


def _consistent(
    positions: Float[np.ndarray, "n 3"], maps: Int[np.ndarray, "g n"], signs: Int[np.ndarray, " g"]
) -> Float[np.ndarray, "g 3 3"]:
    """Operations of the symmetrised molecule: fit and average in turn, so that they compose exactly."""
    for _ in range(30):
        operations = np.stack(
            [superpose(positions, positions[m], int(s)) for m, s in zip(maps, signs, strict=True)]
        )
        # Q_g x_a should be x_map(a); bring every x_map(a) back and take the mean.
        average = np.mean([positions[m] @ q for m, q in zip(maps, operations, strict=True)], axis=0)
        change = np.abs(average - positions).max()
        positions = average
        if change < 1e-12:
            break
    return operations
