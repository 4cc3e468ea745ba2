"""``kflow image``: the flow on images.

A subcommand is a module of this package with a click command named ``command``, and one line of ``COMMANDS``.
"""

from __future__ import annotations

import click

from kflow_sci.cli.lazy import LazyGroup

COMMANDS = {
    "train": "Train an image model as a config says.",
    "latents": "Encode the images of a config once, before training.",
    "sample": "Generate images; a grid, the way along the scales, a moving picture.",
    "edit": "Keep what is coarse (or fine) of an image, generate the rest.",
    "eval": "Score samples as a set: Fréchet and kernel distance, precision, recall, CDR.",
    "restore": "Enlarge or sharpen images, with a model never trained for it.",
    "spectrum": "Energy per scale of images, and of samples along the flow.",
}


@click.group("image", cls=LazyGroup, table=COMMANDS, package=__name__)
def command() -> None:
    """Images through the same flow as clusters."""
