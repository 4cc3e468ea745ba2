"""Images in folders: one folder for each class, or one for all.

The one idea: the names of the folders are the classes. Files are read when they are asked for, so a set may be larger
than memory; a small one is read at once, so that a bad file is told before training and not in the middle of it.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Int
from torch import Tensor

from kflow_sci.errors import ImageError
from kflow_sci.images.data import ImageSet, MemoryImages, read_all
from kflow_sci.images.pixels import SUFFIXES, read_image

_IN_MEMORY = 2**30  # bytes


@dataclass(frozen=True)
class FolderImages:
    """Image files; see ``open_folder``."""

    root: Path
    files: tuple[Path, ...]
    shape: tuple[int, int, int]
    conditions: dict[str, tuple[str, ...]]
    labels: Int[Tensor, "images conditions"]
    size: int | None
    other_modes: str

    @property
    def ids(self) -> list[str]:
        """Paths below the folder."""
        return [file.relative_to(self.root).as_posix() for file in self.files]

    def digest(self) -> str:
        said = [f"{name} {file.stat().st_size}" for name, file in zip(self.ids, self.files, strict=True)]
        return hashlib.sha256("\n".join([*said, str(self.shape), self.other_modes]).encode()).hexdigest()

    def read(self, index: Sequence[int], generator: torch.Generator | None = None) -> Tensor:
        images = []
        for i in index:
            image = read_image(self.files[i], self.shape[0], self.size, other_modes=self.other_modes)
            if tuple(image.shape) != self.shape:
                raise ImageError(
                    f"{self.files[i]} has {image.shape[1]} × {image.shape[2]} pixels, {self.files[0]} "
                    f"{self.shape[1]} × {self.shape[2]}: set size, to which all are then scaled and cut"
                )
            images.append(image)
        return torch.stack(images)


def open_folder(
    path: str | Path, channels: int, size: int | None = None, *, other_modes: str = "refuse"
) -> ImageSet:
    """A folder of images; with subfolders, each is a class, in alphabetical order.

    Args:
        path: The folder.
        channels: 1 or 3.
        size: Rows and columns all images are scaled and cut to; None where all have one size already.
        other_modes: See ``images.pixels.read_image``.

    Raises:
        ImageError: no such folder, no image in it or in one of its subfolders, images beside subfolders; a file that
            cannot be read, of another mode or (without ``size``) of another size.
    """
    root = Path(path)
    if not root.is_dir():
        raise ImageError(
            f"image folder {root} {'is a file' if root.exists() else 'does not exist'}: give a folder"
        )
    folders = sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    loose = _images(root, deep=False)
    if folders and loose:
        raise ImageError(
            f"{root} holds images ({loose[0].name}, …) beside folders ({folders[0].name}, …): put every image into a "
            "class folder, or none"
        )
    groups = {p.name: _images(p, deep=True) for p in folders} or {"": loose}
    if not any(groups.values()):
        raise ImageError(f"folder {root} holds no image: give one with {', '.join(SUFFIXES[:4])}, …")
    for name, group in groups.items():
        if not group:
            raise ImageError(f"class folder {root / name} holds no image: fill or remove it")
    files = tuple(file for group in groups.values() for file in group)
    number = torch.tensor([i for i, group in enumerate(groups.values()) for _ in group])
    conditions = {"class": tuple(groups)} if folders else {}
    labels = number[:, None] if folders else torch.zeros(len(files), 0, dtype=torch.long)
    shape = tuple(read_image(files[0], channels, size, other_modes=other_modes).shape)
    images = FolderImages(root, files, shape, conditions, labels, size, other_modes)  # type: ignore[arg-type]
    if 4 * len(files) * math.prod(shape) > _IN_MEMORY:
        return images
    return MemoryImages(read_all(images), images.ids, conditions, labels)


def _images(folder: Path, *, deep: bool) -> list[Path]:
    found = folder.rglob("*") if deep else folder.iterdir()
    return sorted(
        p for p in found if p.suffix.lower() in SUFFIXES and p.is_file() and not p.name.startswith(".")
    )
