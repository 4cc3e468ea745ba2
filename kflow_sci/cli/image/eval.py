"""``kflow image eval``: what generated images are worth, as a set."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from kflow_sci.cli.common import command_line, progress_bar
from kflow_sci.cli.image.common import Call, Studio, of_a_model
from kflow_sci.cli.image.sample import guidance_of
from kflow_sci.cli.voice import give
from kflow_sci.errors import ImageError
from kflow_sci.files import atomic_write

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from kflow_sci.images.data import ImageSet
    from kflow_sci.images.scores.features import Extractor
    from kflow_sci.images.scores.sampling import Draws
    from kflow_sci.training.images import ImageTrainConfig

FILES = ("scores.json", "scores.csv", "samples.png")
COUNT = 2048  # below it a Fréchet distance is mostly bias
SHOWN = 64


@click.command("eval")
@click.argument("samples", type=click.Path(path_type=Path))
@click.option(
    "--reference",
    default="test",
    show_default=True,
    metavar="test|train|PATH",
    help="Held-out images, training images, or images elsewhere.",
)
@click.option(
    "--config", type=click.Path(path_type=Path), help="Whose test and train are meant, if SAMPLES are images."
)
@click.option(
    "--samples", "count", type=click.IntRange(1), help=f"How many.  [default: {COUNT}; of images all]"
)
@click.option(
    "--features",
    metavar="NAME|FILE",
    help="digits, inception, pixels, or a classifier's file.  [default: digits for 1 × 8 × 8 pixels, else inception]",
)
@click.option(
    "--told",
    metavar="none|NAME[,NAME…]",
    help="Conditions told to the model, with values as frequent as in training.  [default: all it has]",
)
@click.option(
    "--guidance", metavar="W[,W…]", help="Weight of what the condition adds: one number, or one per shell."
)
@click.option(
    "--drop",
    type=float,
    help="Sample again without condition over this last share of the scales, for the CDR.",
)
@click.option("--method", help="Solver.  [default: that of the model]")
@click.option(
    "--k", type=click.IntRange(1), default=3, show_default=True, help="Neighbour of precision and recall."
)
@click.option("--batch", type=click.IntRange(1), default=256, show_default=True, help="Images at a time.")
@of_a_model
def command(
    call: Call,
    samples: Path,
    reference: str,
    config: Path | None,
    count: int | None,
    features: str | None,
    told: str | None,
    guidance: str | None,
    drop: float | None,
    method: str | None,
    k: int,
    batch: int,
) -> None:
    """Score SAMPLES as a set: the weights of an image model, which then draws them, or images.

    Images are a folder, the folder of `kflow image sample`, or an .npz file of bytes (arr_0). Scores are the Fréchet
    and kernel distance between features of samples and of reference images (FID and KID with --features inception),
    precision and recall, with --drop the condition-dropping ratio, and the share of samples that have the class they
    were told. Each comes with a 95 % interval, the counts, and the floor: what real images get in place of samples.

    \b
    Example:  kflow image eval runs/images/digits_plain/best.safetensors --out scores
    """
    from kflow_sci import __version__
    from kflow_sci.images.pixels import to_bytes
    from kflow_sci.images.scores.evaluate import score_sets, told_accuracy, warnings_of
    from kflow_sci.images.scores.features import extract, make_extractor
    from kflow_sci.images.scores.pictures import open_pictures, same_shape
    from kflow_sci.images.scores.sampling import Draws
    from kflow_sci.report.image_scores import plain_score, show_scores
    from kflow_sci.report.pictures import write_grid
    from kflow_sci.report.tables import Provenance, write_csv
    from kflow_sci.settings import read_config
    from kflow_sci.training.images import ImageTrainConfig

    source: Draws | ImageSet
    if samples.is_dir() or samples.suffix == ".npz":
        for name, value in {"--steps": call.steps, "--guidance": guidance, "--method": method, "--vae": call.vae,
                            "--drop": drop, "--told": told}.items():  # fmt: skip
            if value is not None:
                raise ImageError(
                    f"{name} is for a model that draws samples, but {samples} holds images: leave it out"
                )
        source = _first(open_pictures(samples), count, samples)
        n, shape = len(source.ids), source.shape
        parts = _parts(reference, None if config is None else read_config(config, ImageTrainConfig))
    else:
        if config is not None:
            raise ImageError("--config is for SAMPLES that are images; weights know their data: leave it out")
        studio, n = call.studio(samples), count or COUNT
        parts = _parts(reference, studio.settings)
        source = _draws(call, studio, n, told, guidance, drop, method, batch)
        shape = _shape(studio)
    same_shape(shape, parts.reference.shape)
    extractor = make_extractor(features or ("digits" if shape == (1, 8, 8) else "inception"), call.device)
    out = call.folder(FILES)
    target = extract(extractor, parts.reference, at_once=batch)
    real = None if parts.other is None else extract(extractor, parts.other, at_once=batch)
    found = _features(source, extractor, batch)
    dropped = _features(source, extractor, batch, drop).rows if drop else None
    scores = score_sets(found.rows, target, real=real, dropped=dropped, k=k, seed=call.seed)
    if isinstance(source, Draws) and extractor.classifier is not None:
        classes = source.classes(extractor.classifier.classes)
        if classes is not None:
            held = parts.held_out(target, real)
            scores.append(told_accuracy(extractor.classifier, found.rows, classes, held))
    write_grid(to_bytes(found.shown), out / "samples.png")
    settings = {
        "samples": str(samples),
        "count": n,
        "reference": parts.what,
        "reference_count": len(target),
        "reference_sha256": parts.reference.digest(),
        "features": extractor.name,
        "features_sha256": extractor.sha256 or None,
        "dimension": target.shape[1],
        "network_calls": found.calls or None,
        "steps": call.steps,
        "method": method,
        "told": told,
        "guidance": guidance,
        "drop": drop,
        "k": k,
        "seed": call.seed,
        "batch": batch,
        "kernel": "(x·y / dimension + 1)³, unbiased, all pairs",
    }
    notes, rows = warnings_of(n, len(target), target.shape[1]), [plain_score(score) for score in scores]
    report = {
        "kflow_sci": __version__,
        "command": command_line(),
        "settings": settings,
        "notes": notes,
        "scores": rows,
    }
    with atomic_write(out / "scores.json") as beside:
        beside.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    origin = Provenance(__version__, call.seed, parts.reference.digest(), len(target), command_line())
    write_csv(out / "scores.csv", rows, origin)
    give(**report, folder=out, files=list(FILES))
    show_scores(scores, settings, notes)
    click.echo(f"Wrote {', '.join(FILES)} to {out}.")


@dataclass(frozen=True)
class _Parts:
    """What samples are compared with.

    Attributes:
        what: ``test``, ``train`` or the path of images elsewhere.
        reference: The images.
        other: The part that is not the reference, for the floor; None for images elsewhere.
    """

    what: str
    reference: ImageSet
    other: ImageSet | None

    def held_out(self, target: np.ndarray, real: np.ndarray | None) -> tuple[np.ndarray, np.ndarray] | None:
        """Features and classes of images that no classifier should have learned from; None without."""
        images, rows = (self.reference, target) if self.what == "test" else (self.other, real)
        if images is None or rows is None:
            return None
        return rows, images.labels[:, list(images.conditions).index("class")].numpy()


def _parts(reference: str, settings: ImageTrainConfig | None) -> _Parts:
    """The reference by name or from a path.

    Raises:
        ImageError: test or train of nothing that is known, or no images there.
    """
    from kflow_sci.images.scores.pictures import open_pictures
    from kflow_sci.training.images import divide

    if reference not in ("test", "train"):
        return _Parts(reference, open_pictures(reference), None)
    if settings is None:
        raise ImageError(
            f"--reference {reference} of which data? Give --config, or a folder of images as --reference"
        )
    train, test = divide(replace(settings, mirrors=False))
    return _Parts(reference, test, train) if reference == "test" else _Parts(reference, train, test)


def _first(images: ImageSet, count: int | None, path: Path) -> ImageSet:
    """The first images of a set, or all.

    Raises:
        ImageError: more than there are.
    """
    from kflow_sci.images.data import Subset

    n = len(images.ids)
    if count is None or count == n:
        return images
    if count > n:
        raise ImageError(f"--samples {count} are asked for, but {path} holds {n} images: ask for at most {n}")
    return Subset(images, tuple(range(count)))


def _shape(studio: Studio) -> tuple[int, int, int]:
    """Channels, rows, columns of the images that a model makes."""
    shape = studio.model.config.shape
    if studio.vae is None:
        return shape
    return studio.settings.channels, shape[1] * studio.vae.factor, shape[2] * studio.vae.factor


def _draws(
    call: Call,
    studio: Studio,
    n: int,
    told: str | None,
    guidance: str | None,
    drop: float | None,
    method: str | None,
    batch: int,
) -> Draws:
    """How the model is to draw its samples.

    Raises:
        ImageError: see ``sampling.conditions_for``; guidance or dropping of a condition where none is told.
    """
    from kflow_sci.images.scores.sampling import Draws, conditions_for
    from kflow_sci.training.images import divide

    names = None if told is None else [name for name in told.split(",") if name != "none"]
    train = divide(replace(studio.settings, mirrors=False))[0]
    values = conditions_for(studio.model, train, n, call.seed, names)
    if drop is not None and (values is None or not 0.0 < drop <= 1.0):
        why = "no condition is told" if values is None else "it is the last share of the scales, in (0, 1]"
        raise ImageError(f"--drop {drop:g} cannot be: {why}")
    weights = guidance_of(guidance)
    if weights is not None and values is None:
        raise ImageError("--guidance strengthens a condition, but none is told: leave it out")
    return Draws(studio.model, studio.decode, n, call.seed, values, call.steps, weights, method, batch)


class _Found(NamedTuple):
    """Features of samples, the first of them as images, and the network calls that each took (0 if unknown)."""

    rows: np.ndarray
    shown: Tensor
    calls: int


def _features(source: Draws | ImageSet, extractor: Extractor, batch: int, drop: float = 0.0) -> _Found:
    """Features of samples, which are drawn where the source is a model."""
    import numpy as np

    from kflow_sci.images.scores.features import extract
    from kflow_sci.images.scores.sampling import Draws

    if not isinstance(source, Draws):
        n = len(source.ids)
        with progress_bar("images", n) as advance:
            rows = extract(extractor, source, at_once=batch, advance=advance)
        return _Found(rows, source.read(range(min(SHOWN, n))), 0)
    parts: list[np.ndarray] = []
    shown: list[Tensor] = []
    calls = 0
    with progress_bar("samples, condition dropped" if drop else "samples", source.count) as advance:
        for made in source.batches(drop):
            calls, shown = made.calls, shown or [made.images[:SHOWN]]
            parts.append(extractor(made.images))
            advance(sum(map(len, parts)))
    return _Found(np.concatenate(parts), shown[0], calls)
