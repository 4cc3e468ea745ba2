"""Restoring images with a flow that was never trained for it.

The one idea: what an operator loses is diagonal in the shells of some transform, not always the model's own. Reducing
an image to half its size by averaging is exactly the coarse shell of one Haar level; a blur is one factor per wave
number. So the steering of ``flow.steer`` clamps what the operator let through, in the operator's shells, while the
model's flow generates the rest in its own.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate

from kflow_sci.errors import ImageError
from kflow_sci.flow.informed import Informed
from kflow_sci.flow.path import Path
from kflow_sci.flow.schedule import ShellSchedule
from kflow_sci.flow.solve import solve
from kflow_sci.flow.steer import Clamp, mix, restore
from kflow_sci.images.model import ImageModel, Value
from kflow_sci.transforms.base import KTransform
from kflow_sci.transforms.fourier import FourierTransform
from kflow_sci.transforms.wavelet import WaveletTransform

# Share of the energy of a shell that may be missing where it counts as let through untouched: rounding.
_LOST = 1e-6


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


class Restored(NamedTuple):
    """Restored images, and the number of network calls that each of them took (a backward pass counts as one)."""

    images: Float[Tensor, "batch channels rows columns"]
    calls: int


def told_shells(path: Path, degradation: Degradation, shape: tuple[int, int, int]) -> int:
    """How many shells of a path, from the coarsest on, are let through untouched and done before the others begin.

    Example:
        >>> path = Path(WaveletTransform((8, 8), "haar", 2), ShellSchedule.equal(3))
        >>> [told_shells(path, smaller((1, 8, 8), factor), (1, 8, 8)) for factor in (2, 4)]
        [2, 1]
    """
    probe = torch.randn(4, *shape, generator=torch.Generator().manual_seed(0))
    probe = probe.to(path.transform.shell_of.device)
    keep = degradation.clamp(degradation.apply(probe))
    lost = path.transform.energy(
        probe - mix(keep.path.transform, keep.known, torch.zeros_like(probe), keep.weights)
    )
    share = lost.sum(0) / path.transform.energy(probe).sum(0)
    found = int((share < _LOST).to(torch.int).cumprod(0).sum())
    windows = path.schedule.windows
    while 0 < found < len(windows) and windows[found - 1][1] > windows[found][0]:
        found -= 1
    return found


def restore_images(
    model: ImageModel,
    observed: Float[Tensor, "batch ..."],
    degradation: Degradation,
    generator: torch.Generator,
    *,
    steps: int | None = None,
    draws: int = 1,
    label: Value | None = None,
    rounds: int = 0,
    mirrors: bool = False,
) -> Restored:
    """Restore images; the mean of several draws has a higher PSNR and less detail than one.

    What was observed is clamped. Where the windows of the model are strict and its first shells are what the operator
    lets through, that samples the model's exact conditional distribution; those shells get one step each, and one
    step for every other shell leads straight to the mean. Elsewhere (plain flow matching, another transform) the
    network sees what was observed only under noise, and ``rounds`` makes up for a part of that, see ``flow.informed``.

    Args:
        model: A model of pixels.
        observed: What ``degradation.apply`` gave.
        degradation: What was done to the images.
        generator: Of the noise.
        steps: Solver steps; those of the model if None.
        draws: Draws for each image, to be averaged.
        label: Value of the first condition, if it is known.
        rounds: Of the regression on what was observed.
        mirrors: Let every second draw see the mirror image; for operators and models that do not mind.

    Raises:
        ImageError: draws below 1, a label that the model does not know, or observed images that do not fit the model.
        ScheduleError: fewer steps than shells, or negative rounds.
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
    if label is not None and not model.config.conditions:
        raise ImageError(f"label {label!r} cannot be told: the model has no condition")
    told = {} if label is None else {next(iter(model.config.conditions)): label}
    field, path = model.field(len(observed), [(0.0, told)]), model.path()
    first = told_shells(path, degradation, model.config.shape)
    worth = (
        [0.0] * first + [1.0] * (path.schedule.n_shells - first) if first < path.schedule.n_shells else None
    )
    spent = path.schedule.spend(model.config.steps if steps is None else steps, worth)
    given = "velocity" if model.config.prediction == "velocity" else "endpoint"
    keep = degradation.clamp(observed.to(model.device))
    total, calls = torch.zeros_like(keep.known), 0
    for i in range(draws):
        turned = mirrors and i % 2 == 1
        known = keep.known.flip(-1) if turned else keep.known
        informed = Informed(field, path, given, replace(keep, known=known), rounds, limit=1.0)
        start = model.start(len(observed), generator)
        with torch.no_grad():
            found = solve(informed, start, path, spent, method=model.config.method, prediction="endpoint")
        total, calls = total + (found.x.flip(-1) if turned else found.x), calls + found.calls
    # A shell of the model that was done early no longer heard of what came later: the observation has the last word.
    kept = mix(keep.path.transform, keep.known, total / draws, keep.weights)
    return Restored(kept.clamp(-1.0, 1.0), calls)
