"""Networks for images by name.

The one idea: whatever the network, it is called alike, ``net(x, s, alpha, condition)``, and answers in the shape of x.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from torch import nn

from kflow_sci.errors import ConfigError
from kflow_sci.nets.dit import DiT
from kflow_sci.nets.image_conv import ImageConv
from kflow_sci.nets.image_mlp import ImageMLP
from kflow_sci.nets.packed import Packed

NETS = ("dit", "unet", "conv", "mlp")


def make_net(
    name: str,
    *,
    shape: tuple[int, int, int],
    patch: int,
    hidden: int,
    layers: int,
    heads: int,
    n_shells: int,
    conditions: Sequence[int],
    packing: str | None = None,
) -> nn.Module:
    """A network.

    Args:
        name: One of ``NETS``.
        shape: Channels, rows, columns.
        patch: Rows and columns of a patch of ``dit`` and ``conv``; 1 for the others.
        hidden: Features; of a ``unet``, of its finest level.
        layers: Blocks; of a ``unet``, levels.
        heads: Attention heads; 1 for ``conv`` and ``mlp``.
        n_shells: Number of shells of the flow.
        conditions: Number of values of each condition.
        packing: Wavelet whose coefficients the network works on, see ``nets.packed``; None for the image itself.

    Raises:
        ConfigError: an unknown name, a setting that the network does not have, or sizes that do not fit.
    """
    if name not in NETS:
        raise ConfigError(f"net '{name}' is unknown: choose {', '.join(NETS)}")
    if name not in ("dit", "conv") and patch != 1:
        raise ConfigError(f"patch = {patch}, but net {name} has no patches: set patch: 1")
    if packing is not None:
        if name == "mlp":
            raise ConfigError(
                f"packing = '{packing}', but net mlp sees all pixels at once: set packing: null"
            )
        inner = partial(make_net, name, patch=patch, hidden=hidden, layers=layers, heads=heads, n_shells=n_shells,
                        conditions=conditions)  # fmt: skip
        return Packed(shape, packing, lambda packed: inner(shape=packed))
    if name in ("conv", "mlp") and heads != 1:
        raise ConfigError(f"heads = {heads}, but net {name} has no attention: set heads: 1")
    if name == "conv":
        return ImageConv(shape, patch, hidden, layers, n_shells, conditions)
    if name == "mlp":
        return ImageMLP(shape, hidden, layers, n_shells, conditions)
    if name == "unet":
        from kflow_sci.images.unet import UNet

        return UNet(shape, hidden, layers, heads, n_shells, conditions)
    return DiT(shape, patch, hidden, layers, heads, n_shells, conditions)
