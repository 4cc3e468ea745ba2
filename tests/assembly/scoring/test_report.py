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
from kflow_sci.assembly.scoring.measures import BY_NAME, ENERGY, MEASURES, Settings
from kflow_sci.assembly.scoring.reading import sha256
from kflow_sci.assembly.scoring.report import score_clusters, score_files, score_groups
from kflow_sci.assembly.scoring.results import Report, write_report
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
    expected |= {"coordination_error": 0, "distortion": 0, "packed_rmsd": 0, "matched_pm_atom": 0}
    expected |= {"contact_distance": 0, "distortion_rms": 0, "broken_bonds": 0}
    for name, value in expected.items():
        assert mean(report, name) == pytest.approx(value, abs=5e-3), name
    assert report.published["pm_center"]["first"] > 1


def test_every_measure_is_in_every_row_and_says_what_it_is(clusters: list[Cluster]) -> None:
    report = score_clusters([[truth] for truth in clusters], clusters)
    assert len({measure.name for measure in MEASURES}) == len(MEASURES)
    for name, measure in BY_NAME.items():
        if measure in ENERGY:
            continue
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


def test_a_sample_that_was_not_made_counts_as_failed_everywhere(clusters: list[Cluster]) -> None:
    report = score_clusters([[clusters[0], None], [None], [clusters[2]]], clusters)
    assert [row["failed"] for row in report.rows] == ["", "no sample", "no sample", ""]
    assert report.meta["failed_samples"] == 2
    assert {line.failed for line in report.summary} == {2}
    assert mean(report, "solved") == pytest.approx((0.5 + 0 + 1) / 3)
    assert next(line.mean.n for line in report.summary if line.measure.name == "matched_pm") == 2
    assert np.isnan(report.published["pm_atom"]["first"]), "the published code has no word for it"
    assert report.missing == []
    with pytest.raises(ScoreError, match="no sample to score"):
        score_clusters([[], [], []], clusters)


def test_rows_by_crystal_hold_mean_best_and_failures(clusters: list[Cluster]) -> None:
    balls = random_ball.propose(clusters[0].molecules[0], 17, 3, 0, 132.0)
    report = score_clusters([[*balls, None], [clusters[1]], []], clusters)
    by_hand = [row["matched_pm"] for row in report.rows[:3]]
    first, second, third = report.crystals
    assert (first["id"], first["samples"], first["failed"]) == ("crystal-0", 4, 1)
    assert first["matched_pm"] == pytest.approx(np.mean(by_hand))
    assert first["best_matched_pm"] == pytest.approx(min(by_hand))
    assert second["overlay_n"] == second["best_overlay_n"] == 15
    assert (third["samples"], third["solved"]) == (0, 0)
    assert np.isnan(third["matched_pm"])


def test_frames_are_scored_like_clusters_and_only_the_measures_wanted(clusters: list[Cluster]) -> None:
    frames = [Frame.of(cluster) for cluster in clusters]
    report = score_clusters([[frame] for frame in frames], frames, ["matched_pm", "overlay_n"])
    assert [line.measure.name for line in report.summary] == ["overlay_n", "matched_pm"]
    assert "matched_pm_atom" not in report.rows[0]
    assert report.rows[0]["pm_center"] == 0, "the published ones are always there"
    with pytest.raises(ScoreError, match=r"there is no measure matched_pn: did you mean .matched_pm.\?"):
        score_clusters([[frame] for frame in frames], frames, ["matched_pn"])
    with pytest.raises(ScoreError, match="out of range"):
        score_clusters([[frame] for frame in frames], frames, settings=Settings(angle=120))


def test_energies_come_with_their_gap_and_their_failures(clusters: list[Cluster]) -> None:
    centres = [cluster.centroid[0, 0] for cluster in clusters]

    def energy(frame: Frame) -> float:
        if len(frame.numbers) and frame.positions[0, 0] > 900:
            raise ScoreError("it does not converge")
        return -float(frame.positions[0, 0])

    far = replace(Frame.of(clusters[1]), positions=Frame.of(clusters[1]).positions + 1000)
    shifted = replace(Frame.of(clusters[0]), positions=Frame.of(clusters[0]).positions - 2.5)
    report = score_clusters([[shifted], [far], [None]], clusters, ["overlay_n"], energy=energy)
    assert [line.measure.name for line in report.summary] == ["overlay_n", "energy", "energy_gap"]
    assert report.rows[0]["energy_gap"] == pytest.approx(2.5)
    assert report.rows[1]["note"] == "it does not converge"
    assert report.meta["noted_samples"] == 1
    assert [line.failed for line in report.summary] == [1, 2, 2]
    assert mean(report, "energy_gap") == pytest.approx(2.5)
    assert len(centres) == 3


def test_what_one_measure_cannot_know_costs_that_measure_only() -> None:
    numbers = np.tile([110, 6, 8], 4)
    points = np.array([[0, 0, 0], [2.1, 0, 0], [2.6, 1.1, 0.2]])
    positions = np.concatenate([points + np.array([0, 5 * k, k]) for k in range(4)])
    frame = Frame(numbers, positions, np.repeat(np.arange(4), 3), "heavy")
    report = score_groups([(frame, [frame])])
    row = report.rows[0]
    assert row["failed"] == ""
    assert "element number 110" in row["note"]
    assert (row["overlay_n"], row["matched_pm"], row["matched_pm_atom"]) == pytest.approx((4, 0, 0), abs=1e-9)
    assert np.isnan(row["clashes"])
    assert np.isnan(row["collision"])
    counts = {line.measure.name: line.failed for line in report.summary}
    assert counts["clashes"] == counts["contact_distance"] == 1
    assert counts["overlay_n"] == counts["chirality_kept"] == 0


def test_the_floors_are_of_measures_that_exist_and_the_truth_is_better(clusters: list[Cluster]) -> None:
    document = score_clusters([[clusters[0]]], clusters[:1]).to_json()
    floors = document["floors"]["values"]
    assert set(floors) == {"random ball", "fcc/hcp", "PackMol", "true, renumbered"}
    truth = floors.pop("true, renumbered")
    for values in floors.values():
        assert set(values) <= set(BY_NAME) | {"compactness"}
        for name in ("overlay_n", "matched_pm", "matched_pm_atom", "contact_distance", "density_error"):
            sign = 1 if BY_NAME[name].better == "lower" else -1
            assert sign * truth[name] < sign * values[name]


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
    with paths[2].open(newline="") as file:
        by_crystal = list(csv.DictReader(file))
    assert [(row["id"], row["samples"], row["best_overlay_n"]) for row in by_crystal] == [
        (f"crystal-{k}", "1", "15") for k in range(3)
    ]
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
    with pytest.raises(ScoreError, match="2 lists of samples for 3 references"):
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


def test_a_reference_whose_molecules_share_one_centre_has_no_ratio_of_gyration() -> None:
    # Two crossed pairs of nitrogen atoms about the origin.
    positions = np.array([[0.55, 0, 0], [-0.55, 0, 0], [0, 0, 2.0], [0, 0, -2.0]])
    frame = Frame(np.full(4, 7), positions, np.array([0, 0, 1, 1]), "crossed")
    report = score_clusters([[frame]], [frame], ["gyration_ratio", "matched_pm"])
    assert np.isnan(report.rows[0]["gyration_ratio"]) and report.rows[0]["matched_pm"] == 0
