"""A benchmark from end to end, small: what is made once, what goes on, what fails and is shown."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from kflow_sci import __version__
from kflow_sci.assembly.data.store import open_store
from kflow_sci.assembly.model.dataset import ClusterDataset
from kflow_sci.bench import sampling
from kflow_sci.bench.budget import Budget
from kflow_sci.bench.cells import Cell, Stage
from kflow_sci.bench.document import Document, write_document
from kflow_sci.bench.gather import Line, compare, gather
from kflow_sci.bench.plot import draw
from kflow_sci.bench.run import Outcome, in_child, in_this_process, run_bench
from kflow_sci.errors import ClusterError
from tests.bench.tiny import plan, write

METHODS = "renumbered,kflow,gnn-md"


@pytest.fixture(scope="module")
def root(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a benchmark of four methods has run, plain flow matching among them, with two seeds."""
    root = tmp_path_factory.mktemp("bench") / "out"
    run_bench(plan(store, root, METHODS, seeds=[0, 7]), in_this_process)
    return root


def again(
    store: Path, root: Path, methods: str = METHODS, seeds: Sequence[int] = (0, 7), force: bool = False
) -> list[Outcome]:
    return run_bench(plan(store, root, methods, seeds=list(seeds)), in_this_process, force)


def lines_of(store: Path, root: Path) -> dict[str, Line]:
    return {line.method.name: line for line in gather(again(store, root))}


def never(cell: Cell, stages: Sequence[Stage]) -> str:
    raise AssertionError(f"{cell.method} does {stages} again")


def test_a_second_run_makes_nothing(store: Path, root: Path) -> None:
    outcomes = run_bench(plan(store, root, METHODS, seeds=[0, 7]), never)
    assert [outcome.made for outcome in outcomes] == [()] * 8
    assert not any(outcome.reason for outcome in outcomes)


def test_every_method_gets_the_steps_of_the_budget_and_its_size_is_told(store: Path, root: Path) -> None:
    lines = lines_of(store, root)
    for name in ("kflow", "plain", "gnn-md"):
        assert lines[name].row["steps"] == 2
        assert lines[name].row["parameters"] > 100
    assert "steps" not in lines["renumbered"].row
    # Half-overlapping windows of two shells have the edges 0, 1/4, 3/4, 1; plain has one; GNN-MD rolls out 4 steps.
    assert [lines[name].row["calls"] for name in ("kflow", "plain", "gnn-md", "renumbered")] == [3, 1, 4, 0]


def test_the_renumbered_crystal_is_perfect_in_our_measures_and_not_in_the_published_one(
    store: Path, root: Path
) -> None:
    row = lines_of(store, root)["renumbered"].row
    assert row["matched_pm"].mean == pytest.approx(0.0, abs=1e-6)
    assert row["matched_pm_atom"].mean == pytest.approx(0.0, abs=1e-6)
    assert row["pm_center"].mean > 1.0


def test_only_methods_that_move_atoms_distort_molecules(store: Path, root: Path) -> None:
    lines = lines_of(store, root)
    assert lines["kflow"].row["distortion"].mean < 1e-3
    assert lines["gnn-md"].row["distortion"].mean > 1e-3


def test_seeds_differ_and_their_means_make_the_mean(store: Path, root: Path) -> None:
    row = lines_of(store, root)["kflow"].row
    first, second = row["seed_means"]["matched_pm"]
    assert first != second
    assert row["matched_pm"].mean == pytest.approx((first + second) / 2)
    assert row["seeds"] == "2 of 2"


def test_totals_add_up(store: Path, root: Path) -> None:
    for line in lines_of(store, root).values():
        assert line.row["samples"] == len(line.rows) == 4  # 1 crystal, 2 samples, 2 seeds
        assert line.row["failed"] == sum(bool(row["failed"]) for row in line.rows)
        assert {row["seed"] for row in line.rows} == {0, 7}


def test_differences_are_those_of_the_means(store: Path, root: Path) -> None:
    lines = lines_of(store, root)
    (plain,) = [row for row in compare(list(lines.values())) if row["method"] == lines["plain"].row["method"]]
    expected = lines["kflow"].row["matched_pm"].mean - lines["plain"].row["matched_pm"].mean
    assert plain["matched_pm"].mean == pytest.approx(expected)  # type: ignore[union-attr]


def test_the_table_carries_seeds_version_data_counts_and_the_command(
    store: Path, root: Path, tmp_path: Path
) -> None:
    given = plan(store, root, METHODS, seeds=[0, 7])
    document = Document(given, gather(again(store, root)), "kflow bench cluster17 --steps 2", ["plain"])
    paths = write_document(document, tmp_path / "table")
    text = paths[0].read_text()
    for words in (
        f"kflow_sci {__version__}, seed 0, 7, n = 1, data sha256 {given.task.data[:16]}",
        "Made by `kflow bench cluster17 --steps 2`",
        "Budget of every learned method: 2 steps on 1 training clusters",
        "plain was not asked for",
        "| the crystal itself, renumbered | the answer |",
        "| K-Flow, graph, overlap | guessed |",
        "1 of 1 | 0 of 4 | 2 of 2 |",
        "## Spread over seeds",
        "Learned methods start from random poses.",
    ):
        assert words in text, words
    assert text.index("## Measures that") < text.index("## Published protocol")
    with paths[1].open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == ["renumbered", "kflow", "plain", "gnn-md"]
    assert all(row["seed"] == "0 7" and row["data_sha256"] == given.task.data for row in rows)
    assert all(row["matched_pm_n"] == "1" for row in rows)
    with paths[2].open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 16
    assert draw(document.lines, tmp_path / "table.png")
    assert (tmp_path / "table.png").read_bytes().startswith(b"\x89PNG")


def test_a_method_that_fails_is_shown_with_its_reason_and_the_others_go_on(
    store: Path, root: Path, tmp_path: Path
) -> None:
    values = yaml.safe_load((root.parent / "configs" / "bench" / "kflow.yaml").read_text())
    write(tmp_path / "bad.yaml", {**values, "hidden": -3})
    outcomes = again(store, root, f"renumbered,mine={tmp_path / 'bad.yaml'},crystal-sde-ve", seeds=[0])
    assert [bool(outcome.reason) for outcome in outcomes] == [False, True, True]
    assert [outcome.method.name for outcome in outcomes] == ["renumbered", "crystal-sde-ve", "mine"]
    assert "hidden = -3 is out of range" in outcomes[2].reason
    document = Document(plan(store, root, "renumbered"), gather(outcomes), "again")
    text = document.markdown()
    assert "all: see below" in text and "hidden = -3 is out of range" in text
    assert "cannot read config" in text and "crystal_sde_ve.yaml" in text
    write_document(document, tmp_path / "table")  # a method without numbers has a line in the csv too
    assert "hidden = -3" in (tmp_path / "table.csv").read_text()


def test_samples_that_a_method_refuses_count_as_failed(
    store: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise ClusterError("no place for another molecule")

    monkeypatch.setattr("kflow_sci.assembly.baselines.lattice.propose", refuse)
    (line,) = gather(again(store, root, "lattice", seeds=[3]))
    assert (line.row["failed"], line.row["samples"]) == (2, 2)
    assert line.row["overlay_n"].mean == 0.0 and line.row["overlay_n"].n == 1
    assert np.isnan(line.row["matched_pm"].mean) and line.row["matched_pm"].n == 0
    assert np.isnan(line.row["pm_center"].mean)  # as published: one that is no number spoils the first line
    assert any("no place for another molecule" in reason for reason in line.reasons)
    assert "0 of 1 | 2 of 2 |" in Document(plan(store, root, "lattice"), [line], "").markdown()


def test_another_number_of_samples_takes_the_training_from_before(store: Path, root: Path) -> None:
    (outcome,) = run_bench(plan(store, root, "gnn-md", samples=1), in_this_process)
    assert outcome.made == ("sample", "score")


def test_a_budget_in_time_ends_training_and_the_steps_are_told(store: Path, root: Path) -> None:
    budget = Budget("a moment", "cpu", minutes=1e-4)
    outcomes = run_bench(plan(store, root, "gnn-md", budget=budget), in_this_process)
    (line,) = gather(outcomes)
    assert not outcomes[0].reason and line.row["steps"] >= 1
    assert line.row["train_minutes"] >= 1e-4


def test_force_does_all_again(store: Path, root: Path) -> None:
    (outcome,) = again(store, root, "gnn-md", seeds=[0], force=True)
    assert outcome.made == ("train", "sample", "score") and not outcome.reason


def test_changed_code_or_config_is_another_cell(store: Path, root: Path) -> None:
    (outcome,) = again(store, root, "gnn-md", seeds=[0])
    assert outcome.cell is not None
    cell = outcome.cell
    changed = {**cell.__dict__, "code": {**cell.code, "train": "other"}}
    assert Cell(**changed).folder("train") != cell.folder("train")
    wider = {**cell.__dict__, "config": {**cell.config, "features": 32}}
    assert Cell(**wider).folder("train") != cell.folder("train")
    moved = {**cell.__dict__, "config": {**cell.config, "stores": ["elsewhere"]}}
    assert Cell(**moved).folder("train") == cell.folder("train")


def test_a_benchmark_that_was_stopped_goes_on_in_the_middle_of_training(
    store: Path, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw_batch, drawn = ClusterDataset.batch, []

    def stop_at_the_second(self: ClusterDataset, *words: Any) -> Any:
        drawn.append(words)
        if len(drawn) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return draw_batch(self, *words)

    monkeypatch.setattr(ClusterDataset, "batch", stop_at_the_second)
    budget = Budget("3 steps", "cpu", steps=3)
    given = plan(store, tmp_path / "out", "gnn-md", budget=budget)
    with pytest.raises(KeyboardInterrupt):
        run_bench(given, in_this_process)
    assert not list((tmp_path / "out").rglob("done.json"))
    (outcome,) = run_bench(given, in_this_process)
    assert outcome.made == ("train", "sample", "score")
    assert len(drawn) == 3, "two steps before it was stopped, one after"
    (whole,) = run_bench(plan(store, root, "gnn-md", budget=budget), in_this_process)
    assert outcome.cell is not None and whole.cell is not None
    found = [cell.result("train") for cell in (outcome.cell, whole.cell)]
    assert found[0] and found[1] and found[0]["weights_sha256"] == found[1]["weights_sha256"]


def test_parts_that_were_sampled_are_not_sampled_again(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampling, "PART", 1)
    truths = list(open_store(store))
    asked: list[str] = []

    def proposer(truth: object, start: object) -> sampling.Sampled:
        asked.append(str(truth.info["id"]))  # type: ignore[attr-defined]
        if len(asked) == 2:
            raise KeyboardInterrupt
        return sampling.Sampled(asked[-1], [None], "nothing")

    with pytest.raises(KeyboardInterrupt):
        sampling.sample_in_parts(proposer, [(t, None) for t in truths], tmp_path)  # type: ignore[arg-type]
    sampling.sample_in_parts(proposer, [(t, None) for t in truths], tmp_path)  # type: ignore[arg-type]
    names = [str(truth.info["id"]) for truth in truths]
    assert asked == [names[0], names[1], names[1], names[2]]
    assert [one.id for one in sampling.read_samples(tmp_path)] == names


def test_a_process_that_dies_costs_its_method_alone(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = subprocess.Popen

    def shot(command: list[str], **options: object) -> subprocess.Popen[bytes]:
        code = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
        return start([sys.executable, "-c", code], **options)  # type: ignore[call-overload]

    monkeypatch.setattr(subprocess, "Popen", shot)
    outcomes = run_bench(plan(store, tmp_path / "out", "renumbered,random-ball"), in_child)
    assert [outcome.reason for outcome in outcomes] == [
        "sample: its process was ended by SIGKILL (out of memory?)"
    ] * 2


def test_a_process_of_its_own_makes_the_same_cell(store: Path, tmp_path: Path) -> None:
    for name, launch in (("here", in_this_process), ("there", in_child)):
        (tmp_path / name).mkdir()
        given = plan(store, tmp_path / name / "out", "random-ball")
        (outcome,) = run_bench(given, launch)
        assert outcome.reason == "" and outcome.made == ("sample", "score")
    here, there = (
        next((tmp_path / name / "out").rglob("scores.csv")).read_text() for name in ("here", "there")
    )
    assert here == there
