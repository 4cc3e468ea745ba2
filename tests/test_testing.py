"""The public assertions find what they are made to find."""

from __future__ import annotations

import pytest
import torch

from kflow_sci.testing import (
    assert_adjoint,
    assert_batch_equals_singles,
    assert_compiles,
    assert_dimension,
    assert_equivariant,
    assert_filter,
    assert_gradients,
    assert_isometry,
    assert_shell_projectors,
    assert_transform,
)
from kflow_sci.transforms.fourier import FourierTransform


def data(seed: int = 0) -> torch.Tensor:
    return torch.randn(2, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Loud(FourierTransform):
    """Twice as large in one direction, half as large in the other."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2.0 * super().forward(x)

    def inverse(self, c: torch.Tensor) -> torch.Tensor:
        return 0.5 * super().forward(c)


class OneWay(FourierTransform):
    """The inverse is not the transform undone."""

    def inverse(self, c: torch.Tensor) -> torch.Tensor:
        return super().forward(c).flip(-1)


class Leaking(FourierTransform):
    """The filter lets a little of everything through."""

    def filter(self, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        return super().filter(x, w) + 1e-3 * x


class Greedy(FourierTransform):
    """The filter works in place of its input."""

    def filter(self, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        y = super().filter(x, w)
        x *= 1.1
        return y


class Detached(FourierTransform):
    """The filter loses the gradient of the weights."""

    def filter(self, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        return super().filter(x, w.detach())


class Peeking(FourierTransform):
    """The filter looks at values, which breaks a compiled graph."""

    def filter(self, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        return super().filter(x, w) if float(x.sum()) < 1e9 else x


class Miscounted(FourierTransform):
    """States wrong dimensions."""

    @property
    def dimension(self) -> torch.Tensor:
        return super().dimension.flip(0)


@pytest.mark.parametrize(
    ("broken", "assertion", "words"),
    [
        (Loud, assert_isometry, "norm"),
        (Loud, assert_adjoint, "adjoint"),
        (OneWay, assert_isometry, "round trip"),
        (Leaking, assert_shell_projectors, "completeness"),
        (Leaking, assert_filter, "filter against"),
        (Greedy, assert_filter, "against|input changed"),
        (Detached, assert_gradients, "gradients of the filter differ"),
        (Peeking, assert_compiles, "not one graph"),
        (Miscounted, assert_dimension, "dimension"),
    ],
)
def test_what_is_wrong_is_found(broken: type, assertion: object, words: str) -> None:
    with pytest.raises(AssertionError, match=words):
        assertion(broken((6,), [1.0]), data())  # type: ignore[operator]
    with pytest.raises(AssertionError):
        assert_transform(broken((6,), [1.0]), data())


def test_what_is_right_passes() -> None:
    assert_transform(FourierTransform((6,), 2), data())


def test_symmetry_and_batches() -> None:
    assert_equivariant(torch.sin, data(), lambda x: -x)
    with pytest.raises(AssertionError, match="equivariance"):
        assert_equivariant(torch.cos, data(), lambda x: -x)
    with pytest.raises(AssertionError, match="batch against singles"):
        assert_batch_equals_singles(lambda x: x - x.mean(), data())
    with pytest.raises(AssertionError, match="input changed"):
        assert_batch_equals_singles(lambda x: x.zero_(), data())
