"""Networks for images by name.

The one idea: whatever the network, it is called alike, ``net(x, s, alpha, condition)``, and answers in the shape of x.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from kflow_sci.errors import ConfigError
from kflow_sci.nets.dit import DiT
from kflow_sci.nets.image_mlp import ImageMLP

NETS = ("dit", "unet", "mlp")


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
) -> nn.Module:
    """A network.

    Args:
        name: One of ``NETS``.
        shape: Channels, rows, columns.
        patch: Rows and columns of a patch of ``dit``; 1 for the others.
        hidden: Features; of a ``unet``, of its finest level.
        layers: Blocks; of a ``unet``, levels.
        heads: Attention heads; 1 for ``mlp``.
        n_shells: Number of shells of the flow.
        conditions: Number of values of each condition.

    Raises:
        ConfigError: an unknown name, a setting that the network does not have, or sizes that do not fit.
    """
    if name not in NETS:
        raise ConfigError(f"net '{name}' is unknown: choose {', '.join(NETS)}")
    if name != "dit" and patch != 1:
        raise ConfigError(f"patch = {patch}, but only net dit has patches: set patch: 1")
    if name == "mlp":
        if heads != 1:
            raise ConfigError(f"heads = {heads}, but net mlp has no attention: set heads: 1")
        return ImageMLP(shape, hidden, layers, n_shells, conditions)
    if name == "unet":
        from kflow_sci.images.unet import UNet

        return UNet(shape, hidden, layers, heads, n_shells, conditions)
    return DiT(shape, patch, hidden, layers, heads, n_shells, conditions)
