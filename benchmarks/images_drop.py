"""The class told on coarse scales only: what K-Flow and plain flow matching lose on the digits.

    python benchmarks/images_drop.py

Writes ``images_drop.md``, ``.csv`` and ``.png`` beside this script, from the nets of ``images_digits.py`` (trained
where they are missing). The class is told from the start and not any more over the last 30 … 100 % of the scale axis (k
from 0 to the number of shells; for plain flow matching that is flow time). The condition-dropping ratio is
``CDR = distance with the class dropped / distance with the class told throughout``, 1 is best.

Two distances are shown. The published one compares all samples with all unseen digits. Where classes are told in their
true proportions and the net without class is as good as with, dropping the class cannot harm it: a 3 that became an 8
is still a digit. So the same is shown class by class: the samples that were told a class against the unseen digits of
that class, mean over classes; and how many samples the fixed classifier puts into the class they were told. Intervals
are 95 % of Student's t over seeds, of the logarithm for ratios.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from images_digits import (
    COLORS,
    KFLOW,
    METHODS,
    PLAIN,
    SOLVER,
    STRICT,
    Cells,
    Ruler,
    arguments,
    bounds,
    config_of,
    draw,
    interval,
    judged,
    noise,
    trained,
)

from kflow_sci import __version__
from kflow_sci.files import atomic_write
from kflow_sci.images.model import ImageModel
from kflow_sci.images.scores.drop import ratio_over_seeds
from kflow_sci.report.tables import Column, Estimate, Provenance, Row, write_csv, write_markdown

HERE = Path(__file__).parent
DROPS = (0.0, 0.3, 0.5, 0.7, 0.9, 1.0)
CALLS = 32
FLOWS = (PLAIN, KFLOW, STRICT)
Scores = dict[str, float]


def score_told(
    ruler: Ruler, model: ImageModel, cells: Cells, seed: int, copies: int, key: str, **how: Any
) -> Scores:
    """Distances and accuracy of samples that are told the classes of the unseen digits, each so many times."""
    key = f"{key}/{CALLS}/{copies}"
    if key not in cells.values:
        told = ruler.told(copies)
        x = draw(model, noise(model, len(told), seed), CALLS, label=told, **how)
        if x is None:
            raise SystemExit(f"{CALLS} calls are too few for {model.schedule.n_shells} shells: choose more")
        cells.keep(
            key,
            {
                "distance": ruler.distance(x),
                "by_class": ruler.distance_by_class(x, told),
                "accuracy": ruler.net.accuracy(x, told),
            },
        )
    return dict(cells.values[key])


def ratio(dropped: Sequence[float], kept: Sequence[float]) -> Estimate:
    """CDR over seeds as an estimate."""
    return Estimate(*ratio_over_seeds(dropped, kept), len(kept))


def table(found: dict[str, list[dict[float, Scores]]]) -> list[Row]:
    """A line for each flow and share; what plain flow matching has in its place is divided by it, seed by seed."""
    rows: list[Row] = []
    for name, seeds in found.items():
        for drop in DROPS:
            row: dict[str, Any] = {"flow": name, "drop": round(100 * drop)}
            row["accuracy"] = interval([100 * one[drop]["accuracy"] for one in seeds])
            for key in ("distance", "by_class"):
                mine = [one[drop][key] for one in seeds], [one[0.0][key] for one in seeds]
                row[key] = interval(mine[0])
                row[f"cdr_{key}"] = ratio(*mine)
                if name != PLAIN:
                    base = [one[drop][key] / one[0.0][key] for one in found[PLAIN]]
                    row[f"over_{key}"] = ratio([a / b for a, b in zip(*mine, strict=True)], base)
            rows.append(row)
    return rows


def draw_figure(rows: Sequence[Any], path: Path) -> None:
    """CDR of both kinds and accuracy against the share of the axis without class."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(11, 3.4), layout="constrained")
    panels = {
        "cdr_distance": "CDR, all samples together",
        "cdr_by_class": "CDR, class by class",
        "accuracy": "% of samples in the class told",
    }
    for axis, (key, title) in zip(axes, panels.items(), strict=True):
        for name in FLOWS:
            color = COLORS[name]
            low, mean, high = bounds([row[key] for row in rows if row["flow"] == name])
            at = [100 * drop for drop in DROPS]
            axis.plot(at, mean, color=color, marker="o", markersize=3, label=name)
            axis.fill_between(at, low, high, color=color, alpha=0.15, linewidth=0)
        axis.set(title=title, xlabel="% of the scale axis without class")
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].legend(frameon=False)
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=130, format="png", metadata={"Software": None})
    plt.close(figure)


def main() -> None:
    """Train what is missing, sample, and write the table."""
    options = arguments(__doc__, HERE / "images_drop").parse_args()
    torch.set_num_threads(1)
    ruler, data = judged()
    found: dict[str, list[dict[float, Scores]]] = {name: [] for name in FLOWS}
    for seed in range(options.seeds):
        for name in FLOWS:
            model, cells = trained(config_of(METHODS[name], seed, options.runs, steps=options.steps), data)
            scores = {
                drop: score_told(ruler, model, cells, seed, options.copies, f"drop {drop:g}", drop=drop)
                for drop in DROPS
            }
            found[name].append(scores)
            print(f"seed {seed}, {name}: {scores[0.0]} -> at 70 % {scores[0.7]}", flush=True)
    rows = table(found)
    draw_figure(rows, options.out.with_suffix(".png"))
    shown = [
        Column("flow", "flow"),
        Column("drop", "% without class"),
        Column("distance", "distance", 2, "lower"),
        Column("cdr_distance", "CDR", 2, "target 1"),
        Column("over_distance", "CDR / CDR of plain", 2, "lower"),
        Column("by_class", "class by class: distance", 1, "lower"),
        Column("cdr_by_class", "CDR", 2, "target 1"),
        Column("over_by_class", "CDR / CDR of plain", 2, "lower"),
        Column("accuracy", "% in the class told", 1, "higher"),
    ]
    n = len(data[1].ids)
    above = (
        f"# Digits: the class dropped over the last part of the scale axis\n\n{options.copies * n} samples against {n} "
        f"unseen digits, {CALLS} calls of `{SOLVER}`, {options.steps} training steps, no guidance, mean over "
        f"{options.seeds} seeds with 95 % interval. Training digits: {ruler.floor:.2f}, class by class "
        f"{ruler.floor_by_class:.1f}."
    )
    origin = Provenance(__version__, 0, data[1].digest(), n, "python benchmarks/images_drop.py")
    write_markdown(options.out.with_suffix(".md"), rows, shown, origin, above=above)
    write_csv(options.out.with_suffix(".csv"), rows, origin)


if __name__ == "__main__":
    main()
