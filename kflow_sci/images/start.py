"""A model that begins with the weights of another, whose shells may be others.

The one idea: a net knows the shells by one column of one matrix for each α_j. A net of plain flow matching, where all
α_j are equal, only ever used the sum of these columns; spread evenly over the new shells it is the same net, and what
K-Flow adds can be learned from there.
"""

from __future__ import annotations

from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from kflow_sci.checkpoint import load_weights
from kflow_sci.errors import ConfigError
from kflow_sci.images.model import ImageModel, load_image_model

# What must agree; transform, shells, windows and how it is sampled may be others.
_SAME = ("shape", "conditions", "prediction", "net", "patch", "hidden", "layers", "heads", "packing")
_TOLD = "told.scale.0.weight"  # see nets.scale: progress of the shells stands last


def begin_from(model: ImageModel, weights: str | Path) -> None:
    """Give the net of a model the weights of another one's.

    Args:
        model: Changed in place; its shells and windows stay.
        weights: Of a trained model with the same net that was asked for the same, by the same conditions.

    Raises:
        CheckpointError: No weights of an image model.
        ConfigError: The two nets differ; the first difference is named.
    """
    source, _ = load_image_model(weights)
    for name in _SAME:
        old, new = getattr(source.config, name), getattr(model.config, name)
        if old != new:
            raise ConfigError(
                f"start_from = {weights} has {name} = {old!r}, but the model to train {new!r}: make them equal"
            )
    tensors = dict(source.net.state_dict())
    name = next(name for name in tensors if name.endswith(_TOLD))
    tensors[name] = spread(tensors[name], source.schedule.n_shells, model.schedule.n_shells)
    load_weights(model.net, tensors, weights)


def spread(matrix: Float[Tensor, "features old"], old: int, new: int) -> Float[Tensor, "features new"]:
    """The columns of the last ``old`` shells, summed, as equal columns of ``new`` shells.

    With as many shells as before the matrix stays as it is.

    Example:
        >>> spread(torch.tensor([[5.0, 1.0, 3.0]]), 2, 4)
        tensor([[5., 1., 1., 1., 1.]])
    """
    if old == new:
        return matrix
    split = matrix.shape[1] - old
    column = matrix[:, split:].sum(1, keepdim=True) / new
    return torch.cat([matrix[:, :split], column.expand(-1, new)], dim=1)
