"""The pictures of the flow in docs/method.md.

    python docs/figures/flow.py

Draws, beside this script: ``windows.png`` (α_j(s)), ``sequence.jpg`` (the sequence of Ψ_k, on the photograph that comes
with matplotlib) and ``edges.png`` (what a step across an edge costs). Nothing is trained; takes some seconds.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from torch import Tensor

from kflow_sci.flow.exact import CoordinateTransform, GaussianMixture, projectors
from kflow_sci.flow.path import Path as FlowPath
from kflow_sci.flow.schedule import ShellSchedule
from kflow_sci.flow.solve import runge_kutta, solve
from kflow_sci.transforms.fourier import FourierTransform

matplotlib.use("Agg")
HERE = Path(__file__).parent
INK, PALE = "#22262b", "#9aa0a6"
SHELLS = ("#3d5fe0", "#2f8fa8", "#d07a10", "#b0305c")


def tidy(axis: Axes) -> None:
    """Two spines, pale."""
    axis.spines[["top", "right"]].set_visible(False)
    axis.spines[["left", "bottom"]].set_color(PALE)
    axis.tick_params(colors=INK, labelsize=9)


def save(figure: plt.Figure, name: str) -> None:
    """Beside this script, without a date; photographs as jpg."""
    if name.endswith(".jpg"):
        figure.savefig(HERE / name, dpi=110, pil_kwargs={"quality": 80})
    else:
        figure.savefig(HERE / name, dpi=130, metadata={"Software": None})
    plt.close(figure)


def windows() -> None:
    """Progress of four shells under five schedules."""
    schedules = {
        "strict, equal widths": ShellSchedule.equal(4),
        "widths by amplitude": ShellSchedule.by_energy([16.0, 4.0, 1.0, 0.25], power=0.5),
        "overlap 0.5": ShellSchedule.equal(4, overlap=0.5),
        "overlap 0.5, smoothstep": ShellSchedule.equal(4, overlap=0.5, mu="smoothstep"),
        "overlap 1: plain flow matching": ShellSchedule.equal(4, overlap=1.0),
    }
    figure, axes = plt.subplots(1, 5, figsize=(12, 2.6), sharey=True, layout="constrained")
    s = torch.linspace(0, 1, 401, dtype=torch.float64)
    for axis, (title, schedule) in zip(axes, schedules.items(), strict=True):
        alpha, _ = schedule.progress(s)
        for edge in schedule.edges:
            axis.axvline(edge, color=PALE, linewidth=0.6, linestyle=":")
        for j, color in enumerate(SHELLS):
            # In plain flow matching all shells lie on one line; dashes let each be seen.
            style: tuple[int, tuple[int, ...]] = (3 * j, (3, 9)) if schedule.edges == (0.0, 1.0) else (0, ())
            axis.plot(s, alpha[:, j], color=color, linewidth=1.8, linestyle=style)
        axis.set_title(title, fontsize=10, color=INK)
        axis.set(xlabel="flow time s", xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
        tidy(axis)
    axes[0].set_ylabel("progress α_j(s)")
    handles = axes[0].get_lines()[-4:]
    labels = ("shell 0, coarse", "1", "2", "shell 3, fine")
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    save(figure, "windows.png")


def photograph(size: int) -> Tensor:
    """Grey values in about N(0, 1), ``(1, size, size)``."""
    import matplotlib.cbook as cbook

    rows = plt.imread(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)).astype(np.float64)
    image = torch.from_numpy(rows.mean(-1))[20:500, 16:496][None, None]
    small = torch.nn.functional.interpolate(image, size=(size, size), mode="area")[0]
    return (small - small.mean()) / small.std()


def sequence() -> None:
    """One noise and one photograph, along strict K-Flow and along plain flow matching."""
    size, edges = 128, [4.0, 10.0, 24.0]
    transform = FourierTransform((size, size), edges)
    x1 = photograph(size)
    x0 = torch.randn(1, size, size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    times = torch.linspace(0, 1, 9, dtype=torch.float64)
    rows = {"strict": 0.0, "overlap 0.5": 0.5, "plain": 1.0}
    figure, axes = plt.subplots(3, len(times), figsize=(12, 4.3), layout="constrained")
    for row, (name, overlap) in zip(axes, rows.items(), strict=True):
        path = FlowPath(transform, ShellSchedule.equal(4, overlap))
        states = path.sample(x0.expand(len(times), -1, -1), x1.expand(len(times), -1, -1), times).x
        scale = path.schedule.scale(times)
        for axis, state, s, k in zip(row, states, times, scale, strict=True):
            axis.imshow(state, cmap="gray", vmin=-2.4, vmax=2.4)
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
            if name == "strict":
                axis.set_title(f"s = {float(s):g}, k = {float(k):g}", fontsize=9, color=INK)
        row[0].set_ylabel(name, fontsize=10, color=INK)
    save(figure, "sequence.jpg")


def bent() -> tuple[FlowPath, GaussianMixture]:
    """A flow in closed form whose velocity jumps at s = 1/3."""
    path = FlowPath(CoordinateTransform(torch.tensor([0, 1, 1])), ShellSchedule((1, 2)))
    generator = torch.Generator().manual_seed(4)
    root = torch.randn(2, 3, 3, generator=generator, dtype=torch.float64)
    mean = 1.5 * torch.randn(2, 3, generator=generator, dtype=torch.float64)
    spread = root @ root.transpose(1, 2) + 0.2 * torch.eye(3, dtype=torch.float64)
    p = projectors(path.transform, (3,))
    return path, GaussianMixture(p, path.schedule, [0.6, 0.4], mean, spread)


def across(target: GaussianMixture, x: Tensor, n: int, method: str) -> Tensor:
    """Equal steps that know of no edge."""

    def velocity(y: Tensor, time: float) -> Tensor:
        return target.velocity(y, torch.full((len(y),), time, dtype=y.dtype))

    for i in range(n):
        x = runge_kutta(velocity, x, i / n, (i + 1) / n, 1.0 - 1e-9, method)
    return x


def edges() -> None:
    """Error against network calls, with the edge on the grid and without."""
    path, target = bent()
    x0 = torch.randn(50, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    truth = solve(target.velocity, x0, path, [150], method="rk4").x
    figure, axis = plt.subplots(figsize=(5.2, 3.6), layout="constrained")
    for (method, stages), color in zip({"euler": 1, "midpoint": 2, "rk4": 4}.items(), SHELLS, strict=False):
        for on_grid, style in ((True, "-"), (False, ":")):
            calls, errors = [], []
            for n in (8, 14, 26, 50, 98):  # none divisible by 3
                if on_grid:
                    solution = solve(target.velocity, x0, path, path.schedule.spend(n, [1, 2]), method=method)
                    x, used = solution.x, solution.calls
                else:
                    x, used = across(target, x0, n, method), n * stages
                calls.append(used)
                errors.append(float((x - truth).norm(dim=1).mean()))
            label = f"{method}, {'edge on the grid' if on_grid else 'steps across it'}"
            axis.loglog(
                calls, errors, style, marker="o", markersize=3, color=color, linewidth=1.6, label=label
            )
    axis.set_xlabel("calls of the field")
    axis.set_ylabel("mean error at s = 1")
    axis.legend(frameon=False, fontsize=8)
    tidy(axis)
    save(figure, "edges.png")


if __name__ == "__main__":
    windows()
    sequence()
    edges()
