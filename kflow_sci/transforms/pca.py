"""PCA K-transform on the node axis of ordered point clouds: modes by their share of the data's energy.

The one idea: average ``x xᵀ`` over samples and over x, y, z. This second moment of the nodes does not change when
samples are turned or reflected, so its eigenvectors commute with motions, and their order is the order of energy.
Coarse shells hold the modes with most energy.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from kflow_sci.errors import TransformError
from kflow_sci.transforms.base import NodeTransform
from kflow_sci.transforms.shells import shells_by_count


def node_second_moment(samples: Float[Tensor, "samples nodes dim"]) -> Float[Tensor, "nodes nodes"]:
    """``E[x xᵀ]`` over samples and components: invariant under any rotation or reflection of each sample."""
    return torch.einsum("snd,smd->nm", samples, samples) / (samples.shape[0] * samples.shape[2])


class PCATransform(NodeTransform):
    """Principal modes of the node axis, the same for every sample of a batch.

    Args:
        basis: Orthonormal modes as columns by falling energy, ``(nodes, nodes)``.
        values: Energy of each mode, ``(nodes,)``.
        n_shells: Number of shells K.
        order: Node of each sample that stands at each place of the basis, ``(batch, nodes)``. The basis knows nodes by
            their place; the order must come from what is known at generation time.

    Raises:
        TransformError: the basis is not orthonormal, or the sizes do not fit.
    """

    def __init__(
        self,
        basis: Float[Tensor, "nodes nodes"],
        values: Float[Tensor, " nodes"],
        n_shells: int,
        order: Int[Tensor, "batch nodes"],
    ) -> None:
        nodes = len(values)
        if basis.shape != (nodes, nodes) or order.shape[1] != nodes:
            raise TransformError(
                f"basis {tuple(basis.shape)}, {nodes} values and order {tuple(order.shape)} do not fit: "
                "fit a basis for this number of nodes"
            )
        defect = float(
            (basis.T @ basis - torch.eye(nodes, dtype=basis.dtype, device=basis.device)).abs().max()
        )
        if defect > 1e-5:
            raise TransformError(
                f"PCA needs orthonormal modes, but max|B Bᵀ − I| = {defect:.1e} (limit 1e-5): refit"
            )
        batch = len(order)
        placed = torch.empty(batch, nodes, nodes, dtype=basis.dtype, device=basis.device)
        placed.scatter_(1, order[:, :, None].expand(-1, -1, nodes), basis.expand(batch, -1, -1))
        count = torch.full((1,), nodes, device=basis.device)
        shells = shells_by_count(values[None], count, n_shells).expand(batch, -1)
        super().__init__(placed, shells, n_shells, values.expand(batch, -1))

    @staticmethod
    def fit(samples: Float[Tensor, "samples nodes dim"]) -> tuple[Tensor, Tensor]:
        """Modes and energies ``(basis, values)`` of ordered samples, by falling energy.

        Raises:
            TransformError: no samples, or samples that are not finite.
        """
        if samples.ndim != 3 or len(samples) == 0 or not bool(torch.isfinite(samples).all()):
            raise TransformError(
                f"PCA needs finite samples of shape (samples, nodes, dim), got {tuple(samples.shape)}: check the data"
            )
        values, basis = torch.linalg.eigh(node_second_moment(samples))
        return basis.flip(1), values.flip(0).clamp(min=0.0)
