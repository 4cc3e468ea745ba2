"""Pictures of images: a grid, the steps of a flow as a strip, and as a moving picture.

The one idea: small images are enlarged by whole numbers without smoothing, so that what is seen is what was generated.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8

from kflow_sci.errors import OutputError
from kflow_sci.files import atomic_write

if TYPE_CHECKING:
    from PIL import Image

_WHITE = 255
_LEAST = 64  # pixels an image has in a picture, at least about

Bytes = UInt8[np.ndarray, "images rows columns channels"]


def write_grid(images: Bytes, path: str | os.PathLike[str], columns: int | None = None) -> None:
    """Images side by side, row by row.

    Args:
        images: As bytes, see ``images.pixels.to_bytes``.
        path: The picture; Pillow writes what the suffix says.
        columns: Images in a row; None for about a square.

    Raises:
        OutputError: no images, or the place cannot be written.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     write_grid(np.zeros((5, 8, 8, 1), np.uint8), f"{folder}/grid.png")
        ...     os.listdir(folder)
        ['grid.png']
    """
    with atomic_write(path) as beside:
        _picture(images, columns).save(beside)


def write_strip(states: Sequence[Bytes], path: str | os.PathLike[str], most: int = 8) -> None:
    """How samples come about: a row for each sample, a column for each state.

    Args:
        states: The samples at rising scales.
        path: The picture.
        most: Samples shown.

    Raises:
        OutputError: no states, or the place cannot be written.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     write_strip([np.zeros((2, 8, 8, 3), np.uint8)] * 4, f"{folder}/strip.png")
        ...     os.listdir(folder)
        ['strip.png']
    """
    if not states:
        raise OutputError(f"cannot write {path}: there are no states, sample with keep")
    rows = np.stack([state[:most] for state in states], axis=1)
    write_grid(rows.reshape(-1, *rows.shape[2:]), path, columns=len(states))


def write_gif(
    states: Sequence[Bytes], path: str | os.PathLike[str], columns: int | None = None, milliseconds: int = 80
) -> None:
    """The states one after the other, the last one for longer; over and over.

    Args:
        states: The samples at rising scales.
        path: The file, ``*.gif``.
        columns: Images in a row; None for about a square.
        milliseconds: Time of each state.

    Raises:
        OutputError: no states, or the place cannot be written.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     write_gif([np.full((1, 8, 8, 1), i, np.uint8) for i in (0, 255)], f"{folder}/flow.gif")
        ...     os.listdir(folder)
        ['flow.gif']
    """
    if not states:
        raise OutputError(f"cannot write {path}: there are no states, sample with keep")
    first, *others = [_picture(state, columns) for state in states]
    times = [milliseconds] * len(others) + [12 * milliseconds]
    with atomic_write(path) as beside:
        first.save(beside, save_all=True, append_images=others, duration=times, loop=0, optimize=False)


def _picture(images: Bytes, columns: int | None) -> Image.Image:
    from PIL import Image

    if not len(images):
        raise OutputError("there are no images to draw: give at least one")
    n, high, wide, channels = images.shape
    times = max(1, round(_LEAST / max(high, wide)))
    columns = columns or int(np.ceil(np.sqrt(n)))
    rows = -(-n // columns)
    gap = 2
    sheet = np.full(
        (rows * (high * times + gap) - gap, columns * (wide * times + gap) - gap, channels), _WHITE, np.uint8
    )
    for i, image in enumerate(images):
        top, left = (i // columns) * (high * times + gap), (i % columns) * (wide * times + gap)
        large = image.repeat(times, axis=0).repeat(times, axis=1)
        sheet[top : top + high * times, left : left + wide * times] = large
    return Image.fromarray(sheet[..., 0] if channels == 1 else sheet)
