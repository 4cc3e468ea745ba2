"""K-Flow beside plain flow matching on the digits: same net, same training, equal network calls.

    python benchmarks/images_digits.py            # the table, on images that no choice has seen
    python benchmarks/images_digits.py --choose   # what was tried for either side, on a validation part

Writes ``images_digits.md``, ``.csv`` and ``.png`` (``images_digits_choice.md`` and ``.csv``) beside this script. Nets
lie in ``--runs`` with every number found so far: what is there is not computed again, a run that was killed goes on.

The ruler is the Fréchet distance of the features of ``images.scores.classifier.digit_classifier`` between samples and
the 359 digits of the split that nothing was trained on. Its floor is the distance of the training digits from those.
Nets are told the class in half of their training, so that the same nets serve ``images_guidance.py`` and
``images_drop.py``; here they are told nothing. Settings of either side were chosen on a validation part: a fifth of the
training digits, with nets and a ruler that were trained on the other four fifths. Intervals are 95 % of Student's t
over seeds; differences are paired by seed, that is, by first weights, batches and start noise.
"""

from __future__ import annotations

import argparse
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import t as student
from torch import Tensor

from kflow_sci import __version__
from kflow_sci.checkpoint import read_header
from kflow_sci.files import atomic_write
from kflow_sci.images.data import ImageSet, hold_out, read_all
from kflow_sci.images.model import ImageModel, load_image_model
from kflow_sci.images.scores.classifier import Classifier, digit_classifier, train_classifier
from kflow_sci.images.scores.frechet import frechet_distance, gaussian_distance, gaussian_of
from kflow_sci.report.tables import Column, Estimate, Provenance, Row, write_csv, write_markdown
from kflow_sci.settings import read_config
from kflow_sci.training.images import ImageTrainConfig, divide, train_images
from kflow_sci.transforms.fourier import FourierTransform

HERE = Path(__file__).parent
CONFIGS = HERE.parent / "configs" / "images"
PLAIN, KFLOW, STRICT = (
    "plain flow matching",
    "K-Flow, ten modes and the others, overlap 0.5",
    "strict K-Flow, ten modes",
)
METHODS = {
    PLAIN: "digits_small_plain",
    "K-Flow, first mode and the others, overlap 0.8": "digits_small_first",
    "K-Flow, two rings, overlap 0.8": "digits_small_rings",
    KFLOW: "digits_small_kflow",
    STRICT: "digits_small_strict",
}
CALLS = (8, 16, 32, 64)
SHELLS = 4  # Fourier shells of equal energy in which the pixels are compared
SOLVER, CALLS_PER_STEP = "heun", 2
STEPS = 1500
COLORS = dict(zip(METHODS, ("#22262b", "#2a9d6f", "#8a5cc0", "#3d5fe0", "#d08020"), strict=True))

# What was tried: one net each, which differs from the config of the plain flow in this alone.
_RINGS: dict[str, Any] = {"transform": "fourier", "cut": "energy"}
_HAAR: dict[str, Any] = {"transform": "wavelet", "wavelet": "haar", "shells": 2}
CANDIDATES: dict[str, dict[str, Any]] = {
    "plain, residual by four rings": {**_RINGS, "shells": 4},
    "plain, residual by four sets of modes": {},
    "plain, velocity": {**_RINGS, "shells": 4, "prediction": "velocity"},
    "ten modes and the others, overlap 0.5": {"shells": (10.0,), "overlap": 0.5},
    "ten modes and the others, overlap 0.8": {"shells": (10.0,), "overlap": 0.8},
    "four sets of modes, overlap 0.8": {"overlap": 0.8},
    "28 modes and the others, 3 : 1, overlap 0.5": {"shells": (28.0,), "widths": (3.0, 1.0), "overlap": 0.5},
    "Haar, two shells, overlap 0.8": {**_HAAR, "overlap": 0.8},
    "two rings, overlap 0.8": {**_RINGS, "shells": 2, "overlap": 0.8},
    "plain, residual by two rings": {**_RINGS, "shells": 2},
    "two rings, overlap 0.9": {**_RINGS, "shells": 2, "overlap": 0.9},
    "two rings, 3 : 1, overlap 0.8": {**_RINGS, "shells": 2, "widths": (3.0, 1.0), "overlap": 0.8},
    "the first mode and the others, overlap 0.8": {"shells": (1.0,), "overlap": 0.8},
    "plain, residual by ten modes and the others": {"shells": (10.0,)},
    "28 modes and the others, overlap 0.8": {"shells": (28.0,), "overlap": 0.8},
    "four sets of modes, overlap 0.9": {"overlap": 0.9},
    "three rings, overlap 0.25": {**_RINGS, "shells": 3, "overlap": 0.25},
    "two rings, overlap 0.8, smoothstep": {**_RINGS, "shells": 2, "overlap": 0.8, "mu": "smoothstep"},
    "the first mode and the others, overlap 0.5": {"shells": (1.0,), "overlap": 0.5},
    "the first mode and the others, 1 : 9, overlap 0.5": {
        "shells": (1.0,),
        "overlap": 0.5,
        "widths": (1.0, 9.0),
    },
    "three sets of modes, overlap 0.25": {"shells": (1.0, 10.0), "overlap": 0.25},
}

Found = Mapping[str, Sequence[Mapping[str, float | None]]]
"""Flow -> what was found for each seed."""


@dataclass(frozen=True)
class Ruler:
    """The classifier and the images that samples are compared with.

    Attributes:
        net: Its last hidden layer gives the features.
        train: Images that nets are trained on.
        held: Images that they are compared with.
    """

    net: Classifier
    train: ImageSet
    held: ImageSet

    @cached_property
    def truth(self) -> Tensor:
        """The images compared with."""
        return read_all(self.held)

    @cached_property
    def classes(self) -> Tensor:
        """Their classes."""
        return self.held.labels[:, 0]

    @cached_property
    def features(self) -> Tensor:
        """Their features."""
        return self.net.features(self.truth)

    @torch.no_grad()
    def distance(self, x: Tensor) -> float:
        """Fréchet distance of samples."""
        return frechet_distance(self.net.features(x), self.features)

    @torch.no_grad()
    def distance_by_class(self, x: Tensor, told: Tensor) -> float:
        """Mean over classes of the distance of the samples that were told a class from the images of that class."""
        mine = self.net.features(x)
        each = [
            frechet_distance(mine[told == c], self.features[self.classes == c])
            for c in self.classes.unique().tolist()
        ]
        return float(np.mean(each))

    @cached_property
    def floor(self) -> float:
        """Distance of the training images."""
        return self.distance(read_all(self.train))

    @cached_property
    def floor_by_class(self) -> float:
        """The same, class by class."""
        return self.distance_by_class(read_all(self.train), self.train.labels[:, 0])

    def told(self, copies: int) -> Tensor:
        """Classes in the proportions of the held-out images, each image's class so many times."""
        return self.classes.repeat(copies)


class Cells:
    """Numbers of one net, kept in a file: what is known is not computed again."""

    def __init__(self, path: Path, net: str) -> None:
        self.path = path
        known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        self.values: dict[str, Any] = known.get("values", {}) if known.get("net") == net else {}
        self.net = net

    def keep(self, key: str, value: Any) -> None:
        """Know the value of a key, and write it at once."""
        self.values[key] = value
        with atomic_write(self.path) as temporary:
            text = json.dumps({"net": self.net, "values": self.values}, indent=1)
            temporary.write_text(text, encoding="utf-8")


def config_of(stem: str, seed: int, runs: Path, **changes: Any) -> ImageTrainConfig:
    """The config of a run: a file of ``configs/images`` with another seed and place."""
    config = read_config(CONFIGS / f"{stem}.yaml", ImageTrainConfig)
    if "steps" in changes:
        changes["validate_every"] = changes["steps"]
    return replace(config, seed=seed, out=str(runs / stem / f"seed{seed}"), **changes)


def trained(config: ImageTrainConfig, data: tuple[ImageSet, ImageSet]) -> tuple[ImageModel, Cells]:
    """The net of a config, trained where that is not done yet, and its numbers.

    What counts is the running mean after the last step: nothing is chosen by held-out images.
    """
    result = train_images(config, data, device="cpu", show=os.isatty(2))
    if not result.finished:
        raise SystemExit("stopped; the same command goes on")
    last = result.folder / "last.safetensors"
    digest = str(read_header(last)["data_hash"])[:16]
    model, _ = load_image_model(last)
    return model, Cells(result.folder / "cells.json", f"{digest} {config.steps} {SOLVER}")


def draw(model: ImageModel, start: Tensor, calls: int, **how: Any) -> Tensor | None:
    """Samples with this number of network calls (guidance aside); None where the windows have too many edges."""
    shells = model.schedule.n_shells
    total = calls // CALLS_PER_STEP
    if total < shells:
        return None
    steps = model.schedule.spend(total, model.config.step_shares or None)
    if len(model.schedule.grid(steps)) - 1 > total:
        return None
    return model.sample(len(start), torch.Generator(), steps, start=start, method=SOLVER, **how).x


def noise(model: ImageModel, n: int, seed: int) -> Tensor:
    """Start noise: the same for all nets of one seed."""
    return model.start(n, torch.Generator().manual_seed(10_000 + seed))


def interval(values: Sequence[float]) -> Estimate:
    """Mean and 95 % interval of Student's t."""
    n, mean = len(values), float(np.mean(values))
    if n < 2:
        return Estimate(mean, n=n)
    half = float(student.ppf(0.975, n - 1)) * float(np.std(values, ddof=1)) / math.sqrt(n)
    return Estimate(mean, mean - half, mean + half, n)


def measure(ruler: Ruler, model: ImageModel, cells: Cells, seed: int, copies: int) -> dict[str, float | None]:
    """Distances at each number of calls, and by shell at the most; nothing is told."""
    start = noise(model, copies * len(ruler.truth), seed)
    found: dict[str, float | None] = {}
    for calls in CALLS:
        if f"at{calls}/{copies}" not in cells.values:
            x = draw(model, start, calls)
            cells.keep(f"at{calls}/{copies}", None if x is None else ruler.distance(x))
            if calls == CALLS[-1] and x is not None:
                cells.keep(f"shells/{copies}", shell_distances(x, ruler.truth))
        found[f"at{calls}"] = cells.values[f"at{calls}/{copies}"]
    return found | {f"shell{j}": value for j, value in enumerate(cells.values.get(f"shells/{copies}", []))}


def shell_distances(x: Tensor, truth: Tensor) -> list[float]:
    """Fréchet distance of the pixels within each of four Fourier shells of equal energy, relative to its energy."""
    rings = FourierTransform(truth.shape[2:])
    shells = FourierTransform.by_energy(truth.shape[2:], SHELLS, rings.energy(truth).mean(0))
    energy = shells.energy(truth).mean(0)
    parts = []
    for j in range(SHELLS):
        keep = torch.zeros(SHELLS)
        keep[j] = 1.0
        mine, other = (shells.filter(y, keep.expand(len(y), -1)).flatten(1) for y in (x, truth))
        parts.append(gaussian_distance(gaussian_of(mine), gaussian_of(other)) / float(energy[j]))
    return parts


def table(found: Found) -> list[Row]:
    """A line for every flow: its distances, and their differences from the plain flow, paired by seed."""
    rows: list[Row] = []
    for name, seeds in found.items():
        row: dict[str, Any] = {"flow": name}
        for key in [f"at{c}" for c in CALLS] + [f"shell{j}" for j in range(SHELLS)]:
            values = [one.get(key) for one in seeds]
            if all(v is not None for v in values):
                row[key] = interval(values)
                if name != PLAIN:
                    apart = [v - base[key] for v, base in zip(values, found[PLAIN], strict=True)]
                    row[f"{key}_over"] = interval(apart)
        rows.append(row)
    return rows


def judged(within: int | None = None) -> tuple[Ruler, tuple[ImageSet, ImageSet]]:
    """The ruler and the data of a run.

    Args:
        within: None for the split of the configs; else the seed of a split of its training part, for choices.
    """
    config = config_of(METHODS[PLAIN], 0, Path("runs"))
    train, held = divide(config)
    if within is None:
        return Ruler(digit_classifier(), train, held), (train, held)
    train, held = hold_out(train, config.held_out, within)
    return Ruler(train_classifier(train), train, held), (train, held)


def draw_figure(path: Path, found: Found, floor: float, pictures: Mapping[str, Tensor]) -> None:
    """Distance against calls, distance by shell, and samples."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure = plt.figure(figsize=(10, 6.0), layout="constrained")
    grid = figure.add_gridspec(2, 2, height_ratios=[3.2, 2.4])
    curve, bars = figure.add_subplot(grid[0, 0]), figure.add_subplot(grid[0, 1])
    for i, row in enumerate(table(found)):
        color = COLORS[str(row["flow"])]
        calls = [c for c in CALLS if f"at{c}" in row]
        low, mean, high = bounds([row[f"at{c}"] for c in calls])
        curve.plot(calls, mean, color=color, marker="o", markersize=3, label=str(row["flow"]))
        curve.fill_between(calls, low, high, color=color, alpha=0.15, linewidth=0)
        height = bounds([row[f"shell{j}"] for j in range(SHELLS)])[1]
        bars.bar(np.arange(SHELLS) + (i - 2) * 0.16, height, 0.15, color=color)
    curve.axhline(floor, color="#9aa0a6", lw=1, ls="--", label="training digits (floor)")
    curve.set(xscale="log", xlabel="network calls", ylabel="Fréchet distance to unseen digits")
    curve.set_xticks(CALLS, [str(c) for c in CALLS])
    curve.minorticks_off()
    curve.legend(frameon=False, fontsize=8)
    bars.set(xticks=range(SHELLS), xlabel="Fourier shell, coarse to fine", ylabel="distance / energy")
    bars.set_title(f"of the pixels of each shell, {CALLS[-1]} calls", fontsize=10)
    for axis in (curve, bars):
        axis.spines[["top", "right"]].set_visible(False)
    below = grid[1, :].subgridspec(1, len(pictures))
    for i, (name, images) in enumerate(pictures.items()):
        axis = figure.add_subplot(below[0, i])
        framed = torch.nn.functional.pad(images[:40, 0], (1, 1, 1, 1), value=1.0)
        tiles = framed.reshape(5, 8, 10, 10).permute(0, 2, 1, 3).reshape(50, 80)
        axis.imshow(tiles, cmap="gray", vmin=-1, vmax=1, interpolation="nearest")
        axis.set_title(name, fontsize=9)
        axis.set(xticks=[], yticks=[])
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=130, format="png", metadata={"Software": None})
    plt.close(figure)


def bounds(estimates: Sequence[Any]) -> tuple[list[float], list[float], list[float]]:
    """Lower ends, means and upper ends, for drawing."""
    return [e.low for e in estimates], [e.mean for e in estimates], [e.high for e in estimates]


def choose(options: argparse.Namespace) -> None:
    """Both sides' candidates on the validation part."""
    ruler, data = judged(within=1)
    rows: list[Row] = [{"candidate": "training digits (floor)", **{f"at{c}": ruler.floor for c in CALLS}}]
    shown = [Column("candidate", "candidate"), *(Column(f"at{c}", f"{c} calls", 2, "lower") for c in CALLS)]
    for name, changes in CANDIDATES.items():
        folder = options.runs / "choice" / "".join(c if c.isalnum() else "_" for c in name)
        config = config_of(METHODS[PLAIN], 0, folder, **{"steps": options.steps, **changes})
        model, cells = trained(config, data)
        found = measure(ruler, model, cells, 0, options.copies)
        rows.append({"candidate": name, **{f"at{c}": found.get(f"at{c}") for c in CALLS}})
        print(f"{name}: {[found[f'at{c}'] for c in CALLS]}", flush=True)
        above = (
            f"# What was tried on the digits\n\nFréchet distance to {len(data[1].ids)} validation digits, one seed, "
            f"{options.steps} steps, solver `{SOLVER}`, kflow_sci {__version__}."
        )
        path = options.out.with_name(f"{options.out.name}_choice")
        write_markdown(path.with_suffix(".md"), rows, shown, above=above)
        write_csv(path.with_suffix(".csv"), rows)


def arguments(text: str | None, out: Path) -> argparse.ArgumentParser:
    """What the scripts on digits have in common."""
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=STEPS, help="of every training")
    parser.add_argument("--copies", type=int, default=6, help="samples per held-out digit")
    parser.add_argument("--runs", type=Path, default=Path("runs/images/digits"))
    parser.add_argument("--out", type=Path, default=out)
    return parser


def main() -> None:
    """Train, measure, draw, and write the tables."""
    parser = arguments(__doc__, HERE / "images_digits")
    parser.add_argument("--choose", action="store_true", help="what was tried, on the validation part")
    parser.add_argument("--flows", nargs="+", choices=list(METHODS.values()), default=list(METHODS.values()))
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.choose:
        choose(options)
        return
    ruler, data = judged()
    flows = {name: stem for name, stem in METHODS.items() if stem in options.flows or name == PLAIN}
    found: dict[str, list[dict[str, float | None]]] = {name: [] for name in flows}
    pictures: dict[str, Tensor] = {"unseen digits": ruler.truth}
    parameters = 0
    for seed in range(options.seeds):
        for name, stem in flows.items():
            model, cells = trained(config_of(stem, seed, options.runs, steps=options.steps), data)
            found[name].append(measure(ruler, model, cells, seed, options.copies))
            print(f"seed {seed}, {name}: {[found[name][-1][f'at{c}'] for c in CALLS]}", flush=True)
            if not seed:
                parameters = sum(p.numel() for p in model.parameters())
                drawn = draw(model, noise(model, 40, 99), CALLS[-1])
                pictures |= {} if drawn is None else {f"{name}, {CALLS[-1]} calls": drawn.clamp(-1, 1)}
    n = len(data[1].ids)
    shown = [Column("flow", "flow"), *(Column(f"at{c}", f"{c} calls", 2, "lower") for c in CALLS)]
    shown += [Column(f"at{c}_over", f"less plain, {c}", 2, "lower") for c in CALLS]
    rows: list[Row] = [{"flow": "training digits (floor)", **{f"at{c}": ruler.floor for c in CALLS}}]
    rows += table(found)
    draw_figure(options.out.with_suffix(".png"), found, ruler.floor, pictures)
    origin = Provenance(__version__, 0, data[1].digest(), n, "python benchmarks/images_digits.py")
    above = (
        f"# Digits: K-Flow beside plain flow matching\n\nFréchet distance of the features of a fixed classifier, "
        f"{options.copies * n} samples against {n} unseen digits, nothing told. Solver `{SOLVER}`, "
        f"{options.steps} steps of 128 images, MLP of {parameters:,} parameters. Mean over {options.seeds} seeds with "
        "95 % interval; differences from plain flow matching are paired by seed."
    )
    write_markdown(options.out.with_suffix(".md"), rows, shown, origin, above=above)
    write_csv(options.out.with_suffix(".csv"), rows, origin)


if __name__ == "__main__":
    main()
