"""The picture of the table: what is found against what it costs, and the published number against chance.

The one idea: floors are bands, methods are points with intervals, so that whoever looks sees first how far above chance
anything is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kflow_sci.bench.gather import Line
from kflow_sci.bench.methods import TRUTH
from kflow_sci.files import atomic_write
from kflow_sci.report.tables import Estimate

_FLOORS = ("random-ball", "lattice", "packmol")
_BAND, _GRID = "#c9ced6", "#e6e8eb"


def draw(lines: Sequence[Line], path: Path) -> bool:
    """Draw overlay against network calls, matched PM against time, and published PM-center, with the floors as bands.

    Args:
        lines: Of the table; those without numbers are left out.
        path: The picture.

    Returns:
        Whether there was anything to draw.

    Raises:
        OutputError: it cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    found = [line for line in lines if line.values]
    learned = [line for line in found if not line.method.floor]
    if not found:
        return False
    figure = Figure(figsize=(15, 5.2), layout="constrained")
    FigureCanvasAgg(figure)
    left, middle, right = figure.subplots(1, 3)
    panels = (
        (left, "calls", "network calls", "overlay_n", "molecules of 15 that overlay →"),
        (middle, "seconds_per_cluster", "seconds per cluster", "matched_pm", "← matched PM-center, Å"),
    )
    for axes, x, x_title, y, y_title in panels:
        _band(axes, found, y, horizontal=True)
        for number, line in enumerate(learned):
            _point(axes, line, x, y, number)
        axes.set(xscale="log", xlabel=x_title, ylabel=y_title)
    shown = [line for line in found if math.isfinite(line.row["pm_center"].mean)]
    _band(
        right,
        [line for line in found if line.method.name in (TRUTH, "random-ball")],
        "pm_center",
        horizontal=False,
    )
    for place, line in enumerate(reversed(shown)):
        value: Estimate = line.row["pm_center"]
        color = "#5a6068" if line.method.floor else _color(learned.index(line))
        right.errorbar(value.mean, place, xerr=_bars(value), fmt="o", color=color, capsize=2)
    right.set_yticks(range(len(shown)), [line.method.title for line in reversed(shown)], fontsize=8)
    right.set_xlabel("published PM-center, Å (band: first two rows)")
    for axes in (left, middle, right):
        axes.grid(color=_GRID)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    handles, labels = left.get_legend_handles_labels()
    if labels:
        figure.legend(handles, labels, loc="outside lower center", ncols=5, fontsize=8, frameon=False)
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=130, metadata={"Software": None})
    return True


def _band(axes: Any, lines: Sequence[Line], name: str, *, horizontal: bool) -> None:
    """From the lowest to the highest end of the floors' intervals."""
    ends = [
        end
        for line in lines
        if line.method.name in (_FLOORS if horizontal else (TRUTH, "random-ball"))
        for end in (line.row[name].low, line.row[name].high)
        if math.isfinite(end)
    ]
    if ends:
        (axes.axhspan if horizontal else axes.axvspan)(
            min(ends), max(ends), color=_BAND, alpha=0.6, label="floors"
        )


def _point(axes: Any, line: Line, x: str, y: str, number: int) -> None:
    value: Estimate = line.row[y]
    if not math.isfinite(value.mean):
        return
    marker = "os^Dvp*"[number % 7]
    # Equal numbers of calls are common: beside each other, not on top.
    place = line.row[x] * (1.0 + 0.03 * (number % 7 - 3)) if x == "calls" else line.row[x]
    axes.errorbar(
        place, value.mean, yerr=_bars(value), fmt=marker, color=_color(number), capsize=2,
        label=line.method.title,
    )  # fmt: skip


def _bars(value: Estimate) -> list[list[float]] | None:
    if not (math.isfinite(value.low) and math.isfinite(value.high)):
        return None
    return [[max(0.0, value.mean - value.low)], [max(0.0, value.high - value.mean)]]


def _color(number: int) -> str:
    return f"C{number % 10}"
