"""Images that some program has left behind: a folder of files, or one array of bytes.

The one idea: whatever made the images, they are an image set; colour or grey follows from the first of them, and all
others must agree.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import torch

from kflow_sci.errors import ImageError
from kflow_sci.images.data import ImageSet, MemoryImages
from kflow_sci.images.folder import open_folder
from kflow_sci.images.pixels import SUFFIXES, channels_of

SAMPLES = "samples.npz"
_KEY = "arr_0"


def open_pictures(path: str | Path) -> ImageSet:
    """Images from a folder or a file of bytes.

    Args:
        path: A folder of images (see ``folder.open_folder``), a folder with the ``samples.npz`` of `kflow image
            sample`, or an ``.npz`` file whose ``arr_0`` holds bytes ``(images, rows, columns[, 1 or 3])``.

    Raises:
        ImageError: nothing there, no image in it, a file of another kind, or images that do not agree.
    """
    path = Path(path)
    if (path / SAMPLES).is_file():
        return _bytes(path / SAMPLES)
    if path.suffix == ".npz":
        return _bytes(path)
    files = (
        p for p in sorted(path.rglob("*")) if p.suffix.lower() in SUFFIXES and not p.name.startswith(".")
    )
    first = next(files, None) if path.is_dir() else None
    return open_folder(path, 3 if first is None else channels_of(first))


def _bytes(path: Path) -> MemoryImages:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            found = arrays[_KEY]
    except (OSError, ValueError, KeyError, EOFError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise ImageError(f"{path} holds no images: give an .npz file with bytes as {_KEY}") from error
    found = found[..., None] if found.ndim == 3 else found
    if found.ndim != 4 or found.shape[-1] not in (1, 3) or found.dtype != np.uint8 or not len(found):
        raise ImageError(
            f"{path} holds {found.dtype} of shape {found.shape}: expected uint8 of (images, rows, columns, 1 or 3)"
        )
    images = torch.from_numpy(found).permute(0, 3, 1, 2).float().contiguous() / 127.5 - 1.0
    return MemoryImages(images, [str(i) for i in range(len(images))], {}, torch.zeros(len(images), 0).long())


def same_shape(samples: tuple[int, int, int], reference: tuple[int, int, int]) -> None:
    """Refuse to compare images of two shapes (channels, rows, columns).

    Raises:
        ImageError: colour against grey, or sizes that differ.
    """
    (c, rows, columns), (d, *size) = samples, reference
    if c != d:
        said = {1: "grey", 3: "colour"}
        raise ImageError(
            f"the samples are {said.get(c, c)} and the reference {said.get(d, d)}: convert one of them"
        )
    if [rows, columns] != size:
        raise ImageError(
            f"the samples have {rows} × {columns} pixels, the reference {size[0]} × {size[1]}: scale one of them"
        )
