"""``kflow image restore``: super-resolution and deblurring by a model that was never trained for them."""

from __future__ import annotations

from pathlib import Path

import click

from kflow_sci.cli.image.common import Call, of_a_model, write_image
from kflow_sci.cli.voice import give
from kflow_sci.errors import ImageError


@click.command("restore")
@click.argument("weights", type=click.Path(path_type=Path))
@click.argument("image", type=click.Path(path_type=Path), required=False)
@click.option(
    "--enlarge", type=int, help="The image is 2, 4, … times too small; its pixels are means of squares."
)
@click.option("--blur", type=float, help="The image is blurred by a Gaussian of this width, in pixels.")
@click.option(
    "--draws", type=click.IntRange(1), default=8, show_default=True, help="Averaged; 1 for most detail."
)
@click.option(
    "--n",
    "count",
    type=click.IntRange(1),
    default=16,
    show_default=True,
    help="Held-out images, where none is given.",
)
@click.option("--label", help="Value of the first condition, if it is known.")
@click.option(
    "--rounds",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Regression on what was observed; for plain flow matching, and shells that are not the operator's.",
)
@of_a_model
def command(
    call: Call,
    weights: Path,
    image: Path | None,
    enlarge: int | None,
    blur: float | None,
    draws: int,
    count: int,
    label: str | None,
    rounds: int,
) -> None:
    """Enlarge or sharpen IMAGE with the model in WEIGHTS; without IMAGE, images held out from its training.

    With held-out images the truth is known: they are reduced or blurred first, and restore.png shows in columns what
    was observed, what one has without a model (bicubic, or the blurred image), what was restored, and the truth.
    """
    import numpy as np

    from kflow_sci.images.fidelity import psnr, ssim
    from kflow_sci.images.pixels import read_image, to_bytes
    from kflow_sci.images.restore import blurred, restore_images, smaller
    from kflow_sci.report.pictures import write_grid

    if (enlarge is None) == (blur is None):
        raise ImageError("give either --enlarge 2 or --blur WIDTH, to say what was done to the image")
    studio = call.studio(weights)
    studio.pixels_only()
    model, settings = studio.model, studio.settings
    shape = model.config.shape
    done = smaller(shape, enlarge) if enlarge is not None else blurred(shape, blur or 0.0)
    truth = None
    if image is None:
        held = studio.held_out()
        truth = held.read(range(min(count, len(held.ids))))
        observed = done.apply(truth)
    else:
        observed = read_image(image, settings.channels, other_modes=settings.other_modes)[None]
    out = call.folder(["restore.png"])
    restored = restore_images(
        model,
        observed,
        done,
        call.generator(),
        steps=call.steps,
        draws=draws,
        label=label,
        rounds=rounds,
        mirrors=settings.mirrors,
    )
    found, plain = restored.images.cpu(), done.naive(observed)
    give(folder=out, files=["restore.png"], calls=restored.calls)
    if truth is None:
        write_image(to_bytes(found)[0], out / "restore.png")
        click.echo(
            f"Restored, the mean of {draws} draws, {restored.calls} network calls: {out / 'restore.png'}"
        )
        return
    seen = observed.repeat_interleave(done.factor, -1).repeat_interleave(done.factor, -2)
    columns = [to_bytes(part) for part in (seen, plain, found, truth)]
    rows = np.stack(columns, axis=1)
    write_grid(rows.reshape(-1, *rows.shape[2:]), out / "restore.png", columns=len(columns))
    before, after = (float(psnr(part, truth).mean()) for part in (plain, found))
    without = "bicubic" if done.factor > 1 else "as it is"
    give(images=len(truth), psnr=after, psnr_without=before)
    alike = ""
    if min(shape[1:]) >= 11:  # the window of SSIM
        one, two = (float(ssim(part, truth).mean()) for part in (plain, found))
        give(ssim=two, ssim_without=one)
        alike = f", SSIM {one:.3f} and {two:.3f}"
    click.echo(
        f"{len(truth)} held-out images {done.name}: PSNR {before:.2f} dB {without}, {after:.2f} dB restored{alike} "
        f"(mean of {draws} draws, {restored.calls} network calls): {out / 'restore.png'}"
    )
