"""Which shells images have: from a few words of a config and the training images to plain numbers.

The one idea: whatever follows from data (rings of equal energy, modes, windows in proportion to energy) is found once,
before training, and kept as numbers with the weights; a model knows nothing of the data it was made from.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from kflow_sci.errors import ConfigError
from kflow_sci.transforms.base import KTransform
from kflow_sci.transforms.fourier import FourierTransform
from kflow_sci.transforms.grid import GridTransform
from kflow_sci.transforms.pca import LARGEST_MOMENT, PCATransform
from kflow_sci.transforms.wavelet import WaveletTransform

TRANSFORMS = ("fourier", "wavelet", "pca")
CUTS = ("even", "energy")
WIDTHS = {"equal": 0.0, "energy": 1.0, "amplitude": 0.5}  # powers of the energy
Shells = str | int | tuple[float, ...]


@dataclass(frozen=True)
class ImageShells:
    """A transform of images in plain numbers.

    Attributes:
        transform: One of ``TRANSFORMS``.
        shells: ``unit`` (rings of width 1), a number of shells, or where they begin: inner edges in |k| for Fourier,
            first modes for PCA.
        wavelet: Name of the wavelet; its levels are the number of shells less one.
    """

    transform: str
    shells: Shells
    wavelet: str = "db6"

    def make(self, shape: tuple[int, int, int], pca: PCATransform | None = None) -> GridTransform:
        """The transform of images of a shape.

        Args:
            shape: Channels, rows, columns.
            pca: The fitted modes, for ``pca`` alone.

        Raises:
            ConfigError: an unknown transform, or shells that it does not have.
            TransformError: See the transforms; a size that wavelets cannot halve so often is told with those that fit.
        """
        if self.transform not in TRANSFORMS:
            raise ConfigError(f"transform '{self.transform}' is unknown: choose {', '.join(TRANSFORMS)}")
        if self.transform == "fourier":
            return FourierTransform(shape[1:], self.shells)
        if self.transform == "wavelet":
            if not isinstance(self.shells, int) or self.shells < 2:
                raise ConfigError(f"shells = {self.shells!r}: wavelets have a number of shells, at least 2")
            return WaveletTransform(shape[1:], self.wavelet, self.shells - 1)
        if pca is None:
            raise ConfigError("transform 'pca' needs fitted modes: train the model, or load its weights")
        return pca


def fit_shells(
    wanted: ImageShells,
    images: Float[Tensor, "images channels rows columns"],
    cut: str,
    rank: int | None = None,
) -> tuple[ImageShells, GridTransform]:
    """Find what follows from training images.

    Args:
        wanted: What the config says.
        images: Training images (or latents).
        cut: How a number of shells is shared out: ``even`` (rings of equal width, equal numbers of modes) or
            ``energy`` (equal energies as far as whole rings or modes permit).
        rank: Modes of PCA to keep; None for all.

    Returns:
        The shells in numbers, and the transform.

    Raises:
        ConfigError: As ``ImageShells.make``; a rule that the transform does not have.
        TransformError: See the transforms.
    """
    shape = tuple(images.shape[1:])
    number = wanted.shells
    by_energy = cut == "energy"
    if by_energy and (wanted.transform == "wavelet" or not isinstance(number, int)):
        raise ConfigError(
            f"cut = 'energy' shares out a number of shells of fourier or pca, not {wanted.transform} with shells = "
            f"{number!r}: set cut: even"
        )
    if wanted.transform == "pca":
        if number == "unit":
            raise ConfigError("shells = 'unit' are rings of fourier: give pca a number, or the first modes")
        size = math.prod(shape)
        if size > LARGEST_MOMENT and rank is None:
            raise ConfigError(f"rank is null, but images of {size} numbers have too many modes: give a rank")
        rule: str | Sequence[int] = "energy" if by_energy else "count"
        if isinstance(number, tuple):
            rule, number = [int(first) for first in number], len(number) + 1
        pca = PCATransform.fit(images.split(256), int(number), shape=shape, rank=rank, cut=rule)
        head = pca.shell_of[: len(pca.values)]
        starts = tuple(float((head < j).sum()) for j in range(1, pca.n_shells - pca.truncated))
        return ImageShells("pca", starts), pca
    if wanted.transform == "fourier" and by_energy and isinstance(number, int):
        energy = FourierTransform(shape[1:]).energy(images).mean(0)
        rings = FourierTransform.by_energy(shape[1:], number, energy)
        edges = tuple(float(rings.radius[rings.shell_of == j].min()) for j in range(1, rings.n_shells))
        wanted = ImageShells("fourier", edges)
    return wanted, wanted.make(shape)  # type: ignore[arg-type]


def shell_variance(
    transform: KTransform, images: Float[Tensor, "images ..."]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean energy of each shell, and mean square of one of its coefficients.

    Example:
        >>> energy, variance = shell_variance(FourierTransform((4,)), 2.0 * torch.ones(3, 2, 4))
        >>> [round(e, 6) for e in energy], [round(v, 6) for v in variance]  # two channels
        ([32.0, 0.0, 0.0], [16.0, 0.0, 0.0])
    """
    parts = [transform.energy(x).double().sum(0) for x in images.split(256)]
    energy = torch.stack(parts).sum(0) / len(images)
    # Channels that the transform does not mix give every shell that many more coefficients.
    copies = images[0].numel() / float(transform.dimension.sum())
    return tuple(energy.tolist()), tuple((energy / (transform.dimension * copies)).tolist())


def shell_widths(
    wanted: str | Sequence[float], transform: KTransform, energy: Sequence[float]
) -> tuple[float, ...]:
    """Flow time of each shell: given, or by a rule.

    Args:
        wanted: Numbers, or ``equal``, ``dimension``, ``energy`` or ``amplitude``.
        transform: Whose shells.
        energy: Mean energy of each shell.

    Raises:
        ConfigError: an unknown rule, or numbers that are not one per shell.

    Example:
        >>> shell_widths("amplitude", FourierTransform((8,), shells=2), [9.0, 1.0])
        (3.0, 1.0)
    """
    if not isinstance(wanted, str):
        if len(wanted) != transform.n_shells:
            raise ConfigError(
                f"{len(wanted)} widths for {transform.n_shells} shells: give one per shell, or a rule"
            )
        return tuple(float(w) for w in wanted)
    if wanted == "dimension":
        return tuple(float(d) for d in transform.dimension)
    if wanted not in WIDTHS:
        raise ConfigError(
            f"widths = '{wanted}' is unknown: choose {', '.join(WIDTHS)}, dimension, or give numbers"
        )
    return tuple(e ** WIDTHS[wanted] for e in energy)
