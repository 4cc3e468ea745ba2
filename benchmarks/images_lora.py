"""From plain flow matching to K-Flow by LoRA, beside full fine-tuning and training from the beginning, on the digits.

    python benchmarks/images_lora.py

Writes ``images_lora.md``, ``.csv`` and ``_rows.csv`` beside this script. Nets lie in ``--runs`` with every number
found so far: what is there is not computed again, so a run that was killed goes on.

The ruler is the Fréchet distance of the features of ``images.scores.classifier.digit_classifier`` between samples that
were told nothing and the digits that nothing was trained on. The net is that of ``configs/images/digits_lora_plain``;
windows that overlap by half, or not at all, make it K-Flow. The rates of learning were tried with another seed by the
distance to training digits (``--choose``). Intervals are 95 % of Student's t over seeds; differences are paired by
seed.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import t as student

from kflow_sci import __version__
from kflow_sci.checkpoint import read_header
from kflow_sci.files import atomic_write
from kflow_sci.images.data import ImageSet, read_all
from kflow_sci.images.model import load_image_model
from kflow_sci.images.scores.classifier import digit_classifier
from kflow_sci.images.scores.frechet import frechet_distance
from kflow_sci.images.start import begin_from
from kflow_sci.report.tables import Column, Estimate, Provenance, Row, write_csv, write_markdown
from kflow_sci.settings import read_config
from kflow_sci.training.images import ImageTrainConfig, divide, new_image_model, train_images

HERE = Path(__file__).parent
CONFIG = HERE.parent / "configs" / "images" / "digits_lora_plain.yaml"
TARGETS = {"overlap 0.5": 0.5, "strict": 0.0, "plain flow": 1.0}
CONTROL = "plain flow"  # what as many more steps do without any change of the windows
WHOLE, SHORT = 1000, 100
RANK = 4
# Of learning; for fine-tuning the best of ``--choose`` and a quarter or half of it, since one seed chooses badly.
RATES = {"LoRA": (5e-3, 1e-2), "full": (1e-3, 4e-3), "anew": (2e-3,)}
SAMPLES, NOISE_SEED = 2048, 1000
WAYS = {
    "LoRA": f"LoRA of rank {RANK}, from the plain flow",
    "full": "all weights, from the plain flow",
    "anew": "all weights, from the beginning",
}
TRIED = {"LoRA": (5e-3, 1e-2, 2e-2, 4e-2), "full": (1e-3, 2e-3, 4e-3, 8e-3), "anew": (2e-3, 4e-3, 8e-3)}


class Bench:
    """Nets and numbers of one seed each, kept in a folder."""

    def __init__(self, runs: Path) -> None:
        self.runs, self.ruler = runs, digit_classifier()
        self.parts: dict[str, ImageSet] = dict(
            zip(("train", "held"), divide(self.config("unused", 0)), strict=True)
        )
        self.features = {name: self.ruler.features(read_all(part)) for name, part in self.parts.items()}

    def config(self, name: str, seed: int, **changes: Any) -> ImageTrainConfig:
        """Settings of one training."""
        out = str(self.runs / f"{name}_{seed}")
        return read_config(CONFIG, ImageTrainConfig, out=out, seed=seed, **changes)

    def plain(self, seed: int) -> dict[str, Any]:
        """The net of plain flow matching that all others of this seed begin with."""
        return self.measured("plain", seed, {"steps": WHOLE, "validate_every": WHOLE})

    def of(self, way: str, target: str, steps: int, seed: int, rate: float | None = None) -> dict[str, Any]:
        """A K-Flow net, by one of ``WAYS``."""
        rate = rate or RATES[way][0]
        changes = {"overlap": TARGETS[target], "steps": steps, "learning_rate": rate,
                   "warmup_steps": min(100, steps // 10), "validate_every": steps}  # fmt: skip
        if way != "anew":
            self.plain(seed)
            changes["start_from"] = str(self.runs / f"plain_{seed}" / "last.safetensors")
        if way == "LoRA":
            changes["lora_rank"] = RANK
        return self.measured(f"{way}_{target}_{steps}_{rate:g}".replace(" ", "_"), seed, changes)

    def untrained(self, target: str, seed: int) -> dict[str, Any]:
        """The plain net walked along the windows of K-Flow without any training for it."""
        file = self.runs / f"as_is_{target}_{seed}.json".replace(" ", "_")
        if not file.is_file():
            self.plain(seed)
            config = self.config("unused", seed, overlap=TARGETS[target])
            model = new_image_model(config, self.parts["train"])
            begin_from(model, self.runs / f"plain_{seed}" / "last.safetensors")
            keep(file, {"seconds": 0.0, **self.scores(model.eval(), seed)})
        return dict(json.loads(file.read_text(encoding="utf-8")))

    def measured(self, name: str, seed: int, changes: Mapping[str, Any]) -> dict[str, Any]:
        """Train, if that was not done, and score."""
        config = self.config(name, seed, **changes)
        file = Path(config.out) / "score.json"
        if not file.is_file():
            began = time.process_time()
            data = self.parts["train"], self.parts["held"]
            if not train_images(config, data, device="cpu", start="fresh", show=False).finished:
                raise SystemExit(f"{name} was interrupted: the same command trains it again")
            seconds = time.process_time() - began
            weights = Path(config.out) / "last.safetensors"
            model, _ = load_image_model(weights)
            size = sum(p.numel() for p in model.net.parameters())
            share = read_header(weights).get("started_from", {"trained": size, "of": size})
            keep(file, {"seconds": seconds, **share, **self.scores(model, seed)})
            print(f"{name}, seed {seed}: {file.read_text(encoding='utf-8').strip()}", flush=True)
        return dict(json.loads(file.read_text(encoding="utf-8")))

    @torch.no_grad()
    def scores(self, model: Any, seed: int) -> dict[str, float]:
        """Distances of samples from the digits held out and from those trained on."""
        made, generator = [], torch.Generator().manual_seed(NOISE_SEED + seed)
        for _ in range(SAMPLES // 512):
            found = model.sample(512, generator)
            made.append(self.ruler.features(found.x))
        features = torch.cat(made)
        held, train = (frechet_distance(features, self.features[part]) for part in ("held", "train"))
        return {"held": held, "train": train, "calls": found.calls}


def keep(file: Path, values: Mapping[str, Any]) -> None:
    """A few numbers as json."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(file) as beside:
        beside.write_text(json.dumps(values) + "\n", encoding="utf-8")


def over_seeds(values: Sequence[float]) -> Estimate:
    """Mean and interval by Student's t."""
    x = np.asarray(values, dtype=float)
    if len(x) < 2:
        return Estimate(float(x.mean()), n=len(x))
    half = float(student.ppf(0.975, len(x) - 1) * x.std(ddof=1) / len(x) ** 0.5)
    return Estimate(float(x.mean()), float(x.mean()) - half, float(x.mean()) + half, len(x))


def choose(bench: Bench, seed: int) -> None:
    """What was tried for the rates of learning."""
    for way, rates in TRIED.items():
        for rate in rates:
            found = bench.of(way, "overlap 0.5", SHORT, seed, rate)
            print(f"{way} {rate:g}: {found['train']:.2f} to training digits", flush=True)


def main() -> None:
    """Train, score, and write the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--targets", nargs="+", default=list(TARGETS), choices=list(TARGETS))
    parser.add_argument("--runs", type=Path, default=Path("runs/images/lora"))
    parser.add_argument("--out", type=Path, default=HERE / "images_lora")
    parser.add_argument(
        "--choose", action="store_true", help="try rates of learning with seed 100, write nothing"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    bench = Bench(options.runs)
    if options.choose:
        choose(bench, 100)
        return
    rows, summary = measure(bench, range(options.seeds), options.targets)
    write(bench, rows, summary, options.out)


def measure(bench: Bench, seeds: Sequence[int], targets: Sequence[str]) -> tuple[list[Row], list[Row]]:
    """One row for each net, and one for each way."""
    rows: list[Row] = []
    summary: list[Row] = []

    plain = {s: bench.plain(s) for s in seeds}

    def add(
        target: str, way: str, steps: int, found: Mapping[int, Any], whole: Mapping[int, Any] | None
    ) -> None:
        several = list(found.values())
        named = {"target": target, "way": way, "steps": steps}
        rows.extend({**named, "seed": s, **one} for s, one in found.items())
        trained, of = several[0].get("trained", 0), several[0].get("of", 1)
        summary.append({
            **named, "trained": trained, "share": 100.0 * trained / of,
            "seconds": float(np.median([one["seconds"] for one in several])),
            "held": over_seeds([one["held"] for one in several]),
            "plain": None if found is plain else over_seeds([found[s]["held"] - plain[s]["held"] for s in found]),
            "whole": over_seeds([found[s]["held"] - whole[s]["held"] for s in found]) if whole else None,
        })  # fmt: skip

    add(CONTROL, "all weights, from the beginning", WHOLE, plain, None)
    for target in targets:
        whole = None
        if target != CONTROL:
            whole = {s: bench.of("anew", target, WHOLE, s) for s in seeds}
            add(target, "nothing", 0, {s: bench.untrained(target, s) for s in seeds}, whole)
        for way, said in WAYS.items():
            for rate in RATES[way] if target != CONTROL or way != "anew" else ():
                found = {s: bench.of(way, target, SHORT, s, rate) for s in seeds}
                add(target, f"{said}, rate {rate:g}", SHORT, found, whole)
        if whole is not None:
            add(target, WAYS["anew"], WHOLE, whole, None)
    return rows, summary


def write(bench: Bench, rows: list[Row], summary: list[Row], out: Path) -> None:
    """The tables."""
    seeds = len({row["seed"] for row in rows})
    floor = frechet_distance(bench.features["train"], bench.features["held"])
    columns = [
        Column("target", "windows"),
        Column("way", "what is trained"),
        Column("steps", "steps", 0),
        Column("trained", "numbers trained", 0),
        Column("share", "% of the net", 1),
        Column("seconds", "CPU s", 0),
        Column("held", "Fréchet distance", better="lower"),
        Column("plain", "less that of the plain flow", better="lower"),
        Column("whole", "less that of the full training", better="lower"),
    ]
    above = (
        "# From plain flow matching to K-Flow\n\nDigits, the MLP of `configs/images/digits_lora_plain.yaml`, "
        f"{seeds} seeds; {SAMPLES} samples of {rows[0]['calls']} network calls, told "
        f"nothing, against the {len(bench.parts['held'].ids)} digits held out. Floor (training digits against them): "
        f"{floor:.2f}. Seconds are processor time of one core of a machine in use by others, medians over seeds. "
        "Last columns: differences of the distance, paired by seed."
    )
    about = Provenance(
        __version__, 0, bench.parts["train"].digest(), seeds, "python benchmarks/images_lora.py"
    )
    write_markdown(out.with_suffix(".md"), summary, columns, about, above)
    write_csv(out.with_suffix(".csv"), summary, about)
    write_csv(out.with_name(out.name + "_rows.csv"), rows, about)
    print(out.with_suffix(".md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
