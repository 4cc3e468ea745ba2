"""The report of a set: means by hand, nothing averaged away, files that can be read again."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase.io import write as ase_write

from kflow_sci import __version__
from kflow_sci.assembly.baselines import random_ball, renumbered
from kflow_sci.assembly.cluster import Cluster
from kflow_sci.assembly.molecule import Molecule
from kflow_sci.assembly.scoring.frame import Frame
from kflow_sci.assembly.scoring.measures import BY_NAME, MEASURES, Settings
from kflow_sci.assembly.scoring.reading import sha256
from kflow_sci.assembly.scoring.report import Report, score_clusters, score_files, score_groups, write_report
from kflow_sci.assembly.scoring.statistics import bootstrap
from kflow_sci.errors import OutputError, ScoreError

UREA_LIKE = np.array(
    [[0, 0, 0], [0, 0, 1.26], [1.14, 0, -0.7], [-1.14, 0, -0.7], [1.98, 0, -0.2], [-1.98, 0, -0.2]]
)


def truths() -> list[Cluster]:
    molecule = Molecule.build(np.array([6, 8, 7, 7, 1, 1]), UREA_LIKE, name="flat")[0]
    clusters = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        points = np.array(np.meshgrid(*[np.arange(-2, 3)] * 3), dtype=float).reshape(3, -1).T * [
            5.5,
            5.0,
            4.8,
        ]
        points = points[np.argsort(np.linalg.norm(points, axis=1), kind="stable")[:17]]
        cluster = random_ball.propose(molecule, 17, 1, seed, 132.0)[0]
        centroid = points + 0.1 * rng.normal(size=points.shape)
        clusters.append(replace(cluster, centroid=centroid, info={"id": f"crystal-{seed}", "volume": 132.0}))
    return clusters


@pytest.fixture(scope="module")
def clusters() -> list[Cluster]:
    return truths()


def mean(report: Report, name: str) -> float:
    return next(line.mean.mean for line in report.summary if line.measure.name == name)


def test_the_renumbered_truth_gets_full_marks_in_ours_and_none_in_the_published(
    clusters: list[Cluster],
) -> None:
    report = score_clusters([renumbered.propose(truth, 2, 0) for truth in clusters], clusters)
    expected = {
        "matched_pm": 0,
        "overlay_n": 15,
        "packed": 1,
        "solved": 1,
        "density_ratio": 1,
        "gyration_ratio": 1,
    }
    expected |= {"coordination_error": 0, "distortion": 0, "packed_rmsd": 0}
    for name, value in expected.items():
        assert mean(report, name) == pytest.approx(value, abs=5e-3), name
    assert report.published["pm_center"]["first"] > 1


def test_every_measure_is_in_every_row_and_says_what_it_is(clusters: list[Cluster]) -> None:
    report = score_clusters([[truth] for truth in clusters], clusters)
    assert len({measure.name for measure in MEASURES}) == len(MEASURES)
    for name, measure in BY_NAME.items():
        assert all(name in row for row in report.rows)
        assert measure.better in ("lower", "higher", "target 1")
        assert measure.text
    assert [row["id"] for row in report.rows] == ["crystal-0", "crystal-1", "crystal-2"]


def test_mean_is_over_references_of_means_over_samples_and_best_is_beside(clusters: list[Cluster]) -> None:
    balls = random_ball.propose(clusters[0].molecules[0], 17, 3, 0, 132.0)
    report = score_clusters([balls, [clusters[1]], []], clusters)
    by_hand = [row["matched_pm"] for row in report.rows]
    assert len(by_hand) == 4
    line = next(s for s in report.summary if s.measure.name == "matched_pm")
    assert line.mean.mean == pytest.approx((np.mean(by_hand[:3]) + by_hand[3]) / 2)
    assert line.best.mean == pytest.approx((min(by_hand[:3]) + by_hand[3]) / 2)
    assert (line.mean.n, report.missing) == (2, ["crystal-2"])


def test_a_missing_reference_counts_as_failed_where_a_worst_value_exists(clusters: list[Cluster]) -> None:
    report = score_clusters([[clusters[0]], [clusters[1]], []], clusters)
    assert mean(report, "packed") == pytest.approx(2 / 3)
    assert mean(report, "overlay_n") == pytest.approx(10)
    assert mean(report, "matched_pm") == pytest.approx(0, abs=1e-9)


def test_a_sample_that_is_not_finite_is_counted_and_never_averaged_away(clusters: list[Cluster]) -> None:
    good = Frame.of(clusters[0])
    positions = good.positions.copy()
    positions[7, 1] = np.nan
    bad = replace(good, positions=positions)
    report = score_groups([(good, [good, bad])])
    assert [row["failed"] for row in report.rows] == ["", "not finite or beyond 1e6 Å"]
    assert report.meta["failed_samples"] == 1
    assert mean(report, "solved") == pytest.approx(0.5)
    assert mean(report, "clashing") >= 0.5
    assert mean(report, "matched_pm") == pytest.approx(0, abs=1e-9)
    assert {line.failed for line in report.summary} == {1}
    published = report.published["pm_center"]
    assert np.isnan(published["first"]), "as the published code has it"
    assert published["kept"] == 0


@pytest.mark.parametrize("scale", [0.0, 1e-3, 1e5, 1e300])
def test_collapsed_and_exploded_samples_are_scored_or_counted(clusters: list[Cluster], scale: float) -> None:
    good = Frame.of(clusters[0])
    report = score_groups([(good, [replace(good, positions=good.positions * scale)])])
    assert mean(report, "solved") == 0
    assert report.meta["failed_samples"] == (scale > 1e6)
    assert next(line.failed for line in report.summary if line.measure.name == "density_error") in (0, 1)


def test_best_of_a_target_is_the_nearest_to_it(clusters: list[Cluster]) -> None:
    measure = BY_NAME["density_ratio"]
    values = np.array([0.7, 1.1, 1.4])
    assert values[measure.badness(values).argmin()] == 1.1


def test_files_are_scored_like_the_clusters_in_memory(clusters: list[Cluster], tmp_path: Path) -> None:
    samples = [random_ball.propose(truth.molecules[0], 17, 2, k, 132.0) for k, truth in enumerate(clusters)]
    frames = []
    for truth, mine in zip(clusters, samples, strict=True):
        for sample in mine:
            atoms = sample.to_ase()
            atoms.info = {"id": truth.info["id"]}
            frames.append(atoms)
    pred, ref = tmp_path / "pred.extxyz", tmp_path / "ref.extxyz"
    ase_write(pred, frames[::-1], format="extxyz")
    ase_write(ref, [truth.to_ase() for truth in clusters], format="extxyz")
    from_files = score_files(pred, ref)
    in_memory = score_clusters(samples, clusters)
    for a, b in zip(from_files.summary, in_memory.summary, strict=True):
        assert a.mean.mean == pytest.approx(b.mean.mean, rel=1e-5, abs=1e-5, nan_ok=True), a.measure.name
    assert from_files.meta["data"]["pred_sha256"] == sha256(pred)
    assert len(from_files.meta["data"]["ref_sha256"]) == 64


def test_json_is_strict_and_the_csv_has_a_row_per_sample(clusters: list[Cluster], tmp_path: Path) -> None:
    report = score_clusters([[truth] for truth in clusters], clusters, seed=4)
    paths = write_report(report, tmp_path / "out")
    document = json.loads(paths[0].read_text(), parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    assert document["meta"]["version"] == __version__
    assert (document["meta"]["seed"], document["meta"]["samples"]) == (4, 3)
    assert document["measures"]["overlay_n"]["mean"]["mean"] == 15
    assert document["measures"]["density_ratio"]["better"] == "target 1"
    with paths[1].open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == ["crystal-0", "crystal-1", "crystal-2"]
    assert float(rows[0]["overlay_n"]) == 15


def test_nothing_is_written_where_a_file_stands(clusters: list[Cluster], tmp_path: Path) -> None:
    report = score_clusters([[clusters[0]]], clusters[:1])
    (tmp_path / "out").write_text("mine")
    with pytest.raises(OutputError):
        write_report(report, tmp_path / "out")
    assert (tmp_path / "out").read_text() == "mine"


def test_the_same_seed_gives_the_same_interval_and_settings_reach_the_overlay(
    clusters: list[Cluster],
) -> None:
    samples = [random_ball.propose(truth.molecules[0], 17, 1, k, 132.0) for k, truth in enumerate(clusters)]
    strict, again = score_clusters(samples, clusters, seed=1), score_clusters(samples, clusters, seed=1)
    assert strict.to_json() == again.to_json()
    loose = score_clusters(samples, clusters, settings=Settings(size=5, distance=0.5, angle=60))
    assert mean(loose, "overlay_n") > mean(strict, "overlay_n")


def test_refuses_what_does_not_fit(clusters: list[Cluster]) -> None:
    with pytest.raises(ScoreError, match="2 lists of samples for 3 truths"):
        score_clusters([[], []], clusters)
    with pytest.raises(ScoreError, match="no sample to score"):
        score_clusters([[], [], []], clusters)
    with pytest.raises(ScoreError, match="frame 0 of sample list 0 has 96 atoms"):
        score_clusters([[clusters[0].take(np.arange(16))], [], []], clusters)


def test_interval_of_many_even_values_is_that_of_the_normal_law() -> None:
    values = np.random.default_rng(0).normal(3, 2, size=400)
    interval = bootstrap(values, seed=0)
    assert interval.mean == pytest.approx(values.mean())
    half = 1.96 * values.std() / 20
    assert (interval.low, interval.high) == pytest.approx(
        (values.mean() - half, values.mean() + half), abs=0.03
    )


def test_interval_leaves_out_what_is_not_finite_and_says_how_many_stayed() -> None:
    interval = bootstrap(np.array([1.0, np.nan, 3.0, np.inf]))
    assert (interval.mean, interval.n) == (2.0, 2)
    assert np.isnan(bootstrap(np.array([])).mean)
    alone = bootstrap(np.array([5.0]))
    assert alone.mean == 5
    assert np.isnan(alone.low)
