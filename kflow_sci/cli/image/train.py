"""``kflow image train``: a config in, a run folder with weights out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from kflow_sci.cli.common import INTERRUPTED, command_line, out_dir, progress_bar
from kflow_sci.cli.train import minutes_of, report, values_of
from kflow_sci.cli.voice import give, voice


@click.command("train")
@click.argument("config", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="Run folder, instead of the one in the config.")
@click.option(
    "--resume/--fresh",
    default=None,
    help="Insist on continuing a run, or start over.  [default: continue what is there, else begin]",
)
@click.option(
    "--time", "limit", metavar="TIME", help="Stop after this much time in training steps (300s, 5m, 1h)."
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N or mps.")
def command(config: Path, out: Path | None, resume: bool | None, limit: str | None, device: str) -> int:
    """Train an image model as CONFIG, a complete yaml file, says; see configs/images.

    A run that was interrupted, even killed, continues when the same command is given again. best.safetensors in the
    run folder is the model at its best validation, on images that are never trained on.

    Several processes (encode latents first, with kflow image latents CONFIG):

        torchrun --nproc-per-node 2 -m kflow_sci image train CONFIG
    """
    from kflow_sci.settings import read_config
    from kflow_sci.training.images import ImageTrainConfig, ready, train_images

    replaced: dict[str, Any] = {} if out is None else {"out": str(out)}
    if limit is not None:
        replaced["minutes"] = minutes_of(limit)
    settings = read_config(config, ImageTrainConfig, **replaced)
    out_dir(settings.out)
    start = {None: "auto", True: "resume", False: "fresh"}[resume]
    with progress_bar("latents") as advance:
        data = ready(settings, device=device, advance=advance)
    result = train_images(settings, data, device=device, start=start, show=not voice().quiet)  # type: ignore[arg-type]
    if result.first:
        give(**values_of(result, settings.steps))
        click.echo(report(result, settings.steps, command_line(without="--fresh")))
    return 0 if result.finished else INTERRUPTED
