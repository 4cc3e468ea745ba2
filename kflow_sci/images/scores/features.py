"""Images to features, by an extractor with a name.

The one idea: an extractor is anything that turns images in [−1, 1] into rows of numbers; scores know nothing else of
it, so a ruler of one's own is a function or a file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from kflow_sci.errors import ImageError
from kflow_sci.images.data import ImageSet
from kflow_sci.images.pixels import to_bytes
from kflow_sci.images.scores.classifier import Classifier, load_classifier, shipped_digits

EXTRACTORS = ("digits", "pixels", "inception")
_INCEPTION_SIZE = 2048


@dataclass(frozen=True)
class Extractor:
    """A function from images to features, and what a reader of its numbers must know.

    Attributes:
        name: As it was asked for.
        function: From images in [−1, 1] to ``(images, dimension)``.
        device: Where it computes.
        sha256: Of its weights; empty without.
        classifier: The classifier whose features these are, if it is one.
    """

    name: str
    function: Callable[[Float[Tensor, "images channels rows columns"]], Float[Tensor, "images dimension"]]
    device: str = "cpu"
    sha256: str = ""
    classifier: Classifier | None = None

    @torch.no_grad()
    def __call__(
        self, images: Float[Tensor, "images channels rows columns"]
    ) -> Float[np.ndarray, "images dimension"]:
        """Features, float64.

        The images are brought to bytes and back first, so that they are the same from memory and from files.

        Raises:
            ImageError: images of another shape than the extractor takes.
        """
        return self.function(as_files_hold(images).to(self.device)).double().cpu().numpy()


def make_extractor(name: str, device: str = "cpu") -> Extractor:
    """An extractor by name or from a file.

    ``digits``: the hidden layer of the classifier that comes with the package, for 1 × 8 × 8 pixels. ``pixels``: the
    images themselves. ``inception``: the 2,048 features of the Inception v3 net of the published FID, as torchmetrics
    and torch-fidelity have it; grey images are given as three equal colours. Any other name is a file that
    ``classifier.save_classifier`` wrote.

    Args:
        name: One of ``EXTRACTORS`` or a file.
        device: Where it computes.

    Raises:
        ImageError: an unknown name, or a library or its weights that are missing.
        CheckpointError: a file that holds no classifier.
    """
    if name == "pixels":
        return Extractor(name, lambda images: images.flatten(1), device)
    if name == "inception":
        return Extractor(name, _inception(device), device)
    path = shipped_digits() if name == "digits" else Path(name)
    if not path.is_file():
        close = get_close_matches(name, EXTRACTORS, 1)
        hint = f"did you mean {close[0]}?" if close else f"choose {', '.join(EXTRACTORS)} or a file"
        raise ImageError(f"features '{name}' are neither known nor a file: {hint}")
    net = load_classifier(path, device)
    return Extractor(name, net.features, device, hashlib.sha256(path.read_bytes()).hexdigest(), net)


def extract(
    extractor: Extractor,
    images: ImageSet,
    *,
    at_once: int = 256,
    advance: Callable[[int], None] = lambda done: None,
) -> Float[np.ndarray, "images dimension"]:
    """Features of all images of a set, in its order.

    Args:
        extractor: See ``make_extractor``.
        images: The set.
        at_once: Images at a time.
        advance: Told how many images are done.

    Raises:
        ImageError: images of another shape than the extractor takes.
    """
    n = len(images.ids)
    parts = []
    for first in range(0, n, at_once):
        numbers = range(first, min(n, first + at_once))
        parts.append(extractor(images.read(numbers)))
        advance(numbers.stop)
    return np.concatenate(parts)


def as_files_hold(
    images: Float[Tensor, "images channels rows columns"],
) -> Float[Tensor, "images channels rows columns"]:
    """Images as they are after they were written to files and read again."""
    return torch.from_numpy(to_bytes(images)).permute(0, 3, 1, 2).float() / 127.5 - 1.0


def _inception(device: str) -> Callable[[Tensor], Tensor]:
    try:
        from torchmetrics.image.fid import NoTrainInceptionV3

        net: Any = NoTrainInceptionV3("inception-v3-compat", [str(_INCEPTION_SIZE)]).to(device)
    except ImportError as error:
        raise ImageError(
            "features 'inception' need torchmetrics and torch-fidelity: pip install torchmetrics torch-fidelity, "
            "or choose other --features"
        ) from error
    except OSError as error:
        raise ImageError(
            f"the weights of Inception cannot be fetched ({error}): torch-fidelity keeps them in the cache of "
            "torch.hub; call it once where there is network, or choose other --features"
        ) from error

    def features(images: Tensor) -> Tensor:
        colours = images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images
        return net(((colours + 1.0) * 127.5).round().to(torch.uint8))

    return features
