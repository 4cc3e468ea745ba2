"""Contracts as assertions, so that an extension can prove itself.

The one idea: a transform or a network is right if a handful of identities of the field hold; each function
here checks one of them and raises ``AssertionError`` with the size of the violation.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from kflow_sci.transforms.base import KTransform


def _require(error: Tensor | float, limit: float, what: str) -> None:
    value = float(error)
    if not value <= limit:
        raise AssertionError(f"{what}: {value:.2e}, limit {limit:.0e}")


def relative_error(a: Tensor, b: Tensor) -> float:
    """Largest difference over the largest entry of b (over 1 if b is small)."""
    return float((a - b).detach().abs().max() / b.detach().abs().max().clamp(min=1.0))


def assert_isometry(transform: KTransform, x: Float[Tensor, "batch ..."], limit: float = 1e-10) -> None:
    """T keeps the norm, and Tᵀ T = I on the data."""
    c = transform.forward(x)
    _require(
        (c.flatten(1).square().sum(1) - x.flatten(1).square().sum(1)).abs().max(), limit * float(x.square().sum()), "norm"
    )
    _require(relative_error(transform.inverse(c), x), limit, "round trip")


def assert_shell_projectors(transform: KTransform, x: Float[Tensor, "batch ..."], limit: float = 1e-10) -> None:
    """Σ_j P_j = I, P_i P_j = δ_ij P_i, and Parseval over shells."""
    parts = [transform.project(x, j) for j in range(transform.n_shells)]
    _require(relative_error(torch.stack(parts).sum(0), x), limit, "completeness")
    for i in range(transform.n_shells):
        for j, part in enumerate(parts):
            again = transform.project(part, i)
            _require(relative_error(again, part if i == j else torch.zeros_like(part)), limit, f"P_{i} P_{j}")
    energy = transform.energy(x).sum(1)
    _require(relative_error(energy, x.flatten(1).square().sum(1)), limit, "Parseval")


def assert_equivariant(
    function: Callable[[Tensor], Tensor],
    x: Tensor,
    act_in: Callable[[Tensor], Tensor],
    act_out: Callable[[Tensor], Tensor] | None = None,
    limit: float = 1e-9,
) -> None:
    """``f(g x) = g f(x)``; call it with float64.

    Args:
        function: What is tested.
        x: Its argument.
        act_in: The group element on the argument.
        act_out: The same element on the result; the same action if None.
    """
    _require(relative_error(function(act_in(x)), (act_out or act_in)(function(x))), limit, "equivariance")


def assert_batch_equals_singles(function: Callable[[Tensor], Tensor], x: Float[Tensor, "batch ..."], limit: float = 1e-12) -> None:
    """A batch gives what its samples give one by one, and the input is not changed."""
    before = x.clone()
    whole = function(x)
    singles = torch.cat([function(x[i : i + 1]) for i in range(len(x))])
    _require(relative_error(whole, singles), limit, "batch against singles")
    _require((x - before).abs().max(), 0.0, "input changed")
