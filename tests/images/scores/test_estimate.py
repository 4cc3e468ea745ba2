"""Errors of scores: against leaving out one image after the other."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from kflow_sci.images.scores.drop import condition_dropping_ratio
from kflow_sci.images.scores.estimate import Estimate, share
from kflow_sci.images.scores.frechet import frechet_distance, frechet_estimate
from kflow_sci.images.scores.kernel import kernel_distance


def drawn(n: int, seed: int, shift: float, spread: float) -> np.ndarray:
    return np.random.default_rng(seed).normal(shift, spread, size=(n, 3)) @ np.diag([1.0, 2.0, 0.5])


def leave_one_out(measure: Callable[..., float], *sets: np.ndarray) -> float:
    """The jackknife of Quenouille and Tukey, set by set."""
    variance = 0.0
    for which, one in enumerate(sets):
        n = len(one)
        values = [measure(*sets[:which], np.delete(one, i, 0), *sets[which + 1 :]) for i in range(n)]
        variance += (n - 1) / n * float(np.square(np.subtract(values, np.mean(values))).sum())
    return math.sqrt(variance)


SETS = drawn(120, 0, 0.3, 1.2), drawn(90, 1, 0.0, 1.0), drawn(100, 2, 0.1, 0.8)


def test_the_error_of_the_frechet_distance_is_that_of_leaving_out_images() -> None:
    expected = leave_one_out(frechet_distance, *SETS[:2])
    assert frechet_estimate(*SETS[:2]).error == pytest.approx(expected, rel=0.1)


def test_the_error_of_the_kernel_distance_is_that_of_leaving_out_images() -> None:
    expected = leave_one_out(lambda a, b: kernel_distance(a, b).value, *SETS[:2])
    assert kernel_distance(*SETS[:2]).error == pytest.approx(expected, rel=0.1)


def test_the_error_of_the_dropping_ratio_counts_the_shared_reference_once() -> None:
    expected = leave_one_out(
        lambda a, b, c: frechet_distance(a, c) / frechet_distance(b, c), SETS[0], SETS[2], SETS[1]
    )
    assert condition_dropping_ratio(SETS[0], SETS[2], SETS[1]).error == pytest.approx(expected, rel=0.15)


def test_images_that_are_no_more_than_features_give_no_error() -> None:
    found = frechet_estimate(SETS[0][:3], SETS[1])
    assert math.isfinite(found.value) and math.isnan(found.error)


def test_an_interval_reaches_two_errors_and_a_share_of_one_is_not_certain() -> None:
    assert Estimate(1.0, 0.1).low == pytest.approx(0.804, abs=1e-3)
    assert Estimate(1.0, 0.1).high == pytest.approx(1.196, abs=1e-3)
    assert share(100, 100).high == 1.0 and math.isnan(Estimate(1.0, least=0.0).low)
    assert share(100, 100).error == pytest.approx(math.sqrt(0.99 * 0.01 / 100))
