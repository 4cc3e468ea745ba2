"""Contracts as assertions, so that an extension can prove itself.

The one idea: a transform or a network is right if a handful of identities of the field hold; each function here checks
one of them and raises ``AssertionError`` with the size of the violation. ``assert_transform`` runs all that a
transform must satisfy.
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
    """Largest difference over the largest entry of b (over 1 if b is small).

    Example:
        >>> relative_error(torch.tensor([10.0, 1.0]), torch.tensor([10.0, 2.0]))
        0.1...
    """
    return float((a - b).detach().abs().max() / b.detach().abs().max().clamp(min=1.0))


def assert_transform(
    transform: KTransform, x: Float[Tensor, "batch ..."], limit: float | None = None
) -> None:
    """All that ``KTransform`` promises, on the given data.

    Isometry, adjoint, complete and orthogonal shells, the filter as a weighted sum of projections, energies,
    dimensions, gradients (in float64) and ``torch.compile`` without a break in the graph.

    Args:
        transform: What is tested.
        x: Random data it acts on, small (gradients are checked entry by entry), float64 if possible.
        limit: Largest relative error; None for 1e-10 in float64, 1e-4 in float32.

    Example:
        >>> from kflow_sci.transforms.fourier import FourierTransform
        >>> assert_transform(FourierTransform((5, 4), shells=3), torch.randn(2, 5, 4, dtype=torch.float64))
    """
    if limit is None:
        limit = 1e-10 if x.dtype == torch.float64 else 1e-4
    assert_isometry(transform, x, limit)
    assert_adjoint(transform, x, limit)
    assert_shell_projectors(transform, x, limit)
    assert_filter(transform, x, limit)
    assert_dimension(transform, x, 1e3 * limit)
    assert_compiles(transform, x, limit)
    if x.dtype == torch.float64:
        assert_gradients(transform, x)


def assert_isometry(transform: KTransform, x: Float[Tensor, "batch ..."], limit: float = 1e-10) -> None:
    """T keeps the norm, and Tᵀ T = I on the data.

    Example:
        >>> from kflow_sci.transforms.wavelet import WaveletTransform
        >>> assert_isometry(WaveletTransform((8,), "db2"), torch.randn(2, 8, dtype=torch.float64))
    """
    c = transform.forward(x)
    _require(
        (c.flatten(1).square().sum(1) - x.flatten(1).square().sum(1)).abs().max(),
        limit * float(x.square().sum()),
        "norm",
    )
    _require(relative_error(transform.inverse(c), x), limit, "round trip")


def assert_adjoint(transform: KTransform, x: Float[Tensor, "batch ..."], limit: float = 1e-10) -> None:
    """``⟨T x, c⟩ = ⟨x, Tᵀ c⟩`` for coefficients that need not come from data.

    Example:
        >>> from kflow_sci.transforms.wavelet import WaveletTransform
        >>> assert_adjoint(WaveletTransform((8,), "db2"), torch.randn(2, 8, dtype=torch.float64))
    """
    forward = transform.forward(x)
    c = torch.randn(forward.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(
        forward
    )
    left = (forward * c).flatten(1).sum(1)
    right = (x * transform.inverse(c)).flatten(1).sum(1)
    size = forward.flatten(1).norm(dim=1) * c.flatten(1).norm(dim=1)
    _require(((left - right).abs() / size.clamp(min=1.0)).max(), limit, "adjoint")


def assert_shell_projectors(
    transform: KTransform, x: Float[Tensor, "batch ..."], limit: float = 1e-10
) -> None:
    """Σ_j P_j = I, P_i P_j = δ_ij P_i, and Parseval over shells.

    Example:
        >>> from kflow_sci.transforms.wavelet import WaveletTransform
        >>> assert_shell_projectors(WaveletTransform((8,), "db2"), torch.randn(2, 8, dtype=torch.float64))
    """
    parts = [transform.project(x, j) for j in range(transform.n_shells)]
    _require(relative_error(torch.stack(parts).sum(0), x), limit, "completeness")
    for i in range(transform.n_shells):
        for j, part in enumerate(parts):
            again = transform.project(part, i)
            _require(relative_error(again, part if i == j else torch.zeros_like(part)), limit, f"P_{i} P_{j}")
    energy = transform.energy(x)
    _require(relative_error(energy.sum(1), x.flatten(1).square().sum(1)), limit, "Parseval")
    of_parts = torch.stack([part.flatten(1).square().sum(1) for part in parts], 1)
    _require(relative_error(energy, of_parts), limit, "energy of a shell")


def assert_filter(transform: KTransform, x: Float[Tensor, "batch ..."], limit: float = 1e-10) -> None:
    """``S(w) x`` is the weighted sum of projections, and what the gains of the coefficients give.

    Example:
        >>> from kflow_sci.transforms.wavelet import WaveletTransform
        >>> assert_filter(WaveletTransform((8,), "db2"), torch.randn(2, 8, dtype=torch.float64))
    """
    w = torch.randn(
        len(x), transform.n_shells, generator=torch.Generator().manual_seed(2), dtype=torch.float64
    )
    w = w.to(x)
    before = x.clone()
    filtered = transform.filter(x, w)
    spread = (len(x),) + (1,) * (x.ndim - 1)
    parts = [w[:, j].view(spread) * transform.project(x, j) for j in range(transform.n_shells)]
    _require(relative_error(filtered, torch.stack(parts).sum(0)), limit, "filter against projections")
    _require(relative_error(filtered, KTransform.filter(transform, x, w)), limit, "filter against gains")
    _require((x - before).abs().max(), 0.0, "input changed")
    if filtered.dtype != x.dtype:
        raise AssertionError(f"filter turned {x.dtype} into {filtered.dtype}")


def assert_dimension(transform: KTransform, x: Float[Tensor, "batch ..."], limit: float = 1e-7) -> None:
    """``dimension`` is the trace of each projector, per channel or component; for small data.

    Example:
        >>> from kflow_sci.transforms.wavelet import WaveletTransform
        >>> assert_dimension(WaveletTransform((8,), "db2"), torch.randn(2, 8, dtype=torch.float64))
    """
    trace = x.new_zeros(len(x), transform.n_shells)
    for entry in range(x[0].numel()):
        unit = torch.zeros_like(x).flatten(1)
        unit[:, entry] = 1.0
        trace += transform.energy(unit.view_as(x))
    stated = transform.dimension.to(trace).expand_as(trace)
    channels = trace.sum(1, keepdim=True) / stated.sum(1, keepdim=True)
    _require(relative_error(channels, channels.round()), limit, "whole number of channels")
    _require(relative_error(trace, stated * channels.round()), limit, "dimension against trace")


def assert_compiles(transform: KTransform, x: Float[Tensor, "batch ..."], limit: float = 1e-10) -> None:
    """``torch.compile`` takes the filter as one graph, forward and backward; the graph gives the same.

    Example:
        >>> from kflow_sci.transforms.fourier import FourierTransform
        >>> assert_compiles(FourierTransform((8,)), torch.randn(2, 8, dtype=torch.float64))
    """
    torch._dynamo.reset()
    w = torch.linspace(1.0, 0.0, len(x) * transform.n_shells, dtype=x.dtype, device=x.device).view(len(x), -1)
    leaf = x.detach().clone().requires_grad_()
    try:
        compiled = torch.compile(transform.filter, fullgraph=True, backend="aot_eager")(leaf, w)
    except torch._dynamo.exc.TorchDynamoException as error:
        reason = str(error).strip().splitlines()[0]
        raise AssertionError(f"filter is not one graph: {reason}") from error
    _require(relative_error(compiled, transform.filter(x, w)), limit, "compiled filter")
    (gradient,) = torch.autograd.grad(compiled.square().sum(), leaf)
    _require(
        relative_error(gradient, 2.0 * transform.filter(transform.filter(x, w), w)),
        limit,
        "compiled gradient",
    )


def assert_gradients(transform: KTransform, x: Float[Tensor, "batch ..."]) -> None:
    """Gradients of the filter in data and weights are those of finite differences; float64.

    Example:
        >>> from kflow_sci.transforms.fourier import FourierTransform
        >>> assert_gradients(FourierTransform((4,)), torch.randn(2, 4, dtype=torch.float64))
    """
    w = torch.linspace(-1.0, 1.0, len(x) * transform.n_shells, dtype=x.dtype, device=x.device).view(
        len(x), -1
    )
    inputs = (x.detach().clone().requires_grad_(), w.requires_grad_())
    if not torch.autograd.gradcheck(transform.filter, inputs, fast_mode=True, raise_exception=False):
        raise AssertionError("gradients of the filter differ from finite differences")


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
        limit: Largest relative error.

    Example:
        >>> assert_equivariant(lambda x: x.cumsum(-1), torch.randn(4, 3), lambda x: 2.0 * x, limit=1e-6)
    """
    _require(relative_error(function(act_in(x)), (act_out or act_in)(function(x))), limit, "equivariance")


def assert_batch_equals_singles(
    function: Callable[[Tensor], Tensor], x: Float[Tensor, "batch ..."], limit: float = 1e-12
) -> None:
    """A batch gives what its samples give one by one, and the input is not changed.

    Example:
        >>> assert_batch_equals_singles(torch.sin, torch.randn(4, 3))
    """
    before = x.clone()
    whole = function(x)
    singles = torch.cat([function(x[i : i + 1]) for i in range(len(x))])
    _require(relative_error(whole, singles), limit, "batch against singles")
    _require((x - before).abs().max(), 0.0, "input changed")
