"""What is known about a scored set, and the files it goes to.

The one idea: every number travels with its unit, direction, interval and count of failures, in json, csv and on screen
alike, and beside the floors that clusters reach which know nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kflow_sci.assembly.scoring.floors import FLOORS, FLOORS_OF
from kflow_sci.assembly.scoring.measures import Measure
from kflow_sci.assembly.scoring.statistics import Interval
from kflow_sci.files import atomic_write, output_folder

Row = dict[str, Any]
FILES = ("scores.json", "scores.csv", "crystals.csv")


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
        rows: One per sample: ``id``, ``sample`` (number within its reference), ``failed`` and ``note`` (why the sample,
            or some measure of it, has no value; else empty), and every measure.
        crystals: One per reference: ``id``, ``samples``, ``failed`` (how many of them), the mean of every measure over
            its samples, and under ``best_…`` that of its best sample.
        summary: The measures that mean something, in the order to be shown.
        published: The published protocol: for each metric ``first`` and, for the PMs, ``second`` line, with intervals;
            ``kept`` shares and ``compactness``. Samples that failed make the first line NaN, as published.
        missing: References without a sample.
        meta: Version, seed, settings, numbers of references and samples, digests of the data.
    """

    rows: list[Row]
    crystals: list[Row]
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
            "floors": {"what": FLOORS_OF, "values": FLOORS},
            "published": self.published,
        }
        return {key: _plain(value) for key, value in document.items()}


def write_report(report: Report, folder: str | Path) -> list[Path]:
    """Write ``scores.json``, ``scores.csv`` (a row per sample) and ``crystals.csv`` (a row per reference).

    Each is written whole or not at all.

    Raises:
        OutputError: the folder cannot be written.
    """
    import csv
    import json

    folder = output_folder(folder)
    paths = [folder / name for name in FILES]
    with atomic_write(paths[0]) as temporary:
        temporary.write_text(json.dumps(report.to_json(), indent=2, allow_nan=False) + "\n", encoding="utf-8")
    for path, rows in ((paths[1], report.rows), (paths[2], report.crystals)):
        with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows({key: _cell(value) for key, value in row.items()} for row in rows)
    return paths


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
