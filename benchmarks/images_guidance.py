"""Digits of a class, with guidance of any strength and in chosen shells.

    python benchmarks/images_guidance.py

Writes ``images_guidance.md``, ``.csv`` and ``.png`` beside this script, from the nets of ``images_digits.py`` (trained
where they are missing). The class is told on all scales; a guidance weight w strengthens what it adds, ``without + w
(with − without)``, in all shells, or in the coarsest or the finest alone. The number of calls counts a guided
evaluation once; guidance costs a second call of the net wherever a shell moves whose weight is not 1, so the column of
calls says what was really spent. Scores as in ``images_drop.py``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from images_digits import (
    COLORS,
    METHODS,
    SOLVER,
    arguments,
    bounds,
    config_of,
    interval,
    judged,
    noise,
    trained,
)
from images_drop import CALLS, FLOWS, Scores, score_told

from kflow_sci import __version__
from kflow_sci.files import atomic_write
from kflow_sci.images.model import ImageModel
from kflow_sci.report.tables import Column, Provenance, Row, write_csv, write_markdown

HERE = Path(__file__).parent
WEIGHTS = (1.0, 1.5, 2.0, 3.0)
ONE_SHELL = 2.0  # weight of the shell that is guided alone


def plans(n_shells: int) -> dict[str, list[float]]:
    """Guidance by name: a weight for every shell."""
    named = {f"{w:g} in all shells": [w] * n_shells for w in WEIGHTS}
    coarse, fine = [1.0] * n_shells, [1.0] * n_shells
    coarse[0], fine[-1] = ONE_SHELL, ONE_SHELL
    return named | {
        f"{ONE_SHELL:g} in the coarsest shell": coarse,
        f"{ONE_SHELL:g} in the finest shell": fine,
    }


def calls_spent(model: ImageModel, weights: list[float]) -> int:
    """Network calls of a guided walk, from a sample of one."""
    steps = model.schedule.spend(CALLS // 2, model.config.step_shares or None)
    return model.sample(
        1, torch.Generator(), steps, start=noise(model, 1, 0), method=SOLVER, label=0, guidance=weights
    ).calls


def main() -> None:
    """Train what is missing, sample, and write the table."""
    options = arguments(__doc__, HERE / "images_guidance").parse_args()
    torch.set_num_threads(1)
    ruler, data = judged()
    found: dict[tuple[str, str], list[Scores]] = {}
    spent: dict[tuple[str, str], int] = {}
    for seed in range(options.seeds):
        for name in FLOWS:
            model, cells = trained(config_of(METHODS[name], seed, options.runs, steps=options.steps), data)
            for plan, weights in plans(model.schedule.n_shells).items():
                guidance = None if all(w == 1 for w in weights) else weights
                key = "drop 0" if guidance is None else f"guided {weights}"
                scores = score_told(
                    ruler, model, cells, seed, options.copies, key, drop=0.0, guidance=guidance
                )
                found.setdefault((name, plan), []).append(scores)
                spent.setdefault((name, plan), calls_spent(model, weights))
            print(f"seed {seed}, {name}: done", flush=True)
    rows: list[Row] = [
        {
            "flow": name,
            "guidance": plan,
            "calls": spent[name, plan],
            "accuracy": interval([100 * one["accuracy"] for one in scores]),
            "distance": interval([one["distance"] for one in scores]),
            "by_class": interval([one["by_class"] for one in scores]),
        }
        for (name, plan), scores in found.items()
    ]
    draw_figure(rows, options.out.with_suffix(".png"))
    shown = [
        Column("flow", "flow"),
        Column("guidance", "guidance"),
        Column("calls", "network calls"),
        Column("accuracy", "% in the class told", 1, "higher"),
        Column("distance", "distance", 2, "lower"),
        Column("by_class", "class by class", 1, "lower"),
    ]
    n = len(data[1].ids)
    above = (
        f"# Digits of a class, with guidance\n\n{options.copies * n} samples against {n} unseen digits, {CALLS // 2} "
        f"steps of `{SOLVER}`, {options.steps} training steps, mean over {options.seeds} seeds with 95 % interval. The "
        f"classifier puts {100 * ruler.net.accuracy(ruler.truth, ruler.classes):.1f} % of the unseen digits into "
        f"their class. Training digits: {ruler.floor:.2f}, class by class {ruler.floor_by_class:.1f}."
    )
    origin = Provenance(__version__, 0, data[1].digest(), n, "python benchmarks/images_guidance.py")
    write_markdown(options.out.with_suffix(".md"), rows, shown, origin, above=above)
    write_csv(options.out.with_suffix(".csv"), rows, origin)


def draw_figure(rows: list[Any], path: Path) -> None:
    """Accuracy and distances against the weight in all shells."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(11, 3.4), layout="constrained")
    titles = {
        "accuracy": "% of samples in the class told",
        "distance": "distance, all samples together",
        "by_class": "distance, class by class",
    }
    for axis, (key, title) in zip(axes, titles.items(), strict=True):
        for name in FLOWS:
            color = COLORS[name]
            mine = [row for row in rows if row["flow"] == name]
            everywhere = [row[key] for row in mine if "all" in row["guidance"]]
            low, mean, high = bounds(everywhere)
            axis.plot(WEIGHTS, mean, color=color, marker="o", markersize=3, label=name)
            axis.fill_between(WEIGHTS, low, high, color=color, alpha=0.15, linewidth=0)
            for marker, where in (("v", "coarsest"), ("^", "finest")):
                alone = [row[key].mean for row in mine if where in row["guidance"]]
                axis.plot([ONE_SHELL] * len(alone), alone, marker, color=color, markerfacecolor="white")
        axis.set(title=title, xlabel="guidance weight")
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].legend(frameon=False, fontsize=8)
    axes[1].text(
        ONE_SHELL, axes[1].get_ylim()[0], "▽ coarsest, △ finest alone", fontsize=7, ha="center", va="bottom"
    )
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=130, format="png", metadata={"Software": None})
    plt.close(figure)


if __name__ == "__main__":
    main()
