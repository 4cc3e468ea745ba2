"""``kflow image train``: a config in, a run folder with weights out."""

from __future__ import annotations

from pathlib import Path

import click

from kflow_sci.cli.common import INTERRUPTED, command_line, out_dir, progress_bar
from kflow_sci.cli.train import of_a_run, read_options, report, values_of
from kflow_sci.cli.voice import give, voice


@click.command("train")
@of_a_run
def command(config: Path, out: Path | None, resume: bool | None, seconds: float | None, device: str) -> int:
    """Train an image model as CONFIG, a complete yaml file, says; see configs/images.

    A run that was interrupted, even killed, continues when the same command is given again. best.safetensors in the
    run folder is the model at its best validation, on images that are never trained on.

    Several processes (encode latents first, with kflow image latents CONFIG):

        torchrun --nproc-per-node 2 -m kflow_sci image train CONFIG
    """
    from kflow_sci.settings import read_config
    from kflow_sci.training.images import ImageTrainConfig, ready, train_images

    replaced, start = read_options(out, resume, seconds)
    settings = read_config(config, ImageTrainConfig, **replaced)
    out_dir(settings.out)
    with progress_bar("latents") as advance:
        data = ready(settings, device=device, advance=advance)
    result = train_images(settings, data, device=device, start=start, show=not voice().quiet)
    if result.first:
        give(**values_of(result, settings.steps))
        click.echo(report(result, settings.steps, command_line(without="--fresh")))
    return 0 if result.finished else INTERRUPTED
