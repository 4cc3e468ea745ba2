"""PCA K-transform on the node axis of ordered point clouds: modes by their share of the data's energy.

The one idea: average ``x xᵀ`` over samples and over x, y, z. This second moment of the nodes does not change when
samples are turned or reflected, so its eigenvectors commute with motions, and their order is the order of energy.
Coarse shells hold the modes with most energy.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from kflow_sci.errors import TransformError
from kflow_sci.transforms.base import NodeTransform
from kflow_sci.transforms.pca import check_orthonormal
from kflow_sci.transforms.shells import shells_by_count


def node_second_moment(samples: Float[Tensor, "samples nodes dim"]) -> Float[Tensor, "nodes nodes"]:
    """``E[x xᵀ]`` over samples and components: invariant under any rotation or reflection of each sample.

    Example:
        >>> node_second_moment(torch.tensor([[[3.0, 0.0, 0.0], [0.0, 0.0, 3.0]]])).tolist()
        [[3.0, 0.0], [0.0, 3.0]]
    """
    return torch.einsum("snd,smd->nm", samples, samples) / (samples.shape[0] * samples.shape[2])


class NodePCATransform(NodeTransform):
    """Principal modes of the node axis, the same for every sample of a batch.

    Args:
        basis: Orthonormal modes as columns by falling energy, ``(nodes, nodes)``.
        values: Energy of each mode, ``(nodes,)``.
        n_shells: Number of shells K.
        order: Node of each sample that stands at each place of the basis, ``(batch, nodes)``. The basis knows nodes by
            their place; the order must come from what is known at generation time.

    Raises:
        TransformError: the basis is not orthonormal, the sizes do not fit, or a row of the order names a node twice.

    Example:
        >>> data = torch.randn(100, 5, 3, generator=torch.Generator().manual_seed(0))
        >>> basis, values = NodePCATransform.fit(data)
        >>> transform = NodePCATransform(basis, values, 2, order=torch.arange(5).expand(100, -1))
        >>> torch.allclose(transform.energy(data).sum(1), data.square().sum((1, 2)), rtol=1e-4)
        True
    """

    def __init__(
        self,
        basis: Float[Tensor, "nodes nodes"],
        values: Float[Tensor, " nodes"],
        n_shells: int,
        order: Int[Tensor, "batch nodes"],
    ) -> None:
        nodes = len(values)
        if basis.shape != (nodes, nodes) or order.ndim != 2 or order.shape[1] != nodes:
            raise TransformError(
                f"basis {tuple(basis.shape)}, {nodes} values and order {tuple(order.shape)} do not fit: "
                "fit a basis for this number of nodes"
            )
        if not bool((order.sort(1).values == torch.arange(nodes, device=order.device)).all()):
            raise TransformError(f"the order must name each of the {nodes} nodes once in every sample")
        check_orthonormal(basis)
        batch = len(order)
        placed = torch.empty(batch, nodes, nodes, dtype=basis.dtype, device=basis.device)
        placed.scatter_(1, order[:, :, None].expand(-1, -1, nodes), basis.expand(batch, -1, -1))
        count = torch.full((1,), nodes, device=basis.device)
        shells = shells_by_count(values[None], count, n_shells).expand(batch, -1)
        super().__init__(placed, shells, n_shells, values.expand(batch, -1))

    @staticmethod
    def fit(
        samples: Float[Tensor, "samples nodes dim"] | Iterable[Float[Tensor, "samples nodes dim"]],
    ) -> tuple[Float[Tensor, "nodes nodes"], Float[Tensor, " nodes"]]:
        """Modes and energies ``(basis, values)`` of ordered samples, by falling energy.

        Args:
            samples: All samples, or an iterable of batches that need not fit into memory together.

        Raises:
            TransformError: no samples, or samples that are not finite or differ in their number of nodes.

        Example:
            >>> data = torch.randn(100, 5, 3, generator=torch.Generator().manual_seed(0))
            >>> _, at_once = NodePCATransform.fit(data)
            >>> _, in_turn = NodePCATransform.fit(data.split(10))
            >>> torch.allclose(at_once, in_turn, atol=1e-5)
            True
        """
        moment, total = torch.zeros(()), 0
        for batch in [samples] if isinstance(samples, Tensor) else samples:
            if batch.ndim != 3 or len(batch) == 0 or not bool(torch.isfinite(batch).all()):
                raise TransformError(
                    f"PCA needs finite samples of shape (samples, nodes, dim), got {tuple(batch.shape)}: check the data"
                )
            if total and batch.shape[1] != len(moment):
                raise TransformError(f"samples have {len(moment)} and {batch.shape[1]} nodes: fit them apart")
            part = node_second_moment(batch)
            total += len(batch)
            moment = part if total == len(batch) else moment + (part - moment) * (len(batch) / total)
        if not total:
            raise TransformError("PCA needs at least one sample: no batch has been given")
        values, basis = torch.linalg.eigh(moment)
        return basis.flip(1), values.flip(0).clamp(min=0.0)
