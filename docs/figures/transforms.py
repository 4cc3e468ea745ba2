"""The pictures of the transforms in docs/method.md.

    python docs/figures/transforms.py

Draws, beside this script: ``shells.jpg`` (shells of the photograph that comes with matplotlib), ``rings.png`` (which
wave vectors and which wavelet coefficients make a shell) and ``modes.png`` (modes of a cluster of benzene molecules).
"""

from __future__ import annotations

import itertools
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib import cbook
from torch import Tensor

from kflow_sci.transforms.base import KTransform
from kflow_sci.transforms.fourier import FourierTransform
from kflow_sci.transforms.graph import GraphSpectralTransform
from kflow_sci.transforms.wavelet import WaveletTransform

matplotlib.use("Agg")
HERE = Path(__file__).parent
INK, PALE = "#22262b", "#9aa0a6"
SIZE = 128
EDGES = [4.0, 10.0, 24.0]


def save(figure: plt.Figure, name: str) -> None:
    """Beside this script, without the date."""
    plain = {"metadata": {"Software": None}} if name.endswith("png") else {"pil_kwargs": {"quality": 85}}
    figure.savefig(HERE / name, dpi=130, **plain)
    plt.close(figure)


def bare(axis: plt.Axes) -> None:
    """No ticks, no frame."""
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set_visible(False)


def photograph() -> Tensor:
    """Grey values in about N(0, 1), ``(1, size, size)``."""
    rows = plt.imread(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)).astype(np.float64)
    image = torch.from_numpy(rows.mean(-1))[20:500, 16:496][None, None]
    small = torch.nn.functional.interpolate(image, size=(SIZE, SIZE), mode="area")[0]
    return (small - small.mean()) / small.std()


def shells() -> None:
    """Each shell of a photograph, and what the shells up to it give together."""
    x = photograph()
    transforms: dict[str, KTransform] = {
        "Fourier, rings": FourierTransform((SIZE, SIZE), EDGES),
        "wavelet db6": WaveletTransform((SIZE, SIZE), "db6", 3),
    }
    figure, axes = plt.subplots(4, 4, figsize=(8.6, 9.2), layout="constrained")
    for block, (name, transform) in enumerate(transforms.items()):
        share = transform.energy(x)[0] / transform.energy(x).sum()
        total = torch.zeros_like(x)
        for j in range(4):
            part = transform.project(x, j)
            total = total + part
            upper, lower = axes[2 * block, j], axes[2 * block + 1, j]
            # Fine shells hold little, so each is drawn on its own scale of grey.
            span = 2.4 * float(part.std()) + 1e-9
            upper.imshow(part[0], cmap="gray", vmin=-span, vmax=span)
            lower.imshow(total[0], cmap="gray", vmin=-2.4, vmax=2.4)
            percent = 100 * float(share[j])
            upper.set_title(
                f"shell {j}: {percent:.{0 if percent >= 1 else 1}f} % of the energy", fontsize=9, color=INK
            )
            bare(upper)
            bare(lower)
        axes[2 * block, 0].set_ylabel(name, fontsize=10, color=INK)
        axes[2 * block + 1, 0].set_ylabel("summed up", fontsize=10, color=INK)
    save(figure, "shells.jpg")


def rings() -> None:
    """Where the shells lie among the coefficients."""
    size = 64
    fourier = FourierTransform((size, size), EDGES)
    wavelet = WaveletTransform((size, size), "db6", 3)
    figure, axes = plt.subplots(1, 3, figsize=(9.4, 3.2), layout="constrained")
    colors = matplotlib.colormaps["coolwarm"].resampled(4)
    axes[0].imshow(torch.fft.fftshift(fourier.shell_of), cmap=colors, extent=(-32, 32, -32, 32))
    axes[0].set(title="Fourier: rings of wave vectors", xlabel="k along x", ylabel="k along y")
    axes[1].imshow(wavelet.shell_of, cmap=colors)
    axes[1].set(title="wavelet: approximation, then details")
    image = axes[2].imshow(
        wavelet.forward(photograph()[:, ::2, ::2])[0].abs().clamp(min=1e-2).log(), cmap="gray"
    )
    axes[2].set(title="its coefficients of the photograph (log)")
    image.set_clim(np.log(0.02), np.log(5.0))
    for axis in axes:
        axis.title.set(fontsize=10, color=INK)
        axis.tick_params(labelsize=8, colors=INK)
    bare(axes[1])
    bare(axes[2])
    save(figure, "rings.png")


def benzene() -> Tensor:
    """Centroids of the 17 molecules nearest to one in benzene at 138 K, Å (Bacon, Curry & Wilson, 1964)."""
    cell = np.array([7.39, 9.42, 6.81])
    sites = np.array([[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])
    steps = np.array(list(itertools.product(range(-2, 3), repeat=3)))
    points = ((steps[:, None] + sites[None]).reshape(-1, 3)) * cell
    return torch.from_numpy(points[np.argsort(np.linalg.norm(points, axis=1), kind="stable")[:17]])


def modes() -> None:
    """Laplacian modes of a cluster, from the one that moves all alike to the one that moves neighbours apart."""
    points = benzene()
    transform = GraphSpectralTransform.from_points(points[None], 3)
    chosen = (0, 1, 2, 3, 9, 16)
    figure, axes = plt.subplots(
        1, len(chosen), figsize=(12, 2.4), layout="constrained", subplot_kw={"projection": "3d"}
    )
    near = torch.cdist(points, points)
    pairs = [(i, j) for i, j in itertools.combinations(range(len(points)), 2) if near[i, j] < 6.3]
    for axis, m in zip(axes, chosen, strict=True):
        vector = transform.basis[0, :, m]
        vector = vector * torch.sign(vector[vector.abs().argmax()])
        for i, j in pairs:
            axis.plot(*np.stack([points[i], points[j]]).T, color=PALE, lw=0.6, zorder=1)
        axis.scatter(
            *points.T,
            c=vector,
            cmap="coolwarm",
            vmin=-0.6,
            vmax=0.6,
            s=75,
            edgecolors=INK,
            lw=0.5,
            depthshade=False,
        )
        value, shell = float(transform.values[0, m]), int(transform.shell_of[0, m])
        axis.set_title(f"mode {m}, shell {shell}\nλ = {abs(value):.2f}", fontsize=9, color=INK)
        axis.set_axis_off()
        axis.set_box_aspect((1, 1, 1), zoom=1.48)
        axis.view_init(18, 35)
    save(figure, "modes.png")


if __name__ == "__main__":
    shells()
    rings()
    modes()
