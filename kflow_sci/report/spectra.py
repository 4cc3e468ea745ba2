"""Pictures of spectra: what lives on which scale, and how it grows along a flow.

The one idea: energy per dimension over wave number on logarithmic axes, because then white noise is a level line, a
power law a straight one, and shells of any width compare.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from jaxtyping import Float
from torch import Tensor

from kflow_sci.errors import TransformError
from kflow_sci.files import atomic_write
from kflow_sci.transforms.spectrum import Spectrum

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLORS = ("#2f6db5", "#d9792b", "#3d9a57", "#8c56b0", "#b8403c", "#5a6472")
_INK, _GRID = "#22262b", "#e3e6ea"


def draw_spectra(
    spectra: Mapping[str, Spectrum],
    path: str | os.PathLike[str],
    *,
    title: str | None = None,
    scale: str = "wave number k",
    per_dimension: bool = True,
    dpi: int = 160,
) -> None:
    """Energy over wave number with the slope of its decay, and what the low shells leave.

    Args:
        spectra: Name of each line to its spectrum.
        path: The picture; matplotlib writes what the suffix says.
        title: A line above; none if None.
        scale: What the horizontal axis is called.
        per_dimension: Energy per dimension if True, else of the whole shell.
        dpi: Pixels per inch; the picture is 10 by 4.6 inches.

    Raises:
        TransformError: no spectra.
        OutputError: ``path`` cannot be written.

    Example:
        >>> import torch
        >>> from tempfile import TemporaryDirectory
        >>> spectrum = Spectrum(torch.rand(9, 3) + 0.1, torch.ones(3), torch.tensor([1.0, 2.0, 4.0]))
        >>> with TemporaryDirectory() as folder:
        ...     draw_spectra({"noise": spectrum}, f"{folder}/spectra.png", dpi=40)
        ...     os.listdir(folder)
        ['spectra.png']
    """
    if not spectra:
        raise TransformError("no spectra to draw: give at least one")
    figure, (left, right) = _figure(2, (10.0, 4.6))
    for (name, spectrum), color in zip(spectra.items(), _cycle(len(spectra)), strict=True):
        mean = spectrum.mean(per_dimension=per_dimension)
        use = (spectrum.scale > 0) & (mean.value > 0)
        k = spectrum.scale[use].tolist()
        label = name
        if int(use.sum()) >= 2:
            slope = spectrum.slope(per_dimension=per_dimension)
            numbers = [f"{round(float(v), 2) + 0.0:.2f}".replace("-", "\N{MINUS SIGN}") for v in slope]
            label = f"{name}: slope {numbers[0]} [{numbers[1]}, {numbers[2]}]"
        left.fill_between(k, mean.low[use].tolist(), mean.high[use].tolist(), color=color, alpha=0.2, lw=0)
        left.plot(k, mean.value[use].tolist(), "o-", color=color, ms=3.5, lw=1.4, label=label)
        error = spectrum.projection_error()
        kept = (spectrum.dimension.cumsum(0) / spectrum.dimension.sum()).tolist()
        right.fill_between(kept, error.low.tolist(), error.high.tolist(), color=color, alpha=0.2, lw=0)
        right.plot(kept, error.value.tolist(), "o-", color=color, ms=3.5, lw=1.4)
    left.set(
        xscale="log", yscale="log", xlabel=scale, ylabel="energy per dimension" if per_dimension else "energy"
    )
    for axis in (left.xaxis, left.yaxis):
        _plain_numbers(axis)
    right.set(
        xlabel="share of dimensions kept, from coarse",
        ylabel="relative error of the projection",
        ylim=(0.0, 1.05),
    )
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    _save(figure, path, title, dpi)


def draw_flow(
    energy: Float[Tensor, "times shells"],
    times: Float[Tensor, " times"],
    path: str | os.PathLike[str],
    *,
    target: Float[Tensor, " shells"] | None = None,
    title: str | None = None,
    dpi: int = 160,
) -> None:
    """Energy of each shell over flow time, shells from blue (coarse) to red (fine).

    Args:
        energy: From ``transforms.spectrum.energy_along``.
        times: Flow time of each row, 0 … 1.
        path: The picture.
        target: Energies of data, drawn as marks at the end; none if None.
        title: A line above; none if None.
        dpi: Pixels per inch; the picture is 6 by 4 inches.

    Raises:
        TransformError: a number of times that is not that of the rows.
        OutputError: ``path`` cannot be written.

    Example:
        >>> import torch
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     draw_flow(torch.rand(5, 3), torch.linspace(0, 1, 5), f"{folder}/flow.png", dpi=40)
        ...     os.listdir(folder)
        ['flow.png']
    """
    if energy.ndim != 2 or times.shape != energy.shape[:1]:
        raise TransformError(
            f"energies {tuple(energy.shape)} and times {tuple(times.shape)} do not fit: one row per time"
        )
    from matplotlib import colormaps

    figure, (axes,) = _figure(1, (6.0, 4.0))
    shells = energy.shape[1]
    for j in range(shells):
        color = colormaps["coolwarm"](j / max(1, shells - 1))
        axes.plot(times.tolist(), energy[:, j].tolist(), color=color, lw=1.6, label=f"shell {j}")
        if target is not None:
            axes.plot([float(times[-1])], [float(target[j])], "D", color=color, ms=5, mec=_INK, mew=0.6)
    axes.set(xlabel="flow time s", ylabel="mean energy of the shell", yscale="log")
    _plain_numbers(axes.yaxis)
    if shells <= 12:
        axes.legend(frameon=False, fontsize=8)
    _save(figure, path, title, dpi)


def _cycle(count: int) -> list[str]:
    return [_COLORS[i % len(_COLORS)] for i in range(count)]


def _figure(panels: int, size: tuple[float, float]) -> tuple[Any, list[Axes]]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    axes = [figure.add_subplot(1, panels, i + 1) for i in range(panels)]
    for panel in axes:
        panel.grid(color=_GRID, lw=0.6)
        panel.set_axisbelow(True)
        panel.spines[["top", "right"]].set_visible(False)
        panel.tick_params(colors=_INK, labelsize=8)
    return figure, axes


def _plain_numbers(axis: Any) -> None:
    """0.5, 1, 2 on a logarithmic axis, whole decades where it spans more than two."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(subs=(1.0,) if high / low > 100.0 else (1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _save(figure: Any, path: str | os.PathLike[str], title: str | None, dpi: int) -> None:
    if title:
        figure.suptitle(title, fontsize=11, color=_INK)
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=dpi)
