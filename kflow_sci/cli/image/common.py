"""What the commands on images share: a trained model with all it needs, images in, pictures out.

The one idea: a *studio* is a model together with the space it works in, so a command need not know whether that is
pixels or latents.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kflow_sci.cli.common import out_dir, refuse_overwrite
from kflow_sci.errors import ImageError

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from kflow_sci.images.data import ImageSet
    from kflow_sci.images.latents import Autoencoder
    from kflow_sci.images.model import ImageModel
    from kflow_sci.training.images import ImageTrainConfig


@dataclass(frozen=True)
class Call:
    """What every command that works with a trained model was told.

    Attributes:
        out: Folder of the results.
        steps: Solver steps; None for those of the model.
        seed: Of the noise.
        device: Where the model works.
        vae: Autoencoder of a model of latents, if it lies elsewhere than in training.
        force: Files in the folder may be replaced.
    """

    out: Path
    steps: int | None
    seed: int
    device: str
    vae: str | None
    force: bool

    def studio(self, weights: Path) -> Studio:
        """The model that the command works with; see ``open_studio``."""
        return open_studio(weights, self.device, self.vae)

    def generator(self) -> Any:
        """Random numbers on the CPU, so that every device sees the same noise."""
        import torch

        return torch.Generator().manual_seed(self.seed)

    def folder(self, names: Sequence[str]) -> Path:
        """The output folder, made; call it when all input was checked and before the long work.

        Raises:
            OutputError: It cannot be written, or holds one of these files and they may not be replaced.
        """
        refuse_overwrite(self.out, names, self.force)
        return out_dir(self.out)


def of_a_model(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options of every command that works with a trained model; the command gets them as one ``call``."""
    names = [field.name for field in fields(Call)]

    @functools.wraps(command)
    def gathered(**told: Any) -> Any:
        return command(call=Call(**{name: told.pop(name) for name in names}), **told)

    for option in (
        click.option("--force", is_flag=True, help="Overwrite files in the output folder."),
        click.option(
            "--vae", help="Autoencoder of a model of latents, if it lies elsewhere than in training."
        ),
        click.option("--device", default="cpu", show_default=True, help="cpu, cuda, cuda:N or mps."),
        click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the noise."),
        click.option("--steps", type=click.IntRange(1), help="Solver steps.  [default: those of the model]"),
        click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the results."),
    ):
        gathered = option(gathered)
    return gathered


@dataclass(frozen=True)
class Studio:
    """A trained model, its training settings, and its autoencoder if it works on latents."""

    model: ImageModel
    settings: ImageTrainConfig
    vae: Autoencoder | None

    def encode(self, images: Tensor) -> Tensor:
        """Images as what flows (latents by their mean), on the device of the model."""
        found = images if self.vae is None else self.vae.encode(images)[0]
        return found.to(self.model.device)

    def decode(self, x: Tensor) -> Tensor:
        """What flows as images, on the CPU."""
        return x.float().cpu() if self.vae is None else self.vae.decode(x)

    def as_bytes(self, x: Tensor) -> np.ndarray:
        """What flows as bytes, ``(images, rows, columns, channels)``."""
        from kflow_sci.images.pixels import to_bytes

        return to_bytes(self.decode(x))

    def read(self, path: Path) -> Tensor:
        """An image file, as the training read it.

        Raises:
            ImageError: It cannot be read, or has another size than the model needs.
        """
        from kflow_sci.images.pixels import read_image

        image = read_image(
            path, self.settings.channels, self.settings.size, other_modes=self.settings.other_modes
        )
        shape = self.model.config.shape
        factor = 1 if self.vae is None else self.vae.factor
        rows, columns = shape[1] * factor, shape[2] * factor
        if tuple(image.shape[1:]) != (rows, columns):
            raise ImageError(
                f"{path} has {image.shape[1]} × {image.shape[2]} pixels, but it must have {rows} × {columns}: scale it"
            )
        return image[None]

    def pixels_only(self) -> None:
        """Refuse a model of latents, for work that is only meant on pixels.

        Raises:
            ImageError: It is one.
        """
        if self.vae is not None:
            raise ImageError(
                "this model works on latents, where the operator is not one factor per shell: use pixels"
            )

    def held_out(self) -> ImageSet:
        """The images that the model was never trained on, as pixels."""
        from kflow_sci.training.images import divide

        return divide(self.settings)[1]


def open_studio(weights: Path, device: str, vae: str | None) -> Studio:
    """A model from its weights, with all it needs.

    Raises:
        CheckpointError: No weights of an image model.
        ImageError: The device or the autoencoder is not there.
    """
    from kflow_sci.images.model import load_image_model
    from kflow_sci.settings import make_named
    from kflow_sci.training.images import ImageTrainConfig, autoencoder_of

    model, header = load_image_model(weights, device)
    settings = make_named(ImageTrainConfig, {**header["settings"], "out": str(weights.parent)}, weights)
    return Studio(model, settings, autoencoder_of(header["settings"], device, vae))


def shells_of_states(states: Sequence[Any], times: Any, model: ImageModel) -> list[Any]:
    """The states nearest to the whole scales 0 … K: Ψ_k, by which the first k shells are done.

    Args:
        states: Of a solution that kept them.
        times: Their flow times.
        model: Whose schedule it is.
    """
    k = model.schedule.scale(times)
    return [states[int((k - whole).abs().argmin())] for whole in range(model.schedule.n_shells + 1)]


def write_image(image: np.ndarray, path: Path) -> None:
    """One image as a file, pixel by pixel.

    Args:
        image: Bytes, ``(rows, columns, channels)``.
        path: The file; Pillow writes what the suffix says.
    """
    from PIL import Image

    from kflow_sci.files import atomic_write

    with atomic_write(path) as beside:
        Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(beside)
