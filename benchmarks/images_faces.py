"""K-Flow in three bases beside plain flow matching, on small faces, at equal network calls.

    python benchmarks/images_faces.py

Writes ``images_faces.md`` and ``images_faces.csv`` beside this script and ``docs/figures/images_faces.png``. All nets,
batches, steps and noises are the same (``configs/images/faces_*.yaml``); only the shells and their windows differ. The
nets are kept in ``--runs`` and trained where they are missing (about two minutes each on a free core);
``images_restore.py`` and ``images_edit.py`` use them too.

Of the 100 faces that come with scikit-image 20 are held out, and 10 are kept for choices. The other 70, with their
mirror images and all four windows of 24 pixels, are too few to learn from alone, so windows of nine photographs that
come with scikit-image, scikit-learn and matplotlib stand beside them; the net is told which is which (condition
``class``), and faces are asked for.

Scores of ``--samples`` images against the 30 faces that no net has seen: energy distance of the pixels (0 is equal;
unbiased, so it can be below 0) with a 95 % bootstrap interval over the unseen faces; mean over rings of Fourier waves
of |ln energy / energy of unseen faces|; and the distance to the nearest training face as a share of the same distance
of unseen faces (1: as new as an unseen face, near 0: copied). Floors: the training faces themselves, and Gaussian noise
with their mean and covariance.
"""

from __future__ import annotations

import argparse
import math
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from kflow_sci import __version__
from kflow_sci.images.data import MemoryImages, embedded, hold_out, only, read_all
from kflow_sci.images.model import ImageModel, load_image_model
from kflow_sci.images.pixels import to_bytes
from kflow_sci.report.pictures import write_grid
from kflow_sci.report.tables import Column, Estimate, Row, write_csv, write_markdown
from kflow_sci.settings import read_config
from kflow_sci.training.images import ImageTrainConfig, train_images
from kflow_sci.transforms.fourier import FourierTransform

HERE = Path(__file__).parent
CONFIGS = HERE.parent / "configs" / "images"
METHODS = {
    "plain flow matching": "faces_plain",
    "K-Flow, wavelets": "faces_wavelet",
    "K-Flow, Fourier": "faces_kflow",
    "K-Flow, PCA": "faces_pca",
}
SIZE = 24
CALLS = (4, 8, 16, 32)
_PHOTOGRAPHS = (
    *(f"skimage/data/{name}" for name in ("astronaut.png", "camera.png", "chelsea.png", "coffee.png")),
    *(f"skimage/data/{name}" for name in ("motorcycle_left.png", "rocket.jpg")),
    *(f"sklearn/datasets/images/{name}" for name in ("china.jpg", "flower.jpg")),
    "matplotlib/mpl-data/sample_data/grace_hopper.jpg",
)
_REDUCED = (3, 4, 6)  # to the sharpness of the faces
_REPEATS = 4  # of the faces, so that half of what a net sees are faces


def held_out_faces() -> Tensor:
    """The 20 faces that no net has seen."""
    return read_all(hold_out(_faces(SIZE), 0.2, seed=0)[1])


def validation_faces() -> Tensor:
    """The 10 faces that choices are made on; no net has seen them."""
    return read_all(hold_out(hold_out(_faces(SIZE), 0.2, seed=0)[0], 0.125, seed=1)[1])


def training_faces(*, windows: bool = True) -> Tensor:
    """The other 70 faces and their mirror images; with ``windows`` all four windows of each."""
    whole = read_all(hold_out(hold_out(_faces(None), 0.2, seed=0)[0], 0.125, seed=1)[0])
    starts = (0, 1) if windows else ((whole.shape[-1] - SIZE) // 2,)
    cut = torch.cat([whole[..., i : i + SIZE, j : j + SIZE] for i in starts for j in starts])
    return torch.cat([cut, cut.flip(-1)])


def _faces(size: int | None) -> Any:
    return only(embedded("faces", size), "class", "face")


def photographs(count: int) -> Tensor:
    """Windows of photographs of all kinds, half of them mirrored, contrast and brightness varied."""
    rng = np.random.default_rng(0)
    sheets = []
    for name in _PHOTOGRAPHS:
        package, _, rest = name.partition("/")
        with Image.open(str(files(package).joinpath(rest))) as image:
            grey = image.convert("L")
        for factor in _REDUCED:
            small = grey.resize((grey.width // factor, grey.height // factor), Image.Resampling.BOX)
            sheets.append(np.asarray(small, dtype=np.float32) / 127.5 - 1.0)
    windows = []
    for _ in range(count):
        sheet = sheets[rng.integers(len(sheets))]
        top, left = (int(rng.integers(n - SIZE + 1)) for n in sheet.shape)
        window = sheet[top : top + SIZE, left : left + SIZE]
        window = window[:, :: rng.choice((-1, 1))]
        mean = window.mean()
        windows.append((window - mean) * rng.uniform(0.7, 1.3) + mean + 0.2 * rng.standard_normal())
    return torch.from_numpy(np.stack(windows)).float()[:, None]


def training_set() -> MemoryImages:
    """Faces and photographs, the net told which."""
    faces = training_faces().repeat(_REPEATS, 1, 1, 1)
    others = photographs(len(faces))
    label = torch.cat([torch.zeros(len(faces), 1), torch.ones(len(others), 1)]).long()
    names = [f"face{i}" for i in range(len(faces))] + [f"photograph{i}" for i in range(len(others))]
    return MemoryImages(torch.cat([faces, others]), names, {"class": ("face", "other")}, label)


def validation_set() -> MemoryImages:
    """The faces for choices as a set."""
    faces = validation_faces()
    names = [f"validation face{i}" for i in range(len(faces))]
    return MemoryImages(faces, names, {"class": ("face", "other")}, torch.zeros(len(faces), 1).long())


def net_of(name: str, runs: Path, steps: int | None = None) -> ImageModel:
    """The trained net of a config, trained first where it is missing.

    Args:
        name: Of the config.
        runs: Where nets are kept.
        steps: Of the training instead of those in the config, for a quick look.
    """
    changed: dict[str, Any] = {"out": str(runs / name)}
    if steps is not None:
        changed |= {"steps": steps, "warmup_steps": min(steps, 50), "validate_every": steps}
    config = read_config(CONFIGS / f"{name}.yaml", ImageTrainConfig, **changed)
    train_images(config, (training_set(), validation_set()), device="cpu")
    # The last step: all nets are then trained equally long.
    return load_image_model(runs / name / "last.safetensors")[0]


def energy_distance(x: Tensor, y: Tensor, seed: int = 0) -> Estimate:
    """``2 E|x − y| − E|x − x′| − E|y − y′|`` of the pixels, unbiased; the interval is over y alone.

    Args:
        x: Images, ``(n, …)``.
        y: The reference.
        seed: Of the bootstrap.
    """
    a, b = x.flatten(1).double(), y.flatten(1).double()
    across, within, own = torch.cdist(a, b).mean(0), torch.cdist(b, b), torch.cdist(a, a)
    n = len(b)
    alone = own.sum() / (len(a) * (len(a) - 1))

    def value(count: Tensor) -> float:
        # A pair of the same face is no pair; resamples hold some, so the number of pairs is counted.
        pairs = count[:, None] * count - torch.diag(count.square())
        return float(2.0 * (count @ across) / n - alone - (pairs * within).sum() / pairs.sum())

    generator = torch.Generator().manual_seed(seed)
    drawn = [
        value(torch.bincount(torch.randint(n, (n,), generator=generator), minlength=n).double())
        for _ in range(1000)
    ]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Estimate(value(torch.ones(n, dtype=torch.float64)), float(low), float(high), n)


def spectrum_error(x: Tensor, y: Tensor) -> float:
    """Mean over rings of |ln E(x)/E(y)|."""
    rings = FourierTransform((SIZE, SIZE))
    a, b = (rings.energy(z).mean(0).log() for z in (x, y))
    return float((a - b).abs().mean())


def novelty(x: Tensor, y: Tensor, trained: Tensor) -> float:
    """Median distance of x to its nearest training face over that of y."""
    near = [torch.cdist(z.flatten(1), trained.flatten(1)).min(1).values.median() for z in (x, y)]
    return float(near[0] / near[1])


def look_alike(faces: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Gaussian noise with mean and covariance of faces."""
    flat = faces.flatten(1)
    mean = flat.mean(0)
    mixed = torch.randn(count, len(flat), generator=generator) @ (flat - mean) / math.sqrt(len(flat) - 1)
    return (mean + mixed).view(count, *faces.shape[1:]).clamp(-1.0, 1.0)


def arguments(about: str | None, name: str) -> argparse.ArgumentParser:
    """What the scripts on faces have in common."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs/images"), help="where nets are kept")
    parser.add_argument("--train-steps", type=int, help="instead of those of the configs, for a quick look")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=HERE / name)
    parser.add_argument("--figures", type=Path, default=HERE.parent / "docs" / "figures")
    return parser


def main() -> None:
    """Train what is missing, sample, score, draw, and write the table."""
    parser = arguments(__doc__, "images_faces")
    parser.add_argument(
        "--methods", nargs="+", choices=list(METHODS), default=list(METHODS), metavar="METHOD"
    )
    parser.add_argument("--samples", type=int, default=128)
    parser.add_argument("--calls", type=int, nargs="+", default=list(CALLS))
    options = parser.parse_args()
    torch.set_num_threads(1)
    unseen = torch.cat([held_out_faces(), validation_faces()])
    known, trained = training_faces(windows=False), training_faces()

    def scores(x: Tensor) -> dict[str, float | Estimate]:
        return {
            "distance": energy_distance(x, unseen, options.seed),
            "spectrum": spectrum_error(x, unseen),
            "novelty": novelty(x, unseen, trained),
        }

    rows: list[Row] = []
    shown = [unseen[:12]]
    generator = torch.Generator().manual_seed(options.seed)
    rows.append({"method": "floor: the training faces", "samples": len(known), **scores(known)})
    noise = look_alike(known, options.samples, generator)
    rows.append({"method": "floor: Gaussian noise like them", "samples": len(noise), **scores(noise)})
    for method in options.methods:
        model = net_of(METHODS[method], options.runs, options.train_steps)
        for calls in options.calls:
            start = torch.Generator().manual_seed(options.seed)
            found = model.sample(options.samples, start, calls, label="face")
            x = found.x.clamp(-1.0, 1.0)
            rows.append({"method": method, "calls": found.calls, "samples": len(x), **scores(x)})
            print(*rows[-1].values(), sep="  ", flush=True)
        shown.append(x[:12])
    write_grid(to_bytes(torch.cat(shown)), options.figures / "images_faces.png", columns=12)
    columns = [
        Column("method", "method"),
        Column("calls", "network calls", 0),
        Column("samples", "samples", 0),
        Column("distance", "energy distance", 3, "lower"),
        Column("spectrum", "spectrum error", 3, "lower"),
        Column("novelty", "distance to training faces", 3, "target 1"),
    ]
    above = (
        "# Faces of 24 × 24 pixels\n\n"
        f"{len(unseen)} unseen faces are the reference (95 % interval over them); seed {options.seed}, "
        f"kflow_sci {__version__}. What the columns mean stands in `images_faces.py`. Rows of the picture: unseen "
        f"faces, then samples of {', '.join(options.methods)}, {options.calls[-1]} calls."
    )
    write_markdown(options.out.with_suffix(".md"), rows, columns, above=above)
    write_csv(options.out.with_suffix(".csv"), rows)


if __name__ == "__main__":
    main()
