"""The published protocol against hand calculations and plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from kflow_sci.assembly.scoring import published
from kflow_sci.errors import ScoreError

# Two hydrogen molecules, 0.8 Å long: along z, 3 Å apart in the reference and 4 Å apart in the prediction.
NUMBERS = np.array([1, 1, 1, 1])
MOLECULE = np.array([0, 0, 1, 1])
REF = np.array([[0, 0, 0], [0, 0, 0.8], [3, 0, 0], [3, 0, 0.8]], dtype=float)
PRED = np.array([[0, 0, 0], [0, 0, 0.8], [4, 0, 0], [4, 0, 0.8]], dtype=float)


def test_pm_center_by_hand() -> None:
    # Centroid matrices [[0, 3], [3, 0]] and [[0, 4], [4, 0]]: two of four entries differ by 1.
    score = published.score(NUMBERS, PRED, REF, MOLECULE)
    assert score["pm_center"] == pytest.approx(np.sqrt(2 / 4), abs=1e-12)


def test_pm_atom_by_hand_counts_the_diagonal() -> None:
    # Of 16 entries four differ by 1 and four by √(16.64) − √(9.64); bonds and diagonal agree.
    across = np.sqrt(4**2 + 0.8**2) - np.sqrt(3**2 + 0.8**2)
    expected = np.sqrt((4 * 1**2 + 4 * across**2) / 16)
    assert published.packing_matching(PRED, REF) == pytest.approx(expected, abs=1e-12)


def test_collision_by_hand_counts_the_diagonal_and_bonds() -> None:
    # Radii of hydrogen sum to 0.62 Å, so bonds of 0.8 Å do not count: the diagonal alone, 4 of 16.
    assert published.collision(NUMBERS, PRED) == pytest.approx(25.0)
    # A C–H bond of 1.09 Å is longer than 0.69 + 0.31, one of 0.99 Å is not: then 2 + 2 of 4 entries count.
    carbon_hydrogen = np.array([6, 1])
    assert published.collision(carbon_hydrogen, np.array([[0, 0, 0], [0, 0, 1.09]])) == pytest.approx(50.0)
    assert published.collision(carbon_hydrogen, np.array([[0, 0, 0], [0, 0, 0.99]])) == pytest.approx(100.0)


def test_separation_by_hand() -> None:
    # Three molecules; the first two touch at 0.4 Å, the third is far: two of three pairs are apart.
    pred = np.array([[0, 0, 0], [0, 0, 0.8], [0.4, 0, 0], [2, 0, 0], [9, 0, 0], [9, 0, 0.8]], dtype=float)
    molecule = np.array([0, 0, 1, 1, 2, 2])
    assert published.separation(pred, molecule) == pytest.approx(100 * 2 / 3)
    exactly = pred.copy()
    exactly[2, 0] = 0.5
    assert published.separation(exactly, molecule) == pytest.approx(100 * 2 / 3), "0.5 Å itself is not apart"


def test_radii_are_the_published_ones() -> None:
    table = {1: 0.31, 5: 0.84, 6: 0.69, 7: 0.71, 8: 0.66, 9: 0.57, 14: 1.11, 15: 1.07, 16: 1.05, 17: 1.02}
    table |= {25: 1.39, 26: 1.32, 27: 1.26, 29: 1.32, 34: 1.20, 35: 1.20, 53: 1.39, 78: 1.36, 92: 1.96}
    assert published.radii(np.array(list(table))) == pytest.approx(list(table.values()), abs=1e-9)


def test_an_element_without_a_radius_is_refused() -> None:
    with pytest.raises(ScoreError, match="element number 110"):
        published.radii(np.array([1, 110]))


def test_any_number_of_molecules_of_any_size_agrees_with_plain_loops() -> None:
    rng = np.random.default_rng(3)
    sizes = [3, 5, 4, 7, 2]
    molecule = np.repeat(np.arange(5), sizes)
    numbers = rng.choice([1, 6, 7, 8], size=21)
    pred, ref = 2.5 * rng.normal(size=(2, 21, 3))
    d_pred, d_ref = cdist(pred, pred), cdist(ref, ref)
    radius = published.radii(numbers)
    hits = sum(radius[i] + radius[j] > d_pred[i, j] for i in range(21) for j in range(21))
    apart = sum(
        d_pred[np.ix_(molecule == a, molecule == b)].min() > 0.5 for a in range(5) for b in range(a + 1, 5)
    )
    score = published.score(numbers, pred, ref, molecule)
    assert score["pm_atom"] == pytest.approx(np.sqrt(((d_pred - d_ref) ** 2).mean()), abs=1e-12)
    assert score["collision"] == pytest.approx(100 * hits / 21**2)
    assert score["separation"] == pytest.approx(100 * apart / 10)
    assert score["extent"] == pytest.approx(d_pred.max())


def test_large_clusters_are_taken_in_parts_without_a_change() -> None:
    rng = np.random.default_rng(0)
    pred, ref = 20 * rng.normal(size=(2, 2300, 3))
    expected = np.sqrt(((cdist(pred, pred) - cdist(ref, ref)) ** 2).mean())
    assert published.packing_matching(pred, ref) == pytest.approx(expected, rel=1e-12)
    assert published.extent(pred) == pytest.approx(cdist(pred, pred).max())


def test_pm_by_index_punishes_a_renumbered_crystal_and_is_blind_to_reflection() -> None:
    rng = np.random.default_rng(1)
    ref = 5 * rng.normal(size=(17, 3))
    assert published.packing_matching(ref[rng.permutation(17)], ref) > 1
    assert published.packing_matching(-ref, ref) == pytest.approx(0, abs=1e-12)


def row(**values: float) -> dict[str, float]:
    base = {"pm_atom": 1.0, "pm_center": 1.0, "collision": 0.3, "separation": 100.0, "extent": 20.0}
    return base | values


def test_protocol_takes_the_minimum_of_every_metric_also_of_separation() -> None:
    groups = [
        [row(pm_atom=3, separation=90), row(pm_atom=2, separation=95)],
        [row(pm_atom=5, separation=80)],
    ]
    lines = published.protocol(groups)
    assert lines.first["pm_atom"] == pytest.approx((2 + 5) / 2)
    assert lines.first["separation"] == pytest.approx((90 + 80) / 2)


def test_second_line_drops_what_is_above_100_or_not_a_number_and_says_how_much() -> None:
    groups = [
        [row(pm_center=4)],
        [row(pm_center=100)],
        [row(pm_center=101)],
        [row(pm_center=float("nan")), row(pm_center=1)],
    ]
    lines = published.protocol(groups)
    assert np.isnan(lines.first["pm_center"]), (
        "one repeat that is not a number spoils the published first line"
    )
    assert lines.second["pm_center"] == pytest.approx(52)
    assert lines.kept == {"pm_atom": 1.0, "pm_center": 0.5}


def test_compactness_counts_clusters_below_100_angstrom() -> None:
    groups = [
        [row(extent=99.0)],
        [row(extent=100.0)],
        [row(extent=5.0), row(extent=500.0)],
        [row(extent=np.nan)],
    ]
    assert published.protocol(groups).compactness == pytest.approx(0.5)


def test_protocol_refuses_clusters_without_samples() -> None:
    with pytest.raises(ScoreError, match="at least one"):
        published.protocol([[row()], []])
