"""How near an image is to a known truth: PSNR and SSIM.

The one idea: both compare one image with one truth, so they are given per image, and a mean always knows its number.
Values lie in [−1, 1], whose range is 2.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import conv2d

from kflow_sci.errors import ImageError

_RANGE = 2.0
_WINDOW, _SIGMA = 11, 1.5
_K1, _K2 = 0.01, 0.03


def psnr(
    images: Float[Tensor, "images channels rows columns"],
    truth: Float[Tensor, "images channels rows columns"],
) -> Float[Tensor, " images"]:
    """Peak signal-to-noise ratio, ``10 log₁₀(range² / mean square error)``, dB; infinite for equal images.

    Raises:
        ImageError: shapes that differ.

    Example:
        >>> psnr(torch.zeros(1, 1, 2, 2), torch.full((1, 1, 2, 2), 0.2))  # 4 / 0.04
        tensor([20.])
    """
    _check(images, truth)
    return 10.0 * (_RANGE**2 / (images - truth).square().flatten(1).mean(1)).log10()


def ssim(
    images: Float[Tensor, "images channels rows columns"],
    truth: Float[Tensor, "images channels rows columns"],
) -> Float[Tensor, " images"]:
    """Structural similarity with a Gaussian window of 11 pixels and width 1.5, mean over channels; 1 is best.

    Raises:
        ImageError: shapes that differ, or images smaller than the window.

    Source:
        Wang et al., IEEE Trans. Image Process. 13 (2004) 600.

    Example:
        >>> ssim(torch.ones(1, 1, 12, 12), torch.ones(1, 1, 12, 12))
        tensor([1.])
    """
    _check(images, truth)
    n, channels, rows, columns = images.shape
    if min(rows, columns) < _WINDOW:
        raise ImageError(
            f"images of {rows} × {columns} pixels are smaller than the window of SSIM, {_WINDOW}"
        )
    at = torch.arange(_WINDOW, dtype=torch.float64) - _WINDOW // 2
    bell = (-0.5 * (at / _SIGMA).square()).exp()
    bell = bell / bell.sum()
    window = (bell[:, None] * bell).to(images)[None, None]
    a, b = (x.reshape(n * channels, 1, rows, columns) for x in (images, truth))
    mean_a, mean_b, aa, bb, ab = (conv2d(x, window) for x in (a, b, a * a, b * b, a * b))
    var_a, var_b, both = aa - mean_a.square(), bb - mean_b.square(), ab - mean_a * mean_b
    c1, c2 = (_K1 * _RANGE) ** 2, (_K2 * _RANGE) ** 2
    like = (2 * mean_a * mean_b + c1) * (2 * both + c2)
    like = like / ((mean_a.square() + mean_b.square() + c1) * (var_a + var_b + c2))
    return like.reshape(n, -1).mean(1)


def _check(images: Tensor, truth: Tensor) -> None:
    if images.shape != truth.shape or images.ndim != 4:
        raise ImageError(
            f"images {tuple(images.shape)} and truth {tuple(truth.shape)} do not fit: make them equal"
        )
