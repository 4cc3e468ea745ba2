"""The contract of every K-transform, and the one operation all else needs: the shell filter.

The one idea: T is a linear isometry whose coefficients carry a shell index 0 … K−1, coarse to fine. Then
``S(w) x = Tᵀ (w[shell] · T x)`` weighs the scales of x, and Σ_j P_j = I with P_j = S(e_j) orthogonal projectors.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from jaxtyping import Float, Int
from torch import Tensor

from kflow_sci.errors import TransformError


class KTransform(ABC):
    """A linear isometry T with inverse Tᵀ and a shell for every coefficient.

    Attributes:
        n_shells: Number of shells K.
        shell_of: Shell index of each coefficient, 0 coarse … K−1 fine.
    """

    n_shells: int
    shell_of: Int[Tensor, "..."]

    @abstractmethod
    def forward(self, x: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch ..."]:
        """Coefficients ``T x``."""

    @abstractmethod
    def inverse(self, c: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch ..."]:
        """Data ``Tᵀ c``."""

    @abstractmethod
    def gain(self, w: Float[Tensor, "batch shells"]) -> Float[Tensor, "batch ..."]:
        """The weight of each coefficient, in a shape that multiplies ``forward(x)``."""

    def filter(
        self, x: Float[Tensor, "batch ..."], w: Float[Tensor, "batch shells"]
    ) -> Float[Tensor, "batch ..."]:
        """The shell filter ``S(w) x = Σ_j w_j P_j x``.

        Args:
            x: Data, batch first.
            w: One weight per sample and shell, ``(batch, n_shells)``.

        Raises:
            TransformError: ``w`` does not have one row per sample and one column per shell.
        """
        if w.shape != (len(x), self.n_shells):
            raise TransformError(
                f"filter weights have shape {tuple(w.shape)}, expected ({len(x)}, {self.n_shells}): "
                "one weight per sample and shell"
            )
        return self.inverse(self.forward(x) * self.gain(w))

    def project(self, x: Float[Tensor, "batch ..."], shell: int) -> Float[Tensor, "batch ..."]:
        """``P_j x``, the part of x in one shell."""
        if not 0 <= shell < self.n_shells:
            raise TransformError(f"shell {shell} does not exist: choose 0 … {self.n_shells - 1}")
        w = x.new_zeros(len(x), self.n_shells)
        w[:, shell] = 1.0
        return self.filter(x, w)

    def energy(self, x: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch shells"]:
        """``‖P_j x‖²`` of every sample and shell; the sum over shells is ``‖x‖²`` (Parseval)."""
        parts = [self.project(x, j).flatten(1).square().sum(1) for j in range(self.n_shells)]
        return torch.stack(parts, dim=1)


class NodeTransform(KTransform):
    """A transform along the node axis of point clouds: one orthonormal basis per sample.

    It never mixes x, y and z, so it commutes with rotations, reflections and, because the constant vector is kept
    inside one shell, with translations.

    Args:
        basis: Orthonormal modes as columns, ``(batch, nodes, modes)``; rows and columns of padding are zero.
        shell_of: Shell of each mode, ``(batch, modes)``.
        n_shells: Number of shells; a small cloud may leave some empty.
        values: What the modes are ordered by (eigenvalues), ``(batch, modes)``, for spectra and plots.

    Raises:
        TransformError: shapes that do not fit, or a shell index outside 0 … n_shells−1.
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
        return self.basis.transpose(1, 2) @ x

    def inverse(self, c: Float[Tensor, "batch modes dim"]) -> Float[Tensor, "batch nodes dim"]:
        return self.basis @ c

    def gain(self, w: Float[Tensor, "batch shells"]) -> Float[Tensor, "batch modes 1"]:
        return w.gather(1, self.shell_of).unsqueeze(-1)


def shells_by_count(
    values: Float[Tensor, "batch modes"],
    valid: Int[Tensor, " batch"],
    n_shells: int,
    *,
    tolerance: float = 1e-6,
) -> Int[Tensor, "batch modes"]:
    """Cut ordered modes into shells of nearly equal count without splitting a degenerate space.

    Mode m of v belongs to shell ``⌊m K / v⌋``; modes whose values differ by less than ``tolerance`` times the largest
    value form one degenerate space, and the whole space joins the shell of its first mode.

    Args:
        values: The quantity the modes are ordered by, sorted along the last axis (either direction).
        valid: Number of real (not padding) modes of each sample; they come first.
        n_shells: Number of shells K >= 1.
        tolerance: Relative width under which two values count as equal.

    Returns:
        The shell of each mode; padding gets shell 0.
    """
    if n_shells < 1:
        raise TransformError(f"n_shells is {n_shells}, but at least 1 is needed")
    modes = torch.arange(values.shape[1], device=values.device).expand(values.shape)
    real = modes < valid[:, None]
    by_count = (modes * n_shells) // valid[:, None].clamp(min=1)
    scale = values.masked_fill(~real, 0.0).abs().amax(dim=1, keepdim=True)
    step = torch.zeros_like(values)
    step[:, 1:] = (values[:, 1:] - values[:, :-1]).abs()
    opens = step > tolerance * scale
    opens[:, 0] = True
    first = torch.where(opens, modes, torch.zeros_like(modes)).cummax(dim=1).values
    return by_count.gather(1, first).masked_fill(~real, 0)
