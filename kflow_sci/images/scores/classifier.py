"""A small classifier whose last hidden layer is the ruler for small images.

The one idea: Inception was trained on photographs of 299 × 299 pixels and says little about digits of 8 × 8. A net that
was taught to tell the classes of the very images has features that mean something there. A ruler must not change, so
the one for the embedded digits comes with the package (``digit_classifier``); ``train_classifier`` made it, and makes
one for any set of images with classes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from kflow_sci.checkpoint import load_checkpoint, load_weights, save_checkpoint
from kflow_sci.errors import CheckpointError, ImageError
from kflow_sci.images.data import ImageSet, read_all

DIGITS_HELD_OUT, DIGITS_SPLIT_SEED = 0.2, 0
"""The division of the embedded digits that the shipped classifier was trained by; that of the configs too."""


_GRID = 4  # rows and columns that the last convolution leaves
_SMOOTHING = 0.1  # of the labels: features stop to grow once a class is clear


class Classifier(nn.Module):
    """Convolutions, one hidden layer of features, and the classes.

    Args:
        shape: Channels, rows, columns of the images.
        classes: Names of the classes.
        width: Channels of the first convolution; each halving of the rows doubles them, up to four times as many.
        hidden: Features.

    Raises:
        ImageError: fewer than two classes, or images of fewer than 4 × 4 pixels.

    Example:
        >>> net = Classifier((1, 8, 8), ("a", "b"), width=4, hidden=6)
        >>> net.features(torch.zeros(3, 1, 8, 8)).shape, net(torch.zeros(3, 1, 8, 8)).shape
        (torch.Size([3, 6]), torch.Size([3, 2]))
    """

    def __init__(
        self, shape: tuple[int, int, int], classes: Sequence[str], width: int = 16, hidden: int = 64
    ) -> None:
        super().__init__()
        if len(classes) < 2 or min(shape[1:]) < _GRID:
            raise ImageError(
                f"a classifier needs 2 classes and {_GRID} × {_GRID} pixels, but there are {len(classes)} and "
                f"{shape[1]} × {shape[2]}: choose other images"
            )
        self.shape, self.classes = tuple(shape), tuple(classes)
        self.width, self.hidden = width, hidden
        layers: list[nn.Module] = [nn.Conv2d(shape[0], width, 3, padding=1), nn.ReLU()]
        channels = width
        for level in range(max(1, round(math.log2(min(shape[1:]) / _GRID)))):
            wider = width * min(2 ** (level + 1), 4)
            layers += [nn.Conv2d(channels, wider, 3, stride=2, padding=1), nn.ReLU()]
            channels = wider
        self.body = nn.Sequential(
            *layers, nn.AdaptiveAvgPool2d(_GRID), nn.Flatten(), nn.Linear(channels * _GRID**2, hidden)
        )
        self.drop = nn.Dropout(0.3)
        self.head = nn.Linear(hidden, len(classes))

    def features(
        self, images: Float[Tensor, "images channels rows columns"]
    ) -> Float[Tensor, "images hidden"]:
        """The last hidden layer, after its ReLU.

        Args:
            images: Values in [−1, 1].

        Raises:
            ImageError: images of another shape.
        """
        if tuple(images.shape[1:]) != self.shape:
            raise ImageError(
                f"the classifier was trained on images {self.shape}, but these are {tuple(images.shape[1:])} "
                "(channels, rows, columns): choose other --features, or scale the images"
            )
        return self.body(images).relu()

    def forward(
        self, images: Float[Tensor, "images channels rows columns"]
    ) -> Float[Tensor, "images classes"]:
        return self.head(self.drop(self.features(images)))

    @torch.no_grad()
    def accuracy(
        self, images: Float[Tensor, "images channels rows columns"], labels: Int[Tensor, " images"]
    ) -> float:
        """Share of the images that are put into the class they belong to."""
        return float((self(images).argmax(1) == labels).double().mean())


def train_classifier(
    images: ImageSet,
    condition: str = "class",
    *,
    seed: int = 0,
    epochs: int = 25,
    batch_size: int = 64,
    learning_rate: float = 2e-3,
    width: int = 16,
    hidden: int = 64,
) -> Classifier:
    """Teach a net the classes of a set of images that fits into memory; the same seed gives the same net.

    Args:
        images: What it learns from; keep held-out images out of it.
        condition: Which condition is the class.
        seed: Of the first weights, the order and the dropout.
        epochs: How often every image is seen. The default was picked in a few runs that showed held-out accuracy.
        batch_size: Images at a time.
        learning_rate: Largest, of AdamW; it rises and falls over the training.
        width: See ``Classifier``.
        hidden: See ``Classifier``.

    Returns:
        The net, ready for use.

    Raises:
        ImageError: no such condition, or images that cannot be told apart by it (see ``Classifier``).
    """
    if condition not in images.conditions:
        known = ", ".join(images.conditions) or "none"
        raise ImageError(f"condition '{condition}' is unknown to these images: they have {known}")
    x, labels = read_all(images), images.labels[:, list(images.conditions).index(condition)]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = Classifier(images.shape, images.conditions[condition], width, hidden)
        steps = epochs * math.ceil(len(x) / batch_size)
        optimizer = torch.optim.AdamW(net.parameters(), learning_rate, weight_decay=0.05)
        rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=steps)
        for _ in range(epochs):
            for index in torch.randperm(len(x)).split(batch_size):
                loss = nn.functional.cross_entropy(net(x[index]), labels[index], label_smoothing=_SMOOTHING)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                rate.step()
    return net.eval().requires_grad_(False)


def save_classifier(net: Classifier, path: str | Path, **about: str | float) -> None:
    """Write a classifier as one safetensors file with a json header.

    Args:
        net: The classifier.
        path: The file.
        about: What a reader should know: data, split, accuracy.

    Raises:
        OutputError: the place cannot be written.
    """
    model = {"shape": net.shape, "classes": net.classes, "width": net.width, "hidden": net.hidden}
    save_checkpoint(path, net.state_dict(), {"image_classifier": model, "about": about})


def load_classifier(path: str | Path, device: str = "cpu") -> Classifier:
    """A classifier from the file that ``save_classifier`` wrote.

    Raises:
        CheckpointError: no checkpoint, or one of something else.
    """
    tensors, header = load_checkpoint(path)
    found = header.get("image_classifier")
    if found is None:
        raise CheckpointError(
            f"{path} holds no image classifier: give a file that scores.classifier.save_classifier wrote"
        )
    net = Classifier(tuple(found["shape"]), found["classes"], found["width"], found["hidden"])
    load_weights(net, tensors, path)
    return net.to(device).eval().requires_grad_(False)


def digit_classifier(device: str = "cpu") -> Classifier:
    """The fixed classifier of the embedded digits, 1 × 8 × 8 pixels, 64 features.

    It was trained by ``train_classifier`` with its defaults on the training part of
    ``hold_out(embedded("digits"), DIGITS_HELD_OUT, DIGITS_SPLIT_SEED)`` and comes with the package, so that a distance
    means the same on every machine.
    """
    return load_classifier(shipped_digits(), device)


def shipped_digits() -> Path:
    """Where the file of ``digit_classifier`` lies."""
    return Path(str(resources.files("kflow_sci"))) / "weights" / "digits_features.safetensors"
