"""Sets of images: what a flow learns from, and the part that is held out.

The one idea: a set answers with images by number and knows their names and labels, wherever the pixels lie. Labels are
a table with a column for each condition (``class``, ``ink``, …), so one interface serves a class, several conditions or
none. What is held out follows from a seed and the number of images alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from kflow_sci.errors import ImageError

EMBEDDED = ("digits", "faces")


class ImageSet(Protocol):
    """A set of images of one shape."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, rows, columns."""

    @property
    def ids(self) -> Sequence[str]:
        """A name for each image."""

    @property
    def conditions(self) -> dict[str, tuple[str, ...]]:
        """Name of each condition and the names of its values, ``{"class": ("0", "1")}``; may be empty."""

    @property
    def labels(self) -> Int[Tensor, "images conditions"]:
        """The value of each condition."""

    def digest(self) -> str:
        """SHA-256 of what the set is made of."""

    def read(
        self, index: Sequence[int], generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch channels rows columns"]:
        """Images by number, in [−1, 1] (or their latents).

        Args:
            index: Numbers from 0.
            generator: For sets that draw (latents have a spread); None for the most likely value.
        """


@dataclass(frozen=True)
class MemoryImages:
    """A set held in memory.

    Raises:
        ImageError: numbers of images, names and labels that do not agree, or values that are not finite.
    """

    images: Float[Tensor, "images channels rows columns"]
    ids: Sequence[str]
    conditions: dict[str, tuple[str, ...]]
    labels: Int[Tensor, "images conditions"]

    def __post_init__(self) -> None:
        n = len(self.images)
        if self.images.ndim != 4 or len(self.ids) != n or self.labels.shape != (n, len(self.conditions)):
            raise ImageError(
                f"images {tuple(self.images.shape)}, {len(self.ids)} names and labels {tuple(self.labels.shape)} do "
                f"not fit: expected (images, channels, rows, columns) and {len(self.conditions)} labels each"
            )
        if not bool(torch.isfinite(self.images).all()):
            raise ImageError("the images hold values that are not finite: check where they come from")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, rows, columns."""
        _, channels, rows, columns = self.images.shape
        return channels, rows, columns

    def digest(self) -> str:
        total = hashlib.sha256("\n".join(self.ids).encode())
        for part in (self.labels, self.images):
            total.update(part.contiguous().numpy().tobytes())
        return total.hexdigest()

    def read(self, index: Sequence[int], generator: torch.Generator | None = None) -> Tensor:
        return self.images[list(index)]


@dataclass(frozen=True)
class _View:
    """A set seen through another: what it does not change is that of the whole."""

    whole: ImageSet

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.whole.shape

    @property
    def ids(self) -> Sequence[str]:
        return self.whole.ids

    @property
    def conditions(self) -> dict[str, tuple[str, ...]]:
        return self.whole.conditions

    @property
    def labels(self) -> Tensor:
        return self.whole.labels

    def digest(self) -> str:
        return hashlib.sha256(f"{self.whole.digest()} {self.ids} {self.conditions}".encode()).hexdigest()

    def read(self, index: Sequence[int], generator: torch.Generator | None = None) -> Tensor:
        return self.whole.read(index, generator)


@dataclass(frozen=True)
class Subset(_View):
    """Some images of a set, under numbers of its own.

    Attributes:
        whole: The set.
        index: Numbers of the images there.
    """

    index: tuple[int, ...]

    @property
    def ids(self) -> list[str]:
        names = self.whole.ids
        return [names[i] for i in self.index]

    @property
    def labels(self) -> Tensor:
        return self.whole.labels[list(self.index)]

    def read(self, index: Sequence[int], generator: torch.Generator | None = None) -> Tensor:
        return self.whole.read([self.index[i] for i in index], generator)


@dataclass(frozen=True)
class WithMirrors(_View):
    """A set together with its mirror images: number i + n is number i, left and right exchanged."""

    @property
    def ids(self) -> list[str]:
        return [*self.whole.ids, *(f"{name}, mirrored" for name in self.whole.ids)]

    @property
    def labels(self) -> Tensor:
        return torch.cat([self.whole.labels, self.whole.labels])

    def read(self, index: Sequence[int], generator: torch.Generator | None = None) -> Tensor:
        n = len(self.whole.ids)
        images = self.whole.read([i % n for i in index], generator)
        turned = torch.tensor([i >= n for i in index], device=images.device)
        return torch.where(turned[:, None, None, None], images.flip(-1), images)


@dataclass(frozen=True)
class Conditioned(_View):
    """A set with some of its conditions, in the order given.

    Raises:
        ImageError: a condition that the set does not have.
    """

    names: tuple[str, ...]

    def __post_init__(self) -> None:
        for name in self.names:
            if name not in self.whole.conditions:
                known = ", ".join(self.whole.conditions) or "none"
                raise ImageError(f"condition '{name}' is unknown to these images: they have {known}")

    @property
    def conditions(self) -> dict[str, tuple[str, ...]]:
        return {name: self.whole.conditions[name] for name in self.names}

    @property
    def labels(self) -> Tensor:
        known = list(self.whole.conditions)
        return self.whole.labels[:, [known.index(name) for name in self.names]]


def hold_out(images: ImageSet, share: float, seed: int) -> tuple[Subset, Subset]:
    """Divide a set into what is trained on and what is held out, by a seed.

    Args:
        images: The set.
        share: Of the images to hold out, in (0, 1); at least one image is.
        seed: Of the division; the same for all runs that are to be compared.

    Returns:
        The training part and the part held out, each in the order of the set.

    Raises:
        ImageError: too few images to divide.

    Example:
        >>> images = MemoryImages(torch.zeros(10, 1, 4, 4), [str(i) for i in range(10)], {}, torch.zeros(10, 0).long())
        >>> train, held = hold_out(images, 0.2, seed=0)
        >>> len(train.ids), len(held.ids), set(train.ids) & set(held.ids)
        (8, 2, set())
    """
    n = len(images.ids)
    if n < 2:
        raise ImageError(
            f"{n} image{'' if n == 1 else 's'} cannot be divided into training and held-out: give at least 2"
        )
    count = min(max(1, round(share * n)), n - 1)
    order = np.random.default_rng(seed).permutation(n)
    return (
        Subset(images, tuple(sorted(order[count:].tolist()))),
        Subset(images, tuple(sorted(order[:count].tolist()))),
    )


def read_all(
    images: ImageSet, index: Sequence[int] | None = None, at_once: int = 256
) -> Float[Tensor, "images channels rows columns"]:
    """Images that fit into memory: those of the index, or all."""
    numbers = range(len(images.ids)) if index is None else index
    parts = [images.read(numbers[first : first + at_once]) for first in range(0, len(numbers), at_once)]
    return torch.cat(parts)


def embedded(name: str, size: int | None = None) -> MemoryImages:
    """A set that comes with a library, without network.

    ``digits``: 1,797 handwritten digits of 8 × 8 pixels (scikit-learn; UCI), conditions ``class`` and ``ink`` (thin,
    medium, thick: thirds by the mean of the pixels). ``faces``: 200 patches of 25 × 25 pixels from Labelled Faces in
    the Wild (scikit-image), the first half faces, condition ``class`` (face, other).

    Args:
        name: One of ``EMBEDDED``.
        size: Rows and columns, at most those of the set; the middle is cut out.

    Raises:
        ImageError: an unknown name, a library that is missing, or a size larger than the images.
    """
    if name not in EMBEDDED:
        raise ImageError(f"images '{name}' are unknown: choose {', '.join(EMBEDDED)}")
    makers: dict[str, Callable[[], MemoryImages]] = {"digits": _digits, "faces": _faces}
    try:
        images = makers[name]()
    except ImportError as error:
        raise ImageError(f"images '{name}' need {error.name}: pip install 'kflow_sci[images]'") from error
    rows = images.shape[1]
    if size is None or size == rows:
        return images
    if not 1 <= size < rows:
        raise ImageError(f"size {size} is not within the {rows} pixels of '{name}': choose at most {rows}")
    first = (rows - size) // 2
    cut = images.images[..., first : first + size, first : first + size].contiguous()
    return MemoryImages(cut, images.ids, images.conditions, images.labels)


def _digits() -> MemoryImages:
    from sklearn.datasets import load_digits

    found: Any = load_digits()
    pixels = torch.from_numpy(found.images).float()[:, None] / 8.0 - 1.0  # sixteen grey levels
    ink = pixels.mean((1, 2, 3))
    thirds = torch.quantile(ink, torch.tensor([1 / 3, 2 / 3]))
    labels = torch.stack([torch.from_numpy(found.target).long(), torch.bucketize(ink, thirds)], dim=1)
    conditions = {"class": tuple(str(d) for d in range(10)), "ink": ("thin", "medium", "thick")}
    return MemoryImages(pixels, [f"digit{i}" for i in range(len(pixels))], conditions, labels)


def _faces() -> MemoryImages:
    from skimage.data import lfw_subset

    pixels = torch.from_numpy(np.asarray(lfw_subset())).float()[:, None] * 2.0 - 1.0
    other = (torch.arange(len(pixels)) >= len(pixels) // 2).long()
    names = [f"{'other' if o else 'face'}{i}" for i, o in enumerate(other.tolist())]
    return MemoryImages(pixels, names, {"class": ("face", "other")}, other[:, None])


def only(images: ImageSet, condition: str, value: str) -> Subset:
    """The images of one value of a condition.

    Raises:
        ImageError: no such condition or value.

    Example:
        >>> labels = torch.tensor([[0], [1], [0]])
        >>> images = MemoryImages(torch.zeros(3, 1, 2, 2), ["a", "b", "c"], {"class": ("face", "other")}, labels)
        >>> only(images, "class", "face").ids
        ['a', 'c']
    """
    values = images.conditions.get(condition, ())
    if value not in values:
        raise ImageError(
            f"{condition} '{value}' is unknown to these images: they have {', '.join(values) or 'none'}"
        )
    column = list(images.conditions).index(condition)
    chosen = (images.labels[:, column] == values.index(value)).nonzero().flatten()
    return Subset(images, tuple(chosen.tolist()))
