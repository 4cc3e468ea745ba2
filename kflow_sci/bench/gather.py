"""From the cells of all methods to one line of the table each.

The one idea: a crystal is the unit. Samples of a seed are averaged first, then seeds, and crystals are what is
resampled for the interval; the means of single seeds stand beside it, so both kinds of chance are seen. What failed is
counted in every line.
"""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from kflow_sci.assembly.scoring.measures import BY_NAME, MEASURES
from kflow_sci.assembly.scoring.published import METRICS, Protocol, protocol
from kflow_sci.assembly.scoring.statistics import bootstrap
from kflow_sci.bench.cells import Cell
from kflow_sci.bench.methods import REFERENCE, TRUTH, Method
from kflow_sci.bench.run import Outcome
from kflow_sci.report.tables import Estimate, Row

OURS = tuple(measure.name for measure in MEASURES)
PUBLISHED = tuple(name for name in METRICS if name != "extent")
COMPARED = ("overlay_n", "matched_pm", "matched_pm_atom", "density_error", "clashes", "pm_center")
START_VOLUME = "that of the start"
_TEXT = ("id", "failed", "note")


@dataclass(frozen=True)
class Line:
    """One method, all seeds.

    Attributes:
        method: The method.
        row: What the table shows, by key.
        values: For each measure the mean of each crystal over samples and seeds, NaN where it has none.
        rows: Every sample: ``method``, ``seed``, and the columns of ``scores.csv``.
        reasons: Why seeds failed, and why samples were not made, each with how often.
    """

    method: Method
    row: dict[str, Any]
    values: dict[str, Float[np.ndarray, " crystals"]]
    rows: list[Row]
    reasons: dict[str, int]


def gather(outcomes: Sequence[Outcome]) -> list[Line]:
    """One line for each method, in the order given."""
    by_method: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        by_method[outcome.method.name].append(outcome)
    return [_line(mine) for mine in by_method.values()]


def compare(lines: Sequence[Line]) -> list[Row]:
    """K-Flow against every other method: differences paired by crystal, K-Flow's value minus the other's."""
    found = next((line for line in lines if line.method.name == REFERENCE and line.values), None)
    rows: list[Row] = []
    for line in lines:
        if found is None or line is found or not line.values or line.method.name == TRUTH:
            continue
        row: dict[str, Any] = {"method": line.method.title}
        for name in COMPARED:
            row[name] = estimate(found.values[name] - line.values[name])
        row["n"] = f"{min(row[name].n for name in COMPARED)} of {line.row['crystals']}"
        rows.append(row)
    return rows


def estimate(values: Float[np.ndarray, " crystals"]) -> Estimate:
    """Mean over crystals with its interval; ``n`` says over how many."""
    found = bootstrap(values, 0)
    return Estimate(found.mean, found.low, found.high, found.n)


def _line(outcomes: Sequence[Outcome]) -> Line:
    method = outcomes[0].method
    done = [outcome.cell for outcome in outcomes if outcome.cell is not None and not outcome.reason]
    reasons: dict[str, int] = defaultdict(int)
    for outcome in outcomes:
        if outcome.reason:
            reasons[f"seed {outcome.seed}: {outcome.reason}"] += 1
    row: dict[str, Any] = {
        "method": method.title,
        "name": method.name,
        "volume": method.volume,
        "seeds": f"{len(done)} of {len(outcomes)}",
    }
    if not done:
        return Line(method, row | {"state": "failed"}, {}, [], dict(reasons))
    tables = [_read(cell.folder("score") / "scores.csv") for cell in done]
    crystals = [_read(cell.folder("score") / "crystals.csv") for cell in done]
    if any((cell.result("sample") or {}).get("uses_start") for cell in done):
        row["volume"] = START_VOLUME
    samples = [sample for table in tables for sample in table]
    for sample in samples:
        if sample["failed"]:
            reasons[str(sample["note"] or sample["failed"])] += 1
    values = {name: _over_seeds([[one[name] for one in table] for table in crystals]) for name in OURS}
    protocols = [_protocol(table) for table in tables]
    values |= {name: np.mean([one.minima[name] for one in protocols], axis=0) for name in PUBLISHED}
    row |= {
        "state": "" if len(done) == len(outcomes) else "some seeds failed",
        "crystals": len(crystals[0]),
        "samples": len(samples),
        "failed": sum(bool(sample["failed"]) for sample in samples),
        **{name: estimate(values[name]) for name in OURS},
        **_published(protocols, values),
        **_cost(done),
        "seed_means": {name: [_mean([one[name] for one in table]) for table in crystals] for name in OURS}
        | {name: [float(one.first[name]) for one in protocols] for name in PUBLISHED},
    }
    kept: list[Row] = [
        {"method": method.name, "seed": cell.seed, **sample}
        for cell, table in zip(done, tables, strict=True)
        for sample in table
    ]
    return Line(method, row, values, kept, dict(reasons))


def _over_seeds(seeds: Sequence[Sequence[float]]) -> Float[np.ndarray, " crystals"]:
    """Mean over the seeds in which a crystal has a value; NaN where it has none in any."""
    table = np.array(seeds, dtype=np.float64)
    count = np.isfinite(table).sum(axis=0)
    total = np.where(np.isfinite(table), table, 0.0).sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _mean(values: Sequence[float]) -> float:
    finite = [value for value in values if math.isfinite(value)]
    return float(np.mean(finite)) if finite else math.nan


def _protocol(table: Sequence[dict[str, Any]]) -> Protocol:
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in table:
        groups[row["id"]].append(row)
    return protocol(list(groups.values()))


def _published(protocols: Sequence[Protocol], values: dict[str, Float[np.ndarray, " n"]]) -> dict[str, Any]:
    """First lines with intervals, second lines, and kept shares; means over seeds.

    One sample that is not finite makes the first line NaN, as published.
    """
    found: dict[str, Any] = {}
    for name in PUBLISHED:
        first = float(np.mean([one.first[name] for one in protocols]))
        interval = estimate(values[name])
        found[name] = interval if math.isfinite(first) else Estimate(math.nan, n=interval.n)
    for name in ("pm_atom", "pm_center"):
        found[f"{name}_second"] = float(np.mean([one.second[name] for one in protocols]))
        found[f"{name}_kept"] = float(np.mean([one.kept[name] for one in protocols]))
    found["compactness"] = float(np.mean([one.compactness for one in protocols]))
    return found


def _cost(cells: Sequence[Cell]) -> dict[str, Any]:
    """What it took; means over seeds, memory the largest."""
    trained = [found for cell in cells if (found := cell.result("train"))]
    sampled = [found for cell in cells if (found := cell.result("sample"))]
    times = [found["seconds"] for found in sampled if found["seconds"] is not None]
    cost: dict[str, Any] = {
        "per_cluster": max(found["per_cluster"] for found in sampled),
        "calls": max(found["calls"] for found in sampled),
        "seconds_per_cluster": float(np.mean(times)) if times else math.nan,
        "sample_mib": max(found["peak_mib"] for found in sampled),
    }
    if trained:
        cost |= {
            "parameters": trained[0]["parameters"],
            "steps": round(float(np.mean([found["steps"] for found in trained]))),
            "train_minutes": float(np.mean([found["seconds"] for found in trained])) / 60.0,
            "cores": float(np.mean([found["cores"] for found in trained])),
            "train_mib": max(found["peak_mib"] for found in trained),
        }
    device = [found["device_mib"] for found in (*trained, *sampled) if "device_mib" in found]
    return cost | ({"device_mib": max(device)} if device else {})


def _read(path: Path) -> list[dict[str, Any]]:
    with path.open(newline="", encoding="utf-8") as file:
        return [
            {key: value if key in _TEXT else float(value or "nan") for key, value in row.items()}
            for row in csv.DictReader(file)
        ]


def unit_of(name: str) -> tuple[str, str]:
    """Unit and direction of a measure."""
    measure = BY_NAME[name]
    return measure.unit, measure.better
