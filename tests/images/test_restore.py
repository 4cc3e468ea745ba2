"""Restoration: operators that are one factor per shell, and what a flow makes of them."""

from __future__ import annotations

import pytest
import torch
from scipy.ndimage import gaussian_filter
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from kflow_sci.errors import ImageError
from kflow_sci.images.fidelity import psnr, ssim
from kflow_sci.images.restore import blurred, restore_images, smaller, told_shells
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
        found = restore_images(model, done.apply(truth), done, torch.Generator().manual_seed(0)).images
        # as far as values outside [−1, 1] were not cut; the untrained model adds nothing
        assert torch.allclose(done.apply(found), done.apply(truth), atol=0.05)


def test_a_model_that_knows_the_image_restores_what_was_lost() -> None:
    truth = images(2, 8)
    model = small_model(conditions={})
    model.net.forward = lambda x, s, alpha, condition: truth  # type: ignore[method-assign]
    done = smaller((1, 8, 8), 2)
    found = restore_images(model, done.apply(truth), done, torch.Generator().manual_seed(0), draws=2)
    assert torch.allclose(found.images, truth, atol=1e-5)
    assert found.calls == 2 * 6


def striped(x: torch.Tensor, *_: torch.Tensor) -> torch.Tensor:
    """An endpoint whose fine detail follows from its coarse part: every square a little darker to the right."""
    coarse = torch.nn.functional.avg_pool2d(x, 2).repeat_interleave(2, -1).repeat_interleave(2, -2)
    sign = torch.tensor([1.0, -1.0]).repeat(x.shape[-1] // 2)
    return coarse * (1.0 + 0.5 * sign)


def test_strict_wavelets_enlarge_with_the_detail_that_belongs_to_what_was_observed() -> None:
    truth = 0.5 * images(2, 8)
    done = smaller((1, 8, 8), 2)
    wanted = striped(done.apply(truth).repeat_interleave(2, -1).repeat_interleave(2, -2))

    def off(**changes: float) -> float:
        model = small_model(conditions={}, transform="wavelet", **changes).requires_grad_(False)
        model.net.forward = striped  # type: ignore[method-assign]
        found = restore_images(model, done.apply(truth), done, torch.Generator().manual_seed(0), steps=3)
        return float((found.images - wanted).abs().max())

    assert off(overlap=0.0) < 1e-5
    assert off(overlap=1.0) > 0.1  # plain: the net saw the coarse part under noise


def test_shells_that_the_operator_lets_through_take_one_step_each() -> None:
    model = small_model(conditions={}, transform="wavelet")
    assert told_shells(model.path(), smaller((1, 8, 8), 2), (1, 8, 8)) == 2
    assert told_shells(model.path(), blurred((1, 8, 8), 1.0), (1, 8, 8)) == 0
    for overlap, told in ((0.0, 2), (0.5, 0), (1.0, 0)):  # with overlap none is done before the last begins
        path = small_model(conditions={}, transform="wavelet", overlap=overlap).path()
        assert told_shells(path, smaller((1, 8, 8), 2), (1, 8, 8)) == told
    assert told_shells(small_model(transform="fourier").path(), blurred((1, 8, 8), 0.01), (1, 8, 8)) == 3
    done = smaller((1, 8, 8), 2)
    seen: list[float] = []
    model.net.forward = lambda x, s, *_: (seen.append(float(s[0])), 0.0 * x)[1]  # type: ignore[method-assign]
    restore_images(model, torch.zeros(1, 1, 4, 4), done, torch.Generator(), steps=6)
    assert [sum(s >= 2 / 3 - 1e-6 for s in seen), len(seen)] == [4, 6]


def test_a_regression_on_what_was_observed_brings_plain_flow_nearer_and_costs_calls() -> None:
    # White noise that is equal in every square: Gaussian, so that the exact endpoint is known.
    coarse = torch.randn(4, 1, 4, 4, generator=torch.Generator().manual_seed(0)).clamp(-0.9, 0.9)
    truth = torch.nn.functional.interpolate(coarse, scale_factor=2, mode="bilinear")
    c = torch.stack([torch.nn.functional.interpolate(e.view(1, 1, 4, 4), scale_factor=2, mode="bilinear").flatten()
                     for e in torch.eye(16)])  # fmt: skip
    c = c.T @ c

    def endpoint(x: torch.Tensor, s: torch.Tensor, *_: torch.Tensor) -> torch.Tensor:
        a = float(s[0])
        gain = a * c @ torch.linalg.pinv(a**2 * c + (1 - a) ** 2 * torch.eye(64) + 1e-6 * torch.eye(64))
        return (x.flatten(1) @ gain.T).view_as(x)

    model = small_model(conditions={}, overlap=1.0).requires_grad_(False)
    model.net.forward = endpoint  # type: ignore[method-assign]
    done = smaller((1, 8, 8), 2)
    off, calls = [], []
    for rounds in (0, 3):
        found = restore_images(
            model, done.apply(truth), done, torch.Generator().manual_seed(0), steps=12, rounds=rounds
        )
        off.append(float((found.images - truth).square().mean()))
        calls.append(found.calls)
    assert off[1] < 0.5 * off[0]
    assert calls == [12, 48]


def test_every_second_draw_may_see_the_mirror_image_and_a_label_is_told() -> None:
    model = small_model()
    told: list[int] = []

    def slanted(
        x: torch.Tensor, s: torch.Tensor, alpha: torch.Tensor, condition: torch.Tensor
    ) -> torch.Tensor:
        told.append(int(condition[0, 0]))
        return torch.linspace(-0.5, 0.5, 8).expand_as(x)

    model.net.forward = slanted  # type: ignore[method-assign]
    done, flat = smaller((1, 8, 8), 8), torch.zeros(1, 1, 1, 1)
    found = [
        restore_images(model, flat, done, torch.Generator(), draws=2, mirrors=m, label="b").images
        for m in (False, True)
    ]
    assert found[0][0, 0, 0].diff().min() > 0.1  # rises to the right
    assert found[1].abs().max() < 1e-5  # as often to the left
    assert set(told) == {1}


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
    with pytest.raises(ImageError, match="label 'b' cannot be told: the model has no condition"):
        restore_images(
            small_model(conditions={}), torch.zeros(1, 1, 4, 4), done, torch.Generator(), label="b"
        )
    with pytest.raises(ImageError, match="0 draws asked for"):
        restore_images(small_model(), torch.zeros(1, 1, 4, 4), done, torch.Generator(), draws=0)
    with pytest.raises(ImageError, match="factor is 3: choose 2, 4, 8"):
        smaller((1, 9, 9), 3)
    with pytest.raises(ImageError, match="size 25 is not divisible by 2: sizes 24 or 26 are"):
        smaller((1, 25, 25), 2)
    with pytest.raises(ImageError, match="the width of the blur is -1: give a positive number"):
        blurred((1, 8, 8), -1.0)
    with pytest.raises(ImageError, match="smaller than the window of SSIM"):
        ssim(torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 8, 8))
