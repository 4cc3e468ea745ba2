"""Low modes of large clouds, without the others: 1,500 atoms need not 1,500 eigenvectors.

The one idea: if only coarse shells are told apart, everything above them is one shell, and its projector is what the
low modes leave: ``S(w) x = w_last x + B (w − w_last) Bᵀ x``. So a thin basis B is still a whole isometry.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.sparse import csr_matrix
from torch import Tensor

from kflow_sci.errors import TransformError
from kflow_sci.transforms.base import NodeTransform
from kflow_sci.transforms.graph import wave_numbers
from kflow_sci.transforms.low_modes import low_modes, sparse_neighbours
from kflow_sci.transforms.shells import RESOLUTION, cut_shells


class TruncatedNodeTransform(NodeTransform):
    """A basis of few modes per sample; what they leave is the last shell.

    The coefficients are those of the modes, then the part of the data that no mode holds, node by node. So ``forward``
    keeps norms and ``inverse`` undoes it, but there are more coefficients than data: draw noise in the space of data.

    Args:
        basis: Orthonormal modes as columns, ``(batch, nodes, modes)``; columns of padding are zero.
        shell_of: Shell of each mode, 0 … n_shells−2, ``(batch, modes)``.
        n_shells: Number of shells with the last one.
        values: What the modes are ordered by, ``(batch, modes)``.
        mask: True for real nodes; None for all.

    Raises:
        TransformError: shapes that do not fit, modes in the last shell, or modes that are not orthonormal.

    Example:
        >>> whole = torch.full((1, 4, 1), 0.5)
        >>> transform = TruncatedNodeTransform(whole, torch.zeros(1, 1, dtype=torch.long), 2, torch.zeros(1, 1))
        >>> transform.project(torch.tensor([[[1.0], [2.0], [3.0], [6.0]]]), 1).flatten()
        tensor([-2., -1.,  0.,  3.])
    """

    def __init__(
        self,
        basis: Float[Tensor, "batch nodes modes"],
        shell_of: Int[Tensor, "batch modes"],
        n_shells: int,
        values: Float[Tensor, "batch modes"],
        mask: Bool[Tensor, "batch nodes"] | None = None,
    ) -> None:
        # The base class checks that the modes lie in shells 0 … K−2.
        super().__init__(basis, shell_of, n_shells - 1, values)
        inner = basis.transpose(1, 2) @ basis
        norm = inner.diagonal(dim1=1, dim2=2).round().clamp(0.0, 1.0)
        defect = float((inner - torch.diag_embed(norm)).abs().max()) if inner.numel() else 0.0
        if not defect <= 1e-5:
            raise TransformError(
                f"modes must be orthonormal, but max|BᵀB − I| = {defect:.1e} (limit 1e-5): orthonormalise them first"
            )
        self.n_shells = n_shells
        self._head = shell_of
        self._real = torch.ones_like(basis[:, :, 0]) if mask is None else mask.to(basis.dtype)
        rest = torch.full(basis.shape[:2], n_shells - 1, device=shell_of.device)
        self.shell_of = torch.cat([shell_of, rest], dim=1)

    def forward(self, x: Float[Tensor, "batch nodes dim"]) -> Float[Tensor, "batch coefficients dim"]:
        self._check(x)
        c = self.basis.transpose(1, 2) @ x
        return torch.cat([c, self._real[..., None] * x - self.basis @ c], dim=1)

    def inverse(self, c: Float[Tensor, "batch coefficients dim"]) -> Float[Tensor, "batch nodes dim"]:
        modes = self.basis.shape[2]
        head, rest = c[:, :modes], self._real[..., None] * c[:, modes:]
        return rest + self.basis @ (head - self.basis.transpose(1, 2) @ rest)

    def filter(
        self, x: Float[Tensor, "batch nodes dim"], w: Float[Tensor, "batch shells"]
    ) -> Float[Tensor, "batch nodes dim"]:
        self._check(x)
        self._check_weights(x, w)
        w = w.to(x.dtype)
        last = w[:, -1:]
        beyond = (w.gather(1, self._head) - last).unsqueeze(-1)
        c = self.basis.transpose(1, 2) @ x
        return (last * self._real).unsqueeze(-1) * x + self.basis @ (beyond * c)

    @property
    def dimension(self) -> Int[Tensor, "batch shells"]:
        real = self.basis.square().sum(1).round().long()
        count = real.new_zeros(len(real), self.n_shells).scatter_add(1, self._head, real)
        count[:, -1] = self._real.sum(1).long() - real.sum(1)
        return count


class PartialGraphTransform(TruncatedNodeTransform):
    """The lowest Laplacian modes of sparse graphs in K−1 shells; all the rest in the last.

    Args:
        graphs: One symmetric non-negative weight matrix per sample, sparse or dense.
        n_shells: Number of shells K >= 2 with the last one.
        modes: How many modes to find at most; less where the last ones would split a space of equal eigenvalues.
        cut: How the modes are cut into K−1 shells; see ``GraphSpectralTransform``.
        dtype: Precision of the basis.
        device: Where the basis goes.

    Raises:
        TransformError: weights or numbers that do not fit, or a lowest space that is larger than ``modes``.

    Example:
        >>> ring = csr_matrix(np.roll(np.eye(400), 1, axis=0) + np.roll(np.eye(400), -1, axis=0))
        >>> transform = PartialGraphTransform([ring], n_shells=3, modes=8)
        >>> transform.dimension.tolist()  # modes 6 and 7 are a pair, so the eighth is left out
        [[5, 2, 393]]
    """

    def __init__(
        self,
        graphs: Sequence[csr_matrix | Float[np.ndarray, "nodes nodes"]],
        n_shells: int,
        modes: int,
        *,
        cut: str | Sequence[float] = "count",
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        if n_shells < 2:
            raise TransformError(f"{n_shells} shells asked for, but low modes and the rest are at least 2")
        if not graphs:
            raise TransformError("no graphs given: a batch needs at least one")
        found = [low_modes(graph, modes) for graph in graphs]
        nodes = max(basis.shape[0] for _, basis in found)
        count = torch.tensor([len(values) for values, _ in found])
        values = torch.zeros(len(found), int(count.max()), dtype=torch.float64)
        basis = torch.zeros(len(found), nodes, int(count.max()), dtype=torch.float64)
        mask = torch.zeros(len(found), nodes, dtype=torch.bool)
        for i, (value, vectors) in enumerate(found):
            values[i, : len(value)] = torch.from_numpy(value)
            basis[i, : vectors.shape[0], : vectors.shape[1]] = torch.from_numpy(vectors)
            mask[i, : vectors.shape[0]] = True
        shell_of = cut_shells(values, count, n_shells - 1, cut, tolerance=RESOLUTION[torch.float64])
        super().__init__(
            basis.to(device, dtype), shell_of.to(device), n_shells, values.to(device, dtype), mask.to(device)
        )

    @classmethod
    def from_points(
        cls,
        points: Float[Tensor, "batch nodes 3"],
        n_shells: int,
        modes: int,
        mask: Bool[Tensor, "batch nodes"] | None = None,
        *,
        neighbours: int = 12,
        **options: Any,
    ) -> Self:
        """Low modes of the graphs that join nearest neighbours (``affinity.knn_weights``), found by a tree.

        Args:
            points: Positions known at generation time, any unit; padding after the real nodes.
            n_shells: Number of shells K with the last one.
            modes: How many modes to find at most.
            mask: True for real nodes; None for all.
            neighbours: How many nearest neighbours are joined.
            options: ``cut`` of the constructor; precision and device are those of the points.

        Raises:
            TransformError: points that are not finite, padding before real nodes; see also the constructor.

        Example:
            >>> points = torch.randn(1, 500, 3, generator=torch.Generator().manual_seed(0))
            >>> transform = PartialGraphTransform.from_points(points, n_shells=3, modes=20)
            >>> transform.dimension.tolist()
            [[10, 10, 480]]
        """
        sizes = [points.shape[1]] * len(points) if mask is None else mask.sum(1).tolist()
        if mask is not None and not all(bool(row[:n].all()) for row, n in zip(mask, sizes, strict=True)):
            raise TransformError("padding stands before real nodes: put real nodes first in every sample")
        plain = points.detach().double().cpu().numpy()
        graphs = [sparse_neighbours(p[:n], neighbours) for p, n in zip(plain, sizes, strict=True)]
        return cls(graphs, n_shells, modes, dtype=points.dtype, device=points.device, **options)

    @property
    def scale(self) -> Float[Tensor, " shells"]:
        # The last shell begins where the modes end; nothing above is known.
        low = wave_numbers(self.values, self._head, self.basis, self.n_shells - 1)
        return torch.cat([low, self.values.max().clamp(min=0.0).double().sqrt()[None]])
