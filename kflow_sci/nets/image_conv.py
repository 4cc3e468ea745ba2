"""A plain convolutional network for small images: no pooling, no attention.

The one idea: with a hundred images nothing but "the same everywhere" can be learned, so all layers are convolutions at
one resolution, that of patches whose pixels have become channels: a patch of 2 costs a quarter and sees twice as far.
Scale and condition set gain and offset of every block, as in a DiT.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import pixel_shuffle, pixel_unshuffle, silu

from kflow_sci.errors import ConfigError
from kflow_sci.nets.scale import ScaleEmbedding


class ImageConv(nn.Module):
    """Residual blocks of two convolutions of 3 × 3, mirrored at the border.

    Args:
        shape: Channels, rows, columns.
        patch: Rows and columns of the patches whose pixels become channels.
        hidden: Features of a patch.
        layers: Number of blocks.
        n_shells: Number of shells of the flow.
        conditions: Number of values of each condition.

    Raises:
        ConfigError: rows or columns that the patch does not divide, or fewer than two patches along one of them.

    Example:
        >>> net = ImageConv((1, 8, 8), patch=2, hidden=8, layers=2, n_shells=2)
        >>> net(torch.randn(3, 1, 8, 8), torch.rand(3), torch.rand(3, 2), torch.zeros(3, 0).long()).shape
        torch.Size([3, 1, 8, 8])
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        patch: int,
        hidden: int,
        layers: int,
        n_shells: int,
        conditions: Sequence[int] = (),
    ) -> None:
        super().__init__()
        channels, rows, columns = shape
        for n in (rows, columns):
            if n % patch or n // patch < 2:
                raise ConfigError(
                    f"size {n} has no two or more whole patches of {patch}: choose a patch that divides {n}"
                )
        self.patch = patch
        self.told = ScaleEmbedding(n_shells, conditions, hidden)
        self.into = _conv(channels * patch * patch, hidden)
        # Small images are often aligned (a nose in the middle), and convolutions do not know where they are.
        self.place = nn.Parameter(torch.zeros(hidden, rows // patch, columns // patch))
        self.blocks = nn.ModuleList(_Block(hidden) for _ in range(layers))
        self.out = _conv(hidden, channels * patch * patch)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]

    def forward(
        self,
        x: Float[Tensor, "batch channels rows columns"],
        s: Float[Tensor, " batch"],
        alpha: Float[Tensor, "batch shells"],
        condition: Int[Tensor, "batch conditions"],
    ) -> Float[Tensor, "batch channels rows columns"]:
        """Answer of the shape of x at flow time s, with the progress of each shell, under a condition."""
        told = silu(self.told(s, alpha, condition))
        h = self.into(pixel_unshuffle(x, self.patch)) + self.place
        for block in self.blocks:
            h = block(h, told)
        return pixel_shuffle(self.out(silu(h)), self.patch)


class _Block(nn.Module):
    """Two convolutions; what the net is told sets gain and offset before the first."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.tune = nn.Linear(hidden, 2 * hidden)
        self.first, self.second = _conv(hidden, hidden), _conv(hidden, hidden)

    def forward(self, h: Tensor, told: Tensor) -> Tensor:
        gain, offset = self.tune(told)[:, :, None, None].chunk(2, dim=1)
        return h + self.second(silu(self.first(silu(h * (1.0 + gain) + offset))))


def _conv(channels: int, wanted: int) -> nn.Conv2d:
    return nn.Conv2d(channels, wanted, 3, padding=1, padding_mode="reflect")
