"""Images of a data set of the Hugging Face hub, or of a local folder in its format.

The one idea: the columns say what they are. The first column of images is taken, and every column of class labels is a
condition under its own name (``label`` becomes ``class``).
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from kflow_sci.errors import ImageError
from kflow_sci.images.data import ImageSet
from kflow_sci.images.pixels import read_image


@dataclass(frozen=True)
class HubImages:
    """Rows of a data set; see ``open_hub``."""

    rows: Any
    column: str
    name: str
    shape: tuple[int, int, int]
    conditions: dict[str, tuple[str, ...]]
    labels: Int[Tensor, "images conditions"]
    other_modes: str

    @property
    def ids(self) -> list[str]:
        """The name of the set with the number of the row."""
        return [f"{self.name}[{i}]" for i in range(len(self.labels))]

    def digest(self) -> str:
        total = hashlib.sha256(f"{self.name} {len(self.labels)} {self.shape} {self.other_modes}".encode())
        total.update(self.labels.contiguous().numpy().tobytes())
        return total.hexdigest()

    def read(self, index: Sequence[int], generator: torch.Generator | None = None) -> Tensor:
        return torch.stack([
            read_image(
                self.rows[i][self.column],
                self.shape[0],
                self.shape[1],
                other_modes=self.other_modes,
                name=f"{self.name}[{i}]",
            )
            for i in index
        ])  # fmt: skip


def open_hub(
    name: str, channels: int, size: int | None, *, part: str = "train", other_modes: str = "refuse"
) -> ImageSet:
    """A data set by its name on the hub, or by a local folder that ``datasets`` can read.

    Args:
        name: For instance ``owner/name``.
        channels: 1 or 3.
        size: Rows and columns all images are scaled and cut to.
        part: The part of the set, ``train`` mostly.
        other_modes: See ``images.pixels.read_image``.

    Raises:
        ImageError: datasets is missing, the set cannot be found or loaded, it has no column of images, or no size.
    """
    if size is None:
        raise ImageError(f"images of {name} may differ in size: set size, to which all are scaled and cut")
    try:
        hub: Any = importlib.import_module("datasets")  # not the folder of that name in a checkout
    except ImportError as error:
        raise ImageError("data sets of the hub need datasets: pip install 'kflow_sci[images]'") from error
    try:
        rows = hub.load_dataset(name, split=part)
    except (hub.exceptions.DatasetNotFoundError, OSError, ValueError) as error:
        first = (str(error).splitlines() or ["no reason given"])[0]
        raise ImageError(f"data set {name}, part {part}, cannot be loaded: {first}") from error
    columns = [key for key, kind in rows.features.items() if isinstance(kind, hub.Image)]
    if not columns or not len(rows):
        raise ImageError(f"data set {name} has no images: its columns are {', '.join(rows.features)}")
    known = {key: kind.names for key, kind in rows.features.items() if isinstance(kind, hub.ClassLabel)}
    conditions = {"class" if key == "label" else key: tuple(names) for key, names in known.items()}
    columns_of_labels = [torch.tensor(rows[key][:], dtype=torch.long) for key in known]
    labels = torch.stack(columns_of_labels, dim=1) if known else torch.zeros(len(rows), 0, dtype=torch.long)
    return HubImages(rows, columns[0], name, (channels, size, size), conditions, labels, other_modes)
