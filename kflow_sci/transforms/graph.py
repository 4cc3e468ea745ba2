"""Graph-spectral K-transform: Laplacian modes of a point cloud, low to high.

The one idea: low eigenvectors of the graph Laplacian vary slowly from neighbour to neighbour, so they move a cloud as
a whole; high ones move neighbours against each other. The graph must be built from what is known at generation time
(bonds, or the start positions): a graph of the target would leak the answer.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from kflow_sci.errors import TransformError
from kflow_sci.transforms.base import NodeTransform
from kflow_sci.transforms.shells import shells_by_count


class GraphSpectralTransform(NodeTransform):
    """Modes of the combinatorial Laplacian ``L = D − W``, one graph per sample, padded.

    Args:
        weights: Symmetric non-negative edge weights, ``(batch, nodes, nodes)``; the diagonal is ignored.
        n_shells: Number of shells K.
        mask: True for real nodes, ``(batch, nodes)``; None for all.

    Raises:
        TransformError: weights that are not square, symmetric, finite and non-negative.
    """

    def __init__(
        self,
        weights: Float[Tensor, "batch nodes nodes"],
        n_shells: int,
        mask: Bool[Tensor, "batch nodes"] | None = None,
    ) -> None:
        if weights.ndim != 3 or weights.shape[1] != weights.shape[2]:
            raise TransformError(f"weights have shape {tuple(weights.shape)}, expected (batch, nodes, nodes)")
        if not bool(torch.isfinite(weights).all()) or bool((weights < 0).any()):
            raise TransformError("edge weights must be finite and >= 0: check the points for NaN")
        asymmetry = float((weights - weights.transpose(1, 2)).abs().max()) if weights.numel() else 0.0
        if asymmetry > 1e-6:
            raise TransformError(
                f"edge weights are asymmetric by {asymmetry:.1e} (limit 1e-6): use (W + Wᵀ)/2"
            )
        if mask is None:
            mask = torch.ones(weights.shape[:2], dtype=torch.bool, device=weights.device)
        both = mask[:, :, None] & mask[:, None, :]
        weights = weights.masked_fill(~both, 0.0)
        weights = weights - torch.diag_embed(weights.diagonal(dim1=1, dim2=2))
        degree = weights.sum(-1)
        # Padding gets an eigenvalue above every real one (Gershgorin: 2 max degree), so it sorts last.
        above = 2.0 * degree.amax(dim=1, keepdim=True) + 1.0
        laplacian = torch.diag_embed(torch.where(mask, degree, above)) - weights
        values, basis = torch.linalg.eigh(laplacian)
        count = mask.sum(1)
        real = torch.arange(values.shape[1], device=values.device) < count[:, None]
        basis = basis * real[:, None, :] * mask[:, :, None]
        values = values.masked_fill(~real, 0.0)
        # Single precision resolves eigenvalues to about 1e-6 of the largest.
        tolerance = 1e-9 if weights.dtype == torch.float64 else 1e-5
        super().__init__(
            basis, shells_by_count(values, count, n_shells, tolerance=tolerance), n_shells, values
        )

    @classmethod
    def from_points(
        cls,
        points: Float[Tensor, "batch nodes 3"],
        n_shells: int,
        mask: Bool[Tensor, "batch nodes"] | None = None,
    ) -> GraphSpectralTransform:
        """Gaussian affinity ``exp(−d²/2σ²)`` with σ the mean distance to the nearest neighbour of each cloud.

        Only distances enter, so the transform is invariant under motions and reflections and equivariant under
        relabelling.

        Args:
            points: Positions known at generation time, any unit.
            n_shells: Number of shells K.
            mask: True for real nodes.
        """
        if mask is None:
            mask = torch.ones(points.shape[:2], dtype=torch.bool, device=points.device)
        # Differences, not the |a|²+|b|²−2ab trick: exact symmetry and no cancellation far from the origin.
        squared = (points[:, :, None] - points[:, None]).square().sum(-1)
        both = mask[:, :, None] & mask[:, None, :]
        self_or_padding = ~both | torch.eye(points.shape[1], dtype=torch.bool, device=points.device)
        nearest = squared.masked_fill(self_or_padding, torch.inf).amin(-1)
        nearest = torch.where(torch.isfinite(nearest), nearest, torch.zeros_like(nearest)).sqrt()
        sigma = nearest.sum(1) / mask.sum(1).clamp(min=1)
        sigma = torch.where(sigma > 0, sigma, torch.ones_like(sigma))
        weights = torch.exp(-0.5 * squared / sigma[:, None, None].square()).masked_fill(self_or_padding, 0.0)
        return cls(weights, n_shells, mask)
