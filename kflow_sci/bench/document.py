"""The table: one Markdown text, one csv, the rows of all samples.

The one idea: what means something stands first, the published protocol after it, and both beside the floors; under what
conditions is said above, what failed and why below.
"""

from __future__ import annotations

import math
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kflow_sci import __version__
from kflow_sci.bench.gather import COMPARED, Line, compare
from kflow_sci.bench.methods import ABLATION
from kflow_sci.bench.run import Plan
from kflow_sci.files import atomic_write
from kflow_sci.report.tables import Column, Estimate, Row, markdown_table, show, write_csv

_OURS = (
    Column("overlay_n", "overlay, of 15", 2, "higher"),
    Column("packed", "Packed", 3, "higher"),
    Column("solved", "Solved", 3, "higher"),
    Column("matched_pm", "matched PM-center, Å", 2, "lower"),
    Column("matched_pm_atom", "matched PM-atom, Å", 2, "lower"),
    Column("contact_distance", "contact shift", 3, "lower"),
    Column("density_error", "abs(ln V), Voronoi", 3, "lower"),
    Column("coordination_error", "neighbours off", 1, "lower"),
    Column("clashes", "clashes per molecule", 1, "lower"),
    Column("distortion", "distortion, Å", 2, "lower"),
    Column("broken_bonds", "broken bonds", 2, "lower"),
)
_HEAD = (Column("method", "method"), Column("volume", "volume"))
_COUNTS = (Column("n", "crystals"), Column("failures", "failed samples"), Column("seeds", "seeds"))
_PUBLISHED = (
    Column("pm_center", "PM-center, Å", 2, "lower"),
    Column("pm_center_second", "second line", 2, "lower"),
    Column("pm_center_kept", "kept", 3),
    Column("pm_atom", "PM-atom, Å", 2, "lower"),
    Column("pm_atom_second", "second line", 2, "lower"),
    Column("collision", "collision, %", 2, "lower"),
    Column("separation", "separation, %", 1, "higher"),
    Column("compactness", "compactness", 3, "higher"),
)
_COST = (
    Column("parameters", "parameters"),
    Column("steps", "training steps"),
    Column("train_minutes", "training, min", 2),
    Column("cores", "cores it got", 2),
    Column("calls", "network calls"),
    Column("seconds_per_cluster", "s per cluster", 3, "lower"),
    Column("train_mib", "memory, training, MiB", 0),
    Column("sample_mib", "… sampling", 0),
    Column("device_mib", "… of the device", 0),
    Column("per_cluster", "samples per crystal"),
)
_SEEDS = ("overlay_n", "matched_pm", "matched_pm_atom", "pm_center")
_REASONS = 5  # shown per method


@dataclass(frozen=True)
class Document:
    """Lines of the table, and under what conditions they were made.

    Attributes:
        plan: The plan.
        lines: One per method.
        command: What to type to make it again.
        added: Methods that were not asked for.
    """

    plan: Plan
    lines: Sequence[Line]
    command: str
    added: Sequence[str] = ()

    def origin(self) -> dict[str, Any]:
        """Where the numbers come from, for every line of the csv."""
        plan = self.plan
        return {
            "version": __version__,
            "seed": " ".join(map(str, plan.seeds)),
            "data_sha256": plan.task.data,
            "references": plan.task.tested,
            "budget": plan.budget.label,
            "machine": machine(plan.threads, plan.device),
            "command": self.command,
        }

    def markdown(self) -> str:
        """The whole text."""
        rows = [_shown(line) for line in self.lines]
        columns = [column for column in _COST if any(row.get(column.key) is not None for row in rows)]
        parts = [
            f"# Clusters of {self.plan.task.copies} molecules: all methods under one budget",
            self._conditions(),
            "## Measures that a renumbered crystal passes",
            "Overlay does not look at clashes: a heap of molecules on top of each other, all turned alike, can match "
            "more of them than a packing without clashes. Read it together with clashes and abs(ln V).",
            markdown_table(rows, [*_HEAD, *_OURS, *_COUNTS]).rstrip(),
            "## Published protocol",
            "AssembleFlow's definitions, molecules matched by number: the first row is what a **perfect** crystal "
            "gets, so a lower number is no better packing. The best sample of each crystal counts; the second line "
            "drops PM > 100 Å.",
            markdown_table(rows, [_HEAD[0], *_PUBLISHED, _COUNTS[1]]).rstrip(),
            "## Cost",
            markdown_table(rows, [_HEAD[0], *columns]).rstrip(),
            *self._differences(),
            *self._seed_means(),
            *self._failures(),
            self._sentence(),
        ]
        return "\n\n".join(parts) + "\n"

    def _conditions(self) -> str:
        plan, task = self.plan, self.plan.task
        learned = any(not line.method.floor for line in self.lines)
        start = "the initial states of the data" if task.has_starts else "random poses"
        volume = "the cell" if task.true_volumes else "the radius of gyration of the true cluster"
        text = [
            f"{task.tested} test crystals, {task.copies} molecules, {plan.samples} samples each and seed; seeds "
            f"{', '.join(map(str, plan.seeds))}. {machine(plan.threads, plan.device)}."
        ]
        if learned:
            text.append(
                f"Budget of every learned method: {plan.budget.label} on {task.train} training clusters; no method "
                "chooses by validation, the running mean of the weights at the end is taken."
            )
            text.append(f"Learned methods start from {start}.")
            if task.has_starts:
                text.append(
                    "Those that draw nothing then give one sample per crystal; K-Flow and plain flow matching are "
                    "trained from their own random starts."
                )
        text.append(
            f"Volume: floors are given the true one (from {volume}); learned methods "
            + ("keep or change that of the start." if task.has_starts else "guess it from the molecule.")
        )
        if any(line.method.name == ABLATION for line in self.lines):
            text.append(
                "K-Flow and plain flow matching sample as they do for a user"
                + (
                    ", but from given starts without their contact steps."
                    if task.has_starts
                    else ", contact steps included; no other learned method has such steps."
                )
            )
        text.append(
            "Samples are scored as they come, no clash is resolved afterwards. Means are over crystals of the mean "
            "over samples and seeds, in brackets 95 % bootstrap intervals over crystals. A sample that failed counts "
            "as nothing found in overlay, Packed, Solved and broken bonds; the other means are over the rest, and "
            "the column crystals says over how many of the test crystals matched PM could be taken."
        )
        if task.left_out:
            counts = "; ".join(f"{count} for {reason}" for reason, count in task.left_out.items())
            text.append(
                f"Left out of training and validation, for all: {counts}. Nothing is left out of the test set."
            )
        if self.added:
            text.append(f"{', '.join(self.added)} was not asked for, but stands beside every K-Flow.")
        return " ".join(text)

    def _differences(self) -> list[str]:
        rows = compare(self.lines)
        if not rows:
            return []
        columns = [Column("method", "K-Flow (graph, overlap) minus …")]
        columns += [column for column in (*_OURS, *_PUBLISHED) if column.key in COMPARED]
        columns.append(Column("n", "crystals, at least"))
        above = "Differences, paired by crystal; an interval without 0 is a difference:"
        return ["## K-Flow against each", above, markdown_table(rows, columns).rstrip()]

    def _seed_means(self) -> list[str]:
        if len(self.plan.seeds) < 2:
            return []
        rows: list[Row] = []
        for line in self.lines:
            means: dict[str, list[float]] = line.row.get("seed_means", {})
            cells = {name: _spread(means[name]) for name in _SEEDS if name in means}
            rows.append({"method": line.method.title, **cells, "seeds": line.row["seeds"]})
        columns = [_HEAD[0], *(c for c in (*_OURS, *_PUBLISHED) if c.key in _SEEDS), _COUNTS[2]]
        above = "Mean over seeds of their means, in brackets the lowest and the highest seed:"
        return ["## Spread over seeds", above, markdown_table(rows, columns).rstrip()]

    def _failures(self) -> list[str]:
        told = []
        for line in self.lines:
            reasons = sorted(line.reasons.items(), key=lambda item: -item[1])
            for reason, count in reasons[:_REASONS]:
                told.append(f"- {line.method.title}: {reason}" + (f" ({count} times)" if count > 1 else ""))
            if len(reasons) > _REASONS:
                told.append(f"- {line.method.title}: {len(reasons) - _REASONS} more reasons, see the rows")
        return ["## Failed", "\n".join(told)] if told else []

    def _sentence(self) -> str:
        origin = self.origin()
        seeds = ", ".join(map(str, self.plan.seeds))
        return (
            f"kflow_sci {origin['version']}, seed {seeds}, n = {origin['references']}, data sha256 "
            f"{origin['data_sha256'][:16]}. Made by `{self.command}`."
        )


def write_document(document: Document, stem: Path) -> list[Path]:
    """Write ``STEM.md``, ``STEM.csv`` and ``STEM_rows.csv`` (every sample).

    Raises:
        OutputError: a file cannot be written.
    """
    paths = [stem.with_name(stem.name + suffix) for suffix in (".md", ".csv", "_rows.csv")]
    with atomic_write(paths[0]) as temporary:
        temporary.write_text(document.markdown(), encoding="utf-8")
    origin = document.origin()
    table: list[Row] = [_flat(line) | origin for line in document.lines]
    write_csv(paths[1], table)
    rows = [row for line in document.lines for row in line.rows]
    if not rows:
        return paths[:2]
    write_csv(paths[2], rows)
    return paths


def machine(threads: int, device: str) -> str:
    """Where it ran, without names."""
    import torch

    where = f"{platform.machine()}, {threads} thread{'s' * (threads != 1)}, torch {torch.__version__}"
    if not device.startswith("cpu") and torch.cuda.is_available():
        where += f", {torch.cuda.get_device_name()}"
    return where


def _shown(line: Line) -> dict[str, Any]:
    """The row with its counts in words."""
    row = dict(line.row)
    if row["state"] == "failed":
        return row | {"failures": "all: see below"}
    matched = row["matched_pm"].n or 0
    return row | {
        "n": f"{matched} of {row['crystals']}",
        "failures": f"{row['failed']} of {row['samples']}",
    }


def _flat(line: Line) -> dict[str, Any]:
    """The row with one column per seed instead of lists."""
    row = {key: value for key, value in line.row.items() if key != "seed_means"}
    for name, means in line.row.get("seed_means", {}).items():
        finite = [mean for mean in means if math.isfinite(mean)]
        if finite:
            row |= {f"{name}_seed_low": min(finite), f"{name}_seed_high": max(finite)}
    reasons = "; ".join(f"{reason} ({count})" for reason, count in line.reasons.items())
    return row | {"reasons": reasons}


def _spread(means: Sequence[float]) -> Estimate:
    finite = [mean for mean in means if math.isfinite(mean)]
    if not finite:
        return Estimate(math.nan)
    return Estimate(sum(finite) / len(finite), min(finite), max(finite), len(finite))


def summary(line: Line) -> str:
    """One line for the terminal."""
    row = _shown(line)
    if row["state"] == "failed":
        return f"{line.method.title}: failed"
    return (
        f"{line.method.title}: overlay {show(row['overlay_n'], 2)} of 15, matched PM {show(row['matched_pm'], 2)} Å, "
        f"published PM-center {show(row['pm_center'], 2)} Å, {row['failures']} samples failed"
    )
