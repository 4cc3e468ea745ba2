"""Precision and recall on sets whose answer is plain."""

from __future__ import annotations

import numpy as np
import pytest

from kflow_sci.errors import ImageError
from kflow_sci.images.scores import neighbours
from kflow_sci.images.scores.neighbours import precision_recall


def values(samples: np.ndarray, reference: np.ndarray, k: int = 3) -> tuple[float, float]:
    found = precision_recall(samples, reference, k)
    return found.precision.value, found.recall.value


def cloud(n: int, seed: int, centre: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(centre, 1.0, size=(n, 2))


def by_force(samples: np.ndarray, reference: np.ndarray, k: int) -> tuple[float, float]:
    """The definition, image by image."""

    def inside(x: np.ndarray, by: np.ndarray) -> bool:
        for i, centre in enumerate(by):
            others = sorted(float(np.linalg.norm(centre - o)) for j, o in enumerate(by) if j != i)
            if np.linalg.norm(x - centre) <= others[k - 1]:
                return True
        return False

    precise = sum(inside(x, reference) for x in samples) / len(samples)
    return precise, sum(inside(x, samples) for x in reference) / len(reference)


@pytest.mark.parametrize("k", [1, 3])
def test_it_is_the_definition_image_by_image(k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "_AT_ONCE", 100)  # in several parts
    samples, reference = cloud(40, 0, 0.8), cloud(30, 1)
    assert values(samples, reference, k) == by_force(samples, reference, k)


def test_one_mode_of_two_is_precise_and_recalls_half() -> None:
    two = np.concatenate([cloud(200, 2), cloud(200, 3, 100.0)])
    precision, recall = values(cloud(400, 4), two)
    assert precision > 0.9 and recall == pytest.approx(0.5, abs=0.02)
    precision, recall = values(two, cloud(400, 4))
    assert precision == pytest.approx(0.5, abs=0.02) and recall > 0.9


def test_sets_far_apart_share_nothing_and_equal_sets_all() -> None:
    assert values(cloud(20, 5), cloud(20, 6, 1e3)) == (0.0, 0.0)
    assert values(cloud(20, 5), cloud(20, 5)) == (1.0, 1.0)


@pytest.mark.parametrize(
    ("n", "k", "said"),
    [(3, 3, "features of 3 images: at least 4 are needed"), (5, 0, "k is 0: choose a neighbour from 1 on")],
)
def test_too_few_images_are_refused(n: int, k: int, said: str) -> None:
    with pytest.raises(ImageError, match=said):
        precision_recall(cloud(n, 7), cloud(9, 8), k)
