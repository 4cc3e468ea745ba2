"""All scores of a set of samples at once, each with its interval, its counts and its floor.

The one idea: no score of a set means anything alone. Beside each stands what real images get that were not the
reference (the floor), and how many images were on either side.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int

from kflow_sci.images.scores.classifier import Classifier
from kflow_sci.images.scores.drop import condition_dropping_ratio
from kflow_sci.images.scores.estimate import Estimate, share
from kflow_sci.images.scores.frechet import frechet_estimate, too_few
from kflow_sci.images.scores.kernel import kernel_distance
from kflow_sci.images.scores.neighbours import NEIGHBOURS, precision_recall

Rows = Float[np.ndarray, "images dimension"]


@dataclass(frozen=True)
class Score:
    """One number about a set of samples.

    Attributes:
        name: ``frechet``, ``kernel``, ``precision``, ``recall``, ``accuracy``, ``frechet_dropped`` or ``cdr``.
        better: ``lower``, ``higher`` or ``target 1``.
        found: The number and its error.
        samples: Images behind it.
        reference: Reference images behind it; 0 where it needs none.
        floor: What real images get in place of the samples; None where there are none to ask.
    """

    name: str
    better: str
    found: Estimate
    samples: int
    reference: int
    floor: Estimate | None = None


def score_sets(
    samples: Rows,
    reference: Rows,
    *,
    real: Rows | None = None,
    dropped: Rows | None = None,
    k: int = NEIGHBOURS,
    seed: int = 0,
) -> list[Score]:
    """Fréchet and kernel distance, precision and recall of samples; the dropping ratio if asked for.

    Precision and recall compare equal numbers, as published: of the larger set, images drawn by the seed.

    Args:
        samples: Features of generated images.
        reference: Features of the images they should be like.
        real: Features of other real images, for the floor.
        dropped: Features of samples whose condition was dropped over the last scales.
        k: Neighbour of precision and recall.
        seed: Of the images drawn for precision and recall.

    Raises:
        ImageError: too few images, features of different dimension, values that are not finite.
    """
    n, m = len(samples), len(reference)
    scores = [
        Score(
            name,
            "lower",
            measure(samples, reference),
            n,
            m,
            None if real is None else measure(real, reference),
        )
        for name, measure in (("frechet", frechet_estimate), ("kernel", kernel_distance))
    ]
    equal = min(n, m)
    shares = precision_recall(_some(samples, equal, seed), _some(reference, equal, seed), k)
    floors: Any = (None, None)
    if real is not None:
        few = min(len(real), m)
        floors = precision_recall(_some(real, few, seed), _some(reference, few, seed), k)
    scores += [
        Score(name, "higher", one, equal, equal, floor)
        for name, one, floor in zip(("precision", "recall"), shares, floors, strict=True)
    ]
    if dropped is not None:
        without = frechet_estimate(dropped, reference)
        scores.append(Score("frechet_dropped", "lower", without, len(dropped), m, scores[0].floor))
        ratio = condition_dropping_ratio(dropped, samples, reference)
        scores.append(Score("cdr", "target 1", ratio, n, m))
    return scores


def told_accuracy(
    classifier: Classifier,
    samples: Rows,
    told: Int[np.ndarray, " images"],
    real: tuple[Rows, Int[np.ndarray, " images"]] | None = None,
) -> Score:
    """Share of samples that the classifier puts into the class they were told to be.

    Args:
        classifier: Whose features the samples are given by.
        samples: Features of generated images.
        told: The class of each, by number.
        real: Features and classes of real images that the classifier did not learn from, for the floor.
    """

    def right(features: Rows, classes: Int[np.ndarray, " images"]) -> Estimate:
        head = classifier.head
        with torch.no_grad():
            guess = head(torch.from_numpy(features).to(head.weight)).argmax(1).cpu().numpy()
        return share(int((guess == classes).sum()), len(classes))

    floor = None if real is None else right(*real)
    return Score("accuracy", "higher", right(samples, told), len(samples), 0, floor)


def warnings_of(samples: int, reference: int, dimension: int) -> list[str]:
    """What a reader must know of the counts behind a Fréchet distance, one line each."""
    said = (
        ("samples", too_few(samples, dimension)),
        ("reference", too_few(reference, dimension)),
    )
    return [f"{which}: {text}" for which, text in said if text is not None]


def _some(rows: Rows, count: int, seed: int) -> Rows:
    if count == len(rows):
        return rows
    return rows[np.sort(np.random.default_rng(seed).permutation(len(rows))[:count])]
