"""Graph-spectral K-transform: Laplacian modes of a point cloud, low to high.

The one idea: low eigenvectors of the graph Laplacian vary slowly from neighbour to neighbour, so they move a cloud as
a whole; high ones move neighbours against each other. The graph must be built from what is known at generation time
(bonds, or the start positions): a graph of the target would leak the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from kflow_sci.errors import TransformError
from kflow_sci.transforms.affinity import gaussian_weights
from kflow_sci.transforms.base import NodeTransform
from kflow_sci.transforms.shells import RESOLUTION, cut_shells

Affinity = Callable[[Tensor, Tensor], Tensor]


class GraphSpectralTransform(NodeTransform):
    """Modes of the Laplacian ``L = D − W``, one graph per sample, padded.

    With masses m the modes are those of ``M^−½ L M^−½``. Masses that are the degrees give the normalised Laplacian.
    The lowest mode is ``√m``: without masses the constant vector, so that shell 0 holds all translations; with unequal
    masses translations spread over the shells, so centre the data first.

    The eigenvectors carry no gradient back to the weights: build the transform outside of what is differentiated or
    compiled, then filter inside.

    Args:
        weights: Symmetric non-negative edge weights, ``(batch, nodes, nodes)``; the diagonal is ignored.
        n_shells: Number of shells K.
        mask: True for real nodes, ``(batch, nodes)``; None for all.
        mass: Positive masses ``(batch, nodes)``, or ``degree`` for the normalised Laplacian; None for equal ones.
        cut: ``count``, ``gap`` (the widest eigen-gaps), or K−1 rising inner edges in eigenvalues. A space of equal
            eigenvalues is never split.

    Raises:
        TransformError: weights that are not square, symmetric, finite and non-negative; masses that are not positive;
            shell rules as in ``cut_shells``.

    Example:
        >>> ring = torch.roll(torch.eye(6), 1, dims=1)[None]
        >>> transform = GraphSpectralTransform(ring + ring.transpose(1, 2), n_shells=4)
        >>> transform.values[0].round(decimals=3).abs().tolist()
        [0.0, 1.0, 1.0, 3.0, 3.0, 4.0]
        >>> transform.shell_of[0].tolist()  # pairs of equal eigenvalues stay together
        [0, 0, 0, 2, 2, 3]
    """

    def __init__(
        self,
        weights: Float[Tensor, "batch nodes nodes"],
        n_shells: int,
        mask: Bool[Tensor, "batch nodes"] | None = None,
        *,
        mass: Float[Tensor, "batch nodes"] | str | None = None,
        cut: str | Sequence[float] = "count",
    ) -> None:
        check_weights(weights)
        if mask is None:
            mask = torch.ones(weights.shape[:2], dtype=torch.bool, device=weights.device)
        both = mask[:, :, None] & mask[:, None, :]
        weights = weights.detach().masked_fill(~both, 0.0)
        weights = weights - torch.diag_embed(weights.diagonal(dim1=1, dim2=2))
        degree = weights.sum(-1)
        # Padding gets an eigenvalue above every real one (Gershgorin: 2 max degree), so it sorts last.
        above = 2.0 * degree.amax(dim=1, keepdim=True) + 1.0
        if mass is not None:
            heavy = _masses(mass, degree, mask)
            root = heavy.sqrt()
            weights = weights / (root[:, :, None] * root[:, None, :])
            degree = degree / heavy
            above = above / heavy.masked_fill(~mask, torch.inf).amin(dim=1, keepdim=True) + 1.0
        laplacian = torch.diag_embed(torch.where(mask, degree, above)) - weights
        values, basis = torch.linalg.eigh(laplacian)
        count = mask.sum(1)
        real = torch.arange(values.shape[1], device=values.device) < count[:, None]
        basis = basis * real[:, None, :] * mask[:, :, None]
        values = values.masked_fill(~real, 0.0)
        shell_of = cut_shells(values, count, n_shells, cut, tolerance=RESOLUTION[values.dtype])
        super().__init__(basis, shell_of, n_shells, values)

    @classmethod
    def from_points(
        cls,
        points: Float[Tensor, "batch nodes 3"],
        n_shells: int,
        mask: Bool[Tensor, "batch nodes"] | None = None,
        *,
        affinity: Affinity = gaussian_weights,
        **options: Any,
    ) -> GraphSpectralTransform:
        """The modes of a cloud of points.

        Only distances enter, so the transform is invariant under motions and reflections and equivariant under
        relabelling.

        Args:
            points: Positions known at generation time, any unit.
            n_shells: Number of shells K.
            mask: True for real nodes.
            affinity: ``affinity(points, mask)`` gives the weights: ``gaussian_weights``, or
                ``functools.partial(knn_weights, neighbours=12)``, or one's own.
            options: ``mass`` and ``cut`` of the constructor.

        Raises:
            TransformError: points that are not finite or do not fit the mask; see also the constructor.

        Example:
            >>> points = torch.randn(2, 17, 3)
            >>> GraphSpectralTransform.from_points(points, 3).dimension.tolist()
            [[6, 6, 5], [6, 6, 5]]
        """
        if mask is None:
            mask = torch.ones(points.shape[:2], dtype=torch.bool, device=points.device)
        return cls(affinity(points, mask), n_shells, mask, **options)

    @property
    def scale(self) -> Float[Tensor, " shells"]:
        # A Laplacian eigenvalue is a squared wave number.
        return wave_numbers(self.values, self.shell_of, self.basis, self.n_shells)


def wave_numbers(values: Tensor, shell_of: Tensor, basis: Tensor, n_shells: int) -> Float[Tensor, " shells"]:
    """Root of the mean eigenvalue of each shell over all samples; NaN for a shell that is empty everywhere.

    Example:
        >>> wave_numbers(torch.tensor([[0.0, 4.0]]), torch.tensor([[0, 1]]), torch.eye(2)[None], 2).tolist()
        [0.0, 2.0]
    """
    real = basis.square().sum(1).round().double()
    total, count = torch.zeros(2, n_shells, dtype=torch.float64, device=values.device)
    total.index_add_(0, shell_of.flatten(), (values.double().clamp(min=0.0) * real).flatten())
    count.index_add_(0, shell_of.flatten(), real.flatten())
    return (total / count).sqrt()


def check_weights(weights: Float[Tensor, "batch nodes nodes"]) -> None:
    """Make sure that edge weights define a Laplacian.

    Raises:
        TransformError: weights that are not square, symmetric, finite, non-negative and of float32 or float64.

    Example:
        >>> check_weights(torch.ones(1, 4, 4))
    """
    if weights.ndim != 3 or weights.shape[1] != weights.shape[2]:
        raise TransformError(f"weights have shape {tuple(weights.shape)}, expected (batch, nodes, nodes)")
    if weights.dtype not in RESOLUTION:
        raise TransformError(
            f"edge weights are {weights.dtype}, expected float32 or float64: convert the points"
        )
    if not bool(torch.isfinite(weights).all()) or bool((weights < 0).any()):
        raise TransformError("edge weights must be finite and >= 0: check the points for NaN")
    asymmetry = float((weights - weights.transpose(1, 2)).abs().max()) if weights.numel() else 0.0
    if asymmetry > 1e-6:
        raise TransformError(f"edge weights are asymmetric by {asymmetry:.1e} (limit 1e-6): use (W + Wᵀ)/2")


def _masses(mass: Tensor | str, degree: Tensor, mask: Tensor) -> Tensor:
    """Masses with 1 for padding; an isolated node of the normalised Laplacian counts as mass 1."""
    if isinstance(mass, str):
        if mass != "degree":
            raise TransformError(f"mass '{mass}' is unknown: give 'degree', or one positive number per node")
        return torch.where(degree > 0, degree, torch.ones_like(degree))
    if mass.shape != mask.shape:
        raise TransformError(
            f"masses have shape {tuple(mass.shape)}, expected {tuple(mask.shape)}: one per node"
        )
    if not bool((torch.isfinite(mass) & (mass > 0))[mask].all()):
        raise TransformError("masses must be finite and positive: check those of real nodes")
    return mass.to(degree.dtype).masked_fill(~mask, 1.0)
