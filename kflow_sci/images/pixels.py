"""One image file: opened, checked, and brought to the numbers that a flow works on.

The one idea: an image is channels × rows × columns in [−1, 1], and a file that is something else (an alpha channel,
16 bits, four inks, several frames) is refused by name unless conversion was asked for, because a silent conversion
changes what is learned.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from kflow_sci.errors import ImageError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm")
OTHER_MODES = ("refuse", "convert")
_PLAIN = {1: "L", 3: "RGB"}
_SAID = {
    "1": "black and white",
    "L": "greyscale",
    "RGB": "colour",
    "LA": "greyscale with alpha",
    "RGBA": "colour with alpha",
    "P": "a palette",
    "CMYK": "CMYK",
    "F": "floating point",
    "I": "32-bit",
}


def read_image(
    source: str | Path | BinaryIO | Image.Image,
    channels: int,
    size: int | None = None,
    *,
    other_modes: str = "refuse",
    name: str | None = None,
) -> Float[Tensor, "channels rows columns"]:
    """An image file as numbers in [−1, 1].

    Args:
        source: A file, or an image of Pillow.
        channels: 1 or 3.
        size: Rows and columns of the result: the shorter side is scaled to it (Lanczos) and the middle cut out; None
            to take the image as it is.
        other_modes: ``refuse`` or ``convert`` images with other channels than asked for, an alpha channel (put on
            white), 16 bits (the upper eight), four inks, a palette, or several frames (the first).
        name: What the image is called in messages; the path if None.

    Raises:
        ImageError: no image, cut off, or of another mode while ``refuse``.
    """
    called = name or str(source)
    if isinstance(source, Image.Image):
        return _numbers(source, channels, size, other_modes, called)
    try:
        with Image.open(source) as image:
            return _numbers(image, channels, size, other_modes, called)
    except UnidentifiedImageError as error:
        raise ImageError(f"{called} is no image that Pillow can read: remove it or save it as png") from error
    except Image.DecompressionBombError as error:
        raise ImageError(f"{called} is too large to be opened safely ({error}): scale it down") from error
    except (OSError, SyntaxError, EOFError) as error:
        raise ImageError(
            f"{called} cannot be read ({error}): it is cut off or damaged; copy it again"
        ) from error


def channels_of(path: str | Path) -> int:
    """1 for a grey image file, 3 for any other; what cannot be opened is left for ``read_image`` to refuse."""
    try:
        with Image.open(path) as image:
            return 1 if image.mode == _PLAIN[1] else 3
    except (OSError, SyntaxError, EOFError, Image.DecompressionBombError):
        return 3


def _numbers(image: Image.Image, channels: int, size: int | None, other_modes: str, name: str) -> Tensor:
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and other_modes == "refuse":
        raise ImageError(f"{name} is animated ({frames} frames): give single images, or other_modes: convert")
    image.load()
    wanted = _PLAIN[channels]
    if image.mode != wanted or "transparency" in image.info:
        if other_modes == "refuse":
            kind = "transparent" if "transparency" in image.info else _SAID.get(image.mode, image.mode)
            kind = "16-bit" if image.mode.startswith("I;16") else kind
            raise ImageError(
                f"{name} is {kind} (mode {image.mode}), but {channels} channel{'s' * (channels > 1)} of 8 bits "
                "are asked for: convert it, change channels, or set other_modes: convert"
            )
        image = _converted(image, wanted)
    if size is not None and image.size != (size, size):
        image = ImageOps.fit(image, (size, size), Image.Resampling.LANCZOS)
    values = torch.from_numpy(np.asarray(image, dtype=np.float32).copy())
    values = values[None] if channels == 1 else values.permute(2, 0, 1)
    return values.contiguous() / 127.5 - 1.0


def _converted(image: Image.Image, wanted: str) -> Image.Image:
    if image.mode.startswith("I;16") or image.mode == "I":
        # Pillow clips instead of scaling when it turns 16 bits into 8.
        upper = np.clip(np.asarray(image, dtype=np.int64) >> 8, 0, 255).astype(np.uint8)
        image = Image.fromarray(upper)
    if image.mode in ("LA", "RGBA", "PA", "La", "RGBa") or "transparency" in image.info:
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    return image.convert(wanted)


def to_bytes(
    images: Float[Tensor, "batch channels rows columns"],
) -> UInt8[np.ndarray, "batch rows columns channels"]:
    """Images in [−1, 1] as bytes; what lies outside is cut to black or white.

    Example:
        >>> to_bytes(torch.tensor([-1.0, 0.0, 1.0, 9.0]).view(1, 1, 1, 4)).flatten().tolist()
        [0, 128, 255, 255]
    """
    scaled = ((images.detach().float().cpu() + 1.0) * 127.5).round().clamp(0.0, 255.0)
    return scaled.to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
