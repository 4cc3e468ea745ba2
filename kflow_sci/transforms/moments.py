"""Principal modes of data that come batch by batch and never fit into memory at once.

The one idea: modes need only the second moment, and a second moment is a sum over samples. Where its D × D entries are
too many, a thin singular value decomposition is carried along instead and updated with every batch.

Energies are means over samples (divided by n, not n − 1), because E‖Bᵀx‖² is what shells are measured by.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from kflow_sci.errors import TransformError


class Modes(NamedTuple):
    """Principal modes: columns by falling energy, their energies, the mean of the data, and how many there were.

    Example:
        >>> fit = SecondMoment(2)
        >>> fit.update(torch.tensor([[2.0, 0.0]]))
        >>> modes = fit.modes(rank=1)
        >>> modes.values.tolist(), modes.samples
        ([4.0], 1)
    """

    basis: Float[Tensor, "size modes"]
    values: Float[Tensor, " modes"]
    mean: Float[Tensor, " size"]
    samples: int


class SecondMoment:
    """The exact second moment, ``size²`` numbers in float64.

    Args:
        size: Length of the vectors.
        centred: Modes of the covariance about the mean if True, else of ``E[x xᵀ]``.

    Example:
        >>> fit = SecondMoment(2)
        >>> fit.update(torch.tensor([[3.0, 0.0], [0.0, 1.0]]))
        >>> fit.update(torch.tensor([[-3.0, 0.0], [0.0, -1.0]]))
        >>> fit.modes().values.tolist()
        [4.5, 0.5]
    """

    def __init__(self, size: int, *, centred: bool = False) -> None:
        self.size = size
        self.centred = centred
        self.count = 0
        self._moment = torch.zeros(size, size, dtype=torch.float64)
        self._sum = torch.zeros(size, dtype=torch.float64)
        self._shift = torch.zeros(size, dtype=torch.float64)

    def update(self, batch: Float[Tensor, "batch size"]) -> None:
        """Take in one batch of vectors.

        Raises:
            TransformError: vectors of another length, or not finite.

        Example:
            >>> fit = SecondMoment(3)
            >>> fit.update(torch.ones(5, 3))
            >>> fit.count
            5
        """
        x = _checked(batch, self.size)
        if self.count == 0 and len(x):
            # About a point near the mean the moments are small, so their difference later loses no digits.
            self._shift = x.mean(0)
        x = x - self._shift
        self._moment += x.T @ x
        self._sum += x.sum(0)
        self.count += len(x)

    def modes(self, rank: int | None = None) -> Modes:
        """All modes, or the ``rank`` first.

        Raises:
            TransformError: no samples yet, or a rank outside 1 … size.

        Example:
            >>> fit = SecondMoment(2, centred=True)
            >>> fit.update(torch.tensor([[5.0, 1.0], [5.0, 3.0]]))
            >>> fit.modes(rank=1).mean.tolist(), fit.modes(rank=1).values.tolist()
            ([5.0, 2.0], [1.0])
        """
        _check_rank(rank, self.size, self.count)
        beside = self._sum / self.count
        mean = self._shift + beside
        moment = self._moment / self.count - torch.outer(beside, beside)
        if not self.centred:
            moment = moment + torch.outer(mean, mean)
        values, basis = torch.linalg.eigh(moment)
        keep = self.size if rank is None else rank
        return Modes(basis.flip(1)[:, :keep], values.flip(0)[:keep].clamp(min=0.0), mean, self.count)


class IncrementalModes:
    """The first modes of long vectors, updated batch by batch; memory ``size × (rank + batch)``.

    What a batch adds beyond the modes kept so far is dropped, so the result is exact only if the data have no more than
    ``rank`` modes; otherwise it is close if the spectrum falls. Give ``rank`` some more than is used later.

    Args:
        size: Length of the vectors.
        rank: How many modes to carry along.
        centred: Modes of the covariance about the mean if True, else of ``E[x xᵀ]``.

    Raises:
        TransformError: a rank outside 1 … size.

    Source:
        Ross, Lim, Lin & Yang, Int. J. Comput. Vision 77 (2008) 125.

    Example:
        >>> fit = IncrementalModes(4, rank=2)
        >>> direction = torch.tensor([0.5, 0.5, 0.5, 0.5])
        >>> for scale in (1.0, 2.0):
        ...     fit.update(scale * direction[None])
        >>> fit.modes().values.round(decimals=6).tolist()  # (1² + 2²) / 2, and nothing in a second mode
        [2.5]
    """

    def __init__(self, size: int, rank: int, *, centred: bool = False) -> None:
        _check_rank(rank, size, 1)
        self.size = size
        self.rank = rank
        self.centred = centred
        self.count = 0
        self._mean = torch.zeros(size, dtype=torch.float64)
        self._scaled = torch.zeros(
            0, size, dtype=torch.float64
        )  # rows: singular value × right singular vector

    def update(self, batch: Float[Tensor, "batch size"]) -> None:
        """Take in one batch of vectors.

        Raises:
            TransformError: vectors of another length, or not finite.

        Example:
            >>> fit = IncrementalModes(3, rank=1)
            >>> fit.update(torch.ones(5, 3))
            >>> fit.count
            5
        """
        x = _checked(batch, self.size)
        if not len(x):
            return
        total = self.count + len(x)
        mean = x.mean(0)
        rows = [self._scaled]
        if self.centred:
            # The two means differ; this row is what both sums of squares lack about the common mean.
            rows += [x - mean, (self.count * len(x) / total) ** 0.5 * (self._mean - mean)[None]]
        else:
            rows += [x]
        self._mean = self._mean + (mean - self._mean) * (len(x) / total)
        self.count = total
        _, sigma, right = torch.linalg.svd(torch.cat(rows), full_matrices=False)
        keep = min(self.rank, int((sigma > 1e-12 * sigma[0].clamp(min=1e-300)).sum()))
        self._scaled = sigma[:keep, None] * right[:keep]

    def modes(self, rank: int | None = None) -> Modes:
        """The modes found, or the ``rank`` first; fewer where the data have fewer.

        Raises:
            TransformError: no samples yet, or a rank above that of the constructor.

        Example:
            >>> fit = IncrementalModes(2, rank=2)
            >>> fit.update(torch.tensor([[0.0, 2.0], [1.0, 0.0]]))
            >>> fit.modes(rank=1).basis.abs().tolist()
            [[0.0], [1.0]]
        """
        _check_rank(rank, self.rank, self.count)
        sigma = self._scaled.norm(dim=1)
        keep = min(len(sigma), self.rank if rank is None else rank)
        # Divided by their length once more, rows of nearly equal length stay orthonormal to rounding.
        basis = torch.linalg.qr((self._scaled / sigma[:, None]).T).Q[:, :keep]
        return Modes(basis, sigma[:keep].square() / self.count, self._mean, self.count)


def _checked(batch: Tensor, size: int) -> Tensor:
    if batch.ndim != 2 or batch.shape[1] != size:
        raise TransformError(
            f"a batch has shape {tuple(batch.shape)}, expected (batch, {size}): flatten the samples"
        )
    if not bool(torch.isfinite(batch).all()):
        raise TransformError("PCA needs finite samples: check the data for NaN")
    return batch.detach().to(device="cpu", dtype=torch.float64)


def _check_rank(rank: int | None, most: int, count: int) -> None:
    if count == 0:
        raise TransformError("PCA needs at least one sample: no batch has been given")
    if rank is not None and not 1 <= rank <= most:
        raise TransformError(f"rank is {rank}, but must lie in 1 … {most}")
