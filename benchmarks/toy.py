"""Strict K-Flow, overlapping windows and plain flow matching side by side, on two shapes in the plane.

    python benchmarks/toy.py

Writes ``toy.md`` and ``toy.csv`` beside this script and ``docs/figures/toy.png``. The two coordinates are the two
shells: strict K-Flow settles x and then y. Net, data, batches, optimiser and number of network calls are the same in
all; only the windows differ. Scores: the share of samples off the shape (outside the black squares, or further than
three widths of the noise from the half circles), and the energy distance to unseen data (0 is equal); both also of a
second unseen set (the floor) and of the untouched start. Each net trains for less than a minute on one core.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from kflow_sci import __version__
from kflow_sci.flow.exact import coordinate_path
from kflow_sci.flow.likelihood import confined
from kflow_sci.flow.objective import shell_weights
from kflow_sci.flow.path import Path as FlowPath
from kflow_sci.flow.solve import solve
from kflow_sci.report.tables import Column, Estimate, Row, write_csv, write_markdown

HERE = Path(__file__).parent
OVERLAPS = {"strict": 0.0, "overlap 0.5": 0.5, "plain": 1.0}
INK, PALE, DOT = "#22262b", "#9aa0a6", "#3d5fe0"


def moons(n: int, generator: torch.Generator) -> Tensor:
    """Two half circles with noise 0.08, centred, of unit spread."""
    angle = math.pi * torch.rand(n, generator=generator)
    upper = torch.rand(n, generator=generator) < 0.5
    x = torch.where(upper, angle.cos(), 1.0 - angle.cos())
    y = torch.where(upper, angle.sin(), 0.5 - angle.sin())
    points = torch.stack([x - 0.5, y - 0.25], 1) + 0.08 * torch.randn(n, 2, generator=generator)
    return points / 0.7


def checkerboard(n: int, generator: torch.Generator) -> Tensor:
    """The eight black squares of a board of 4 × 4, of unit spread."""
    row = torch.randint(0, 4, (n,), generator=generator)
    column = 2 * torch.randint(0, 2, (n,), generator=generator) + row % 2
    corner = torch.stack([column, row], 1) - 2.0
    return (corner + torch.rand(n, 2, generator=generator)) / 1.15


def off_moons(x: Tensor) -> Tensor:
    """True further than 0.24 (three widths of the noise) from both half circles."""
    angle = torch.linspace(0, math.pi, 400)
    upper = torch.stack([angle.cos() - 0.5, angle.sin() - 0.25], 1)
    lower = torch.stack([0.5 - angle.cos(), 0.25 - angle.sin()], 1)
    return torch.cdist(0.7 * x, torch.cat([upper, lower])).amin(1) > 0.24


def off_checkerboard(x: Tensor) -> Tensor:
    """True outside the black squares."""
    cell = (1.15 * x + 2.0).floor()
    return (cell < 0).any(1) | (cell > 3).any(1) | (cell.sum(1) % 2 != 0)


OFF = {"moons": off_moons, "checkerboard": off_checkerboard}
SHAPES: dict[str, Callable[[int, torch.Generator], Tensor]] = {"moons": moons, "checkerboard": checkerboard}


class Net(nn.Module):
    """Velocity at a point and time: a perceptron on waves of the point and the time, and on the shells' progress."""

    def __init__(self, path: FlowPath, hidden: int = 128) -> None:
        super().__init__()
        self.path = path
        sizes = (2 + 16 + 2 + 8, hidden, hidden, hidden)
        layers = [m for a, b in pairwise(sizes) for m in (nn.Linear(a, b), nn.SiLU())]
        self.layers = nn.Sequential(*layers, nn.Linear(hidden, 2))
        self.register_buffer("waves", math.pi * torch.arange(1, 5))

    def forward(self, x: Tensor, s: Tensor) -> Tensor:
        alpha, _ = self.path.schedule.progress(s)
        phase = torch.cat([s[:, None] * self.waves, 0.5 * (x[:, :, None] * self.waves).flatten(1)], 1)
        return self.layers(torch.cat([x, alpha, phase.sin(), phase.cos()], 1))


def train(shape: str, overlap: float, steps: int, seed: int, batch: int = 512) -> tuple[Net, float]:
    """A net for one shape and overlap, and the seconds it took."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(1000 + seed)
    path = coordinate_path([1, 1], overlap)
    net = Net(path)
    optimizer = torch.optim.AdamW(net.parameters(), 3e-3, weight_decay=0.0)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    began = time.perf_counter()
    for _ in range(steps):
        x1, x0 = SHAPES[shape](batch, generator), torch.randn(batch, 2, generator=generator)
        s = (torch.randperm(batch, generator=generator) + torch.rand(batch, generator=generator)) / batch
        point = path.sample(x0, x1, s)
        weights = shell_weights(path.schedule, s, "balanced", prediction="velocity").sqrt()
        loss = path.transform.filter(net(point.x, s) - point.v, weights).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        decay.step()
    return net.eval(), time.perf_counter() - began


def energy_distance(a: Tensor, b: Tensor) -> float:
    """``2 E|a−b| − E|a−a′| − E|b−b′|``, without the pairs of a point with itself."""

    def within(x: Tensor) -> float:
        return float(torch.cdist(x, x).sum()) / (len(x) * (len(x) - 1))

    return 2.0 * float(torch.cdist(a, b).mean()) - within(a) - within(b)


@torch.no_grad()
def sample(net: Net, n: int, calls: int, seed: int, keep: bool = False) -> list[Tensor]:
    """States of a walk with this number of network calls; the last is the sample."""
    start = torch.randn(n, 2, generator=torch.Generator().manual_seed(seed))
    steps = net.path.schedule.spend(calls // 2)
    solution = solve(confined(net, net.path), start, net.path, steps, method="midpoint", keep=keep)
    if solution.calls != calls:
        raise SystemExit(f"{calls} calls asked, {solution.calls} made: choose more than there are edges")
    return solution.states if keep else [solution.x]


def draw(nets: dict[tuple[str, str], Net], calls: int, path: Path) -> None:
    """Data, then samples of every flow with the ways that some of them came."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 4, figsize=(10, 5.2), layout="constrained")
    for row, shape in zip(axes, SHAPES, strict=True):
        generator = torch.Generator().manual_seed(5)
        row[0].scatter(*SHAPES[shape](4000, generator).T, s=1.0, color=INK, linewidths=0)
        row[0].set_ylabel(shape)
        for axis, name in zip(row[1:], OVERLAPS, strict=True):
            states = torch.stack(sample(nets[shape, name], 4000, calls, 6, keep=True))
            axis.plot(states[:, :40, 0], states[:, :40, 1], color=PALE, linewidth=0.6, zorder=2)
            axis.scatter(*states[0, :40].T, s=6, color="white", edgecolors=PALE, linewidths=0.6, zorder=3)
            axis.scatter(*states[-1].T, s=1.0, color=DOT, linewidths=0, zorder=1)
        for axis, title in zip(row, ("data", *OVERLAPS), strict=True):
            axis.set(xlim=(-2.6, 2.6), ylim=(-2.6, 2.6), xticks=[], yticks=[], aspect="equal")
            axis.spines[:].set_color(PALE)
            if shape == "moons":
                axis.set_title(title, fontsize=11)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130, metadata={"Software": None})


def main() -> None:
    """Train, measure, draw, and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--calls", type=int, nargs="+", default=[8, 16, 64])
    parser.add_argument("--out", type=Path, default=HERE / "toy")
    parser.add_argument("--figure", type=Path, default=HERE.parent / "docs" / "figures" / "toy.png")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)

    rows: list[Row] = []
    drawn: dict[tuple[str, str], Net] = {}
    for shape, make in SHAPES.items():
        unseen = make(4000, torch.Generator().manual_seed(77))

        def score(x: Tensor, shape: str = shape, unseen: Tensor = unseen) -> tuple[float, float]:
            return 100 * float(OFF[shape](x).float().mean()), 1e3 * energy_distance(x, unseen)

        generator = torch.Generator().manual_seed(78)
        for name, x in (
            ("floor: unseen data", make(4000, generator)),
            ("the start", torch.randn(4000, 2, generator=generator)),
        ):
            off, distance = score(x)
            rows.append(
                {
                    "shape": shape,
                    "flow": name,
                    **{f"off_{c}": off for c in options.calls},
                    "distance": distance,
                }
            )
        for name, overlap in OVERLAPS.items():
            scores: dict[str, list[float]] = {}
            seconds = []
            for seed in range(options.seeds):
                net, took = train(shape, overlap, options.steps, seed)
                seconds.append(took)
                drawn.setdefault((shape, name), net)
                for calls in options.calls:
                    off, distance = score(sample(net, 4000, calls, 10_000 + seed)[-1])
                    scores.setdefault(f"off_{calls}", []).append(off)
                scores.setdefault("distance", []).append(distance)
            row: dict[str, str | float | Estimate] = {
                "shape": shape,
                "flow": name,
                "seconds": float(np.mean(seconds)),
            }
            row |= {k: Estimate(float(np.mean(v)), min(v), max(v), len(v)) for k, v in scores.items()}
            rows.append(row)
    draw(drawn, max(options.calls), options.figure)
    columns = [Column("shape", "shape"), Column("flow", "flow")]
    columns += [Column(f"off_{c}", f"% off the shape, {c} calls", 1, "lower") for c in options.calls]
    columns.append(Column("distance", f"energy distance × 1000, {options.calls[-1]} calls", 1, "lower"))
    columns.append(Column("seconds", "s of training", 0))
    above = (
        f"# Two shapes in the plane\n\nVelocity prediction, balanced weights, midpoint solver, {options.steps} steps "
        f"of 512, perceptron of 3 × 128, {options.seeds} seeds (mean, lowest and highest), "
        f"one core, kflow_sci {__version__}."
    )
    write_markdown(options.out.with_suffix(".md"), rows, columns, above=above)
    write_csv(options.out.with_suffix(".csv"), rows)


if __name__ == "__main__":
    main()
