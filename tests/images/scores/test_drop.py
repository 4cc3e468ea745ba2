"""The condition-dropping ratio."""

from __future__ import annotations

import math

import numpy as np
import pytest

from kflow_sci.errors import ImageError
from kflow_sci.images.scores.drop import condition_dropping_ratio, ratio_over_seeds


def test_a_set_four_times_as_far_has_ratio_sixteen() -> None:
    # equal covariances: the distance is the square of how far the means are apart
    reference = np.random.default_rng(0).normal(size=(50, 3))
    step = np.array([1.0, 0.0, 0.0])
    found = condition_dropping_ratio(reference + 4.0 * step, reference + step, reference)
    assert found.value == pytest.approx(16.0, rel=1e-9)


def test_nothing_lost_is_one() -> None:
    rng = np.random.default_rng(1)
    samples, reference = rng.normal(0.4, 1.0, size=(60, 3)), rng.normal(size=(50, 3))
    assert condition_dropping_ratio(samples, samples, reference).value == 1.0


def test_over_seeds_by_hand() -> None:
    # ratios e, e², e³: mean of the logarithms 2, their standard deviation 1, t(0.975, 2) = 4.3027 (tables)
    mean, low, high = ratio_over_seeds([math.e, math.e**2, math.e**3], [1.0, 1.0, 1.0])
    assert math.log(mean) == pytest.approx(2.0)
    assert math.log(low) == pytest.approx(2.0 - 4.3027 / math.sqrt(3), abs=1e-4)
    assert math.log(high) == pytest.approx(2.0 + 4.3027 / math.sqrt(3), abs=1e-4)
    assert math.isnan(ratio_over_seeds([2.0], [1.0])[1])


def test_what_has_no_ratio_is_refused() -> None:
    with pytest.raises(ImageError, match="2 distances dropped and 1 kept: give both for each model"):
        ratio_over_seeds([1.0, 2.0], [1.0])
    with pytest.raises(ImageError, match="a ratio needs both above 0"):
        ratio_over_seeds([1.0], [0.0])
