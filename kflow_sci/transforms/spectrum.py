"""Spectra: how much of the data lives on which scale, and how that changes along a flow.

The one idea: all of it follows from one table, the energy ``‖P_j x‖²`` of every sample and shell. Means over samples
carry bootstrap intervals over samples.

Shells differ in width, so state what is compared: the energy of a shell (what a schedule shares out), or the energy per
dimension (what white noise has equal in all shells).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from kflow_sci.errors import TransformError
from kflow_sci.transforms.base import KTransform

_AT_ONCE = 4_000_000  # numbers held by resampling, whatever the number of samples


class Interval(NamedTuple):
    """An estimate and the ends of its bootstrap interval, each a number or one per shell.

    Example:
        >>> flat = Spectrum(torch.ones(9, 2), torch.ones(2), torch.ones(2))
        >>> [float(part) for part in flat.low_over_high()]
        [1.0, 1.0, 1.0]
    """

    value: Tensor
    low: Tensor
    high: Tensor


@dataclass(frozen=True)
class Spectrum:
    """Energies of samples in shells.

    Attributes:
        energy: ``‖P_j x‖²``, ``(samples, shells)``.
        dimension: Mean number of dimensions of each shell, per channel or component, ``(shells,)``.
        scale: Wave number k of each shell; 0 for a shell that holds the mean alone.

    Raises:
        TransformError: sizes that do not fit, no samples, or energies that are negative or not finite.

    Example:
        >>> from kflow_sci.transforms.fourier import FourierTransform
        >>> x = torch.randn(500, 32, generator=torch.Generator().manual_seed(0)).cumsum(1)  # a random walk
        >>> spectrum = Spectrum.of(FourierTransform((32,)), x)
        >>> bool(-2.3 < spectrum.slope().value < -1.6)  # falls about as 1/k²
        True
    """

    energy: Float[Tensor, "samples shells"]
    dimension: Float[Tensor, " shells"]
    scale: Float[Tensor, " shells"]

    def __post_init__(self) -> None:
        if self.energy.ndim != 2 or not self.dimension.shape == self.scale.shape == self.energy.shape[1:]:
            raise TransformError(
                f"energies {tuple(self.energy.shape)}, dimensions {tuple(self.dimension.shape)} and scales "
                f"{tuple(self.scale.shape)} do not fit: expected (samples, shells), (shells,), (shells,)"
            )
        if not len(self.energy) or not bool((torch.isfinite(self.energy) & (self.energy >= 0)).all()):
            raise TransformError("a spectrum needs samples with finite energies >= 0: check the data for NaN")

    @classmethod
    def of(cls, transform: KTransform, data: Float[Tensor, "samples ..."] | Iterable[Tensor]) -> Spectrum:
        """The spectrum of data under one transform.

        Args:
            transform: Serves all samples; for one that was made for a batch, join the spectra of batches.
            data: All samples, or an iterable of batches that need not fit into memory together.

        Raises:
            TransformError: no samples, or data that do not fit the transform or are not finite.

        Example:
            >>> from kflow_sci.transforms.wavelet import WaveletTransform
            >>> batches = torch.randn(100, 16).split(10)
            >>> Spectrum.of(WaveletTransform(16, "haar", levels=2), batches).energy.shape
            torch.Size([100, 3])
        """
        batches = [data] if isinstance(data, Tensor) else data
        parts = [transform.energy(x).detach().double().cpu() for x in batches]
        if not parts:
            raise TransformError("a spectrum needs samples: no batch was given")
        dimension = transform.dimension.double().cpu()
        return cls(
            torch.cat(parts), dimension.mean(0) if dimension.ndim == 2 else dimension, transform.scale.cpu()
        )

    @classmethod
    def join(cls, parts: Iterable[Spectrum]) -> Spectrum:
        """The spectrum of all samples of several; dimensions and scales are means over samples.

        Raises:
            TransformError: nothing to join, or different numbers of shells.

        Example:
            >>> one = Spectrum(torch.ones(2, 3), torch.ones(3), torch.arange(3.0))
            >>> len(Spectrum.join([one, one]).energy)
            4
        """
        found = list(parts)
        if not found or len({part.energy.shape[1] for part in found}) != 1:
            shells = [part.energy.shape[1] for part in found]
            raise TransformError(f"spectra with {shells} shells cannot be joined: use one number of shells")
        share = torch.tensor([len(part.energy) for part in found], dtype=torch.float64)
        share = (share / share.sum())[:, None]
        dimension = (share * torch.stack([part.dimension.to(share) for part in found])).sum(0)
        scale = torch.stack([part.scale.to(share) for part in found])
        known = torch.isfinite(scale) * share  # a shell that is empty in a batch has no scale there
        return cls(
            torch.cat([part.energy for part in found]),
            dimension,
            (torch.nan_to_num(scale) * known).sum(0) / known.sum(0),
        )

    @property
    def n_shells(self) -> int:
        return self.energy.shape[1]

    def mean(self, *, per_dimension: bool = False) -> Interval:
        """Mean energy of each shell, or of each of its dimensions.

        Example:
            >>> Spectrum(torch.tensor([[4.0, 1.0]]), torch.tensor([2.0, 1.0]), torch.ones(2)).mean().value.tolist()
            [4.0, 1.0]
        """
        return self.bootstrap(lambda energy: energy / self.dimension if per_dimension else energy)

    def norm(self) -> Interval:
        """K-amplitude of each shell: root of the mean energy.

        Example:
            >>> Spectrum(torch.tensor([[4.0, 1.0]]), torch.ones(2), torch.ones(2)).norm().value.tolist()
            [2.0, 1.0]
        """
        return self.bootstrap(torch.sqrt)

    def low_over_high(self, split: int | None = None, *, per_dimension: bool = False) -> Interval:
        """Norm of the shells below ``split`` over the norm of the others.

        Args:
            split: First shell of the upper part; None for half of the shells.
            per_dimension: Compare the root mean square of a coefficient, so that white noise gives 1.

        Raises:
            TransformError: a split outside 1 … n_shells−1.

        Example:
            >>> Spectrum(torch.tensor([[4.0, 1.0]]), torch.ones(2), torch.ones(2)).low_over_high().value
            tensor(2.)
        """
        split = self.n_shells // 2 if split is None else split
        if not 1 <= split < self.n_shells:
            raise TransformError(f"split is {split}, but must lie in 1 … {self.n_shells - 1}")
        low, high = self.dimension[:split].sum(), self.dimension[split:].sum()
        widths = high / low if per_dimension else 1.0
        return self.bootstrap(lambda e: (widths * e[..., :split].sum(-1) / e[..., split:].sum(-1)).sqrt())

    def slope(self, shells: slice = slice(None), *, per_dimension: bool = False) -> Interval:
        """Exponent p of the decay ``E ~ k^p``: least squares in ln E over ln k.

        Args:
            shells: The shells to fit; those with k = 0 or no energy are left out.
            per_dimension: Fit the energy per dimension instead of the energy of the shell.

        Raises:
            TransformError: fewer than two shells left.

        Example:
            >>> k = torch.tensor([0.0, 1.0, 2.0, 4.0])
            >>> energy = torch.tensor([[9.0, 1.0, 0.25, 0.0625]])
            >>> Spectrum(energy, torch.ones(4), k).slope().value
            tensor(-2.)
        """
        use = torch.zeros(self.n_shells, dtype=torch.bool)
        use[shells] = True
        use &= (self.scale > 0) & (self.energy.mean(0) > 0)
        if use.sum() < 2:
            raise TransformError(
                f"{int(use.sum())} shells with k > 0 and energy > 0 are too few for a slope: need 2"
            )
        x = self.scale[use].log().to(self.energy)
        x = (x - x.mean()) / (x - x.mean()).square().sum()

        def fit(energy: Tensor) -> Tensor:
            density = energy / self.dimension.to(energy) if per_dimension else energy
            # A resample in which a shell happens to be empty counts its smallest positive number.
            return density[..., use].clamp(min=torch.finfo(energy.dtype).tiny).log() @ x

        return self.bootstrap(fit)

    def beta(self, *, per_dimension: bool = False) -> Float[Tensor, " shells"]:
        """``β(k) = d ln E / d ln k`` at each shell, by central differences (one-sided at the ends).

        NaN where k = 0 or the energy is zero; a renormalisation group reads it as the flow of the coupling with scale.

        Example:
            >>> k = torch.tensor([1.0, 2.0, 4.0, 8.0])
            >>> Spectrum((k**-3)[None], torch.ones(4), k).beta().tolist()
            [-3.0, -3.0, -3.0, -3.0]
        """
        energy = self.energy.mean(0) / (self.dimension if per_dimension else 1.0)
        known = ((self.scale > 0) & (energy > 0)).nonzero().flatten()
        result = torch.full_like(energy, torch.nan)
        if len(known) >= 2:
            place = (self.scale[known].log().to(energy),)
            result[known] = torch.gradient(energy[known].log(), spacing=place)[0]
        return result

    def projection_error(self) -> Interval:
        """``‖x − Σ_{i≤j} P_i x‖ / ‖x‖`` for each j: root of the share of energy above shell j.

        Example:
            >>> Spectrum(torch.tensor([[3.0, 1.0]]), torch.ones(2), torch.ones(2)).projection_error().value.tolist()
            [0.5, 0.0]
        """

        def error(energy: Tensor) -> Tensor:
            total = energy.sum(-1, keepdim=True)
            return ((total - energy.cumsum(-1)) / total).clamp(min=0.0).sqrt()

        return self.bootstrap(error)

    def bootstrap(
        self, statistic: Callable[[Tensor], Tensor], *, draws: int = 1000, level: float = 0.95, seed: int = 0
    ) -> Interval:
        """A function of the mean energies with its percentile interval over resampled samples.

        Args:
            statistic: Takes mean energies ``(…, shells)``; the leading axes are resamples.
            draws: Number of resamples.
            level: Probability that the interval is to cover.
            seed: Seed of the resamples.

        Raises:
            TransformError: a level outside (0, 1), or no draws.

        Example:
            >>> spectrum = Spectrum(torch.rand(50, 2), torch.ones(2), torch.ones(2))
            >>> total = spectrum.bootstrap(lambda energy: energy.sum(-1))
            >>> bool(total.low < total.value < total.high)
            True
        """
        if not 0.0 < level < 1.0 or draws < 1:
            raise TransformError(f"level {level} must lie in (0, 1) and draws {draws} be at least 1")
        n = len(self.energy)
        generator = torch.Generator().manual_seed(seed)
        means = []
        for first in range(0, draws, per := max(1, _AT_ONCE // n)):
            chosen = torch.randint(n, (min(per, draws - first), n), generator=generator)
            count = torch.zeros(chosen.shape, dtype=self.energy.dtype)
            means.append(count.scatter_add_(1, chosen, torch.ones_like(count)) @ self.energy / n)
        drawn = statistic(torch.cat(means))
        ends = torch.tensor([0.5 - level / 2, 0.5 + level / 2], dtype=drawn.dtype)
        low, high = torch.quantile(drawn, ends, dim=0)
        return Interval(statistic(self.energy.mean(0)), low, high)


def energy_along(
    transform: KTransform, states: Sequence[Float[Tensor, "batch ..."]]
) -> Float[Tensor, "times shells"]:
    """Mean energy of each shell at every state of a flow, say those that a solver kept.

    Args:
        transform: The transform of the flow.
        states: Samples at rising flow times.

    Raises:
        TransformError: no states, or states that do not fit the transform.

    Example:
        >>> from kflow_sci.transforms.fourier import FourierTransform
        >>> states = [torch.ones(2, 4), torch.zeros(2, 4)]
        >>> energy_along(FourierTransform((4,)), states).tolist()
        [[4.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
    """
    if not states:
        raise TransformError("no states given: solve with keep=True")
    return torch.stack([transform.energy(x).mean(0) for x in states])
