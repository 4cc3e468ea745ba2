"""Scores a whole set: rows, means with intervals, the published lines, and what failed.

The one idea: nothing is averaged away. Samples that failed and references without a sample are counted beside every
mean, and where a measure has a worst value they get it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from kflow_sci.assembly.cluster import Cluster
from kflow_sci.assembly.scoring.frame import Frame
from kflow_sci.assembly.scoring.measures import ENERGY, MEASURES, PUBLISHED, Measure, Reference, Settings
from kflow_sci.assembly.scoring.published import protocol
from kflow_sci.assembly.scoring.reading import group, read_groups
from kflow_sci.assembly.scoring.results import Report, Row, Summary
from kflow_sci.assembly.scoring.statistics import bootstrap
from kflow_sci.errors import KFlowError, ScoreError
from kflow_sci.settings import nearest

Energy = Callable[[Frame], float]
Progress = Callable[[int, int], None]


def score_files(
    pred: str | Path,
    ref: str | Path | None,
    measures: Collection[str] = (),
    *,
    seed: int = 0,
    settings: Settings | None = None,
    energy: Energy | None = None,
    progress: Progress | None = None,
) -> Report:
    """Score the clusters of files against those of another file.

    Args:
        pred: Predictions, see ``reading.read_groups``.
        ref: References; None for result files that hold their own.
        measures: As ``score_clusters``, like all that follows.
        seed: Of the bootstrap.
        settings: What the overlay compares.
        energy: Energy of a cluster.
        progress: Called with the number of samples done, and of all.

    Raises:
        ScoreError: a file cannot be read, or the two do not fit.
    """
    groups, data = read_groups(pred, ref)
    return score_groups(
        groups, measures, seed=seed, settings=settings, energy=energy, data=data, progress=progress
    )


def score_clusters(
    predictions: Sequence[Sequence[Cluster | Frame | None]],
    references: Sequence[Cluster | Frame],
    measures: Collection[str] = (),
    *,
    seed: int = 0,
    settings: Settings | None = None,
    energy: Energy | None = None,
    data: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Report:
    """Score clusters in memory.

    Args:
        predictions: For each reference its samples. None stands for a sample that was asked for and not made: it counts
            as failed in every measure. An empty list makes the reference a missing one.
        references: True clusters.
        measures: Those of ``measures.MEASURES`` that are wanted; all if empty. The published ones are always there.
        seed: Of the bootstrap.
        settings: What the overlay compares.
        energy: Energy between the molecules of a cluster, kJ/mol per molecule, as
            ``energy.calculators.energy_function`` gives it. Not computed if None.
        data: Digests and the like, for ``meta``.
        progress: Called with the number of samples done, and of all.

    Returns:
        The report; ``rows`` by sample, ``crystals`` by reference, ``summary`` over all.

    Raises:
        ScoreError: the numbers of clusters or their atoms do not fit, or there is no sample at all.
    """
    if len(predictions) != len(references):
        raise ScoreError(
            f"{len(predictions)} lists of samples for {len(references)} references: give one list for each"
        )
    groups: list[tuple[Frame, Sequence[Frame | None]]] = []
    for k, (reference, mine) in enumerate(zip(references, predictions, strict=True)):
        whole = _as_frame(reference)
        whole = Frame(whole.numbers, whole.positions, whole.molecule, whole.id or str(k))
        made = [replace(_as_frame(sample), id=whole.id) for sample in mine if sample is not None]
        ((checked, fitting),) = group(made, [whole], (f"sample list {k}", "its reference"))
        rest = iter(fitting)
        groups.append((checked, [None if sample is None else next(rest) for sample in mine]))
    return score_groups(
        groups,
        measures,
        seed=seed,
        settings=settings,
        energy=energy,
        data=data,
        progress=progress,
    )


def _as_frame(cluster: Cluster | Frame) -> Frame:
    return cluster if isinstance(cluster, Frame) else Frame.of(cluster)


def score_groups(
    groups: Sequence[tuple[Frame, Sequence[Frame | None]]],
    measures: Collection[str] = (),
    *,
    seed: int = 0,
    settings: Settings | None = None,
    energy: Energy | None = None,
    data: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    partial: bool = False,
) -> Report:
    """Score references with their samples, as ``reading.group`` gives them; arguments as ``score_clusters``.

    With ``partial`` Ctrl-C ends the work with a report of the references that were done, and ``meta["stopped"]`` counts
    those that were not.

    Raises:
        ScoreError: no sample at all, a measure that does not exist, or settings out of range.
    """
    from kflow_sci import __version__

    settings = settings or Settings()
    settings.check()
    chosen = choose(measures) + (ENERGY if energy is not None else ())
    total = sum(len(samples) for _, samples in groups)
    by_reference: list[list[Row]] = []
    done = 0
    try:
        for frame, samples in groups:
            mine: list[Row] = []
            for row in _score_samples(frame, samples, settings, measures, energy):
                mine.append(row)
                done += 1
                if progress is not None:
                    progress(done, total)
            by_reference.append(mine)
    except KeyboardInterrupt:
        if not (partial and by_reference):
            raise
    rows = [row for mine in by_reference for row in mine]
    left = len(groups) - len(by_reference)
    groups = groups[: len(by_reference)]
    if not rows:
        raise ScoreError("there is no sample to score: give at least one predicted frame")
    reduced = {measure.name: [_reduce(measure, mine) for mine in by_reference] for measure in chosen}
    return Report(
        rows=rows,
        crystals=[
            {
                "id": frame.id,
                "samples": len(mine),
                "failed": sum(bool(row["failed"]) for row in mine),
                **{name: reduced[name][k][0] for name in reduced},
                **{f"best_{name}": reduced[name][k][1] for name in reduced},
            }
            for k, ((frame, _), mine) in enumerate(zip(groups, by_reference, strict=True))
        ],
        summary=[
            Summary(
                measure,
                bootstrap(np.array([mean for mean, _, _ in reduced[measure.name]]), seed),
                bootstrap(np.array([best for _, best, _ in reduced[measure.name]]), seed),
                sum(failed for _, _, failed in reduced[measure.name]),
            )
            for measure in chosen
        ],
        published=_published([mine for mine in by_reference if mine], seed),
        missing=[frame.id for frame, samples in groups if not samples],
        meta={
            "version": __version__,
            "seed": seed,
            "settings": asdict(settings),
            "references": len(groups),
            "samples": len(rows),
            "failed_samples": sum(bool(row["failed"]) for row in rows),
            "noted_samples": sum(bool(row["note"]) for row in rows),
            "data": dict(data or {}),
            **({"stopped": left} if left else {}),
        },
    )


def _score_samples(
    frame: Frame,
    samples: Sequence[Frame | None],
    settings: Settings,
    measures: Collection[str],
    energy: Energy | None,
) -> Iterator[Row]:
    """A row for each sample of a reference."""
    reference = Reference(frame)
    truth = _energy(energy, frame) if energy is not None and samples else ({}, "")
    for number, sample in enumerate(samples):
        row: Row = {"id": frame.id, "sample": number}
        row |= reference.score(sample, settings, measures)
        if energy is not None:
            row |= _energies(energy, sample if not row["failed"] else None, truth, row["note"])
        yield row


def choose(names: Collection[str]) -> tuple[Measure, ...]:
    """The measures of these names, in the order to be shown; all for none.

    Raises:
        ScoreError: a name that no measure has.
    """
    known = [measure.name for measure in MEASURES]
    for name in names:
        if name not in known:
            raise ScoreError(f"there is no measure {name}: {nearest(name, known)}")
    return tuple(measure for measure in MEASURES if not names or measure.name in names)


def _energy(energy: Energy, frame: Frame) -> tuple[dict[str, float], str]:
    """The energy of a cluster, or why it has none."""
    try:
        return {"energy": energy(frame)}, ""
    except KFlowError as error:
        return {}, str(error)


def _energies(energy: Energy, sample: Frame | None, truth: tuple[dict[str, float], str], note: str) -> Row:
    nothing = {"energy": float("nan"), "energy_gap": float("nan")}
    if sample is None:
        return nothing
    found, why = _energy(energy, sample)
    gap = {"energy_gap": found["energy"] - truth[0]["energy"]} if found and truth[0] else {}
    reasons = dict.fromkeys(filter(None, [note, why, "" if gap else truth[1]]))
    return nothing | found | gap | {"note": "; ".join(reasons)}


def _reduce(measure: Measure, rows: Sequence[Row]) -> tuple[float, float, int]:
    """Mean and best over the samples of one reference, and how many of them failed."""
    values = np.array([row[measure.name] for row in rows], dtype=np.float64)
    bad = ~np.isfinite(values)
    failed = np.array([bool(row["failed"]) for row in rows], dtype=bool) if measure.optional else bad
    if measure.worst is not None:
        values = np.where(failed, measure.worst, values) if len(values) else np.array([measure.worst])
    values = values[np.isfinite(values)]
    if not len(values):
        return float("nan"), float("nan"), int(failed.sum())
    return float(values.mean()), float(values[measure.badness(values).argmin()]), int(failed.sum())


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
