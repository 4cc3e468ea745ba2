"""Restoration: operators that are one factor per shell, and what a flow makes of them."""

from __future__ import annotations

import pytest
import torch
from scipy.ndimage import gaussian_filter
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from kflow_sci.errors import ImageError
from kflow_sci.images.fidelity import psnr, ssim
from kflow_sci.images.restore import blurred, restore_images, smaller
from tests.images.small_model import small_model


def images(n: int = 2, size: int = 16, channels: int = 1) -> torch.Tensor:
    noise = torch.randn(n, channels, size, size, generator=torch.Generator().manual_seed(0))
    return noise.cumsum(-1).cumsum(-2).div(20).clamp(-1, 1)


def test_a_smaller_image_has_the_means_of_squares() -> None:
    x = images(channels=3)
    assert torch.allclose(smaller((3, 16, 16), 4).apply(x), torch.nn.functional.avg_pool2d(x, 4), atol=1e-6)


def test_a_blurred_image_is_that_of_scipy() -> None:
    x = images(1)[0, 0]
    blur = blurred((1, 16, 16), 1.2).apply(x[None, None])[0, 0]
    wanted = gaussian_filter(x.double().numpy(), 1.2, mode="wrap", truncate=8.0)
    # the kernel of scipy is the sampled Gaussian, ours its exact spectrum
    assert abs(blur.numpy() - wanted).max() < 2e-3


def test_what_was_observed_is_kept_exactly() -> None:
    truth = images(2, 8)
    model = small_model(conditions={}, overlap=0.5)
    for done in (smaller((1, 8, 8), 2), blurred((1, 8, 8), 0.5)):
        found = restore_images(model, done.apply(truth), done, torch.Generator().manual_seed(0))
        # as far as values outside [−1, 1] were not cut; the untrained model adds nothing
        assert torch.allclose(done.apply(found), done.apply(truth), atol=0.05)


def test_a_model_that_knows_the_image_restores_what_was_lost() -> None:
    truth = images(2, 8)
    model = small_model(conditions={})
    model.net.forward = lambda x, s, alpha, condition: truth  # type: ignore[method-assign]
    done = smaller((1, 8, 8), 2)
    found = restore_images(model, done.apply(truth), done, torch.Generator().manual_seed(0), draws=2)
    assert torch.allclose(found, truth, atol=1e-5)


def test_psnr_and_ssim_are_those_of_scikit_image() -> None:
    a, b = images(1, 24), images(1, 24).roll(1, -1)
    one, two = (x[0, 0].double().numpy() for x in (a, b))
    assert psnr(a, b).item() == pytest.approx(peak_signal_noise_ratio(one, two, data_range=2), rel=1e-5)
    wanted = structural_similarity(
        one, two, data_range=2, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    assert ssim(a.double(), b.double()).item() == pytest.approx(wanted, rel=1e-5)


def test_what_cannot_be_restored_is_said_in_one_line() -> None:
    done = smaller((1, 8, 8), 2)
    with pytest.raises(ImageError, match=r"the image has shape \(1, 8, 8\), but the model needs \(1, 4, 4\)"):
        restore_images(small_model(), torch.zeros(1, 1, 8, 8), done, torch.Generator())
    with pytest.raises(ImageError, match="factor is 3: choose 2, 4, 8"):
        smaller((1, 9, 9), 3)
    with pytest.raises(ImageError, match="size 25 is not divisible by 2: sizes 24 or 26 are"):
        smaller((1, 25, 25), 2)
    with pytest.raises(ImageError, match="the width of the blur is -1: give a positive number"):
        blurred((1, 8, 8), -1.0)
    with pytest.raises(ImageError, match="smaller than the window of SSIM"):
        ssim(torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 8, 8))
