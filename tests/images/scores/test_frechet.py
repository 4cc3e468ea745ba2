"""The Fréchet distance, by hand, by the textbook's matrix root and by torchmetrics."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from scipy.stats import ortho_group

from kflow_sci.errors import ImageError
from kflow_sci.images.scores.frechet import Gaussian, frechet_distance, gaussian_distance, too_few


def drawn(n: int, d: int, seed: int, shift: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + shift


def textbook(a: np.ndarray, b: np.ndarray) -> float:
    """Heusel et al., in NumPy, with the root of a matrix."""
    one, two = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = sqrtm(one @ two).real
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(one + two - 2.0 * root))


def test_independent_features_by_hand() -> None:
    # means 3 and 4 apart; standard deviations 1, 2 against 3, 5: 9 + 16 + (3 − 1)² + (5 − 2)²
    a = Gaussian(np.zeros(2), np.diag([1.0, 4.0]))
    b = Gaussian(np.array([3.0, 4.0]), np.diag([9.0, 25.0]))
    assert gaussian_distance(a, b) == pytest.approx(38.0, rel=1e-12)


def test_covariances_that_do_not_commute_agree_with_the_root_of_a_matrix() -> None:
    a, b = drawn(300, 12, 0), drawn(200, 12, 1, shift=0.7)
    assert frechet_distance(a, b) == pytest.approx(textbook(a, b), rel=1e-9)
    assert frechet_distance(b, a) == pytest.approx(frechet_distance(a, b), rel=1e-12)


@pytest.mark.parametrize("n", [400, 30])  # the second has fewer images than features
def test_torchmetrics_gives_the_same(n: int) -> None:
    from torchmetrics.image.fid import FrechetInceptionDistance

    class AsTheyAre(torch.nn.Module):
        num_features = 40

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

    a, b = (torch.from_numpy(drawn(n, 40, seed, shift=0.3 * seed)) for seed in (2, 3))
    peer = FrechetInceptionDistance(feature=AsTheyAre())
    peer.update(a, real=False)
    peer.update(b, real=True)
    assert frechet_distance(a, b) == pytest.approx(float(peer.compute()), rel=1e-6)


def test_it_is_zero_for_equal_sets_and_unchanged_by_a_rotation_of_the_features() -> None:
    a, b = drawn(100, 6, 4), drawn(90, 6, 5)
    turn = ortho_group.rvs(6, random_state=0)
    assert frechet_distance(a, a) == pytest.approx(0.0, abs=1e-9)
    assert frechet_distance(a @ turn, b @ turn) == pytest.approx(frechet_distance(a, b), rel=1e-9)
    assert frechet_distance(3.0 * a, 3.0 * b) == pytest.approx(9.0 * frechet_distance(a, b), rel=1e-9)


@pytest.mark.parametrize(
    ("samples", "reference", "said"),
    [
        (
            np.zeros((5, 3)),
            np.zeros((5, 4)),
            "features of samples have 3 dimensions, those of the reference 4",
        ),
        (np.zeros((1, 3)), np.zeros((5, 3)), "features of 1 image: at least 2 are needed"),
        (np.zeros((5, 3)), np.zeros((0, 3)), "features of 0 images: at least 2 are needed"),
        (np.full((5, 3), np.nan), np.zeros((5, 3)), "features of 5 of 5 images are not finite"),
        (np.zeros(5), np.zeros((5, 3)), r"features have shape \(5,\): expected \(images, dimension\)"),
    ],
)
def test_features_that_cannot_be_compared_are_refused(
    samples: np.ndarray, reference: np.ndarray, said: str
) -> None:
    with pytest.raises(ImageError, match=said):
        frechet_distance(samples, reference)


def test_counts_that_are_mostly_bias_are_told() -> None:
    assert too_few(2048, 64) is None
    assert str(too_few(2047, 64)).startswith("2,047 images are fewer than 2,048")
    assert "2,049 that 2,048 features need" in str(too_few(2048, 2048))
