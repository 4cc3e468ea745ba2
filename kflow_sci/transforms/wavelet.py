"""Wavelet K-transform on grids of one or two dimensions: orthogonal filters, periodised.

The one idea: a periodised filter bank on n samples is one orthogonal n × n matrix, so a level is a product with one
matrix per axis. The filter needs only their low halves A_ℓ, because the details of a level are what its approximation
leaves: ``S(w) x = w_fine x + Aᵀ (S′(w) − w_fine) A x``, with S′ the same on the next coarser level.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import EllipsisType

import numpy as np
import pywt
import torch
from jaxtyping import Float, Int
from torch import Tensor

from kflow_sci.errors import TransformError
from kflow_sci.transforms.banded import Band, along_first, along_last, band_of
from kflow_sci.transforms.grid import GridTransform, check_shape

# Tabulated filters are orthogonal to about 1e-12; beyond this a bank is only nearly so (dmey: 3e-3).
_ORTHOGONAL = 1e-8


class WaveletTransform(GridTransform):
    """Orthogonal wavelets on the last axes; shell 0 the approximation, then details from coarse to fine.

    Coefficients are those of PyWavelets with ``mode="periodization"`` and stand as in its ``coeffs_to_array``: the
    approximation first, in two dimensions in the upper left corner, details around it. The number of shells is
    ``levels + 1``; in two dimensions the three directions of a level share a shell.

    Args:
        shape: Number of samples along each transformed axis, one or two axes, divisible by ``2 ** levels``.
        wavelet: Name of an orthogonal wavelet of PyWavelets: haar, dbN, symN, coifN.
        levels: How often the grid is halved; None for as often as the filter is shorter than what is halved, and at
            least once.

    Raises:
        TransformError: unknown or not orthogonal wavelet, or a size that cannot be halved so often.

    Source:
        Mallat, IEEE Trans. Pattern Anal. 11 (1989) 674; filters: PyWavelets (Lee et al., JOSS 4 (2019) 1237).

    Example:
        >>> transform = WaveletTransform((32, 32), "db2", levels=2)
        >>> transform.n_shells, transform.dimension.tolist()
        (3, [64, 192, 768])
        >>> c = WaveletTransform((4,), "haar", levels=1).forward(torch.tensor([[1.0, 1.0, 3.0, 5.0]]))
        >>> (c / 2**0.5).round(decimals=3)
        tensor([[ 1.,  4.,  0., -1.]])
    """

    def __init__(self, shape: int | Sequence[int], wavelet: str = "db6", levels: int | None = None) -> None:
        shape = check_shape(shape, most=2)
        filters = _orthogonal(wavelet)
        levels = _levels(shape, filters, levels)
        super().__init__(shape, _shell_of(shape, levels), levels + 1)
        self.wavelet = wavelet
        self.levels = levels
        exact = tuple(tuple(_bank(n >> level, filters) for n in shape) for level in range(levels))
        single = tuple(tuple(bank.float() for bank in axes) for axes in exact)
        self._banks = {torch.float64: exact, torch.float32: single}
        self._pairs = filters.dec_len == 2  # Haar needs sums of neighbours, no products
        # For the filter: the low half and its transpose, per level and axis.
        self._lows = {
            dtype: tuple(tuple(_both_ways(bank) for bank in axes) for axes in banks)
            for dtype, banks in self._banks.items()
        }

    def forward(self, x: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch ..."]:
        self._check(x)
        banks = self._banks[x.dtype]
        c = x.clone()
        for level in range(self.levels):
            corner = self._corner(level)
            c[corner] = _apply(banks[level], c[corner])
        return c

    def inverse(self, c: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch ..."]:
        self._check(c)
        banks = self._banks[c.dtype]
        x = c.clone()
        for level in reversed(range(self.levels)):
            corner = self._corner(level)
            x[corner] = _adjoint(banks[level], x[corner])
        return x

    def filter(
        self, x: Float[Tensor, "batch ..."], w: Float[Tensor, "batch shells"]
    ) -> Float[Tensor, "batch ..."]:
        self._check(x)
        self._check_weights(x, w)
        w = w.to(x.dtype)
        # What each shell adds to the weight of the next finer one.
        steps = torch.cat([w[:, :-1] - w[:, 1:], w[:, -1:]], dim=1)
        spread = (len(x),) + (1,) * (x.ndim - 1)
        return self._add(x, [step.view(spread) for step in steps.unbind(1)], 0)

    def _add(self, x: Tensor, steps: list[Tensor], level: int) -> Tensor:
        """What a level and the coarser ones add to the data, on the approximation x of that level."""
        step = steps[self.levels - level]
        if self._pairs and level:
            step = step * 0.5 ** (len(self.shape) * level)  # for the sums, each of norm √2
        if level == self.levels:
            return step * x
        if self._pairs:
            axes = len(self.shape)
            return _add_to_pairs(self._add(_pair_sums(x, axes), steps, level + 1), step, x, axes)
        *first, last = self._lows[x.dtype][level]
        low = along_last(last[0], x)
        for there, _ in first:
            low = along_first(there, low)
        inner = self._add(low, steps, level + 1)
        for _, back in first:
            inner = along_first(back, inner)
        # In place on a fresh product, which no gradient needs: one large tensor less.
        return along_last(last[1], inner).addcmul_(step, x)

    def _corner(self, level: int) -> tuple[EllipsisType | slice, ...]:
        return (..., *(slice(0, n >> level) for n in self.shape))

    @property
    def scale(self) -> Float[Tensor, " shells"]:
        # Details of level ℓ fill the octave of wave numbers n/2^(ℓ+1) … n/2^ℓ, here by its geometric mean; the
        # approximation fills all below, here by half of its end. Cycles per longest side, as for Fourier.
        n = float(max(self.shape))
        octaves = [n / 2 ** (level + 0.5) for level in range(self.levels, 0, -1)]
        return torch.tensor([n / 2 ** (self.levels + 2), *octaves], dtype=torch.float64)


def _orthogonal(name: str) -> pywt.Wavelet:
    if name not in pywt.wavelist(kind="discrete") or not pywt.Wavelet(name).orthogonal:
        raise TransformError(f"wavelet '{name}' is not an orthogonal one: choose haar, dbN, symN or coifN")
    return pywt.Wavelet(name)


def _levels(shape: tuple[int, ...], filters: pywt.Wavelet, levels: int | None) -> int:
    """The number of levels, given or the usual one, if the sizes allow it."""
    most = min((n & -n).bit_length() - 1 for n in shape)
    if levels is None:
        usual = min(pywt.dwt_max_level(n, filters.dec_len) for n in shape)
        levels = max(1, min(most, usual))
    if levels < 1:
        raise TransformError(f"levels is {levels}, but at least 1 is needed")
    step = 2**levels
    for n in shape:
        if n % step:
            below, above = n // step * step, -(-n // step) * step
            fit = f"{below} or {above}" if below else f"{above}"
            also = f", or at most {most} levels" if most else ""
            raise TransformError(f"size {n} cannot be halved {levels} times: use {fit}{also}")
    return levels


def _bank(n: int, filters: pywt.Wavelet) -> Float[Tensor, "n n"]:
    """The periodised transform of n samples, float64: low half above, high half below."""
    low, high = pywt.dwt(np.eye(n), filters, mode="periodization", axis=0)
    matrix = torch.from_numpy(np.concatenate([low, high]))
    defect = float((matrix @ matrix.T - torch.eye(n, dtype=torch.float64)).abs().max())
    if defect > _ORTHOGONAL:
        raise TransformError(
            f"wavelet '{filters.name}' on {n} samples is off orthogonal by {defect:.1e} (limit {_ORTHOGONAL:.0e}): "
            "choose haar, dbN, symN or coifN"
        )
    if defect < 1e-14:
        return matrix
    # The table of this filter carries eleven digits or so; one Newton step towards the nearest orthogonal matrix gives
    # all sixteen, for a little more width.
    return 1.5 * matrix - 0.5 * matrix @ matrix.T @ matrix


def _shell_of(shape: tuple[int, ...], levels: int) -> Int[Tensor, "..."]:
    shell = torch.full(shape, levels, dtype=torch.long)
    for level in range(1, levels + 1):
        shell[tuple(slice(0, n >> level) for n in shape)] = levels - level
    return shell


def _pair_sums(x: Tensor, axes: int) -> Tensor:
    """Sums of neighbours along each of the last axes; by rows first, which are whole stretches of memory."""
    if axes == 2:
        x = x[..., ::2, :] + x[..., 1::2, :]
    return x[..., ::2] + x[..., 1::2]


def _add_to_pairs(inner: Tensor, step: Tensor, x: Tensor, axes: int) -> Tensor:
    """``step · x`` plus, for each entry, the entry of ``inner`` whose sum it is in."""
    # Each number twice side by side: as the two parts of complex numbers that is one fast pass over memory.
    wide = torch.view_as_real(torch.complex(inner, inner)).flatten(-2)
    if axes == 1:
        return torch.addcmul(wide, step, x)
    return torch.cat((wide, wide), dim=-1).view(x.shape).addcmul_(step, x)


def _both_ways(bank: Float[Tensor, "n n"]) -> tuple[Band, Band]:
    """The low half of a bank and its transpose, ready for products."""
    low = bank[: len(bank) // 2]
    return band_of(low), band_of(low.T)


def _apply(matrices: tuple[Tensor, ...], x: Tensor) -> Tensor:
    """One matrix along each of the last axes."""
    y = x @ matrices[-1].T
    return y if len(matrices) == 1 else matrices[0] @ y


def _adjoint(matrices: tuple[Tensor, ...], y: Tensor) -> Tensor:
    """The transposed matrices along the last axes."""
    x = y if len(matrices) == 1 else matrices[0].T @ y
    return x @ matrices[-1]
