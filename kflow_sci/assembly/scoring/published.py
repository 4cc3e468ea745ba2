"""The published protocol of COD-Cluster17, bug for bug, so that numbers compare.

The one idea: reproduce what the code of Guo, Bengio and Liu (AssembleFlow, ICLR 2025) computes, not what one would
compute: atoms and molecules are matched by index, the collision counts every atom with itself and with its bonded
neighbours, and the minimum over repeats is taken even where higher is better. It differs in two points that cannot
change a printed digit of a valid result: any number of molecules is allowed, and arithmetic is in double precision.

What these numbers are worth: a perfect crystal whose identical molecules are numbered in another order scores like a
random heap. ``scoring.packing`` and ``scoring.similarity`` hold measures that mean something.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial.distance import cdist

from kflow_sci.errors import ScoreError

SEPARATION_DISTANCE = 0.5
COMPACT_EXTENT = 100.0
KEPT_LIMIT = 100.0
METRICS = ("pm_atom", "pm_center", "collision", "separation", "extent")

_CHUNK = 2048  # rows of a distance matrix held at once, a bound on memory


def radii(numbers: Int[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Covalent radius of each atom as in the published code, Å.

    Raises:
        ScoreError: an element beyond curium.

    Source:
        Cordero et al., Dalton Trans. 2008, 2832, with 0.69 Å (sp) for every carbon; manganese, iron and cobalt in
        low spin. The published table lacks some metals, and its code stops there.
    """
    from ase.data import covalent_radii

    if len(numbers) and not 0 < numbers.min() <= numbers.max() <= 96:
        raise ScoreError(
            f"element number {int(numbers.max())} has no covalent radius: the published protocol needs one"
        )
    table = covalent_radii.copy()
    table[6] = 0.69
    return table[numbers]


def packing_matching(pred: Float[np.ndarray, "n 3"], ref: Float[np.ndarray, "n 3"]) -> float:
    """PM: root mean square difference of two distance matrices, points matched by index, diagonal included.

    Args:
        pred: Atoms (PM-atom) or centroids (PM-center) of the prediction, Å.
        ref: The same of the reference.

    Returns:
        Å; lower is better; NaN if a coordinate is not finite.
    """
    total = 0.0
    for rows in _chunks(len(ref)):
        total += float(np.square(cdist(pred[rows], pred) - cdist(ref[rows], ref)).sum())
    return float(np.sqrt(total / len(ref) ** 2))


def collision(numbers: Int[np.ndarray, " n"], pred: Float[np.ndarray, "n 3"]) -> float:
    """Share of all ordered atom pairs closer than the sum of their radii, diagonal and bonded pairs included.

    Returns:
        Per cent in [0, 100]; lower is better, but a perfect cluster of N atoms with m bonds already has
        100 (N + 2 m) / N². A pair at a coordinate that is not finite does not count, as in the published code.
    """
    radius = radii(numbers)
    count = 0
    for rows in _chunks(len(pred)):
        count += int(np.count_nonzero(radius[rows, None] + radius > cdist(pred[rows], pred)))
    return 100.0 * count / len(pred) ** 2


def separation(pred: Float[np.ndarray, "n 3"], molecule: Int[np.ndarray, " n"]) -> float:
    """Share of molecule pairs whose closest atoms are more than 0.5 Å apart.

    Args:
        pred: Å.
        molecule: Molecule of each atom, 0 … m−1.

    Returns:
        Per cent in [0, 100]; higher is better; NaN for a single molecule.
    """
    order = np.argsort(molecule, kind="stable")
    points = pred[order]
    starts = np.concatenate([[0], np.cumsum(np.bincount(molecule))])
    n = len(starts) - 1
    apart = 0
    for i in range(n - 1):
        nearest = cdist(points[starts[i] : starts[i + 1]], points[starts[i + 1] :]).min(axis=0)
        apart += int(
            np.count_nonzero(
                np.minimum.reduceat(nearest, starts[i + 1 : -1] - starts[i + 1]) > SEPARATION_DISTANCE
            )
        )
    return 100.0 * apart / (n * (n - 1) / 2) if n > 1 else float("nan")


def extent(pred: Float[np.ndarray, "n 3"]) -> float:
    """Largest distance between two atoms, Å; NaN if a coordinate is not finite."""
    return float(np.max([cdist(pred[rows], pred).max() for rows in _chunks(len(pred))]))


def score(
    numbers: Int[np.ndarray, " n"],
    pred: Float[np.ndarray, "n 3"],
    ref: Float[np.ndarray, "n 3"],
    molecule: Int[np.ndarray, " n"],
) -> dict[str, float]:
    """Every published metric of one sample, keyed by ``METRICS``.

    Args:
        numbers: Atomic numbers, the same for both.
        pred: Prediction, Å.
        ref: Reference, Å, atoms in the same order.
        molecule: Molecule of each atom, 0 … m−1.
    """
    return {
        "pm_atom": packing_matching(pred, ref),
        "pm_center": packing_matching(_centroids(pred, molecule), _centroids(ref, molecule)),
        "collision": collision(numbers, pred),
        "separation": separation(pred, molecule),
        "extent": extent(pred),
    }


@dataclass(frozen=True)
class Protocol:
    """What the published scripts print, for a whole set.

    Attributes:
        first: Mean over clusters of the minimum over repeats: ``pm_atom``, ``pm_center``, ``collision``,
            ``separation``.
        second: The same two PMs after dropping clusters with PM > 100 Å or not finite.
        kept: Share of clusters kept in the second line, in [0, 1], for each PM.
        compactness: Share of clusters whose largest atom distance is below 100 Å, in [0, 1] (AssemUDB, AAAI 2026).
        minima: Per-cluster minimum of every metric, clusters in the order given, for intervals.
    """

    first: dict[str, float]
    second: dict[str, float]
    kept: dict[str, float]
    compactness: float
    minima: dict[str, Float[np.ndarray, " clusters"]]


def protocol(groups: Sequence[Sequence[Mapping[str, float]]]) -> Protocol:
    """Reduce scores as the published code does.

    Args:
        groups: For each cluster the scores of its repeats, as ``score`` returns them.

    Returns:
        The two lines and the kept shares. One repeat that is not a number makes the minimum of its cluster, and so the
        first line, not a number, as in the published code.

    Raises:
        ScoreError: no cluster, or a cluster without repeats.
    """
    if not groups or not all(len(group) for group in groups):
        raise ScoreError(
            "the published protocol needs at least one cluster and one sample of each: some have none"
        )
    minima = {name: np.array([np.min([row[name] for row in group]) for group in groups]) for name in METRICS}
    second, kept = {}, {}
    for name in ("pm_atom", "pm_center"):
        values = minima[name]
        keep = np.isfinite(values) & (np.nan_to_num(values, nan=np.inf) <= KEPT_LIMIT)
        second[name] = float(values[keep].mean()) if keep.any() else float("nan")
        kept[name] = float(keep.mean())
    return Protocol(
        first={name: float(minima[name].mean()) for name in METRICS if name != "extent"},
        second=second,
        kept=kept,
        compactness=float((minima["extent"] < COMPACT_EXTENT).mean()),
        minima=minima,
    )


def _chunks(n: int) -> Iterator[slice]:
    return (slice(start, start + _CHUNK) for start in range(0, n, _CHUNK))


def _centroids(
    positions: Float[np.ndarray, "n 3"], molecule: Int[np.ndarray, " n"]
) -> Float[np.ndarray, "m 3"]:
    sums = [np.bincount(molecule, weights=positions[:, axis]) for axis in range(3)]
    return np.stack(sums, axis=1) / np.bincount(molecule)[:, None]
