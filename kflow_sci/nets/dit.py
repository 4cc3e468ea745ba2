"""DiT: a transformer over patches of an image, steered by scale and condition.

The one idea: scale and condition set gain, offset and gate of every layer (adaLN-zero). All gates begin at zero, so an
untrained net is zero whatever it sees, and depth costs no stability.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from kflow_sci.errors import ConfigError
from kflow_sci.nets.scale import ScaleEmbedding

SIZES = {"S": (384, 12, 6), "B": (768, 12, 12), "L": (1024, 24, 16), "XL": (1152, 28, 16)}
"""Hidden features, layers and heads of the published sizes; DiT-L/2 is L with patches of 2."""


class DiT(nn.Module):
    """A diffusion transformer.

    Args:
        shape: Channels, rows, columns.
        patch: Rows and columns of a patch.
        hidden: Features of a patch; divisible by 4 and by the number of heads.
        layers: Number of blocks.
        heads: Number of attention heads.
        n_shells: Number of shells of the flow.
        conditions: Number of values of each condition.

    Raises:
        ConfigError: rows or columns that the patch does not divide, or heads that do not divide the features.

    Source:
        Peebles & Xie, *Scalable Diffusion Models with Transformers*, ICCV (2023).

    Example:
        >>> net = DiT((3, 8, 8), patch=2, hidden=32, layers=2, heads=4, n_shells=3, conditions=[10])
        >>> x, s, alpha = torch.randn(5, 3, 8, 8), torch.rand(5), torch.rand(5, 3)
        >>> net(x, s, alpha, torch.full((5, 1), 10)).abs().max().item()
        0.0
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        patch: int,
        hidden: int,
        layers: int,
        heads: int,
        n_shells: int,
        conditions: Sequence[int] = (),
    ) -> None:
        super().__init__()
        channels, rows, columns = shape
        for n in (rows, columns):
            if patch < 1 or n % patch:
                below, above = n // max(patch, 1) * patch, -(-n // max(patch, 1)) * patch
                fit = f"{below} or {above}" if below > 0 else f"{above}"
                raise ConfigError(
                    f"size {n} is not divisible by patch {patch}: sizes {fit} are, or choose a patch that divides {n}"
                )
        if hidden % heads or hidden % 4:
            raise ConfigError(f"hidden = {hidden} must be divisible by 4 and by heads = {heads}: change one")
        self.patch = patch
        self.grid = (rows // patch, columns // patch)
        self.told = ScaleEmbedding(n_shells, conditions, hidden)
        self.into = nn.Linear(channels * patch * patch, hidden)
        self.register_buffer("place", _places(*self.grid, hidden), persistent=False)
        blocks = [_Block(hidden, heads) for _ in range(layers)]
        self.blocks = nn.ModuleList(blocks)
        self.last = nn.LayerNorm(hidden, elementwise_affine=False, eps=1e-6)
        self.tune = nn.Linear(hidden, 2 * hidden)
        self.out = nn.Linear(hidden, channels * patch * patch)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        for zero in (self.tune, self.out, *(block.tune for block in blocks)):
            nn.init.zeros_(zero.weight)

    def forward(
        self,
        x: Float[Tensor, "batch channels rows columns"],
        s: Float[Tensor, " batch"],
        alpha: Float[Tensor, "batch shells"],
        condition: Int[Tensor, "batch conditions"],
    ) -> Float[Tensor, "batch channels rows columns"]:
        """Answer of the shape of x at flow time s, with the progress of each shell, under a condition."""
        batch, channels = x.shape[:2]
        (high, wide), p = self.grid, self.patch
        told = nn.functional.silu(self.told(s, alpha, condition))
        tokens = x.reshape(batch, channels, high, p, wide, p).permute(0, 2, 4, 1, 3, 5)
        h = self.into(tokens.reshape(batch, high * wide, -1)) + self.place
        for block in self.blocks:
            h = block(h, told)
        offset, gain = self.tune(told)[:, None].chunk(2, dim=-1)
        answer = self.out(self.last(h) * (1.0 + gain) + offset)
        answer = answer.reshape(batch, high, wide, channels, p, p).permute(0, 3, 1, 4, 2, 5)
        return answer.reshape(x.shape)


class _Block(nn.Module):
    """Attention and a two-layer network, each with gain, offset and gate from what the net is told."""

    def __init__(self, hidden: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(hidden, elementwise_affine=False, eps=1e-6)
        self.look = nn.Linear(hidden, 3 * hidden)
        self.join = nn.Linear(hidden, hidden)
        self.think = nn.Sequential(
            nn.Linear(hidden, 4 * hidden), nn.GELU(approximate="tanh"), nn.Linear(4 * hidden, hidden)
        )
        self.tune = nn.Linear(hidden, 6 * hidden)

    def forward(self, h: Tensor, told: Tensor) -> Tensor:
        offset, gain, gate, offset2, gain2, gate2 = self.tune(told)[:, None].chunk(6, dim=-1)
        parts = self.look(self.norm(h) * (1.0 + gain) + offset).unflatten(-1, (3, self.heads, -1))
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        heard = scaled_dot_product_attention(query, key, value)
        h = h + gate * self.join(heard.transpose(1, 2).flatten(2))
        return h + gate2 * self.think(self.norm(h) * (1.0 + gain2) + offset2)


def _places(rows: int, columns: int, hidden: int) -> Float[Tensor, "tokens hidden"]:
    """Sines and cosines of row and column, half of the features each."""
    quarter = hidden // 4
    rate = 10000.0 ** (-torch.arange(quarter, dtype=torch.float64) / quarter)

    def waves(n: int) -> Tensor:
        phase = torch.arange(n, dtype=torch.float64)[:, None] * rate
        return torch.cat([phase.sin(), phase.cos()], dim=1)

    row, column = waves(rows), waves(columns)
    both = [row[:, None].expand(-1, columns, -1), column[None].expand(rows, -1, -1)]
    return torch.cat(both, dim=-1).reshape(rows * columns, hidden).float()
