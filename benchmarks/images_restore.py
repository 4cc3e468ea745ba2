"""Enlarging and deblurring held-out faces with nets that were never trained for it.

    python benchmarks/images_restore.py

Writes ``images_restore.md`` and ``images_restore.csv`` beside this script and ``docs/figures/images_restore.png``. The
nets are those of ``images_faces.py``. Three tasks: twice and four times smaller (means of squares), and blurred by a
Gaussian of 1.5 pixels on the torus; what is observed is rounded to 256 grey levels. Steps, and rounds of the regression
on what was observed (``flow.informed``), are chosen for each net and task by PSNR on 10 faces; the table is of 20
others. Every restored image is the mean of 8 draws, half of them of the mirror image; a row "one draw" shows what a
single sample with the most steps has.

Without a net: bicubic interpolation, or the blurred image as it is; the same corrected to agree with what was observed
(enlarging), or divided by the gain of the blur where that is above 0.05 (deblurring); and the best linear guess from
the mean and covariance of the training images. Intervals are 95 % bootstrap over the faces, of the difference to the
first.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from itertools import product

import numpy as np
import torch
from images_faces import (
    METHODS,
    SIZE,
    arguments,
    held_out_faces,
    net_of,
    photographs,
    training_faces,
    validation_faces,
)
from torch import Tensor

from kflow_sci import __version__
from kflow_sci.flow.steer import mix
from kflow_sci.images.fidelity import psnr, ssim
from kflow_sci.images.model import ImageModel
from kflow_sci.images.pixels import to_bytes
from kflow_sci.images.restore import Degradation, Restored, blurred, restore_images, smaller, told_shells
from kflow_sci.report.pictures import write_grid
from kflow_sci.report.tables import Column, Estimate, Row, write_csv, write_markdown

SHAPE = (1, SIZE, SIZE)
TASKS = {
    "×2 enlarging": smaller(SHAPE, 2),
    "×4 enlarging": smaller(SHAPE, 4),
    "deblurring": blurred(SHAPE, 1.5),
}
CHOSEN = ("plain flow matching", "K-Flow, wavelets", "K-Flow, Fourier")
STEPS, ROUNDS = (3, 16), (0, 2)
DRAWS = 8


def observe(task: Degradation, faces: Tensor) -> Tensor:
    """What is seen of faces, in 256 grey levels."""
    return (task.apply(faces) * 127.5).round() / 127.5


def corrected(task: Degradation, observed: Tensor) -> Tensor:
    """The naive answer, made to agree with what was observed."""
    keep = task.clamp(observed)
    return mix(keep.path.transform, keep.known, task.naive(observed), keep.weights).clamp(-1.0, 1.0)


@cache
def moments() -> tuple[Tensor, Tensor, Tensor]:
    """Mean and covariance of the training images, and the covariance that is the same everywhere (on the torus)."""
    faces = training_faces()
    x = torch.cat([faces, photographs(len(faces))]).flatten(1).double()
    mean = x.mean(0)
    x = x - mean
    power = torch.fft.fft2(x.view(-1, SIZE, SIZE)).abs().square().mean(0) / SIZE**2
    lag = torch.fft.ifft2(power).real
    row, column = (n.flatten() for n in torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij"))
    everywhere = lag[(row[:, None] - row) % SIZE, (column[:, None] - column) % SIZE]
    return mean, x.T @ x / len(x), everywhere


def linear_guess(task: Degradation, shrink: float) -> Callable[[Tensor], Tensor]:
    """The best linear guess of an image from what was observed.

    Args:
        task: What was done to it.
        shrink: Share of the covariance that is made the same everywhere; the rest is that of the training images.
    """
    mean, measured, everywhere = moments()
    covariance = (1.0 - shrink) * measured + shrink * everywhere
    a = task.apply(torch.eye(SIZE**2).view(-1, *SHAPE)).flatten(1).double().T
    noise = (1.0 / 127.5) ** 2 / 12.0  # of rounding
    gain = covariance @ a.T @ torch.linalg.inv(a @ covariance @ a.T + noise * torch.eye(len(a)))

    def guess(observed: Tensor) -> Tensor:
        found = mean + (observed.flatten(1).double() - a @ mean) @ gain.T
        return found.float().view(-1, *SHAPE).clamp(-1.0, 1.0)

    return guess


def restored(
    model: ImageModel, task: Degradation, observed: Tensor, steps: int, rounds: int, draws: int, seed: int
) -> Restored:
    """By a net that is told that it sees faces."""
    return restore_images(
        model,
        observed,
        task,
        torch.Generator().manual_seed(seed),
        steps=steps,
        draws=draws,
        label="face",
        rounds=rounds,
        mirrors=True,
    )


def scores(found: Tensor, first: Tensor, truth: Tensor) -> dict[str, Estimate]:
    """PSNR, its difference to the first method with an interval, and SSIM."""
    ratio = psnr(found, truth).double()
    more = (ratio - psnr(first, truth)).numpy()
    draws = np.random.default_rng(0).integers(len(more), size=(10_000, len(more)))
    low, high = np.quantile(more[draws].mean(1), [0.025, 0.975])
    n = len(truth)
    return {
        "psnr": Estimate(float(ratio.mean()), n=n),
        "gain": Estimate(float(more.mean()), float(low), float(high), n),
        "ssim": Estimate(float(ssim(found, truth).mean()), n=n),
    }


def main() -> None:
    """Choose on some faces, restore others, draw, and write the table."""
    parser = arguments(__doc__, "images_restore")
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(CHOSEN), metavar="METHOD")
    options = parser.parse_args()
    torch.set_num_threads(1)
    choices, faces = validation_faces(), held_out_faces()
    models = {
        method: net_of(METHODS[method], options.runs, options.train_steps) for method in options.methods
    }
    rows: list[Row] = []
    pictures = []
    for title, task in TASKS.items():
        tried, observed = observe(task, choices), observe(task, faces)
        naive = task.naive(observed)
        found: dict[str, tuple[Tensor, dict[str, int]]] = {
            "bicubic" if task.factor > 1 else "as it is": (naive, {}),
            "made to agree" if task.factor > 1 else "divided by the gain": (corrected(task, observed), {}),
        }
        shrinks = {s: float(psnr(linear_guess(task, s)(tried), choices).mean()) for s in (0.1, 0.3, 0.5, 0.8)}
        best = max(shrinks, key=shrinks.__getitem__)
        found["best linear guess"] = (linear_guess(task, best)(observed), {})
        for method, model in models.items():
            chosen, highest = (0, 0), -np.inf
            # Nothing is left to regress where the net sees what was observed as it is.
            seen_whole = told_shells(model.path(), task, SHAPE) > 0
            for steps, rounds in product(STEPS, ROUNDS[:1] if seen_whole else ROUNDS):
                one = restored(model, task, tried, steps, rounds, DRAWS, options.seed).images
                if (value := float(psnr(one, choices).mean())) > highest:
                    chosen, highest = (steps, rounds), value
                print(title, method, steps, rounds, round(value, 3), flush=True)
            steps, rounds = chosen
            whole = restored(model, task, observed, steps, rounds, DRAWS, options.seed)
            found[method] = (whole.images, {"steps": steps, "rounds": rounds, "calls": whole.calls})
            one = restored(model, task, observed, STEPS[-1], rounds, 1, options.seed)
            told = {"steps": STEPS[-1], "rounds": rounds, "calls": one.calls}
            found[f"{method}, one draw"] = (one.images, told)
        for method, (images, told) in found.items():
            rows.append({"task": title, "method": method, **told, **scores(images, naive, faces)})
        if task.factor != 4:
            seen = observed.repeat_interleave(task.factor, -1).repeat_interleave(task.factor, -2)
            shown = [seen, naive, *(found[method][0] for method in options.methods), faces]
            pictures.append(torch.cat([x[:12] for x in shown]))
    write_grid(to_bytes(torch.cat(pictures)), options.figures / "images_restore.png", columns=12)
    columns = [
        Column("task", "task"),
        Column("method", "method"),
        Column("steps", "steps", 0),
        Column("rounds", "rounds", 0),
        Column("calls", "network calls", 0),
        Column("psnr", "PSNR, dB", 2, "higher"),
        Column("gain", "more than without a net, dB", 2, "higher"),
        Column("ssim", "SSIM", 3, "higher"),
    ]
    above = (
        f"# Restoring {len(faces)} held-out faces\n\nMean of {DRAWS} draws, but for the rows of one draw; a backward "
        f"pass counts as a network call; seed {options.seed}, kflow_sci {__version__}. Rows of the picture, for ×2 "
        f"enlarging and then for deblurring: observed, without a net, {', '.join(options.methods)}, the truth."
    )
    write_markdown(options.out.with_suffix(".md"), rows, columns, above=above)
    write_csv(options.out.with_suffix(".csv"), rows)


if __name__ == "__main__":
    main()
