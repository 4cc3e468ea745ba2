"""What path and transform cost beside a training step of DiT-S/2, and K-Flow's samples beside those of plain flow.

    python benchmarks/images_cost.py

Writes ``images_cost.md`` and ``images_cost.csv`` beside this script. Latents of 4 × 32 × 32 numbers, random ones: no
time depends on them. A step is all of it (noise, path, net, loss, gradients, AdamW). Path and transform are the point
of the path, the filter of the error, and its gradient. A sample of plain flow is the bare Euler loop around the net,
without transform, schedule or solver; what K-Flow adds is measured with a net that costs nothing, because the times of
two whole samples differ by more than that. All rows take turns, so that the load of the machine falls on all; times are
medians over the turns, and a share is the median of those within one turn. Time is that of the processor (with
``--wall`` that of the clock): on a machine that is shared, the clock mostly measures the others.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kflow_sci import __version__
from kflow_sci.flow.objective import shell_weights
from kflow_sci.images.config import ImageConfig
from kflow_sci.images.model import ImageBatch, ImageModel
from kflow_sci.nets.dit import SIZES
from kflow_sci.report.tables import Column, Row, write_csv, write_markdown
from kflow_sci.transforms.pca import PCATransform

HERE = Path(__file__).parent
SHAPE, CLASSES, LIMIT = (4, 32, 32), 1000, 5.0
CALLS = 3
SETTINGS: dict[str, dict[str, Any]] = {
    "Fourier, 3 shells": {"transform": "fourier", "shells": 3, "widths": (1.0, 1.0, 1.0)},
    "Fourier, unit shells": {"transform": "fourier", "shells": "unit", "widths": (1.0,) * 24},
    "wavelet db6, 3 shells": {"transform": "wavelet", "shells": 3, "widths": (1.0, 1.0, 1.0)},
    "wavelet haar, 3 shells": {
        "transform": "wavelet",
        "shells": 3,
        "wavelet": "haar",
        "widths": (1.0, 1.0, 1.0),
    },
    "PCA of rank 256, 3 shells": {"transform": "pca", "shells": (64.0,), "widths": (1.0, 1.0, 1.0)},
}
SAMPLED = ("Fourier, 3 shells", "wavelet db6, 3 shells", "PCA of rank 256, 3 shells")


def make_model(size: str, net: torch.nn.Module | None = None, **changes: Any) -> ImageModel:
    """A model with a DiT of a published size and patches of 2, or around a net that is there already."""
    hidden, layers, heads = SIZES[size] if net is None else (4, 1, 1)
    settings: dict[str, Any] = {"wavelet": "db6", **changes}
    config = ImageConfig(
        shape=SHAPE, conditions={"class": tuple(map(str, range(CLASSES)))}, overlap=0.0, mu="linear",
        prediction="velocity", weighting="open", variance=(1.0,) * len(changes["widths"]), drop=0.1, net="dit",
        patch=2, hidden=hidden, layers=layers, heads=heads, steps=CALLS, step_shares=(), method="euler", **settings,
    )  # fmt: skip
    pca = None
    if config.transform == "pca":
        basis = torch.linalg.qr(torch.randn(4096, 256, generator=torch.Generator().manual_seed(0)))[0]
        pca = PCATransform(basis, torch.linspace(2.0, 1.0, 256), 3, shape=SHAPE, cut=[64])
    model = ImageModel(config, pca)
    if net is not None:
        model.net = net
    return model


def around_the_net(model: ImageModel, x0: Tensor, x1: Tensor, s: Tensor) -> Callable[[], object]:
    """What K-Flow adds to a step: the point of the path, the filter of the error, its gradient."""
    path, schedule = model.path(), model.schedule
    answer = torch.zeros_like(x1).requires_grad_(True)

    def work() -> None:
        path.sample(x0, x1, s)
        _, rate = schedule.progress(s)
        weights = shell_weights(schedule, s, "open", prediction="velocity").sqrt() * rate
        loss = path.transform.filter(answer - (x1 - x0), weights).square().mean()
        answer.grad = None
        loss.backward()

    return work


def bare_euler(net: torch.nn.Module, n: int) -> Callable[[], object]:
    """Plain flow matching with nothing around the net."""
    condition = torch.zeros(n, 1, dtype=torch.long)

    @torch.no_grad()
    def work() -> None:
        x = torch.randn(n, *SHAPE)
        for i in range(CALLS):
            s = torch.full((n,), i / CALLS)
            x = x + net(x, s, s[:, None].expand(-1, 3), condition) / CALLS

    return work


Clock = Callable[[], float]


def take_turns(works: Mapping[str, Callable[[], object]], turns: int, clock: Clock) -> dict[str, np.ndarray]:
    """Seconds of each work in each turn; a turn before the first is not counted."""
    times: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(turns + 1):
        for name, work in works.items():
            began = clock()
            work()
            if turn:
                times[name].append(clock() - began)
    return {name: np.array(spent) for name, spent in times.items()}


def training(size: str, batch: int, turns: int, clock: Clock) -> list[Row]:
    """A training step, and its parts that are not the net's."""
    torch.manual_seed(0)
    model = make_model(size, **SETTINGS["Fourier, 3 shells"])
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4)
    generator = torch.Generator().manual_seed(0)
    x0, x1 = torch.randn(2, batch, *SHAPE)
    s = torch.rand(batch)
    images = ImageBatch(("image",) * batch, x1, torch.zeros(batch, 1, dtype=torch.long))

    def step() -> None:
        optimizer.zero_grad()
        model.loss(images, generator)["loss"].backward()
        optimizer.step()

    whole = f"a training step of DiT-{size}/2, all of the below included"
    works: dict[str, Callable[[], object]] = {whole: step}
    for name, setting in SETTINGS.items():
        works[f"path and filter: {name}"] = around_the_net(make_model(size, model.net, **setting), x0, x1, s)
    times = take_turns(works, turns, clock)
    rows: list[Row] = []
    for name, spent in times.items():
        share = 100 * float(np.median(spent / times[whole]))
        limit = {} if name == whole else judged(share, f"≤ {LIMIT:g} %")
        rows.append({"what": name, "ms": 1e3 * float(np.median(spent)), "share": share, **limit})
    return rows


def sampling(size: str, batch: int, turns: int, clock: Clock) -> list[Row]:
    """A network call of a sampler: whole, beside that of the bare loop, and what of it is not the net's."""
    torch.manual_seed(0)
    models = {SAMPLED[0]: make_model(size, **SETTINGS[SAMPLED[0]]).eval()}
    net = models[SAMPLED[0]].net
    models |= {name: make_model(size, net, **SETTINGS[name]).eval() for name in SAMPLED[1:]}
    bare, works = "plain flow, a bare Euler loop", {}
    calls = {bare: CALLS}
    works[bare] = bare_euler(net, batch)
    for name, model in models.items():
        works[f"K-Flow, Euler: {name}"] = lambda model=model: sample(model, batch, CALLS)
        around = make_model(size, Nothing(), **SETTINGS[name]).eval()
        works[f"all of it but the net: {name}"] = lambda model=around: sample(model, batch, 10 * CALLS)
        calls |= {f"K-Flow, Euler: {name}": CALLS, f"all of it but the net: {name}": 10 * CALLS}
    times = take_turns(works, turns, clock)
    each = {name: spent / calls[name] for name, spent in times.items()}
    rows: list[Row] = []
    for name, spent in each.items():
        share = 100 * float(np.median(spent / each[bare]))
        limit = judged(share, f"≤ {LIMIT:g} %") if name.startswith("all") else {}
        rows.append({"what": name, "ms": 1e3 * float(np.median(spent)), "share": share, **limit})
    return rows


class Nothing(torch.nn.Module):
    """A net that costs nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = torch.nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor, s: Tensor, alpha: Tensor, condition: Tensor) -> Tensor:
        """Zero."""
        return self.factor * x


def sample(model: ImageModel, n: int, calls: int) -> None:
    """Samples by a number of network calls."""
    found = model.sample(n, torch.Generator().manual_seed(0), calls, label=0)
    if found.calls != calls:
        raise RuntimeError(f"{found.calls} calls instead of {calls}")


def judged(value: float, limit: str) -> dict[str, str]:
    """The limit, and whether it holds."""
    return {"limit": limit, "holds": "yes" if value <= LIMIT else "NO"}


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", default="S", choices=list(SIZES))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--batch", type=int, default=2, help="images in a training step")
    parser.add_argument("--samples", type=int, default=1, help="images sampled together")
    parser.add_argument(
        "--wall", action="store_true", help="time of the clock, on a machine that nobody else uses"
    )
    parser.add_argument("--out", type=Path, default=HERE / "images_cost")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.set_flush_denormal(True)
    clock = time.perf_counter if options.wall else time.process_time
    rows = training(options.size, options.batch, options.turns, clock)
    rows += sampling(options.size, options.samples, options.turns, clock)
    columns = [
        Column("what", "what"),
        Column("ms", "ms", 1),
        Column("share", "%", 2),
        Column("limit", "limit"),
        Column("holds", "holds"),
    ]
    kind = "wall" if options.wall else "processor"
    above = (
        f"# Cost of path and transform on images\n\nDiT-{options.size}/2, latents 4 × 32 × 32, {options.batch} images "
        f"a step, {options.samples} sampled together with {CALLS} network calls (ms are of one call), float32, "
        f"{options.threads} thread(s), torch {torch.__version__}, kflow_sci {__version__}. Medians of {options.turns} "
        f"turns, {kind} time; % of the step, or of a network call of plain flow, within the same turn. Few images are "
        "the hard case: what does not grow with them weighs most."
    )
    write_markdown(options.out.with_suffix(".md"), rows, columns, above=above)
    write_csv(options.out.with_suffix(".csv"), rows)
    print(options.out.with_suffix(".md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
