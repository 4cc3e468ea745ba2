"""Scores of generated images, for a terminal and for files.

The one idea: a number is shown with its interval, its floor and the counts on both sides, or not at all.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from kflow_sci.images.scores.evaluate import Score

ARROWS = {"lower": "↓", "higher": "↑", "target 1": "1"}
TITLES = {
    "frechet": "Fréchet distance",
    "kernel": "kernel distance",
    "frechet_dropped": "Fréchet distance, condition dropped",
    "cdr": "condition-dropping ratio, CDR",
    "accuracy": "class as told",
}
_INCEPTION = {"frechet": "FID", "kernel": "KID", "frechet_dropped": "FID, condition dropped"}


def plain_score(score: Score) -> dict[str, Any]:
    """A score as json values; what is not finite is None."""

    def number(value: float) -> float | None:
        return value if math.isfinite(value) else None

    return {
        "score": score.name,
        "value": number(score.found.value),
        "low": number(score.found.low),
        "high": number(score.found.high),
        "samples": score.samples,
        "reference_images": score.reference,
        "floor": None if score.floor is None else number(score.floor.value),
        "better": score.better,
    }


def show_scores(scores: Sequence[Score], settings: Mapping[str, Any], notes: Sequence[str]) -> None:
    """Print scores as a table.

    Args:
        scores: Each a line.
        settings: What was compared: ``count``, ``reference``, ``reference_count``, ``features``, ``dimension``,
            ``network_calls``, ``seed``, ``k``.
        notes: Warnings, printed below.
    """
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    console = Console(markup=False, highlight=False)
    titles = TITLES | (_INCEPTION if settings["features"] == "inception" else {})
    table = Table(
        title=f"{settings['count']:,} samples against {settings['reference_count']:,} images "
        f"({settings['reference']}), features: {settings['features']} ({settings['dimension']:,})",
        title_justify="left",
        box=SIMPLE,
        padding=(0, 1, 0, 0),
    )
    table.add_column("score", no_wrap=True)
    for head in ("value", "95 %", "floor", "samples", "reference"):
        table.add_column(head, justify="right", no_wrap=True)
    for score in scores:
        found = score.found
        known = math.isfinite(found.error)
        table.add_row(
            f"{ARROWS[score.better]} {titles.get(score.name, score.name)}",
            _digits(found.value),
            f"[{_digits(found.low)}, {_digits(found.high)}]" if known else "-",
            "-" if score.floor is None else _digits(score.floor.value),
            f"{score.samples:,}",
            f"{score.reference:,}" if score.reference else "-",
        )
    console.print(table)
    calls = f"{settings['network_calls']} network calls a sample; " if settings["network_calls"] else ""
    for line in (
        "↓ lower is better, ↑ higher is better, 1 should be 1; floor: other real images in place of samples.",
        f"{calls}seed {settings['seed']}; precision and recall: k = {settings['k']}, equal numbers.",
        *(f"warning: {note}" for note in notes),
    ):
        console.print(line, soft_wrap=True)


def _digits(value: float) -> str:
    """Four digits or so, also of small numbers."""
    if not math.isfinite(value):
        return "-"
    return f"{value:.3g}" if abs(value) < 1.0 else f"{value:.4g}" if abs(value) < 1e4 else f"{value:.0f}"
