"""``kflow image edit``: some scales of a given image kept, the others generated."""

from __future__ import annotations

from pathlib import Path

import click

from kflow_sci.cli.image.common import Call, of_a_model, write_image
from kflow_sci.cli.voice import give


@click.command("edit")
@click.argument("weights", type=click.Path(path_type=Path))
@click.argument("image", type=click.Path(path_type=Path))
@click.option("--k", "scale", type=float, required=True, help="The scale: 0 keeps nothing below, K all.")
@click.option(
    "--keep",
    type=click.Choice(["below", "above"]),
    default="below",
    show_default=True,
    help="Keep what is coarser than k and generate new detail, or the reverse.",
)
@click.option("--n", "count", type=click.IntRange(1), default=7, show_default=True, help="Variants.")
@click.option("--label", help="Value of the first condition, for all scales.")
@of_a_model
def command(
    call: Call,
    weights: Path,
    image: Path,
    scale: float,
    keep: str,
    count: int,
    label: str | None,
) -> None:
    """Vary IMAGE with the model in WEIGHTS, below or above a scale k.

    edit.png shows the image first and then its variants; edit-0.png … are the variants alone.
    """
    import numpy as np

    from kflow_sci.flow.steer import Clamp, above, below
    from kflow_sci.report.pictures import write_grid

    studio = call.studio(weights)
    model = studio.model
    weigh = {"below": below, "above": above}[keep](model.schedule.n_shells, scale)
    given = studio.read(image)
    names = ["edit.png", *(f"edit-{i}.png" for i in range(count))]
    out = call.folder(names)
    known = studio.encode(given)
    steer = Clamp(model.path(), known.expand(count, -1, -1, -1), weigh)
    found = model.sample(count, call.generator(), call.steps, label=label, steer=[steer])
    shown = studio.as_bytes(found.x)
    write_grid(np.concatenate([studio.as_bytes(known), shown]), out / "edit.png")
    for i, one in enumerate(shown):
        write_image(one, out / f"edit-{i}.png")
    give(folder=out, files=names, calls=found.calls)
    click.echo(f"{count} variants that keep what is {keep} scale {scale:g}: {out / 'edit.png'}")
