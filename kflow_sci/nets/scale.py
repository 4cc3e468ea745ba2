"""How a net for images is told the scale, and what is asked for.

The one idea: flow time s alone does not say which shells are done, so the net sees s and the progress α_j of every
shell. Features are ``s, sin(πms), cos(πms)`` for m = 1 … 16, then ``α_1 … α_K``; a small network turns them into one
vector. Conditions are whole numbers, one embedding table each; the last row of a table says "not told".
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from kflow_sci.nets.embed import fourier_features

_WAVES = 16


class ScaleEmbedding(nn.Module):
    """Scale and conditions as one vector.

    Args:
        n_shells: Number of shells K.
        conditions: Number of values of each condition; the value of that number is "not told".
        hidden: Length of the vector.
    """

    def __init__(self, n_shells: int, conditions: Sequence[int], hidden: int) -> None:
        super().__init__()
        self.scale = nn.Sequential(
            nn.Linear(1 + 2 * _WAVES + n_shells, hidden), nn.SiLU(), nn.Linear(hidden, hidden)
        )
        tables = [nn.Embedding(count + 1, hidden) for count in conditions]
        for table in tables:
            nn.init.normal_(table.weight, std=0.02)
        self.values = nn.ModuleList(tables)

    def forward(
        self,
        s: Float[Tensor, " batch"],
        alpha: Float[Tensor, "batch shells"],
        condition: Int[Tensor, "batch conditions"],
    ) -> Float[Tensor, "batch hidden"]:
        told = self.scale(torch.cat([fourier_features(s, _WAVES), alpha], dim=-1))
        for table, value in zip(self.values, condition.unbind(1), strict=True):
            told = told + table(value)
        return told
