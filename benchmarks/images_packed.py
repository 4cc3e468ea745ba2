"""Does a net on packed wavelet coefficients pay: what a step costs, and how good samples are after equal time.

    python benchmarks/images_packed.py

Writes ``images_packed.md`` and ``images_packed.csv`` beside this script. Digits, the flow of
``configs/images/digits_lora`` (four Fourier shells, windows that overlap by half), told nothing; only the net changes.
What a step costs is measured first, all nets in turns, in processor time; then each is trained for as many steps as fit
into ``--seconds`` of it. The ruler is that of ``images_lora.py``. Nets lie in ``--runs``, and what is there is not
computed again.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from images_lora import over_seeds  # beside this script

from kflow_sci import __version__
from kflow_sci.images.data import ImageSet, read_all
from kflow_sci.images.model import ImageBatch, ImageModel, load_image_model
from kflow_sci.images.scores.classifier import Classifier, digit_classifier
from kflow_sci.images.scores.frechet import frechet_distance
from kflow_sci.report.tables import Column, Provenance, Row, write_csv, write_markdown
from kflow_sci.settings import read_config
from kflow_sci.training.images import ImageTrainConfig, divide, new_image_model, train_images

HERE = Path(__file__).parent
CONFIG = HERE.parent / "configs" / "images" / "digits_lora.yaml"
_DIT = {"net": "dit", "hidden": 64, "layers": 3, "heads": 4}
_CONV = {"net": "conv", "hidden": 32, "layers": 3, "heads": 1, "patch": 1}
NETS: dict[str, dict[str, Any]] = {
    "DiT, patches of 1": {**_DIT, "patch": 1},
    "DiT, patches of 2": {**_DIT, "patch": 2},
    "DiT on haar coefficients, patches of 1": {**_DIT, "patch": 1, "packing": "haar"},
    "DiT on db2 coefficients, patches of 1": {**_DIT, "patch": 1, "packing": "db2"},
    "convolutions": _CONV,
    "convolutions on haar coefficients": {**_CONV, "packing": "haar"},
    "convolutions on db2 coefficients": {**_CONV, "packing": "db2"},
}
SAMPLES = 2048


def settings(name: str, out: str, seed: int, steps: int) -> ImageTrainConfig:
    """The config of a net, trained from the beginning."""
    return read_config(CONFIG, ImageTrainConfig, out=out, seed=seed, steps=steps, start_from=None, lora_rank=None,
                       conditions=[], learning_rate=1e-3, warmup_steps=min(50, steps), validate_every=steps,
                       save_every=steps, **NETS[name])  # fmt: skip


def step_of(config: ImageTrainConfig, train: ImageSet) -> tuple[Any, ImageModel]:
    """A step on one batch."""
    model = new_image_model(config, train)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    index = list(range(config.batch_size))
    batch = ImageBatch(("image",) * len(index), train.read(index), train.labels[index])
    generator = torch.Generator().manual_seed(0)

    def step() -> None:
        optimizer.zero_grad()
        model.loss(batch, generator)["loss"].backward()
        optimizer.step()

    return step, model


def costs(train: ImageSet, turns: int) -> dict[str, tuple[float, int, float]]:
    """Seconds of a step, numbers of the net, and the median share of the first net's step."""
    works = {name: step_of(settings(name, "unused", 0, 1), train) for name in NETS}
    times: dict[str, list[float]] = {name: [] for name in NETS}
    for turn in range(turns + 2):
        for name, (step, _) in works.items():
            began = time.process_time()
            step()
            if turn > 1:  # the first ones are not counted
                times[name].append(time.process_time() - began)
    first = np.array(next(iter(times.values())))
    return {
        name: (float(np.median(spent)), sum(p.numel() for p in works[name][1].net.parameters()),
               float(np.median(np.array(spent) / first)))
        for name, spent in times.items()
    }  # fmt: skip


@torch.no_grad()
def distance(weights: Path, ruler: Classifier, held: ImageSet) -> float:
    """Fréchet distance of samples from the digits held out."""
    model, _ = load_image_model(weights)
    generator = torch.Generator().manual_seed(1000)
    made = torch.cat(
        [ruler.features(model.sample(256, generator, plan=[(0.0, {})]).x) for _ in range(SAMPLES // 256)]
    )
    return frechet_distance(made, ruler.features(read_all(held)))


def main() -> None:
    """Measure, train, score, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=30.0, help="processor time of each training")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--turns", type=int, default=20)
    parser.add_argument("--runs", type=Path, default=Path("runs/images/packed"))
    parser.add_argument("--out", type=Path, default=HERE / "images_packed")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    data = divide(settings(next(iter(NETS)), "unused", 0, 1))
    ruler = digit_classifier()
    rows: list[Row] = []
    for name, (seconds, numbers, share) in costs(data[0], options.turns).items():
        steps = max(10, round(options.seconds / seconds, -1)) if seconds else 10
        found = []
        for seed in range(options.seeds):
            out = options.runs / f"{name.replace(' ', '_').replace(',', '')}_{seed}"
            weights = out / "last.safetensors"
            if not weights.is_file():
                train_images(
                    settings(name, str(out), seed, int(steps)), data, device="cpu", start="fresh", show=False
                )
            found.append(distance(weights, ruler, data[1]))
        row = {"net": name, "numbers": numbers, "ms": 1e3 * seconds, "share": 100 * share}
        rows.append({**row, "steps": int(steps), "held": over_seeds(found) if found else None})
        print(rows[-1], flush=True)
    columns = [
        Column("net", "net"),
        Column("numbers", "numbers", 0),
        Column("ms", "ms per step", 1, "lower"),
        Column("share", "% of the first", 0, "lower"),
        Column("steps", "steps in equal time", 0),
        Column("held", "Fréchet distance", better="lower"),
    ]
    above = (
        f"# Nets on packed wavelet coefficients\n\nDigits, batches of 32, {options.seconds:g} s of processor time for "
        f"each training, {options.seeds} seeds, {SAMPLES} samples of 16 network calls against {len(data[1].ids)} "
        "digits held out, told nothing. A step is in processor time of one core, the median of "
        f"{options.turns} turns."
    )
    about = Provenance(__version__, 0, data[0].digest(), options.seeds, "python benchmarks/images_packed.py")
    write_markdown(options.out.with_suffix(".md"), rows, columns, about, above)
    write_csv(options.out.with_suffix(".csv"), rows, about)
    print(options.out.with_suffix(".md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
