"""A plain network for tiny images: all pixels at once.

The one idea: at 8 × 8 pixels an image is a vector, and a residual network over the whole of it learns in minutes on a
CPU what a transformer needs an hour for. Scale and condition set gain, offset and gate of every layer, as in a DiT.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from jaxtyping import Float, Int
from torch import Tensor, nn

from kflow_sci.nets.scale import ScaleEmbedding


class ImageMLP(nn.Module):
    """Residual layers over the pixels of an image.

    Args:
        shape: Channels, rows, columns.
        hidden: Features.
        layers: Residual layers.
        n_shells: Number of shells of the flow.
        conditions: Number of values of each condition.

    Example:
        >>> import torch
        >>> net = ImageMLP((1, 4, 4), hidden=16, layers=2, n_shells=2)
        >>> net(torch.randn(3, 1, 4, 4), torch.rand(3), torch.rand(3, 2), torch.zeros(3, 0).long()).shape
        torch.Size([3, 1, 4, 4])
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        hidden: int,
        layers: int,
        n_shells: int,
        conditions: Sequence[int] = (),
    ) -> None:
        super().__init__()
        size = math.prod(shape)
        self.told = ScaleEmbedding(n_shells, conditions, hidden)
        self.into = nn.Linear(size, hidden)
        self.norms = nn.ModuleList(nn.LayerNorm(hidden, elementwise_affine=False) for _ in range(layers))
        self.tune = nn.ModuleList(nn.Linear(hidden, 3 * hidden) for _ in range(layers))
        self.think = nn.ModuleList(
            nn.Sequential(nn.Linear(hidden, 2 * hidden), nn.SiLU(), nn.Linear(2 * hidden, hidden))
            for _ in range(layers)
        )
        self.last = nn.LayerNorm(hidden)
        self.out = nn.Linear(hidden, size)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(
        self,
        x: Float[Tensor, "batch channels rows columns"],
        s: Float[Tensor, " batch"],
        alpha: Float[Tensor, "batch shells"],
        condition: Int[Tensor, "batch conditions"],
    ) -> Float[Tensor, "batch channels rows columns"]:
        told = nn.functional.silu(self.told(s, alpha, condition))
        h = self.into(x.flatten(1))
        for norm, tune, think in zip(self.norms, self.tune, self.think, strict=True):
            offset, gain, gate = tune(told).chunk(3, dim=-1)
            h = h + (1.0 + gate) * think(norm(h) * (1.0 + gain) + offset)
        return self.out(self.last(h)).view(x.shape)
