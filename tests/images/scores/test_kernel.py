"""The kernel distance, by its definition pair by pair and by torchmetrics."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from kflow_sci.errors import ImageError
from kflow_sci.images.scores import kernel
from kflow_sci.images.scores.kernel import kernel_distance


def drawn(n: int, d: int, seed: int, shift: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(shift, 1.0, size=(n, d))


def pair_by_pair(a: np.ndarray, b: np.ndarray) -> float:
    """Bińkowski et al., equation 4, in plain loops."""

    def k(x: np.ndarray, y: np.ndarray) -> float:
        return float((x @ y / len(x) + 1.0) ** 3)

    n, m = len(a), len(b)
    within_a = sum(k(a[i], a[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    within_b = sum(k(b[i], b[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    return within_a + within_b - 2.0 * sum(k(x, y) for x in a for y in b) / (n * m)


def test_it_is_the_unbiased_mean_over_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "_AT_ONCE", 40)  # in several parts
    a, b = drawn(13, 4, 0, 0.5), drawn(9, 4, 1)
    assert kernel_distance(a, b).value == pytest.approx(pair_by_pair(a, b), rel=1e-12)


def test_torchmetrics_gives_the_same_from_one_subset_of_all_images() -> None:
    from torchmetrics.image.kid import KernelInceptionDistance

    class AsTheyAre(torch.nn.Module):
        num_features = 16

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

    a, b = torch.from_numpy(drawn(60, 16, 2, 0.4)), torch.from_numpy(drawn(60, 16, 3))
    peer = KernelInceptionDistance(feature=AsTheyAre(), subsets=1, subset_size=60)
    peer.update(a, real=False)
    peer.update(b, real=True)
    assert kernel_distance(a, b).value == pytest.approx(float(peer.compute()[0]), rel=1e-6)


def test_sets_from_one_source_differ_by_nothing_on_average_however_few() -> None:
    rng = np.random.default_rng(4)
    values = [kernel_distance(rng.normal(size=(6, 2)), rng.normal(size=(4, 2))).value for _ in range(2000)]
    mean, error = np.mean(values), np.std(values) / np.sqrt(len(values))
    assert abs(mean) < 3.0 * error


def test_features_that_cannot_be_compared_are_refused() -> None:
    with pytest.raises(ImageError, match="features of samples have 2 dimensions, those of the reference 3"):
        kernel_distance(np.zeros((5, 2)), np.zeros((5, 3)))
    with pytest.raises(ImageError, match="features of 1 image: at least 2 are needed"):
        kernel_distance(np.zeros((5, 2)), np.zeros((1, 2)))
