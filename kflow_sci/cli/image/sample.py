"""``kflow image sample``: images from noise."""

from __future__ import annotations

import json
from pathlib import Path

import click

from kflow_sci.cli.common import command_line, progress_bar
from kflow_sci.cli.image.common import Call, of_a_model, shells_of_states
from kflow_sci.cli.voice import give
from kflow_sci.errors import ImageError
from kflow_sci.files import atomic_write

FILES = ("samples.png", "scales.png", "flow.gif", "samples.npz", "samples.json")


@click.command("sample")
@click.argument("weights", type=click.Path(path_type=Path))
@click.option("--n", "count", type=click.IntRange(1), default=64, show_default=True, help="How many.")
@click.option("--label", help="Value of the first condition, for all scales.")
@click.option(
    "--tell",
    multiple=True,
    metavar="NAME=VALUE[@K-L]",
    help="A condition from scale K to L; may be given several times, one condition for each range of scales.",
)
@click.option(
    "--guidance", metavar="W[,W…]", help="Weight of what the condition adds: one number, or one per shell."
)
@click.option(
    "--drop", type=float, default=0.0, help="Share of the scale axis, at its end, without condition."
)
@click.option("--method", help="Solver.  [default: that of the model]")
@click.option("--batch", type=click.IntRange(1), default=64, show_default=True, help="Images made at a time.")
@of_a_model
def command(
    call: Call,
    weights: Path,
    count: int,
    label: str | None,
    tell: tuple[str, ...],
    guidance: str | None,
    drop: float,
    method: str | None,
    batch: int,
) -> None:
    """Generate images with the model in WEIGHTS.

    samples.png is a grid, scales.png the first eight samples at the scales k = 0, 1, … K (from noise to image),
    flow.gif the same as a moving picture, samples.npz the bytes (arr_0: images, rows, columns, channels), samples.json
    what was done, with the number of network calls.
    """
    import numpy as np
    import torch

    from kflow_sci.images.told import plan_of, read_telling
    from kflow_sci.report.pictures import write_gif, write_grid, write_strip

    studio = call.studio(weights)
    model = studio.model
    if label is not None and tell:
        raise ImageError("--label and --tell are both given: write the label as --tell class=…")
    plan = plan_of([read_telling(text) for text in tell], model.schedule.n_shells) if tell else None
    told = guidance_of(guidance)
    out = call.folder(FILES)
    generator = call.generator()
    made, calls, shown = [], 0, None
    with progress_bar("images", count) as advance:
        for first in range(0, count, batch):
            n = min(batch, count - first)
            found = model.sample(
                n,
                generator,
                call.steps,
                label=label,
                plan=plan,
                guidance=told,
                drop=drop,
                method=method,
                keep=not first,
            )
            if not bool(torch.isfinite(found.x).all()):
                raise ImageError(
                    f"samples of {weights} are not finite: take more --steps, or less --guidance"
                )
            made.append(studio.as_bytes(found.x))
            if shown is None:
                calls, shown = found.calls, found
            advance(first + n)
    images = np.concatenate(made)
    write_grid(images[:256], out / "samples.png")
    if shown is not None:
        eight = [state[:8] for state in shown.states]
        few = shells_of_states(eight, shown.times, model)
        write_strip([studio.as_bytes(state) for state in few], out / "scales.png")
        write_gif([studio.as_bytes(state) for state in eight], out / "flow.gif", columns=4)
    with atomic_write(out / "samples.npz") as beside:
        np.savez(beside, arr_0=images)
    about = {
        "command": command_line(),
        "weights": str(weights),
        "images": count,
        "calls": calls,
        "seed": call.seed,
    }
    with atomic_write(out / "samples.json") as beside:
        beside.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    give(folder=out, files=list(FILES), **about)
    click.echo(f"{count} images with {calls} network calls each: {out / 'samples.png'}")


def guidance_of(text: str | None) -> float | list[float] | None:
    """``1.5`` or ``1.5,1,2`` as numbers.

    Raises:
        ImageError: Something else.
    """
    if text is None:
        return None
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError as error:
        raise ImageError(
            f"--guidance '{text}' is no number: give one, or one per shell with commas"
        ) from error
    return numbers if len(numbers) > 1 else numbers[0]
