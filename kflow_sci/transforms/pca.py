"""PCA K-transform of vectors, images and latents: modes by their share of the data's energy.

The one idea: among all bases this one puts most energy into fewest coefficients, so coarse shells hold what the data
have in common. A truncated basis stays an isometry, because what it leaves is the last shell:
``S(w) x = w_last x + B (w − w_last) Bᵀ x``.

The transform is linear and never subtracts a mean. ``centred`` says only how the modes were found: about the mean
(covariance), or about zero (second moment, whose first mode is then often the mean itself). Where spectra about the
mean are wanted, pass ``x − transform.mean``; a flow needs no such step, since its path is linear in data and noise.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Self

import torch
from jaxtyping import Float, Int
from torch import Tensor

from kflow_sci.checkpoint import load_checkpoint, save_checkpoint
from kflow_sci.errors import CheckpointError, TransformError
from kflow_sci.transforms.base import KTransform
from kflow_sci.transforms.grid import GridTransform
from kflow_sci.transforms.moments import IncrementalModes, SecondMoment
from kflow_sci.transforms.shells import shells_by_count, shells_by_energy

LARGEST_MOMENT = 4096
"""Longest vectors whose full second moment is accumulated (128 MiB); above it modes are updated incrementally."""

_KIND = "pca transform"


class PCATransform(GridTransform):
    """Principal modes of the last axes, the same for every sample and channel.

    Args:
        basis: Orthonormal modes as columns by falling energy, ``(size, modes)``; fewer modes than the size make a
            truncated basis, whose complement is the last shell.
        values: Energy of each mode, falling, ``(modes,)``.
        n_shells: Number of shells K, with the complement.
        shape: The last axes of the data, whose product is the size; None for vectors.
        mean: Mean of the data the modes were found from, ``(*shape)``; None for zero. Kept, never subtracted.
        cut: ``count``, ``energy`` (equal shares of the energy in the modes), or the number of the first mode of each
            shell after the first, rising (``[1, 10]``: the first mode, the next nine, the others).

    Raises:
        TransformError: modes that are not orthonormal, energies that do not fall, sizes or shells that do not fit.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> data = torch.randn(200, 3, 8, generator=generator) * torch.linspace(3, 0.1, 8)
        >>> transform = PCATransform.fit(data.flatten(1).split(50), n_shells=3, shape=(3, 8), rank=10)
        >>> transform.dimension.tolist()  # the last shell holds the 14 modes that were left out
        [5, 5, 14]
        >>> torch.allclose(transform.inverse(transform.forward(data)), data, atol=1e-5)
        True
    """

    def __init__(
        self,
        basis: Float[Tensor, "size modes"],
        values: Float[Tensor, " modes"],
        n_shells: int,
        *,
        shape: Sequence[int] | None = None,
        mean: Float[Tensor, "..."] | None = None,
        cut: str | Sequence[int] = "count",
    ) -> None:
        size, modes = basis.shape if basis.ndim == 2 else (0, 0)
        sizes = (size,) if shape is None else tuple(shape)
        if not modes or values.shape != (modes,) or math.prod(sizes) != size:
            raise TransformError(
                f"basis {tuple(basis.shape)}, values {tuple(values.shape)} and shape {sizes} do not fit: "
                "expected (size, modes), (modes,) and axes of that size"
            )
        check_orthonormal(basis)
        if not bool(torch.isfinite(values).all()) or bool((values.diff() > 1e-6 * values.abs().max()).any()):
            raise TransformError("energies of modes must be finite and fall: sort the modes by energy")
        truncated = modes < size
        head = _cut(values, n_shells - truncated, cut)
        rest = torch.full((size if truncated else 0,), n_shells - 1, device=head.device)
        super().__init__(sizes, torch.cat([head, rest]), n_shells)
        self.basis = basis
        self.values = values
        self.mean = basis.new_zeros(sizes) if mean is None else mean.reshape(sizes).to(basis)
        self.truncated = truncated
        # The filter needs no modes of the last shell: they are what the others leave.
        self._low_shell = head[head < n_shells - 1]
        self._low = basis[:, : len(self._low_shell)].contiguous()

    @classmethod
    def fit(
        cls,
        batches: Float[Tensor, "samples ..."] | Iterable[Float[Tensor, "batch ..."]],
        n_shells: int,
        *,
        shape: Sequence[int] | None = None,
        rank: int | None = None,
        centred: bool = False,
        cut: str | Sequence[int] = "count",
        dtype: torch.dtype = torch.float32,
    ) -> Self:
        """Find the modes of training data, in one pass over batches of any size.

        Args:
            batches: All samples as one tensor, or an iterable of batches; every sample is flattened.
            n_shells: Number of shells K; with a truncated basis the last is the complement.
            shape: Shape of a sample; None to take it from the first batch.
            rank: How many modes to keep; None for all. Needed for samples larger than ``LARGEST_MOMENT``.
            centred: Modes about the mean if True, about zero if False; see the top of this module.
            cut: As in the constructor.
            dtype: Precision of the basis; sums are always float64.

        Raises:
            TransformError: no samples, samples that are not finite or differ in shape, or no rank for large ones.

        Example:
            >>> steps = (torch.randn(64, 16, generator=torch.Generator().manual_seed(i)) for i in range(10))
            >>> PCATransform.fit(steps, n_shells=4).n_shells
            4
        """
        stream = iter([batches] if isinstance(batches, Tensor) else batches)
        first = next(stream, None)
        if first is None or first.ndim < 2:
            raise TransformError("PCA needs batches of samples, (batch, …): none was given")
        sizes = tuple(first.shape[1:]) if shape is None else tuple(shape)
        size = math.prod(sizes)
        if size > LARGEST_MOMENT and rank is None:
            raise TransformError(
                f"samples of {size} numbers are too large for a full basis (limit {LARGEST_MOMENT}): give rank"
            )
        fitter: SecondMoment | IncrementalModes
        if size <= LARGEST_MOMENT:
            fitter = SecondMoment(size, centred=centred)
        else:
            # Twice the rank is carried along, so that the modes kept are little disturbed by those dropped.
            fitter = IncrementalModes(size, min(2 * (rank or size), size), centred=centred)
        for batch in itertools.chain([first], stream):
            fitter.update(batch.flatten(1))
        basis, values, mean, _ = fitter.modes(rank)
        return cls(basis.to(dtype), values.to(dtype), n_shells, shape=sizes, mean=mean.to(dtype), cut=cut)

    def save(self, path: str | Path) -> None:
        """Write modes, mean and shells as one safetensors file.

        Raises:
            OutputError: The place cannot be written.

        Example:
            >>> from tempfile import TemporaryDirectory
            >>> transform = PCATransform(torch.eye(4), torch.tensor([4.0, 3.0, 2.0, 1.0]), n_shells=2)
            >>> with TemporaryDirectory() as folder:
            ...     transform.save(Path(folder) / "pca.safetensors")
            ...     PCATransform.load(Path(folder) / "pca.safetensors").dimension.tolist()
            [2, 2]
        """
        head = self.shell_of[: len(self.values)].tolist()
        starts = [m for m in range(1, len(head)) if head[m] != head[m - 1]]
        header = {"kind": _KIND, "shape": list(self.shape), "n_shells": self.n_shells, "starts": starts}
        save_checkpoint(path, {"basis": self.basis, "values": self.values, "mean": self.mean}, header)

    @classmethod
    def load(cls, path: str | Path, *, device: torch.device | str = "cpu") -> Self:
        """Read what ``save`` wrote; the same transform to the last bit.

        Raises:
            CheckpointError: The file is missing, damaged, or no PCA transform.

        Example:
            >>> PCATransform.load("no-such-file.safetensors")
            Traceback (most recent call last):
            ...
            kflow_sci.errors.CheckpointError: weights no-such-file.safetensors: does not exist; ...
        """
        tensors, header = load_checkpoint(path, device=device)
        if header.get("kind") != _KIND:
            raise CheckpointError(
                f"{path} holds '{header.get('kind', 'a model')}', not a {_KIND}: give another file"
            )
        return cls(
            tensors["basis"],
            tensors["values"],
            int(header["n_shells"]),
            shape=header["shape"],
            mean=tensors["mean"],
            cut=header["starts"],
        )

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Self:
        return KTransform.to(self, device, dtype)

    def forward(self, x: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch ..."]:
        self._check(x)
        flat = x.flatten(-len(self.shape))
        c = flat @ self.basis
        return torch.cat([c, flat - c @ self.basis.T], dim=-1) if self.truncated else c

    def inverse(self, c: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch ..."]:
        self._check(c, self.shell_of.shape)
        head, rest = c[..., : len(self.values)], c[..., len(self.values) :]
        if self.truncated:
            x = rest + (head - rest @ self.basis) @ self.basis.T
        else:
            x = head @ self.basis.T
        return x.unflatten(-1, self.shape)

    def filter(
        self, x: Float[Tensor, "batch ..."], w: Float[Tensor, "batch shells"]
    ) -> Float[Tensor, "batch ..."]:
        self._check(x)
        self._check_weights(x, w)
        w = w.to(x.dtype)
        spread = (len(x),) + (1,) * (x.ndim - len(self.shape) - 1)
        last = w[:, -1].view(*spread, 1)
        beyond = (w.index_select(1, self._low_shell) - w[:, -1:]).view(*spread, -1)
        flat = x.flatten(-len(self.shape))
        return (last * flat + (flat @ self._low * beyond) @ self._low.T).view(x.shape)

    @property
    def dimension(self) -> Int[Tensor, " shells"]:
        count = self._dimension.clone()
        if self.truncated:
            count[-1] -= len(self.values)
        return count

    @property
    def scale(self) -> Float[Tensor, " shells"]:
        # The mean number of the modes in a shell, counted from 1; shells are runs of modes.
        ends = self.dimension.double().cumsum(0)
        return ends - 0.5 * (self.dimension - 1)

    def _check(self, x: Tensor, shape: Sequence[int] | None = None) -> None:
        super()._check(x, shape)
        if x.dtype != self.basis.dtype:
            raise TransformError(
                f"data are {x.dtype}, the basis {self.basis.dtype}: use transform.to(dtype=x.dtype)"
            )


def check_orthonormal(basis: Float[Tensor, "size modes"]) -> None:
    """Make sure that the columns are orthonormal to 1e-5.

    Raises:
        TransformError: they are not.

    Example:
        >>> check_orthonormal(torch.eye(3))
    """
    one = torch.eye(basis.shape[1], dtype=basis.dtype, device=basis.device)
    defect = float((basis.T @ basis - one).abs().max())
    if not defect <= 1e-5:
        raise TransformError(
            f"PCA needs orthonormal modes, but max|B Bᵀ − I| = {defect:.1e} (limit 1e-5): refit"
        )


def _cut(values: Tensor, n_shells: int, cut: str | Sequence[int]) -> Tensor:
    """The shell of each mode."""
    modes = len(values)
    if n_shells < 1:
        raise TransformError("a truncated basis needs at least 2 shells: the last is its complement")
    if cut == "count":
        return shells_by_count(values[None], torch.tensor([modes], device=values.device), n_shells)[0]
    if cut == "energy":
        return shells_by_energy(values, n_shells)
    if isinstance(cut, str):
        raise TransformError(f"shell rule '{cut}' is unknown: choose count, energy, or give first modes")
    starts = list(cut)
    if len(starts) + 1 != n_shells or any(b <= a for a, b in itertools.pairwise([0, *starts, modes])):
        raise TransformError(
            f"shells begin at modes {starts}, expected {n_shells - 1} rising numbers in 1 … {modes - 1}"
        )
    at = torch.tensor(starts, device=values.device, dtype=torch.long)
    return torch.searchsorted(at, torch.arange(modes, device=values.device), right=True)
