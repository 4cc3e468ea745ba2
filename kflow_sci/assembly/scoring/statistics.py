"""Means with an interval that says how far the number would move with other crystals.

The one idea: crystals are the unit that was drawn, so they are what is resampled; samples of one crystal are averaged
first.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

RESAMPLES = 2000


@dataclass(frozen=True)
class Interval:
    """A mean and its 95 % bootstrap interval.

    Attributes:
        mean: Mean of the values; NaN without any.
        low: 2.5 % quantile of the mean over resampled sets; NaN for fewer than two values.
        high: 97.5 % quantile.
        n: Number of values.
    """

    mean: float
    low: float
    high: float
    n: int


def bootstrap(values: Float[np.ndarray, " n"], seed: int = 0, resamples: int = RESAMPLES) -> Interval:
    """Mean and 95 % percentile interval of values drawn independently.

    Args:
        values: One value per crystal; those that are not finite are left out, and ``n`` tells how many stayed.
        seed: Fixes the resampling.
        resamples: Sets drawn.

    Source:
        Efron, Ann. Statist. 7 (1979) 1; percentile interval.
    """
    values = np.asarray(values, dtype=np.float64)
    values = values[np.isfinite(values)]
    if len(values) < 2:
        return Interval(
            float(values[0]) if len(values) else float("nan"), float("nan"), float("nan"), len(values)
        )
    rng = np.random.default_rng(seed)
    means = np.empty(resamples)
    step = max(1, 4_000_000 // len(values))
    for start in range(0, resamples, step):
        count = min(step, resamples - start)
        means[start : start + count] = values[rng.integers(len(values), size=(count, len(values)))].mean(
            axis=1
        )
    low, high = np.quantile(means, [0.025, 0.975])
    return Interval(float(values.mean()), float(low), float(high), len(values))


def wilson(successes: int, trials: int) -> Interval:
    """A share and its 95 % interval, for crystals that either are solved or are not.

    Args:
        successes: 0 … trials.
        trials: Number of crystals; without any, all is NaN.

    Source:
        Wilson, J. Am. Stat. Assoc. 22 (1927) 209; unlike a bootstrap it says something at shares of 0 and 1.
    """
    if trials < 1:
        return Interval(float("nan"), float("nan"), float("nan"), 0)
    share, z = successes / trials, 1.959963984540054
    middle = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z / (1 + z * z / trials) * float(np.sqrt(share * (1 - share) / trials + (z / (2 * trials)) ** 2))
    return Interval(share, max(middle - half, 0.0), min(middle + half, 1.0), trials)
