"""The contract of every K-transform, and the one operation all else needs: the shell filter.

The one idea: T is a linear isometry whose coefficients carry a shell index 0 … K−1, coarse to fine. Then
``S(w) x = Tᵀ (w[shell] · T x)`` weighs the scales of x, and Σ_j P_j = I with P_j = S(e_j) orthogonal projectors.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from typing import Any, Self

import torch
from jaxtyping import Float, Int
from torch import Tensor

from kflow_sci.errors import TransformError


class KTransform(ABC):
    """A linear isometry T with inverse Tᵀ and a shell for every coefficient.

    A transform holds fixed tensors and nothing that changes, so one object serves any number of threads and flows.
    Data and weights are float32 or float64. A NaN in one sample stays in that sample; it is not looked for.

    Attributes:
        n_shells: Number of shells K.
        shell_of: Shell index of each coefficient, 0 coarse … K−1 fine.

    Example:
        >>> from kflow_sci.transforms.fourier import FourierTransform
        >>> transform = FourierTransform((8, 8), shells=3)
        >>> x = torch.randn(5, 8, 8, dtype=torch.float64)
        >>> parts = [transform.project(x, j) for j in range(3)]
        >>> torch.allclose(sum(parts), x)
        True
    """

    n_shells: int
    shell_of: Int[Tensor, "..."]

    @abstractmethod
    def forward(self, x: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch ..."]:
        """Coefficients ``T x``.

        Example:
            >>> from kflow_sci.transforms.fourier import FourierTransform
            >>> FourierTransform((4,)).forward(torch.ones(1, 4))
            tensor([[2., 0., 0., 0.]])
        """

    @abstractmethod
    def inverse(self, c: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch ..."]:
        """Data ``Tᵀ c``.

        Example:
            >>> from kflow_sci.transforms.fourier import FourierTransform
            >>> FourierTransform((4,)).inverse(torch.tensor([[2.0, 0.0, 0.0, 0.0]]))
            tensor([[1., 1., 1., 1.]])
        """

    @abstractmethod
    def gain(self, w: Float[Tensor, "batch shells"]) -> Float[Tensor, "batch ..."]:
        """The weight of each coefficient.

        Returns:
            Batch first, then the axes of the coefficients; axes that are missing (channels) come after the batch.

        Example:
            >>> from kflow_sci.transforms.fourier import FourierTransform
            >>> FourierTransform((4,)).gain(torch.tensor([[1.0, 0.5, 0.0]]))
            tensor([[1.0000, 0.5000, 0.0000, 0.5000]])
        """

    def filter(
        self, x: Float[Tensor, "batch ..."], w: Float[Tensor, "batch shells"]
    ) -> Float[Tensor, "batch ..."]:
        """The shell filter ``S(w) x = Σ_j w_j P_j x``.

        Args:
            x: Data, batch first.
            w: One weight per sample and shell, ``(batch, n_shells)``; computed in the precision of x.

        Raises:
            TransformError: ``w`` does not have one row per sample and one column per shell, or x does not fit.

        Example:
            >>> from kflow_sci.transforms.fourier import FourierTransform
            >>> ramp = torch.arange(4.0)[None]
            >>> FourierTransform((4,)).filter(ramp, torch.tensor([[1.0, 0.0, 0.0]]))  # the mean alone
            tensor([[1.5000, 1.5000, 1.5000, 1.5000]])
        """
        self._check_weights(x, w)
        c = self.forward(x)
        gain = self.gain(w.to(x.dtype))
        between = (1,) * (c.ndim - gain.ndim)
        return self.inverse(c * gain.reshape(gain.shape[:1] + between + gain.shape[1:]))

    def project(self, x: Float[Tensor, "batch ..."], shell: int) -> Float[Tensor, "batch ..."]:
        """``P_j x``, the part of x in one shell.

        Raises:
            TransformError: no such shell.

        Example:
            >>> from kflow_sci.transforms.fourier import FourierTransform
            >>> FourierTransform((2,)).project(torch.tensor([[3.0, 1.0]]), 1)
            tensor([[ 1., -1.]])
        """
        if not 0 <= shell < self.n_shells:
            raise TransformError(f"shell {shell} does not exist: choose 0 … {self.n_shells - 1}")
        w = x.new_zeros(len(x), self.n_shells)
        w[:, shell] = 1.0
        return self.filter(x, w)

    def energy(self, x: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch shells"]:
        """``‖P_j x‖²`` of every sample and shell; the sum over shells is ``‖x‖²`` (Parseval).

        Example:
            >>> from kflow_sci.transforms.fourier import FourierTransform
            >>> FourierTransform((2,)).energy(torch.tensor([[3.0, 1.0]]))
            tensor([[8.0000, 2.0000]])
        """
        parts = [self.project(x, j).flatten(1).square().sum(1) for j in range(self.n_shells)]
        return torch.stack(parts, dim=1)

    @property
    @abstractmethod
    def dimension(self) -> Int[Tensor, "..."]:
        """Number of dimensions of each shell (the trace of P_j).

        Returns:
            ``(n_shells,)`` if it is the same for all samples, else ``(batch, n_shells)``; per channel or component.

        Example:
            >>> from kflow_sci.transforms.fourier import FourierTransform
            >>> FourierTransform((8,)).dimension
            tensor([1, 2, 2, 2, 1])
        """

    @property
    def scale(self) -> Float[Tensor, " shells"]:
        """A typical wave number k of each shell, rising from coarse to fine; for slopes and plots.

        The numbers 1 … K where a transform knows nothing better.

        Example:
            >>> from kflow_sci.transforms.fourier import FourierTransform
            >>> FourierTransform((8,)).scale
            tensor([0., 1., 2., 3., 4.], dtype=torch.float64)
        """
        return torch.arange(1, self.n_shells + 1, dtype=torch.float64)

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Self:
        """The same transform with its tensors on a device, floating ones in a precision; the original is kept.

        Example:
            >>> from kflow_sci.transforms.graph import GraphSpectralTransform
            >>> transform = GraphSpectralTransform.from_points(torch.randn(1, 5, 3), n_shells=2)
            >>> transform.to(dtype=torch.float64).basis.dtype
            torch.float64
        """
        other = copy.copy(self)
        for name, value in vars(self).items():
            setattr(other, name, _moved(value, device, dtype))
        return other

    def _check_weights(self, x: Tensor, w: Tensor) -> None:
        if w.shape != (len(x), self.n_shells):
            raise TransformError(
                f"filter weights have shape {tuple(w.shape)}, expected ({len(x)}, {self.n_shells}): "
                "one weight per sample and shell"
            )


def _moved(value: object, device: torch.device | str | None, dtype: torch.dtype | None) -> object:
    """Tensors moved, also those inside tuples, dicts and other transforms; everything else as it is."""
    if isinstance(value, Tensor):
        return value.to(device=device, dtype=dtype if value.is_floating_point() else None)
    if isinstance(value, tuple):
        parts: list[Any] = [_moved(v, device, dtype) for v in value]
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    if isinstance(value, dict):
        return {key: _moved(v, device, dtype) for key, v in value.items()}
    if isinstance(value, KTransform):
        return value.to(device, dtype)
    return value


class NodeTransform(KTransform):
    """A transform along the node axis of point clouds: one orthonormal basis per sample.

    It never mixes x, y and z, so it commutes with rotations and reflections, and where the constant vector lies inside
    one shell (as for a Laplacian), also with translations.

    Args:
        basis: Orthonormal modes as columns, ``(batch, nodes, modes)``; rows and columns of padding are zero.
        shell_of: Shell of each mode, ``(batch, modes)``.
        n_shells: Number of shells; a small cloud may leave some empty.
        values: What the modes are ordered by (eigenvalues), ``(batch, modes)``, for spectra and plots.

    Raises:
        TransformError: shapes that do not fit, or a shell index outside 0 … n_shells−1.

    Example:
        >>> basis = torch.tensor([[[0.6, -0.8], [0.8, 0.6]]])
        >>> transform = NodeTransform(basis, torch.tensor([[0, 1]]), n_shells=2, values=torch.tensor([[1.0, 2.0]]))
        >>> transform.forward(torch.tensor([[[3.0], [4.0]]])).flatten()
        tensor([5., 0.])
    """

    def __init__(
        self,
        basis: Float[Tensor, "batch nodes modes"],
        shell_of: Int[Tensor, "batch modes"],
        n_shells: int,
        values: Float[Tensor, "batch modes"],
    ) -> None:
        if basis.ndim != 3 or shell_of.shape != (basis.shape[0], basis.shape[2]):
            raise TransformError(
                f"basis {tuple(basis.shape)} and shells {tuple(shell_of.shape)} do not fit: "
                "expected (batch, nodes, modes) and (batch, modes)"
            )
        if shell_of.numel() and not 0 <= int(shell_of.min()) <= int(shell_of.max()) < n_shells:
            raise TransformError(f"shell indices must lie in 0 … {n_shells - 1}, got {int(shell_of.max())}")
        self.basis = basis
        self.shell_of = shell_of
        self.n_shells = n_shells
        self.values = values

    def forward(self, x: Float[Tensor, "batch nodes dim"]) -> Float[Tensor, "batch modes dim"]:
        self._check(x)
        return self.basis.transpose(1, 2) @ x

    def inverse(self, c: Float[Tensor, "batch modes dim"]) -> Float[Tensor, "batch nodes dim"]:
        return self.basis @ c

    def gain(self, w: Float[Tensor, "batch shells"]) -> Float[Tensor, "batch modes 1"]:
        return w.gather(1, self.shell_of).unsqueeze(-1)

    def energy(self, x: Float[Tensor, "batch nodes dim"]) -> Float[Tensor, "batch shells"]:
        square = self.forward(x).square().sum(-1)
        return square.new_zeros(len(x), self.n_shells).scatter_add(1, self.shell_of, square)

    @property
    def dimension(self) -> Int[Tensor, "batch shells"]:
        # A padded mode is a column of zeros.
        real = self.basis.square().sum(1).round().long()
        return real.new_zeros(len(real), self.n_shells).scatter_add(1, self.shell_of, real)

    def _check(self, x: Tensor) -> None:
        if x.ndim != 3 or x.shape[:2] != self.basis.shape[:2]:
            raise TransformError(
                f"data have shape {tuple(x.shape)}, expected ({self.basis.shape[0]}, {self.basis.shape[1]}, dim): "
                "one basis per sample, one row per node"
            )
        # Autocast may bring half precision, which its matrix products accept.
        if not x.is_floating_point() or (
            x.dtype != self.basis.dtype and torch.float64 in (x.dtype, self.basis.dtype)
        ):
            raise TransformError(
                f"data are {x.dtype}, the basis {self.basis.dtype}: use transform.to(dtype=x.dtype)"
            )
        if x.device != self.basis.device:
            raise TransformError(
                f"data are on {x.device}, the basis on {self.basis.device}: use transform.to(x.device)"
            )
