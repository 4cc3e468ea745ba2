"""The condition-dropping ratio: what is lost when the condition is not told over the last scales.

The one idea: a flow that settles the class on coarse scales needs it no longer on fine ones, so its samples are as good
without. ``CDR = FID(condition dropped) / FID(condition kept)``, both against the same reference; 1 is best.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from kflow_sci.errors import ImageError
from kflow_sci.images.scores.estimate import Estimate, standard_error
from kflow_sci.images.scores.frechet import Features, frechet_influence


def condition_dropping_ratio(dropped: Features, kept: Features, reference: Features) -> Estimate:
    """CDR of one model, with the error that finite sets of images give it.

    Args:
        dropped: Features of samples whose condition was dropped over the last part of the scale axis.
        kept: Features of samples with the condition on all scales.
        reference: Features of real images; shared, so what they do to both distances largely cancels.

    Raises:
        ImageError: see ``frechet.frechet_distance``; a distance of 0 with the condition kept.

    Source:
        Du et al., ICLR 2026. Their appendix prints the inverse; the numbers there (1.49 against 3.25 of plain flow
        matching, class dropped over the last 70 %) are of this form.
    """
    one, two = frechet_influence(dropped, reference), frechet_influence(kept, reference)
    value = _ratio(one.value, two.value)
    relative = standard_error(
        one.samples / one.value,
        two.samples / two.value,
        one.reference / one.value - two.reference / two.value,
    )
    return Estimate(value, value * relative, least=0.0)


def ratio_over_seeds(dropped: Sequence[float], kept: Sequence[float]) -> tuple[float, float, float]:
    """CDR of a way to train, from models of several seeds.

    Args:
        dropped: Fréchet distance of each model with the condition dropped.
        kept: The same models, in the same order, with the condition kept.

    Returns:
        Geometric mean of the ratios, and the ends of its 95 % interval (Student's t of their logarithms); NaN ends for
        one model.

    Raises:
        ImageError: numbers of distances that differ or are 0; a distance that is not above 0.

    Example:
        >>> ratio_over_seeds([2.0, 8.0], [1.0, 1.0])[0]
        4.0
    """
    if len(dropped) != len(kept) or not kept:
        raise ImageError(f"{len(dropped)} distances dropped and {len(kept)} kept: give both for each model")
    logs = np.log([_ratio(one, two) for one, two in zip(dropped, kept, strict=True)])
    mean, n = float(logs.mean()), len(logs)
    if n < 2:
        return math.exp(mean), math.nan, math.nan
    from scipy.stats import t

    half = float(t.ppf(0.975, n - 1) * logs.std(ddof=1) / math.sqrt(n))
    return math.exp(mean), math.exp(mean - half), math.exp(mean + half)


def _ratio(dropped: float, kept: float) -> float:
    if not (kept > 0.0 and dropped > 0.0):
        raise ImageError(
            f"Fréchet distances are {dropped:g} dropped and {kept:g} kept: a ratio needs both above 0"
        )
    return dropped / kept
