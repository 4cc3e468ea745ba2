"""A U-Net for images: that of diffusers, told the scale in our way.

The one idea: its own time embedding knows one number; ours (``nets.scale``) also knows the shells and the conditions,
and enters beside it as a class embedding that is already a vector.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor, nn

from kflow_sci.errors import ConfigError
from kflow_sci.nets.scale import ScaleEmbedding

_GROUP = 32  # features per group norm at most
_TIMES = 1000.0  # diffusers counts time in steps of a thousand


class UNet(nn.Module):
    """``UNet2DModel`` of diffusers with attention at its coarsest level.

    Args:
        shape: Channels, rows, columns.
        hidden: Features of the finest level; the others have twice as many.
        levels: How often it looks at the image, each time at half the resolution.
        heads: Attention heads.
        n_shells: Number of shells of the flow.
        conditions: Number of values of each condition.

    Raises:
        ConfigError: diffusers is missing, or sizes that do not fit.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        hidden: int,
        levels: int,
        heads: int,
        n_shells: int,
        conditions: Sequence[int] = (),
    ) -> None:
        super().__init__()
        try:
            from diffusers import UNet2DModel
        except ImportError as error:
            raise ConfigError("net unet needs diffusers: pip install 'kflow_sci[images]'") from error
        channels, rows, columns = shape
        step = 2 ** (levels - 1)
        for n in (rows, columns):
            if n % step:
                below, above = n // step * step, -(-n // step) * step
                fit = f"{below} or {above}" if below else f"{above}"
                raise ConfigError(
                    f"size {n} cannot be halved {levels - 1} times: sizes {fit} can, or lower layers"
                )
        groups = next(g for g in range(min(_GROUP, hidden), 0, -1) if hidden % g == 0)
        if hidden % heads:
            raise ConfigError(f"hidden = {hidden} is not divisible by heads = {heads}: change one")
        widths = [hidden] + [2 * hidden] * (levels - 1)
        self.told = ScaleEmbedding(n_shells, conditions, 4 * hidden)
        inner: Any = UNet2DModel(
            in_channels=channels,
            out_channels=channels,
            block_out_channels=widths,
            down_block_types=["DownBlock2D"] * (levels - 1) + ["AttnDownBlock2D"],
            up_block_types=["AttnUpBlock2D"] + ["UpBlock2D"] * (levels - 1),
            attention_head_dim=widths[-1] // heads,
            norm_num_groups=groups,
            class_embed_type="identity",
        )
        nn.init.zeros_(inner.conv_out.weight)
        nn.init.zeros_(inner.conv_out.bias)
        self.inner: Any = inner

    def forward(
        self,
        x: Float[Tensor, "batch channels rows columns"],
        s: Float[Tensor, " batch"],
        alpha: Float[Tensor, "batch shells"],
        condition: Int[Tensor, "batch conditions"],
    ) -> Float[Tensor, "batch channels rows columns"]:
        told = self.told(s, alpha, condition)
        answer: Tensor = self.inner(x, _TIMES * s, class_labels=told).sample
        return answer
