"""Which clusters the published code of AssembleFlow keeps, and how it divides them: repeated, not recommended.

The one idea: that code describes a molecule by the principal axes of its atoms and keeps a cluster only if these axes,
after it has chosen their order and signs, turn every initial molecule into the final one. Flat molecules and those
whose axes are not unique fail. Here the same arithmetic (single precision, the same limits) says what it would have
kept; what *we* store comes from a superposition of all atoms, which has no such cases.

Close to a limit the last bit decides, and so does the eigensolver: two machines may differ in a cluster or two, as they
would with the published code.
"""

from __future__ import annotations

import itertools
import random

import numpy as np
from jaxtyping import Bool, Float, Int

KEPT = "kept"
VERDICTS = {
    KEPT: "kept",
    "flat": "a molecule is flat",
    "tie": "two principal moments are equal in one state and not in the other",
    "centre": "an atom lies at the centre of the molecule in one state and not in the other",
    "anchor": "no atom lies off the principal axes",
    "residue": "its principal axes do not turn the initial molecule into the final one",
    "element": "initial and final elements differ",
    "text": "the published reader fails on the text (blank line, space in a symbol, isotope)",
}
_SHARES = (0.8, 0.1)
_TIE = 1e-3  # Å^2, between mean principal moments
_AT_CENTRE = 1e-5  # Å
_ON_AXIS = 1e-3  # of a cosine, from 1 or from 0
_RESIDUE = 1e-3  # mean square of unit vectors


def published_verdict(start: Float[np.ndarray, "m n 3"], final: Float[np.ndarray, "m n 3"]) -> str:
    """Whether the published code keeps a cluster.

    Args:
        start: Initial positions as in the file, Å; molecule i of both states is the same molecule.
        final: Final positions as in the file, Å.

    Returns:
        ``KEPT`` or the first reason among ``VERDICTS`` against it.

    Source:
        Guo, Bengio & Liu, ICLR 2025, as computed by the code published with it (dataset_COD.py).
    """
    states = np.stack([start, final]).astype(np.float32)
    centred = states - states.mean(axis=2, keepdims=True, dtype=np.float32)
    moments, axes = _principal_axes(centred)
    ties = np.abs(np.diff(moments, axis=-1)) <= _TIE  # (state, molecule, lower or upper pair)
    if (ties[0] != ties[1]).any():
        return "tie"
    length = np.linalg.norm(centred, axis=-1, keepdims=True)
    middle = length[0] <= _AT_CENTRE
    if (middle & ~(length[1] <= _AT_CENTRE)).any():
        return "centre"
    with np.errstate(invalid="ignore", divide="ignore"):
        unit = np.where(middle, np.float32(0), centred / length)
    for molecule in range(len(start)):
        fault = _mismatch(unit[:, molecule], axes[:, molecule], ties[0, molecule])
        if fault:
            return fault
    # Checked last there too, when all else was well.
    rank = np.linalg.matrix_rank(np.where(middle, np.float32(0), centred[0]))
    return "flat" if (rank < 3).any() else KEPT


def _principal_axes(
    centred: Float[np.ndarray, "*batch n 3"],
) -> tuple[Float[np.ndarray, "*batch 3"], Float[np.ndarray, "*batch 3 3"]]:
    """Mean principal moments, rising, and right-handed axes as columns."""
    square = np.einsum("...ni,...ni->...", centred, centred) / np.float32(centred.shape[-2])
    product = np.einsum("...ni,...nj->...ij", centred, centred) / np.float32(centred.shape[-2])
    moments, axes = np.linalg.eigh(square[..., None, None] * np.eye(3, dtype=np.float32) - product)
    axes[..., 2] *= np.where(np.linalg.det(axes) < 0, np.float32(-1), np.float32(1))[..., None]
    return moments, axes


def _mismatch(
    unit: Float[np.ndarray, "2 n 3"], axes: Float[np.ndarray, "2 3 3"], ties: Bool[np.ndarray, " 2"]
) -> str:
    """Why the best choice of order and signs fails for one molecule; empty if it does not."""
    on_start = unit[0] @ axes[0]
    best = np.inf
    for order in _orders(ties):
        turned = axes[1][:, order]
        on_final = unit[1] @ turned
        anchor = _anchor(on_start, on_final)
        if anchor is None:
            return "anchor"
        signs = np.where(on_start[anchor] * on_final[anchor] < 0, np.float32(-1), np.float32(1))
        left = unit[1] - on_start @ (turned * signs).T
        residue = float(np.mean(left**2))
        best = residue if residue < best else best
    return "" if best <= _RESIDUE else "residue"


def _orders(ties: Bool[np.ndarray, " 2"]) -> list[list[int]]:
    """Orders of the final axes that are tried: those that equal moments leave open."""
    if ties.all():
        return [list(order) for order in itertools.permutations(range(3))]
    swapped = [[1, 0, 2]] if ties[0] else [[0, 2, 1]] if ties[1] else []
    return [[0, 1, 2], *swapped]


def _anchor(on_start: Float[np.ndarray, "n 3"], on_final: Float[np.ndarray, "n 3"]) -> int | None:
    """The first atom that lies on no axis and, if there is one, in no plane of two axes either."""
    cosines = np.abs(np.concatenate([on_start, on_final], axis=1)).astype(np.float64)
    off_axes = ~(cosines > 1 - _ON_AXIS).any(axis=1)
    general = off_axes & ~(cosines < _ON_AXIS).any(axis=1)
    for fitting in (general, off_axes):
        if fitting.any():
            return int(fitting.argmax())
    return None


def published_split(n: int, seed: int) -> Int[np.ndarray, " n"]:
    """The random split of the published code: 80/10/10 over clusters, whatever molecules they hold.

    Args:
        n: Clusters that it keeps, in its order (ids sorted as text; for a subset the order of its list).
        seed: 0, 42 and 123 in the published tables.

    Returns:
        0 train, 1 validation, 2 test for each. It is that of the standard generator of Python, seeded and asked for one
        shuffle of 0 … n−1.

    Source:
        main.py of the same code.
    """
    order = list(range(n))
    random.Random(seed).shuffle(order)
    first, second = (int(share * n) for share in _SHARES)
    part = np.full(n, 2)
    part[order[:first]] = 0
    part[order[first : first + second]] = 1
    return part
