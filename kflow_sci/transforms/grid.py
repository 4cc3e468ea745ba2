"""Transforms of regular grids and vectors: what Fourier, wavelets and PCA have in common.

The one idea: they act on the last axes and treat all samples and channels alike, so one shell index per coefficient
serves the whole batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import torch
from jaxtyping import Float, Int
from torch import Tensor

from kflow_sci.errors import TransformError
from kflow_sci.transforms.base import KTransform


def check_shape(shape: int | Sequence[int], most: int) -> tuple[int, ...]:
    """A grid shape as a tuple of 1 … ``most`` positive whole numbers.

    Raises:
        TransformError: anything else.

    Example:
        >>> check_shape(64, most=2)
        (64,)
    """
    sizes = (shape,) if isinstance(shape, int) else tuple(shape)
    if not 1 <= len(sizes) <= most or not all(isinstance(n, int) and n >= 1 for n in sizes):
        raise TransformError(f"shape {sizes} is not a grid: give 1 … {most} whole numbers >= 1")
    return sizes


class GridTransform(KTransform):
    """A transform that acts on the last axes of ``(batch, *channels, *shape)``, alike for all samples and channels.

    Args:
        shape: The axes it acts on.
        shell_of: Shell of each coefficient; the axes of the coefficients.
        n_shells: Number of shells.

    Raises:
        TransformError: a shell that holds no coefficient, or an index outside 0 … n_shells−1.

    Example:
        >>> from kflow_sci.transforms.fourier import FourierTransform
        >>> isinstance(FourierTransform((8, 8)), GridTransform)
        True
    """

    def __init__(self, shape: tuple[int, ...], shell_of: Int[Tensor, "..."], n_shells: int) -> None:
        if n_shells < 1 or not 0 <= int(shell_of.min()) <= int(shell_of.max()) < n_shells:
            low, high = int(shell_of.min()), int(shell_of.max())
            raise TransformError(f"shell indices run from {low} to {high}, expected 0 … {n_shells - 1}")
        count = torch.bincount(shell_of.flatten(), minlength=n_shells)
        if bool((count == 0).any()):
            empty = count.eq(0).nonzero().flatten().tolist()
            raise TransformError(
                f"shells {empty} of {n_shells} hold no coefficient: use fewer or wider shells"
            )
        self.shape = shape
        self.shell_of = shell_of
        self.n_shells = n_shells
        self._dimension = count

    @property
    def dimension(self) -> Int[Tensor, " shells"]:
        return self._dimension

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Self:
        # One object serves both precisions, so a change of dtype has nothing to do.
        return super().to(device)

    def gain(self, w: Float[Tensor, "batch shells"]) -> Float[Tensor, "batch ..."]:
        return w.index_select(1, self.shell_of.flatten()).unflatten(1, self.shell_of.shape)

    def energy(self, x: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch shells"]:
        square = self.forward(x).square()
        channels = tuple(range(1, square.ndim - self.shell_of.ndim))
        square = (square.sum(channels) if channels else square).flatten(1)
        return square.new_zeros(len(x), self.n_shells).index_add(1, self.shell_of.flatten(), square)

    def _check(self, x: Tensor, shape: Sequence[int] | None = None) -> None:
        shape = tuple(self.shape if shape is None else shape)
        if x.ndim <= len(shape) or tuple(x.shape[-len(shape) :]) != shape:
            raise TransformError(
                f"data have shape {tuple(x.shape)}, expected (batch, …, {', '.join(map(str, shape))}): "
                f"the last {len(shape)} axes are transformed"
            )
        if x.numel() == 0:
            raise TransformError(
                f"data have shape {tuple(x.shape)}, which is empty: give at least one sample"
            )
        if x.dtype not in (torch.float32, torch.float64):
            raise TransformError(f"data are {x.dtype}, expected float32 or float64: convert with x.float()")
        if x.device != self.shell_of.device:
            raise TransformError(
                f"data are on {x.device}, the transform on {self.shell_of.device}: use transform.to(x.device)"
            )
