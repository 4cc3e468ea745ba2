"""Two conditions on different shells: over which scales the class of a digit is decided, and over which its ink.

    python benchmarks/images_told.py

Writes ``images_told.md``, ``.csv`` and ``.png`` beside this script. One net, strict windows, four Fourier shells, is
told class and ink in training, each left out in a fifth of the images. Then it is told them over some shells only, by
the one interface for that (``images.told``, the same as ``kflow image sample --tell class=3@0-2``). Measured are the
share of samples that the fixed classifier of the digits puts into the class they were told, and the share whose mean
pixel lies in the third they were told; 10 % and about a third are chance. Intervals are binomial over samples: one net,
one training.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor

from kflow_sci import __version__
from kflow_sci.images.data import embedded
from kflow_sci.images.model import ImageModel, load_image_model
from kflow_sci.images.scores.classifier import Classifier, digit_classifier
from kflow_sci.images.scores.estimate import share
from kflow_sci.images.told import Telling, plan_of
from kflow_sci.report.pictures import write_grid
from kflow_sci.report.tables import Column, Estimate, Provenance, Row, write_csv, write_markdown
from kflow_sci.settings import read_config
from kflow_sci.training.images import ImageTrainConfig, divide, train_images

HERE = Path(__file__).parent
CONFIG = HERE.parent / "configs" / "images" / "digits_two_conditions.yaml"
SHELLS, EACH, SHOWN = 4, 20, 10
INKS = ("thin", "thick")
ALL = (0, SHELLS)
# What is told over which scales k: (class, ink); None for not at all.
TOLD: dict[str, tuple[tuple[int, int] | None, tuple[int, int] | None]] = {
    "nothing": (None, None),
    "both, everywhere": (ALL, ALL),
    "class on the coarse half, ink on the fine": ((0, 2), (2, 4)),
    "ink on the coarse half, class on the fine": ((2, 4), (0, 2)),
    "class on the first shell, ink on the others": ((0, 1), (1, 4)),
    "ink on the first shell, class on the others": ((1, 4), (0, 1)),
    **{f"both on shell {j} alone": ((j, j + 1), (j, j + 1)) for j in range(SHELLS)},
}


def main() -> None:
    """Train if need be, sample, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--guidance", type=float, default=2.0)
    parser.add_argument("--runs", type=Path, default=Path("runs/images/digits_two_conditions"))
    parser.add_argument("--out", type=Path, default=HERE / "images_told")
    options = parser.parse_args()
    torch.set_num_threads(1)
    config = read_config(CONFIG, ImageTrainConfig, out=str(options.runs))
    weights = options.runs / "last.safetensors"
    if not train_images(config, device="cpu").finished:
        raise SystemExit(2)
    model, _ = load_image_model(weights)
    ruler = digit_classifier()
    rows: list[Row] = []
    pictures: list[Tensor] = []
    for name, (where_class, where_ink) in TOLD.items():
        row, shown = told_over(model, ruler, where_class, where_ink, options.guidance)
        rows.append({"told": name, **row})
        pictures.append(shown)
        print(name, row, flush=True)
    columns = [
        Column("told", "told"),
        Column("class", "% of the class told", 1, "higher"),
        Column("ink", "% of the ink told", 1, "higher"),
        Column("calls", "network calls", 0),
    ]
    real = ruler.accuracy(*held_out(config))
    above = (
        "# Two conditions on different shells\n\nDigits, four Fourier shells of equal energy, strict windows, net: "
        f"`configs/images/digits_two_conditions.yaml`, guidance {options.guidance:g} where a condition is told; "
        f"{10 * len(INKS) * EACH} samples a row, every class with thin and with thick ink. Of real digits held out the "
        f"classifier names {100 * real:.1f} % rightly.\n\n"
        "Ink is the mean pixel, the coarsest wave there is: it must be told where the first shell moves, and told "
        "later it does next to nothing. The class is decided on the first shell for the most part, and by the second "
        "for good; told on the fine half it can only bend what is there.\n\n"
        "![The first six rows of the table, thin digits left and thick ones right](images_told.png)"
    )
    about = Provenance(
        __version__, config.seed, divide(config)[0].digest(), 1, "python benchmarks/images_told.py"
    )
    write_markdown(options.out.with_suffix(".md"), rows, columns, about, above)
    write_csv(options.out.with_suffix(".csv"), rows, about)
    # A row of the figure for each of the first six ways to tell: thin digits, then the same thick.
    grid = torch.cat([torch.cat([part[0], part[1]]) for part in pictures[:6]])
    write_grid(bytes_of(grid), options.out.with_suffix(".png"), columns=2 * SHOWN)
    print(options.out.with_suffix(".md").read_text(encoding="utf-8"))


def told_over(
    model: ImageModel,
    ruler: Classifier,
    where_class: tuple[int, int] | None,
    where_ink: tuple[int, int] | None,
    guidance: float,
) -> tuple[Row, Tensor]:
    """Every class with every ink, told over some scales: the shares that came out, and the first of each class."""
    right_class, right_ink, calls = 0, 0, 0
    first = []
    for ink in INKS:
        for digit in range(10):
            tellings = []
            if where_class is not None:
                tellings.append(Telling("class", str(digit), *where_class))
            if where_ink is not None:
                tellings.append(Telling("ink", ink, *where_ink))
            found = model.sample(
                EACH,
                torch.Generator().manual_seed(digit),  # the same noise for every telling and ink
                plan=plan_of(tellings, SHELLS),
                guidance=guidance if tellings else None,
            )
            right_class += int((ruler(found.x).argmax(1) == digit).sum())
            right_ink += int((thirds(found.x) == {"thin": 0, "thick": 2}[ink]).sum())
            calls = found.calls
            first.append(found.x[0])
    n = 10 * len(INKS) * EACH
    row = {"class": percent(right_class, n), "ink": percent(right_ink, n), "calls": calls}
    return row, torch.stack(first).view(len(INKS), SHOWN, *found.x.shape[1:])


def percent(hits: int, n: int) -> Estimate:
    """A share in percent, with its interval."""
    found = share(hits, n)
    return Estimate(100.0 * found.value, max(0.0, 100.0 * found.low), min(100.0, 100.0 * found.high), n)


def thirds(images: Tensor) -> Tensor:
    """The third of the real digits' ink that images have: 0 thin, 1 medium, 2 thick."""
    real = embedded("digits").images.mean((1, 2, 3))
    return torch.bucketize(images.mean((1, 2, 3)), torch.quantile(real, torch.tensor([1 / 3, 2 / 3])))


def held_out(config: ImageTrainConfig) -> tuple[Tensor, Tensor]:
    """Real digits that nothing was trained on, and their classes."""
    held = divide(config)[1]
    return held.read(range(len(held.ids))), held.labels[:, 0]


def bytes_of(images: Tensor) -> object:
    """Images as bytes, each pixel as 4 × 4 to be seen."""
    from kflow_sci.images.pixels import to_bytes

    return to_bytes(images.repeat_interleave(4, -1).repeat_interleave(4, -2))


if __name__ == "__main__":
    main()
