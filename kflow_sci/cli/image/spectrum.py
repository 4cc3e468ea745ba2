"""``kflow image spectrum``: how much lives on which scale, in data, in samples and along the flow."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kflow_sci.cli.common import out_dir, refuse_overwrite
from kflow_sci.cli.image.common import Call, of_a_model
from kflow_sci.cli.voice import give
from kflow_sci.files import atomic_write

if TYPE_CHECKING:
    from kflow_sci.images.data import ImageSet

FILES = ("spectrum.png", "spectrum.csv", "flow.png")


@click.command("spectrum")
@click.argument("source", type=click.Path(path_type=Path))
@click.option(
    "--n",
    "count",
    type=click.IntRange(2),
    default=256,
    show_default=True,
    help="Images and samples, at most.",
)
@of_a_model
def command(
    call: Call,
    source: Path,
    count: int,
) -> None:
    """Energy per shell of images, with bootstrap intervals over images.

    SOURCE is a config (yaml): the spectrum of its training images in its shells. Or weights: the spectrum of images
    held out beside that of samples, and the energy of every shell along the flow (flow.png).
    """
    from kflow_sci.report.spectra import draw_flow, draw_spectra
    from kflow_sci.transforms.spectrum import Spectrum, energy_along

    refuse_overwrite(call.out, FILES, call.force)
    spectra = {}
    if source.suffix in (".yaml", ".yml"):
        from kflow_sci.settings import read_config
        from kflow_sci.training.images import ImageTrainConfig, new_image_model, ready

        settings = read_config(source, ImageTrainConfig)
        train, _ = ready(settings, device=call.device)
        transform = new_image_model(settings, train).path().transform
        spectra["training images"] = Spectrum.of(transform, first_of(train, count))
        out_dir(call.out)
    else:
        studio = call.studio(source)
        transform = studio.model.path().transform
        held = studio.encode(first_of(studio.held_out(), count))
        out_dir(call.out)
        found = studio.model.sample(len(held), call.generator(), call.steps, keep=True)
        spectra = {
            "held-out images": Spectrum.of(transform, held),
            "samples": Spectrum.of(transform, found.x),
        }
        target = spectra["held-out images"].energy.mean(0)
        draw_flow(
            energy_along(transform, found.states).cpu(), found.times, call.out / "flow.png", target=target
        )
    draw_spectra(spectra, call.out / "spectrum.png")
    with (
        atomic_write(call.out / "spectrum.csv") as beside,
        beside.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(
            ["of", "images", "shell", "k", "dimension", "energy", "low", "high", "projection_error"]
        )
        for name, spectrum in spectra.items():
            mean, error = spectrum.mean(), spectrum.projection_error().value
            for j in range(spectrum.n_shells):
                numbers = (spectrum.scale[j], spectrum.dimension[j], *(part[j] for part in mean), error[j])
                writer.writerow([name, len(spectrum.energy), j, *(f"{float(v):.6g}" for v in numbers)])
    energy = {name: spectrum.energy.mean(0).tolist() for name, spectrum in spectra.items()}
    files = list(FILES if "samples" in spectra else FILES[:2])
    give(folder=call.out, files=files, energy=energy)
    sizes = ", ".join(f"{len(one.energy)} {name}" for name, one in spectra.items())
    click.echo(f"{sizes}, {transform.n_shells} shells: {call.out / 'spectrum.png'}")


def first_of(images: ImageSet, count: int) -> Any:
    """The first images of a set."""
    return images.read(range(min(count, len(images.ids))))
