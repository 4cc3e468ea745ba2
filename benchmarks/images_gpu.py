"""Training throughput of DiT-L/2 on latents of 4 × 32 × 32 numbers, in bfloat16, and its share of the card's peak.

    python benchmarks/images_gpu.py

Writes ``images_gpu.md`` and ``images_gpu.csv`` beside this script; without a CUDA device it ends with exit code 2. A
step is that of ``kflow image train``: noise, path, net under autocast, loss, gradients, clipping, AdamW. Latents are
random and already on the card, so reading data is not in the number. Attention is PyTorch's
scaled_dot_product_attention; there are rows with and without torch.compile. Operations are counted on the net alone,
forward and backward, by ``torch.utils.flop_counter`` (a multiplication and an addition are two); the peak is that of
dense bfloat16 products with float32 sums, as the maker states it.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from kflow_sci import __version__
from kflow_sci.images.config import ImageConfig
from kflow_sci.images.model import ImageBatch, ImageModel
from kflow_sci.nets.dit import SIZES, DiT
from kflow_sci.report.tables import Column, Row, write_csv, write_markdown

HERE = Path(__file__).parent
CLASSES = 1000
# Dense bfloat16, 10¹² operations per second, from the makers' data sheets; the first name that fits counts.
PEAKS = {
    "H200": 989.0, "H100 PCIe": 756.0, "H100 NVL": 835.0, "H100": 989.0, "GH200": 989.0, "B200": 2250.0,
    "A100": 312.0, "A40": 149.7, "A10": 125.0, "L40S": 362.0, "L4": 121.0, "RTX 4090": 165.2, "RTX 3090": 71.0,
}  # fmt: skip


def make_model(size: str, transform: str, shape: tuple[int, int, int] = (4, 32, 32)) -> ImageModel:
    """A K-Flow model around a DiT of a published size with patches of 2; three Fourier or two db6 shells."""
    hidden, layers, heads = SIZES[size]
    shells = {"fourier": 3, "wavelet": 2}[transform]
    return ImageModel(ImageConfig(
        shape=shape, conditions={"class": tuple(map(str, range(CLASSES)))}, transform=transform, shells=shells,
        wavelet="db6", widths=(1.0,) * shells, overlap=0.0, mu="linear", prediction="velocity", weighting="open",
        variance=(1.0,) * shells, drop=0.1, net="dit", patch=2, hidden=hidden, layers=layers, heads=heads,
        steps=50, step_shares=(), method="midpoint",
    ))  # fmt: skip


def operations_per_image(size: str, shape: tuple[int, int, int] = (4, 32, 32)) -> tuple[int, int]:
    """Floating-point operations of the net for one image: forward, and forward with backward; nothing is computed."""
    hidden, layers, heads = SIZES[size]
    with torch.device("meta"):
        net = DiT(shape, 2, hidden, layers, heads, n_shells=3, conditions=[CLASSES])
        told = torch.zeros(1), torch.zeros(1, 3), torch.zeros(1, 1, dtype=torch.long)
        x = torch.zeros(1, *shape)
    with FlopCounterMode(display=False) as forward:
        net(x, *told)
    with FlopCounterMode(display=False) as both:
        net(x, *told).sum().backward()
    return forward.get_total_flops(), both.get_total_flops()


def peak_of(name: str) -> float | None:
    """Peak of a card by its name, 10¹² operations per second; None for one that is not in the table."""
    return next((peak for part, peak in PEAKS.items() if part.lower() in name.lower()), None)


def training_step(
    model: ImageModel, batch: int, precision: torch.dtype, *, compiled: bool
) -> Callable[[], None]:
    """One step of training on random latents that lie on the device of the model."""
    if compiled:
        model.net.compile()
    device = model.device
    fused = device.type == "cuda"
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4, weight_decay=0.0, fused=fused)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn((batch, *model.config.shape), generator=generator).to(device)
    labels = torch.randint(CLASSES, (batch, 1), generator=generator).to(device)
    images = ImageBatch(("image",) * batch, x, labels)

    def step() -> None:
        with torch.autocast(device.type, dtype=precision, enabled=precision != torch.float32):
            loss = model.loss(images, generator)["loss"]
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return step


def seconds_per_step(step: Callable[[], None], warm: int, steps: int, wait: Callable[[], None]) -> float:
    """Mean wall time of a step, after some that are not counted.

    Args:
        step: A step.
        warm: Steps before the clock starts; compilation is in them.
        steps: Steps that count.
        wait: Returns when the device has done what it was given.
    """
    for _ in range(warm):
        step()
    wait()
    began = time.perf_counter()
    for _ in range(steps):
        step()
    wait()
    return (time.perf_counter() - began) / steps


def main() -> int:
    """Measure and write the table; 2 without a CUDA device."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", default="L", choices=list(SIZES))
    parser.add_argument(
        "--transforms", nargs="+", default=["fourier", "wavelet"], choices=["fourier", "wavelet"]
    )
    parser.add_argument("--batch", type=int, nargs="+", default=[64, 128, 256])
    parser.add_argument("--warm", type=int, default=10)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument(
        "--peak", type=float, help="of the card, 10¹² operations per second, if it is not known here"
    )
    parser.add_argument("--out", type=Path, default=HERE / "images_gpu")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print(
            "images_gpu.py measures a GPU, but torch sees no CUDA device: run it where there is one",
            file=sys.stderr,
        )
        return 2
    card = torch.cuda.get_device_name()
    peak = options.peak or peak_of(card)
    torch.set_float32_matmul_precision("high")
    forward, both = operations_per_image(options.size)
    rows: list[Row] = []
    for transform in options.transforms:
        for compiled in (False, True):
            for batch in options.batch:
                rows.append(measure(options, transform, batch, both, peak, compiled=compiled))
                print(rows[-1], flush=True)
    columns = [
        Column("transform", "transform"),
        Column("compiled", "compiled"),
        Column("batch", "batch", 0),
        Column("ms", "ms per step", 1),
        Column("images", "images/s", 0, "higher"),
        Column("rate", "10¹² operations/s", 0, "higher"),
        Column("share", "% of the peak", 1, "higher"),
        Column("memory", "GiB at most", 1),
    ]
    above = (
        f"# Training on a GPU\n\nDiT-{options.size}/2, latents 4 × 32 × 32, bfloat16 autocast, weights in float32, on "
        f"one {card} (peak {f'{peak:g} · 10¹²' if peak else 'unknown'}), torch {torch.__version__}, kflow_sci "
        f"{__version__}. {forward / 1e9:.1f} · 10⁹ operations per image forward, {both / 1e9:.1f} · 10⁹ with backward. "
        f"Means of {options.steps} steps after {options.warm}."
    )
    write_markdown(options.out.with_suffix(".md"), rows, columns, above=above)
    write_csv(options.out.with_suffix(".csv"), rows)
    print(options.out.with_suffix(".md").read_text(encoding="utf-8"))
    return 0


def measure(
    options: argparse.Namespace,
    transform: str,
    batch: int,
    operations: int,
    peak: float | None,
    *,
    compiled: bool,
) -> Row:
    """One row of the table; a batch that does not fit the card has no numbers."""
    row: dict[str, str | int | float | None] = {
        "transform": transform, "compiled": "yes" if compiled else "no", "batch": batch
    }  # fmt: skip
    torch.compiler.reset()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    torch.manual_seed(0)
    try:
        model = make_model(options.size, transform).to("cuda")
        step = training_step(model, batch, torch.bfloat16, compiled=compiled)
        seconds = seconds_per_step(step, options.warm, options.steps, torch.cuda.synchronize)
    except torch.cuda.OutOfMemoryError:
        return row
    rate = operations * batch / seconds / 1e12
    return row | {
        "ms": 1e3 * seconds,
        "images": batch / seconds,
        "rate": rate,
        "share": None if peak is None else 100.0 * rate / peak,
        "memory": torch.cuda.max_memory_allocated() / 2**30,
    }


if __name__ == "__main__":
    sys.exit(main())
