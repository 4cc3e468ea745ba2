"""Precision and recall: whether samples are like real images, and every real image like some sample.

The one idea: a set covers the balls around its images that reach to the k-th neighbour in the set. Precision is the
share of samples within what the reference covers, recall the share of reference images within what the samples cover.
Both depend on how many images do the covering, so the counts belong to the numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from kflow_sci.errors import ImageError
from kflow_sci.images.scores.estimate import Estimate, share
from kflow_sci.images.scores.frechet import Features, as_array, same_dimension

NEIGHBOURS = 3
_AT_ONCE = 2**24  # distances held at a time


class PrecisionRecall(NamedTuple):
    """Two shares; their errors are those of the images counted, with the covering set as it is.

    Attributes:
        precision: Of samples covered by the reference.
        recall: Of reference images covered by the samples.
    """

    precision: Estimate
    recall: Estimate


def precision_recall(samples: Features, reference: Features, k: int = NEIGHBOURS) -> PrecisionRecall:
    """Improved precision and recall.

    Args:
        samples: Features of generated images, more than k.
        reference: Features of real images, more than k, by the same extractor; as many as there are samples,
            for numbers to be compared with those of others.
        k: Which neighbour the balls reach to.

    Raises:
        ImageError: k below 1, no more than k images, features of different dimension, values that are not finite.

    Source:
        Kynkäänniemi et al., NeurIPS 2019.

    Example:
        >>> line = np.array([[0.0], [1.0], [2.0]])
        >>> found = precision_recall(np.array([[0.5], [2.5], [9.0]]), line, k=1)  # balls of the line reach 1 far
        >>> found.precision.value == 2 / 3, found.recall.value
        (True, 1.0)
    """
    if k < 1:
        raise ImageError(f"k is {k}: choose a neighbour from 1 on")
    same_dimension(samples, reference)
    x, y = as_array(samples, k + 1), as_array(reference, k + 1)
    hits, found = covered(x, y, k), covered(y, x, k)
    return PrecisionRecall(share(int(hits.sum()), len(x)), share(int(found.sum()), len(y)))


def covered(images: Float[np.ndarray, "n d"], by: Float[np.ndarray, "m d"], k: int) -> Bool[np.ndarray, " n"]:
    """Which images lie within the ball around an image of ``by`` that reaches to its k-th neighbour there."""
    radii = np.concatenate([np.partition(part, k, axis=1)[:, k] for part in _squares(by, by)])
    return np.concatenate([(part <= radii).any(1) for part in _squares(images, by)])


def _squares(x: np.ndarray, y: np.ndarray) -> Iterator[np.ndarray]:
    """Squared distances of some x at a time to all y; of a set with itself, column k in order is the k-th neighbour."""
    rows = max(1, _AT_ONCE // len(y))
    norms = np.square(y).sum(1)
    for part in (x[i : i + rows] for i in range(0, len(x), rows)):
        yield np.maximum(np.square(part).sum(1)[:, None] + norms - 2.0 * part @ y.T, 0.0)
