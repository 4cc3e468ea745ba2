"""Scores of a whole set: rows, means with intervals, the published lines, and what failed.

The one idea: nothing is averaged away. Samples that failed and references without a sample are counted beside every
mean, and where a measure has a worst value they get it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kflow_sci.assembly.cluster import Cluster
from kflow_sci.assembly.scoring.frame import Frame
from kflow_sci.assembly.scoring.measures import MEASURES, PUBLISHED, Measure, Reference, Settings, usable
from kflow_sci.assembly.scoring.published import protocol
from kflow_sci.assembly.scoring.reading import group, read_frames, sha256
from kflow_sci.assembly.scoring.statistics import Interval, bootstrap
from kflow_sci.errors import ScoreError
from kflow_sci.files import atomic_write, output_folder

Row = dict[str, Any]
FILES = ("scores.json", "scores.csv")


@dataclass(frozen=True)
class Summary:
    """One measure over a set.

    Attributes:
        measure: What it is.
        mean: Mean over references of the mean over samples.
        best: Mean over references of the best sample.
        failed: Samples without a value of this measure, in references that have samples.
    """

    measure: Measure
    mean: Interval
    best: Interval
    failed: int


@dataclass(frozen=True)
class Report:
    """Everything that is known about a scored set.

    Attributes:
        rows: One per sample: ``id``, ``sample`` (number within its reference), ``failed``, and every measure.
        summary: The measures that mean something, in the order to be shown.
        published: The published protocol: for each metric ``first`` and, for the PMs, ``second`` line, with intervals;
            ``kept`` shares and ``compactness``. Samples that failed make the first line NaN, as published.
        missing: References without a sample.
        meta: Version, seed, settings, numbers of references and samples, digests of the data.
    """

    rows: list[Row]
    summary: list[Summary]
    published: dict[str, dict[str, Any]]
    missing: list[str]
    meta: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Plain values; NaN becomes None, as JSON has none."""
        measures = {
            s.measure.name: {
                "unit": s.measure.unit,
                "better": s.measure.better,
                "text": s.measure.text,
                "mean": asdict(s.mean),
                "best_of_samples": asdict(s.best),
                "failed": s.failed,
            }
            for s in self.summary
        }
        document = {
            "meta": self.meta,
            "missing": self.missing,
            "measures": measures,
            "published": self.published,
        }
        return {key: _plain(value) for key, value in document.items()}


def score_files(
    pred: str | Path,
    ref: str | Path,
    *,
    seed: int = 0,
    settings: Settings | None = None,
    progress: Callable[[int], None] | None = None,
) -> Report:
    """Score the frames of one xyz file against those of another.

    Args:
        pred: Predictions, ``.xyz`` or ``.extxyz``; several samples per reference share its ``id``.
        ref: References.
        seed: Of the bootstrap.
        settings: What the overlay compares.
        progress: Called with the number of samples done.

    Raises:
        ScoreError: a file cannot be read, or the two do not fit.
    """
    names = (Path(pred).name, Path(ref).name)
    groups = group(read_frames(pred), read_frames(ref), names)
    data = {"pred": names[0], "pred_sha256": sha256(pred), "ref": names[1], "ref_sha256": sha256(ref)}
    return score_groups(groups, seed=seed, settings=settings, data=data, progress=progress)


def score_clusters(
    samples: Sequence[Sequence[Cluster]],
    truths: Sequence[Cluster],
    *,
    seed: int = 0,
    settings: Settings | None = None,
    data: Mapping[str, Any] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Report:
    """Score clusters in memory.

    Args:
        samples: For each truth its samples.
        truths: True clusters.
        seed: Of the bootstrap.
        settings: What the overlay compares.
        data: Digests and the like, for ``meta``.
        progress: Called with the number of samples done.

    Raises:
        ScoreError: the numbers of clusters or their atoms do not fit.
    """
    if len(samples) != len(truths):
        raise ScoreError(f"{len(samples)} lists of samples for {len(truths)} truths: give one list for each")
    groups = []
    for k, (truth, mine) in enumerate(zip(truths, samples, strict=True)):
        whole = Frame.of(truth)
        whole = Frame(whole.numbers, whole.positions, whole.molecule, whole.id or str(k))
        frames = [Frame(f.numbers, f.positions, f.molecule, whole.id) for f in map(Frame.of, mine)]
        groups += group(frames, [whole], (f"sample list {k}", "its truth"))
    return score_groups(groups, seed=seed, settings=settings, data=data, progress=progress)


def score_groups(
    groups: Sequence[tuple[Frame, Sequence[Frame]]],
    *,
    seed: int = 0,
    settings: Settings | None = None,
    data: Mapping[str, Any] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Report:
    """Score references with their samples, as ``reading.group`` gives them.

    Raises:
        ScoreError: no sample at all.
    """
    from kflow_sci import __version__

    settings = settings or Settings()
    rows: list[Row] = []
    by_reference: list[list[Row]] = []
    for frame, samples in groups:
        reference = Reference(frame)
        mine: list[Row] = []
        for number, sample in enumerate(samples):
            failed = "" if usable(sample) else "not finite or beyond 1e6 Å"
            row: Row = {"id": frame.id, "sample": number, "failed": failed}
            mine.append(row | reference.score(sample, settings))
            if progress is not None:
                progress(len(rows) + len(mine))
        rows += mine
        by_reference.append(mine)
    if not rows:
        raise ScoreError("there is no sample to score: give at least one predicted frame")
    return Report(
        rows=rows,
        summary=[_summarise(measure, by_reference, seed) for measure in MEASURES],
        published=_published([mine for mine in by_reference if mine], seed),
        missing=[frame.id for frame, samples in groups if not samples],
        meta={
            "version": __version__,
            "seed": seed,
            "settings": asdict(settings),
            "references": len(groups),
            "samples": len(rows),
            "failed_samples": sum(bool(row["failed"]) for row in rows),
            "data": dict(data or {}),
        },
    )


def write_report(report: Report, folder: str | Path) -> list[Path]:
    """Write ``scores.json`` and ``scores.csv`` (one row per sample), each whole or not at all.

    Raises:
        OutputError: the folder cannot be written.
    """
    import csv
    import json

    folder = output_folder(folder)
    paths = [folder / name for name in FILES]
    with atomic_write(paths[0]) as temporary:
        temporary.write_text(json.dumps(report.to_json(), indent=2, allow_nan=False) + "\n", encoding="utf-8")
    with atomic_write(paths[1]) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(report.rows[0]))
        writer.writeheader()
        writer.writerows({key: _cell(value) for key, value in row.items()} for row in report.rows)
    return paths


def _summarise(measure: Measure, groups: Sequence[Sequence[Row]], seed: int) -> Summary:
    means, bests, failed = [], [], 0
    for rows in groups:
        values = np.array([row[measure.name] for row in rows], dtype=np.float64)
        bad = ~np.isfinite(values)
        # A sample that does not match has no RMSD, and that is no failure.
        failed += (
            sum(bool(row["failed"]) for row in rows) if measure.name == "packed_rmsd" else int(bad.sum())
        )
        if measure.worst is not None:
            values = np.where(bad, measure.worst, values) if len(values) else np.array([measure.worst])
        else:
            values = values[~bad]
        means.append(float(values.mean()) if len(values) else float("nan"))
        bests.append(float(values[measure.badness(values).argmin()]) if len(values) else float("nan"))
    return Summary(measure, bootstrap(np.array(means), seed), bootstrap(np.array(bests), seed), failed)


def _published(groups: Sequence[Sequence[Row]], seed: int) -> dict[str, dict[str, Any]]:
    lines = protocol(groups)
    result: dict[str, dict[str, Any]] = {}
    for measure in PUBLISHED:
        minima = lines.minima[measure.name]
        interval = bootstrap(minima, seed)
        entry: dict[str, Any] = {
            "unit": measure.unit,
            "better": measure.better,
            "text": measure.text,
            "first": lines.first[measure.name],
            "low": interval.low if interval.n == len(minima) else float("nan"),
            "high": interval.high if interval.n == len(minima) else float("nan"),
            "clusters": len(minima),
        }
        if measure.name in lines.second:
            entry |= {"second": lines.second[measure.name], "kept": lines.kept[measure.name]}
        result[measure.name] = entry
    result["compactness"] = {
        "unit": "share",
        "better": "higher",
        "text": "clusters with a largest atom distance below 100 Å",
        "first": lines.compactness,
        "clusters": len(groups),
    }
    return result


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _cell(value: Any) -> Any:
    return (
        f"{value:.10g}"
        if isinstance(value, float) and math.isfinite(value)
        else ("" if isinstance(value, float) else value)
    )
