"""Entropic transport between two small sets, balanced or not.

The one idea: Sinkhorn's iterations in logarithms. With a finite ``reach`` the marginals are only asked for (a
Kullback–Leibler penalty of that weight), not imposed: what costs more than the reach to move is left behind.

Source:
    Cuturi, NeurIPS (2013). Unbalanced: Chizat et al., Math. Comput. 87 (2018) 2563. Debiased: Feydy et al., AISTATS
    (2019).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor


class Plan(NamedTuple):
    """Mass moved from each row to each column (rows and columns weigh 1/n), and the value of the balanced problem."""

    mass: Float[Tensor, "batch n m"]
    value: Float[Tensor, " batch"]


@torch.no_grad()
def sinkhorn(
    cost: Float[Tensor, "batch n m"], epsilon: float, reach: float = math.inf, rounds: int = 100
) -> Plan:
    """The plan of least ``⟨plan, cost⟩ + epsilon KL(plan | uniform) + reach (KL of both marginals)``.

    Args:
        cost: Of moving from each row to each column.
        epsilon: Entropy; the plan of the plain problem as it goes to 0. In the unit of the cost.
        reach: Weight of the marginals; infinite for balanced transport.
        rounds: Iterations.
    """
    n, m = cost.shape[1:]
    damp = 1.0 if math.isinf(reach) else reach / (reach + epsilon)
    f, g = cost.new_zeros(cost.shape[0], n), cost.new_zeros(cost.shape[0], m)
    for _ in range(rounds):
        f = -damp * epsilon * (((g[:, None] - cost) / epsilon).logsumexp(2) - math.log(m))
        g = -damp * epsilon * (((f[:, :, None] - cost) / epsilon).logsumexp(1) - math.log(n))
    mass = torch.exp((f[:, :, None] + g[:, None] - cost) / epsilon) / (n * m)
    return Plan(mass, f.mean(1) + g.mean(1))


def transport_value(
    cost: Float[Tensor, "batch n m"], epsilon: float, rounds: int = 100
) -> Float[Tensor, " batch"]:
    """Value of balanced entropic transport, differentiable in the cost.

    By the envelope theorem the gradient is the plan, so the iterations are not differentiated.
    """
    plan = sinkhorn(cost.detach(), epsilon, rounds=rounds)
    return plan.value + (plan.mass * (cost - cost.detach())).sum((1, 2))
