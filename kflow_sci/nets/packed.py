"""A net that works on wavelet coefficients at half the resolution.

The one idea: one wavelet level turns an image into four of half the size (the approximation and the details of three
directions), which stand as channels; the net sees 4 C channels and a quarter of the places, and its answer goes back by
the inverse. That is a change of basis: nothing is lost, and a place costs the net less than it costs the image.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from kflow_sci.transforms.wavelet import WaveletTransform

Shape = tuple[int, int, int]


class Packed(nn.Module):
    """Any net for images, on packed wavelet coefficients.

    With ``haar`` the four coefficients are those of a 2 × 2 patch, so a transformer with patches of p on them is one
    with patches of 2 p on the image, its first and last layer turned; with a longer filter the patches overlap.

    Args:
        shape: Channels, rows, columns of the image; rows and columns even.
        wavelet: See ``WaveletTransform``.
        make: Makes the net for a shape.

    Raises:
        TransformError: an unknown wavelet, or sizes that cannot be halved.

    Source:
        The packing: Phung, Dao & Tran, *Wavelet Diffusion Models are fast and scalable Image Generators*, CVPR (2023).

    Example:
        >>> shapes = []
        >>> net = Packed((3, 8, 8), "haar", lambda shape: shapes.append(shape) or nn.Identity())
        >>> shapes
        [(12, 4, 4)]
    """

    def __init__(self, shape: Shape, wavelet: str, make: Callable[[Shape], nn.Module]) -> None:
        super().__init__()
        channels, rows, columns = shape
        self._transform = WaveletTransform((rows, columns), wavelet, levels=1)
        self.inner = make((4 * channels, rows // 2, columns // 2))

    def pack(
        self, x: Float[Tensor, "batch channels rows columns"]
    ) -> Float[Tensor, "batch packed half_rows half_columns"]:
        """Coefficients as channels: approximation and details of the first channel, then of the next."""
        return _quarters(self._on(x).forward(x))

    def unpack(
        self, c: Float[Tensor, "batch packed half_rows half_columns"]
    ) -> Float[Tensor, "batch channels rows columns"]:
        """The opposite of ``pack``."""
        batch, channels, rows, columns = c.shape
        whole = c.view(batch, channels // 4, 2, 2, rows, columns).transpose(3, 4)
        return self._on(c).inverse(whole.reshape(batch, channels // 4, 2 * rows, 2 * columns))

    def forward(
        self,
        x: Float[Tensor, "batch channels rows columns"],
        s: Float[Tensor, " batch"],
        alpha: Float[Tensor, "batch shells"],
        condition: Int[Tensor, "batch conditions"],
    ) -> Float[Tensor, "batch channels rows columns"]:
        # Half precision is for the net: a change of basis would lose what fine shells have.
        with torch.autocast(x.device.type, enabled=False):
            packed = self.pack(x)
        answer: Any = self.inner(packed, s, alpha, condition)
        with torch.autocast(x.device.type, enabled=False):
            return self.unpack(answer.to(x.dtype))

    def _on(self, x: Tensor) -> WaveletTransform:
        if self._transform.shell_of.device != x.device:
            self._transform = self._transform.to(x.device)
        return self._transform


def _quarters(
    c: Float[Tensor, "batch channels rows columns"],
) -> Float[Tensor, "batch packed half_rows half_columns"]:
    """The four corners of a transform of one level, side by side as channels."""
    batch, channels, rows, columns = c.shape
    parts = c.view(batch, channels, 2, rows // 2, 2, columns // 2).transpose(3, 4)
    return parts.reshape(batch, 4 * channels, rows // 2, columns // 2)
