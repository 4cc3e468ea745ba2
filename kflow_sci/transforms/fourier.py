"""Fourier K-transform on grids of one, two or three dimensions, with radial shells.

The one idea: a shell is a ring of wave vectors of nearly equal length, so shells follow shifts of the grid, and turns
and mirrors that keep it. Coefficients are real: the Hartley form ``Re F x − Im F x`` of the orthonormal transform is
an orthogonal matrix that is its own inverse, and k and −k, which it mixes, share a shell. The filter itself is the
usual pair of half-size complex transforms.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Self

import torch
from jaxtyping import Float
from torch import Tensor

from kflow_sci.errors import TransformError
from kflow_sci.transforms.grid import GridTransform, check_shape
from kflow_sci.transforms.shells import check_edges, shells_by_energy

Shells = str | int | Sequence[float]

# Radii are square roots of sums of squares; equal ones differ by rounding only.
_ROUNDING = 1e-9


class FourierTransform(GridTransform):
    """Real orthonormal Fourier transform of the last axes, shells by |k|.

    |k| is in cycles per longest side: on a square grid of n samples the integer wave number, at most n/2 along an
    axis and n/√2 in the corner. On other grids all axes are measured by the same length, so that a ring is a ring.

    Args:
        shape: Number of samples along each transformed axis, 1 to 3 axes, odd or even.
        shells: ``unit`` for rings of width 1 about the whole numbers (halves count up); a number for that many rings
            of equal width; or the K−1 inner edges, rising (shell j holds ``edges[j−1] <= |k| < edges[j]``).
        spacing: Distance of samples, one for all axes or one per axis; only ratios matter.

    Attributes:
        radius: |k| of each coefficient, in the order of ``torch.fft.fftfreq``.

    Raises:
        TransformError: no grid, unknown rule, edges that do not rise, or a shell without any wave vector.

    Source:
        The Hartley form: Bracewell, J. Opt. Soc. Am. 73 (1983) 1832.

    Example:
        >>> transform = FourierTransform((16, 16), shells=3)
        >>> x = torch.randn(4, 3, 16, 16)
        >>> blurred = transform.filter(x, torch.tensor([[1.0, 0.5, 0.0]]).expand(4, 3))
        >>> blurred.shape
        torch.Size([4, 3, 16, 16])
        >>> FourierTransform((5,)).shell_of.tolist()
        [0, 1, 2, 2, 1]
    """

    def __init__(
        self, shape: int | Sequence[int], shells: Shells = "unit", *, spacing: float | Sequence[float] = 1.0
    ) -> None:
        shape = check_shape(shape, most=3)
        radius = _radius(shape, spacing)
        if isinstance(shells, str):
            if shells != "unit":
                raise TransformError(
                    f"shells '{shells}' are unknown: choose 'unit', a number, or the inner edges"
                )
            shell = _dense((radius + 0.5 + _ROUNDING).floor().long())
            n_shells = int(shell.max()) + 1
        elif isinstance(shells, int):
            if shells < 1:
                raise TransformError(f"{shells} shells asked for, but at least 1 is needed")
            n_shells = shells
            width = max(float(radius.max()), 1.0) / n_shells
            shell = (radius / width + _ROUNDING).floor().long().clamp(max=n_shells - 1)
        else:
            edges = torch.tensor(check_edges(shells), dtype=torch.float64)
            shell = torch.searchsorted(edges, radius + _ROUNDING, right=True)
            n_shells = len(edges) + 1
        super().__init__(shape, shell, n_shells)
        self._set_radius(radius)

    @classmethod
    def by_energy(
        cls,
        shape: int | Sequence[int],
        n_shells: int,
        energy: Float[Tensor, " units"],
        *,
        spacing: float | Sequence[float] = 1.0,
    ) -> Self:
        """Shells of equal energy, as far as whole unit rings permit.

        Args:
            shape: As in the constructor.
            n_shells: Number of shells K.
            energy: Energy of each unit ring, from ``FourierTransform(shape).energy(data).mean(0)`` of training data.
            spacing: As in the constructor.

        Raises:
            TransformError: a spectrum that does not fit; see ``shells_by_energy``.

        Example:
            >>> units = FourierTransform((8, 8))
            >>> flat = torch.ones(units.n_shells)
            >>> FourierTransform.by_energy((8, 8), 2, flat).dimension.tolist()
            [37, 27]
        """
        new = cls(shape, "unit", spacing=spacing)
        if energy.shape != (new.n_shells,):
            raise TransformError(
                f"the spectrum has shape {tuple(energy.shape)}, expected ({new.n_shells},): one energy per unit ring "
                f"of a grid {new.shape}"
            )
        shell = shells_by_energy(energy.detach().cpu(), n_shells)[new.shell_of]
        radius = new.radius
        GridTransform.__init__(new, new.shape, shell, n_shells)
        new._set_radius(radius)
        return new

    def _set_radius(self, radius: Float[Tensor, "..."]) -> None:
        self.radius = radius
        # The half spectrum of rfftn: non-negative frequencies along the last axis.
        # Twice each, for real and imaginary part: a product of equal layouts runs several times faster than one that
        # spreads a real weight over pairs.
        self._half_shell = (
            self.shell_of[..., : self.shape[-1] // 2 + 1, None].expand(*self.shape[:-1], -1, 2).contiguous()
        )
        self._axes = tuple(range(-len(self.shape), 0))

    def forward(self, x: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch ..."]:
        self._check(x)
        c = torch.fft.fftn(x, dim=self._axes, norm="ortho")
        return c.real - c.imag

    def inverse(self, c: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch ..."]:
        return self.forward(c)

    def filter(
        self, x: Float[Tensor, "batch ..."], w: Float[Tensor, "batch shells"]
    ) -> Float[Tensor, "batch ..."]:
        self._check(x)
        self._check_weights(x, w)
        c = torch.view_as_real(torch.fft.rfftn(x, dim=self._axes))
        channels = (1,) * (x.ndim - 1 - len(self.shape))
        gain = w.to(x.dtype).index_select(1, self._half_shell.flatten())
        gain = gain.view(len(x), *channels, *self._half_shell.shape)
        # In place where no gradient of the weights needs the coefficients: one large tensor less.
        c = c * gain if w.requires_grad else c.mul_(gain)
        return torch.fft.irfftn(torch.view_as_complex(c), s=self.shape, dim=self._axes)

    @property
    def scale(self) -> Float[Tensor, " shells"]:
        total = self.radius.new_zeros(self.n_shells)
        total.index_add_(0, self.shell_of.flatten(), self.radius.flatten())
        return total / self.dimension


def _radius(shape: tuple[int, ...], spacing: float | Sequence[float]) -> Float[Tensor, "..."]:
    """|k| in cycles per longest side."""
    steps = [float(spacing)] * len(shape) if isinstance(spacing, int | float) else [float(h) for h in spacing]
    if len(steps) != len(shape) or not all(math.isfinite(h) and h > 0 for h in steps):
        raise TransformError(
            f"spacing {steps} does not fit shape {shape}: give one positive length, or one per axis"
        )
    longest = max(n * h for n, h in zip(shape, steps, strict=True))
    # Whole numbers times one ratio per axis, so that equal lengths come out equal.
    axes = [
        torch.fft.fftfreq(n, d=1.0 / n, dtype=torch.float64).round() * (longest / (n * h))
        for n, h in zip(shape, steps, strict=True)
    ]
    return sum((k.square() for k in torch.meshgrid(*axes, indexing="ij")), torch.zeros(shape).double()).sqrt()


def _dense(number: Tensor) -> Tensor:
    """Numbers without gaps, in the same order."""
    return torch.unique(number, return_inverse=True)[1]
