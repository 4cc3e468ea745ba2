"""A net on wavelet coefficients at half the resolution."""

from __future__ import annotations

import numpy as np
import pytest
import pywt
import torch

from kflow_sci.errors import KFlowError
from kflow_sci.images.networks import make_net
from kflow_sci.nets.dit import DiT
from kflow_sci.nets.packed import Packed

SHELLS = 3


def told(n: int) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(1)
    s, alpha = torch.rand(n, generator=generator), torch.rand(n, SHELLS, generator=generator)
    return s, alpha, torch.zeros(n, 0).long()


class Same(torch.nn.Module):
    """Answers with what it sees."""

    def forward(self, x: torch.Tensor, *told: torch.Tensor) -> torch.Tensor:
        return x


@pytest.mark.parametrize("wavelet", ["haar", "db2", "sym4"])
def test_packed_channels_are_the_coefficients_of_pywavelets(wavelet: str) -> None:
    x = torch.randn(2, 3, 8, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    packed = Packed((3, 8, 12), wavelet, lambda shape: Same()).pack(x)
    assert packed.shape == (2, 12, 4, 6)
    low, (rows, columns, both) = pywt.dwt2(x[1, 2].numpy(), wavelet, mode="periodization")
    # rows: details between rows (lower left), columns: between columns (upper right)
    for channel, wanted in zip(packed[1, 8:], (low, columns, rows, both), strict=True):
        assert np.allclose(channel, wanted, atol=1e-10)


@pytest.mark.parametrize("wavelet", ["haar", "db2"])
def test_packing_loses_nothing_and_keeps_norms(wavelet: str) -> None:
    x = torch.randn(2, 3, 8, 12, generator=torch.Generator().manual_seed(0))
    net = Packed((3, 8, 12), wavelet, lambda shape: Same())
    assert torch.allclose(net(x, *told(2)), x, atol=1e-5)
    assert net.pack(x).square().sum().item() == pytest.approx(x.square().sum().item(), rel=1e-5)


def test_a_transformer_on_haar_coefficients_is_one_with_patches_twice_as_large() -> None:
    generator = torch.Generator().manual_seed(3)
    packed = make_net("dit", shape=(1, 8, 8), patch=1, hidden=16, layers=2, heads=2, n_shells=SHELLS, conditions=[],
                      packing="haar")  # fmt: skip
    plain = DiT((1, 8, 8), 2, 16, 2, 2, SHELLS)
    assert isinstance(packed, Packed) and isinstance(packed.inner, DiT)
    assert packed.inner.grid == (4, 4)  # 16 places instead of 64
    with torch.no_grad():
        for p in plain.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=generator))
        packed.inner.load_state_dict(plain.state_dict())
        # The four coefficients of a patch a b / c d: sums and differences, halved.
        haar = 0.5 * torch.tensor([[1.0, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]])
        packed.inner.into.weight.copy_(plain.into.weight @ haar.T)
        packed.inner.out.weight.copy_(haar @ plain.out.weight)
        packed.inner.out.bias.copy_(haar @ plain.out.bias)
    x = torch.randn(3, 1, 8, 8, generator=generator)
    assert torch.allclose(packed(x, *told(3)), plain(x, *told(3)), atol=1e-4)


def test_a_u_net_works_on_packed_coefficients() -> None:
    net = make_net("unet", shape=(1, 8, 8), patch=1, hidden=8, layers=2, heads=2, n_shells=SHELLS, conditions=[],
                   packing="haar")  # fmt: skip
    assert net(torch.randn(2, 1, 8, 8), *told(2)).shape == (2, 1, 8, 8)


@pytest.mark.parametrize(
    ("name", "shape", "packing", "said"),
    [
        (
            "mlp",
            (1, 8, 8),
            "haar",
            "packing = 'haar', but net mlp sees all pixels at once: set packing: null",
        ),
        ("dit", (1, 25, 25), "haar", "size 25 cannot be halved 1 times: use 24 or 26"),
        ("dit", (1, 8, 8), "hair", "wavelet 'hair' is not an orthogonal one"),
        ("dit", (1, 12, 12), "haar", "size 6 is not divisible by patch 4: sizes 4 or 8 are"),
    ],
)
def test_what_cannot_be_packed_is_refused(
    name: str, shape: tuple[int, int, int], packing: str, said: str
) -> None:
    with pytest.raises(KFlowError, match=said):
        make_net(name, shape=shape, patch=1 if name == "mlp" else 4, hidden=8, layers=1, heads=1, n_shells=SHELLS,
                 conditions=[], packing=packing)  # fmt: skip
