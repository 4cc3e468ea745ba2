"""``kflow image latents``: images encoded once, for any number of trainings."""

from __future__ import annotations

from pathlib import Path

import click

from kflow_sci.cli.common import progress_bar


@click.command("latents")
@click.argument("config", type=click.Path(path_type=Path))
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
def command(config: Path, device: str) -> None:
    """Encode the images of CONFIG with its autoencoder, into its latents folder.

    What is there already is checked and kept, so an interrupted run goes on where it was.
    """
    from kflow_sci.errors import ConfigError
    from kflow_sci.settings import read_config
    from kflow_sci.training.images import ImageTrainConfig, ready

    settings = read_config(config, ImageTrainConfig)
    if settings.vae is None:
        raise ConfigError(f"config {config} works on pixels (vae: null): there is nothing to encode")
    with progress_bar("latents") as advance:
        train, held = ready(settings, device=device, advance=advance)
    shape = " × ".join(map(str, train.shape))
    click.echo(
        f"{len(train.ids)} latents to train on and {len(held.ids)} held out, {shape}: {settings.latents}"
    )
