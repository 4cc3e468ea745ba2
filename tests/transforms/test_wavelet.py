"""Wavelets held against PyWavelets, one coefficient at a time."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import pywt
import torch

from kflow_sci.errors import TransformError
from kflow_sci.testing import (
    assert_compiles,
    assert_gradients,
    assert_isometry,
    assert_shell_projectors,
    relative_error,
)
from kflow_sci.transforms.wavelet import WaveletTransform

ORTHOGONAL = [w for family in ("haar", "db", "sym", "coif") for w in pywt.wavelist(family)]


def signal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def peer(x: torch.Tensor, name: str, levels: int, axes: tuple[int, ...]) -> np.ndarray:
    """PyWavelets' coefficients in one array; it warns where a filter is longer than the grid, which is allowed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        c = pywt.wavedecn(x.numpy(), name, mode="periodization", level=levels, axes=axes)
        return pywt.coeffs_to_array(c, axes=axes)[0]


@pytest.mark.parametrize("name", ORTHOGONAL)
def test_every_orthogonal_family_equals_pywavelets(name: str) -> None:
    x, y = signal(2, 3, 16), signal(2, 16, 8)
    line, grid = WaveletTransform((16,), name, 2), WaveletTransform((16, 8), name, 2)
    np.testing.assert_allclose(line.forward(x).numpy(), peer(x, name, 2, (-1,)), atol=1e-10)
    np.testing.assert_allclose(grid.forward(y).numpy(), peer(y, name, 2, (-2, -1)), atol=1e-10)
    assert relative_error(line.inverse(line.forward(x)), x) < 1e-13
    assert relative_error(grid.inverse(grid.forward(y)), y) < 1e-13


@pytest.mark.parametrize("name", ["haar", "db2", "db6", "sym5", "coif2"])
@pytest.mark.parametrize(("shape", "levels"), [((48,), 4), ((32, 32), 5), ((24, 40), 3), ((2, 64), 1)])
def test_all_levels_and_sizes_equal_pywavelets(name: str, shape: tuple[int, ...], levels: int) -> None:
    x = signal(2, 3, *shape)
    axes = tuple(range(-len(shape), 0))
    for level in range(1, levels + 1):
        transform = WaveletTransform(shape, name, level)
        np.testing.assert_allclose(transform.forward(x).numpy(), peer(x, name, level, axes), atol=1e-10)
        assert_isometry(transform, x, 1e-13)


def test_float32_equals_pywavelets_to_1e_6() -> None:
    x = signal(2, 32, 32)
    c = WaveletTransform((32, 32), "db6", 2).forward(x.float())
    assert relative_error(c.double(), torch.from_numpy(peer(x, "db6", 2, (-2, -1)))) < 1e-6


def test_shells_are_the_approximation_then_details_from_coarse_to_fine() -> None:
    x = signal(1, 32)
    c = pywt.wavedec(x[0].numpy(), "haar", mode="periodization", level=3)
    energy = WaveletTransform((32,), "haar", 3).energy(x)[0]
    np.testing.assert_allclose(energy.numpy(), [np.square(part).sum() for part in c], rtol=1e-12)


def test_filter_is_pywavelets_with_scaled_levels() -> None:
    x = signal(1, 32, 16)
    w = torch.tensor([[0.9, 0.5, 0.1]], dtype=torch.float64)
    c = pywt.wavedec2(x[0].numpy(), "haar", mode="periodization", level=2)
    scaled = [0.9 * c[0], tuple(0.5 * d for d in c[1]), tuple(0.1 * d for d in c[2])]
    expected = pywt.waverec2(scaled, "haar", mode="periodization")
    np.testing.assert_allclose(
        WaveletTransform((32, 16), "haar", 2).filter(x, w)[0].numpy(), expected, atol=1e-12
    )


def test_haar_by_hand() -> None:
    x = torch.tensor([[4.0, 2.0, 5.0, 5.0]], dtype=torch.float64)
    c = WaveletTransform((4,), "haar", 2).forward(x)[0]
    # Sums and differences by √2: (6, 10) and (2, 0) over √2; once more: 16/2, −4/2.
    assert c.tolist() == pytest.approx([8.0, -2.0, 2.0 / math.sqrt(2), 0.0])


@pytest.mark.parametrize("order", [1, 2, 4, 6])
def test_details_of_a_polynomial_vanish_inside(order: int) -> None:
    # Daubechies' dbN has N vanishing moments (Daubechies, Ten Lectures on Wavelets, SIAM 1992, chapter 6).
    n = 64
    x = (torch.arange(n, dtype=torch.float64) / n).pow(order - 1)[None]
    detail = WaveletTransform((n,), f"db{order}", 1).forward(x)[0, n // 2 :]
    assert float(detail[order : n // 2 - order].abs().max()) < 1e-9


def test_weights_of_one_give_the_data_back_to_the_last_bit() -> None:
    # The filter adds to w_fine x what coarser shells differ by, which is then exactly zero.
    x = signal(2, 16, 16).float()
    transform = WaveletTransform((16, 16), "haar", 3)
    assert torch.equal(transform.filter(x, torch.ones(2, 4)), x)


def test_filters_longer_than_the_grid_wrap_round_and_stay_orthogonal() -> None:
    transform = WaveletTransform((4, 8), "db6", 2)
    assert_isometry(transform, signal(2, 4, 8), 1e-13)
    assert_shell_projectors(transform, signal(2, 4, 8), 1e-13)


@pytest.mark.parametrize("name", ["haar", "db2", "db6", "sym8", "db20", "db38"])
@pytest.mark.parametrize("shape", [(128,), (1024,), (128, 256), (96, 192), (8, 512), (136, 160)])
def test_large_grids_are_filtered_in_blocks_to_the_same_result(name: str, shape: tuple[int, ...]) -> None:
    x, w = signal(2, *shape), torch.tensor([[0.9, 0.5, 0.1], [0.0, 2.0, -1.0]], dtype=torch.float64)
    transform = WaveletTransform(shape, name, 2)
    gains = transform.inverse(transform.forward(x) * transform.gain(w))
    assert relative_error(transform.filter(x, w), gains) < 1e-13


@pytest.mark.parametrize("name", ["haar", "db6"])
@pytest.mark.parametrize("shape", [(256,), (128, 256)])
def test_filters_in_blocks_have_gradients_and_compile(name: str, shape: tuple[int, ...]) -> None:
    transform, x = WaveletTransform(shape, name, 2), signal(2, *shape)
    assert_gradients(transform, x)
    assert_compiles(transform, x)
    turned = x.transpose(0, -1).contiguous().transpose(0, -1)  # another order in memory
    w = torch.tensor([[0.9, 0.5, 0.1]] * 2, dtype=torch.float64)
    assert relative_error(transform.filter(turned, w), transform.filter(x, w)) < 1e-14


@pytest.mark.parametrize(
    ("shape", "name", "levels"),
    [((64,), "db2", 4), ((32, 32), "db6", 1), ((16, 8), "haar", 3), ((6,), "db6", 1)],
)
def test_the_usual_number_of_levels(shape: tuple[int, ...], name: str, levels: int) -> None:
    # As often as PyWavelets' dwt_max_level says, if the size can be halved so often, and at least once.
    assert WaveletTransform(shape, name).levels == levels


@pytest.mark.parametrize(
    ("shape", "options", "words"),
    [
        ((50,), {"levels": 3}, r"size 50 cannot be halved 3 times: use 48 or 56, or at most 1 levels"),
        ((15, 16), {"levels": 1}, r"size 15 cannot be halved 1 times: use 14 or 16"),
        ((7,), {}, r"size 7 cannot be halved 1 times: use 6 or 8"),
        ((4,), {"levels": 3}, r"size 4 cannot be halved 3 times: use 8, or at most 2"),
        ((16,), {"levels": 0}, "levels is 0, but at least 1"),
        ((16,), {"wavelet": "bior2.2"}, "wavelet 'bior2.2' is not an orthogonal one: choose haar, dbN"),
        ((16,), {"wavelet": "db99"}, "wavelet 'db99' is not an orthogonal one"),
        ((16,), {"wavelet": "dmey"}, r"wavelet 'dmey' on 16 samples is off orthogonal by .*\(limit 1e-08\)"),
        ((8, 8, 8), {}, "give 1 … 2 whole numbers"),
    ],
)
def test_bad_input_is_refused(shape: tuple[int, ...], options: dict[str, object], words: str) -> None:
    with pytest.raises(TransformError, match=words):
        WaveletTransform(shape, **options)  # type: ignore[arg-type]
