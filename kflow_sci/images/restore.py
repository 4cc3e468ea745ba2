"""Restoring images with a flow that was never trained for it.

The one idea: what an operator loses is diagonal in the shells of some transform, not always the model's own. Reducing
an image to half its size by averaging is exactly the coarse shell of one Haar level; a blur is one factor per wave
number. So the steering of ``flow.steer`` clamps what the operator let through, in the operator's shells, while the
model's flow generates the rest in its own.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate

from kflow_sci.errors import ImageError
from kflow_sci.flow.path import Path
from kflow_sci.flow.schedule import ShellSchedule
from kflow_sci.flow.steer import Clamp, mix, restore
from kflow_sci.images.model import ImageModel
from kflow_sci.transforms.base import KTransform
from kflow_sci.transforms.fourier import FourierTransform
from kflow_sci.transforms.wavelet import WaveletTransform


@dataclass(frozen=True)
class Degradation:
    """A linear operator that is one factor per shell of a transform.

    Attributes:
        name: What it is called.
        transform: Its shells.
        gain: The factor of each shell.
        factor: By how much the observed image is smaller; 1 for the same size.
    """

    name: str
    transform: KTransform
    gain: tuple[float, ...]
    factor: int = 1

    def apply(self, images: Float[Tensor, "batch channels rows columns"]) -> Float[Tensor, "batch ..."]:
        """The observed images; smaller ones where the factor is above 1.

        Example:
            >>> half = smaller((1, 4, 4), 2)
            >>> half.apply(torch.arange(16.0).view(1, 1, 4, 4)).flatten().tolist()
            [2.5, 4.5, 10.5, 12.5]
        """
        w = torch.tensor(self.gain, dtype=images.dtype, device=images.device).expand(len(images), -1)
        seen = self.transform.to(images.device).filter(images, w)
        return seen[..., :: self.factor, :: self.factor]

    def clamp(self, observed: Float[Tensor, "batch ..."]) -> Clamp:
        """The steering that keeps what was observed.

        Example:
            >>> half = smaller((1, 4, 4), 2)
            >>> half.clamp(torch.ones(1, 1, 2, 2)).known.shape
            torch.Size([1, 1, 4, 4])
        """
        full = observed.repeat_interleave(self.factor, -1).repeat_interleave(self.factor, -2)
        transform = self.transform.to(observed.device)
        path = Path(transform, ShellSchedule.equal(transform.n_shells))
        return restore(path, full, self.gain)

    def naive(self, observed: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch channels rows columns"]:
        """What one has without a model: bicubic interpolation of a small image, else the image as it is."""
        if self.factor == 1:
            return observed
        return interpolate(observed, scale_factor=self.factor, mode="bicubic").clamp(-1.0, 1.0)


def smaller(shape: tuple[int, int, int], factor: int) -> Degradation:
    """Reduced by a power of two: every pixel of the small image is the mean of a square.

    Raises:
        ImageError: a factor that is not 2, 4, 8, …, or does not divide the sizes.

    Example:
        >>> smaller((3, 8, 8), 4).gain
        (1.0, 0.0, 0.0)
    """
    levels = factor.bit_length() - 1
    if factor < 2 or factor != 2**levels:
        raise ImageError(f"factor is {factor}: choose 2, 4, 8, …")
    for n in shape[1:]:
        if n % factor:
            below, above = n // factor * factor, -(-n // factor) * factor
            fit = f"{below} or {above}" if below else f"{above}"
            raise ImageError(f"size {n} is not divisible by {factor}: sizes {fit} are")
    transform = WaveletTransform(shape[1:], "haar", levels)
    return Degradation(f"×{factor} smaller", transform, (1.0,) + (0.0,) * levels, factor)


def blurred(shape: tuple[int, int, int], sigma: float) -> Degradation:
    """Blurred by a Gaussian on the torus: a factor ``exp(−2 (π σ k/n)²)`` for each wave number.

    Args:
        shape: Channels, rows, columns.
        sigma: Width of the Gaussian, pixels.

    Raises:
        ImageError: a width that is not positive.

    Example:
        >>> flat = torch.ones(1, 1, 8, 8)
        >>> torch.allclose(blurred((1, 8, 8), 1.5).apply(flat), flat)
        True
    """
    if not (math.isfinite(sigma) and sigma > 0.0):
        raise ImageError(f"the width of the blur is {sigma:g}: give a positive number of pixels")
    # One shell for each length of a wave vector, so that the factor is exact and not a mean over a ring.
    radius = torch.unique(FourierTransform(shape[1:]).radius.round(decimals=9)).tolist()
    transform = FourierTransform(shape[1:], [0.5 * (a + b) for a, b in itertools.pairwise(radius)])
    longest = max(shape[1:])
    gain = tuple(math.exp(-2.0 * (math.pi * sigma * k / longest) ** 2) for k in radius)
    return Degradation(f"blurred by {sigma:g} pixels", transform, gain)


@torch.no_grad()
def restore_images(
    model: ImageModel,
    observed: Float[Tensor, "batch ..."],
    degradation: Degradation,
    generator: torch.Generator,
    *,
    steps: int | None = None,
    draws: int = 1,
) -> Float[Tensor, "batch channels rows columns"]:
    """Restore images; the mean of several draws has a higher PSNR and less detail than one.

    Args:
        model: A model of pixels.
        observed: What ``degradation.apply`` gave.
        degradation: What was done to the images.
        generator: Of the noise.
        steps: Solver steps; those of the model if None.
        draws: Draws for each image, to be averaged.

    Raises:
        ImageError: draws below 1, or observed images that do not fit the model.
    """
    if draws < 1:
        raise ImageError(f"{draws} draws asked for: ask for at least 1")
    channels, rows, columns = model.config.shape
    needed = (channels, rows // degradation.factor, columns // degradation.factor)
    if tuple(observed.shape[1:]) != needed:
        raise ImageError(
            f"the image has shape {tuple(observed.shape[1:])}, but the model needs {needed} for images "
            f"{degradation.name}"
        )
    steer = degradation.clamp(observed.to(model.device))
    found = [model.sample(len(observed), generator, steps, steer=[steer]).x for _ in range(draws)]
    # A shell of the model that was done early no longer heard of what came later: the observation has the last word.
    kept = mix(steer.path.transform, steer.known, torch.stack(found).mean(0), steer.weights)
    return kept.clamp(-1.0, 1.0)
