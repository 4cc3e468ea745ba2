"""Samples of an image model for scoring: as many as wanted, in batches, with conditions as frequent as in training.

The one idea: what a model is told is drawn with the images, row by row from the training labels, so that samples and
reference have the same classes in the same shares; a second round with the same seed has the same noise and the same
conditions, and differs only in what was changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from kflow_sci.errors import ImageError
from kflow_sci.images.data import ImageSet
from kflow_sci.images.model import ImageModel


class Batch(NamedTuple):
    """Some samples.

    Attributes:
        images: In [−1, 1], on the CPU.
        calls: Network calls that each took.
    """

    images: Float[Tensor, "batch channels rows columns"]
    calls: int


@dataclass(frozen=True)
class Draws:
    """How samples of a model are drawn.

    Attributes:
        model: The model.
        decode: From what flows to images on the CPU.
        count: Images.
        seed: Of the noise.
        told: Value of each condition for each image, in the model's order; a condition that is not told has the number
            of its values. None for nothing told.
        steps: See ``ImageModel.sample``.
        guidance: See ``ImageModel.sample``.
        method: See ``ImageModel.sample``.
        batch: Images at a time.
    """

    model: ImageModel
    decode: Callable[[Tensor], Tensor]
    count: int
    seed: int
    told: Int[Tensor, "images conditions"] | None = None
    steps: int | None = None
    guidance: float | Sequence[float] | None = None
    method: str | None = None
    batch: int = 256

    def classes(self, names: Sequence[str]) -> Int[np.ndarray, " images"] | None:
        """The class each sample is told to be; None where it is not told, or the classes are not these."""
        known = self.model.config.conditions
        if self.told is None or known.get("class") != tuple(names):
            return None
        told = self.told[:, list(known).index("class")].numpy()
        return None if told[0] == len(names) else told

    def batches(self, drop: float = 0.0) -> Iterator[Batch]:
        """The samples.

        Args:
            drop: Share of the scale axis, at its end, over which no condition is told.

        Raises:
            ImageError: samples that are not finite; see ``ImageModel.sample``.
        """
        names = list(self.model.config.conditions)
        generator = torch.Generator().manual_seed(self.seed)
        for first in range(0, self.count, self.batch):
            n = min(self.batch, self.count - first)
            values = (
                {}
                if self.told is None
                else {
                    name: self.told[first : first + n, i]
                    for i, name in enumerate(names)
                    if int(self.told[0, i]) < self.model.counts[i]
                }
            )
            found = self.model.sample(
                n,
                generator,
                self.steps,
                plan=[(0.0, values)],
                guidance=self.guidance,
                drop=drop,
                method=self.method,
            )
            if not bool(torch.isfinite(found.x).all()):
                raise ImageError("samples are not finite: take more steps, or less guidance")
            yield Batch(self.decode(found.x), found.calls)


def conditions_for(
    model: ImageModel, train: ImageSet, count: int, seed: int, names: Sequence[str] | None = None
) -> Int[Tensor, "images conditions"] | None:
    """Conditions for samples, drawn from those of the training images.

    Args:
        model: Whose conditions they are.
        train: What it was trained on.
        count: Samples.
        seed: Of the draw.
        names: Conditions to tell; all if None. The others are not told.

    Returns:
        For ``Draws.told``; None where nothing is told.

    Raises:
        ImageError: a condition that the model does not have.
    """
    known = list(model.config.conditions)
    names = known if names is None else names
    for name in names:
        if name not in known:
            raise ImageError(
                f"condition '{name}' is unknown to this model; known are {', '.join(known) or 'none'}"
            )
    if not names:
        return None
    labels = train.labels[np.random.default_rng(seed).integers(len(train.ids), size=count)]
    return torch.stack(
        [
            labels[:, i] if name in names else torch.full((count,), model.counts[i])
            for i, name in enumerate(known)
        ],
        1,
    )
