"""Fourier shells against numpy, textbook waves and the symmetries of a grid."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from kflow_sci.errors import TransformError
from kflow_sci.testing import assert_equivariant, relative_error
from kflow_sci.transforms.fourier import FourierTransform


def image(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_unit_rings_of_a_four_by_four_grid_by_hand() -> None:
    # k = (0, 1, −2, −1) along each axis: |k| = 0 once, 1 four times, √2 four times, 2 twice, √5 four times, √8 once;
    # rounded to whole numbers that is 0: 1, 1: 8, 2: 6, 3: 1.
    transform = FourierTransform((4, 4))
    assert transform.dimension.tolist() == [1, 8, 6, 1]
    assert transform.scale.tolist() == pytest.approx(
        [0, (4 + 4 * math.sqrt(2)) / 8, (4 + 4 * math.sqrt(5)) / 6, math.sqrt(8)]
    )


@pytest.mark.parametrize("n", [9, 12])
@pytest.mark.parametrize("k", [0, 1, 3, 4])
def test_a_wave_lies_in_the_shell_of_its_wave_number(n: int, k: int) -> None:
    x = torch.cos(2 * math.pi * k * torch.arange(n, dtype=torch.float64) / n + 0.3)[None]
    energy = FourierTransform((n,)).energy(x)[0]
    assert float(energy[k]) == pytest.approx(float(x.square().sum()))
    assert float(energy.sum() - energy[k]) < 1e-20


@pytest.mark.parametrize("shape", [(7,), (8,), (6, 6), (5, 8), (8, 5), (3, 4, 5), (4, 4, 4)])
def test_energy_of_rings_is_that_of_numpy(shape: tuple[int, ...]) -> None:
    x = image(2, 3, *shape)
    transform = FourierTransform(shape)
    axes = tuple(range(-len(shape), 0))
    power = np.abs(np.fft.fftn(x.numpy(), axes=axes, norm="ortho")) ** 2
    longest = max(shape)
    grid = np.meshgrid(*[np.fft.fftfreq(n) * longest for n in shape], indexing="ij")
    ring = np.floor(np.sqrt(sum(k**2 for k in grid)) + 0.5 + 1e-9)  # halves count upwards
    for j, radius in enumerate(np.unique(ring)):
        expected = power[..., ring == radius].sum((1, 2))
        np.testing.assert_allclose(transform.energy(x)[:, j].numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize("shape", [(9,), (6, 6), (5, 8), (3, 4, 5)])
def test_filter_is_numpys_with_a_mask(shape: tuple[int, ...]) -> None:
    x, transform = image(2, 3, *shape), FourierTransform(shape, 3)
    w = torch.tensor([[1.0, 0.3, 0.0], [0.2, 0.0, 0.7]], dtype=torch.float64)
    axes = tuple(range(-len(shape), 0))
    mask = w.numpy()[:, transform.shell_of.numpy()][:, None]
    expected = np.fft.ifftn(np.fft.fftn(x.numpy(), axes=axes) * mask, axes=axes)
    assert np.abs(expected.imag).max() < 1e-14  # equal weights at k and −k keep real data real
    np.testing.assert_allclose(transform.filter(x, w).numpy(), expected.real, atol=1e-13)


def test_the_transform_is_an_orthogonal_matrix_that_is_its_own_inverse() -> None:
    transform = FourierTransform((3, 4))
    matrix = transform.forward(torch.eye(12, dtype=torch.float64).view(12, 3, 4)).view(12, 12)
    assert relative_error(matrix @ matrix.T, torch.eye(12, dtype=torch.float64)) < 1e-14
    assert relative_error(matrix @ matrix, torch.eye(12, dtype=torch.float64)) < 1e-14


def test_rings_follow_shifts_turns_and_mirrors_of_the_grid() -> None:
    transform, x = FourierTransform((8, 8), 4), image(2, 8, 8)
    w = torch.tensor([[1.0, 0.5, 0.2, 0.0]] * 2, dtype=torch.float64)
    for act in (
        lambda y: torch.roll(y, (3, -2), (-2, -1)),
        lambda y: torch.rot90(y, 1, (-2, -1)),
        lambda y: y.flip(-1),
        lambda y: y.transpose(-2, -1),
    ):
        assert_equivariant(lambda y: transform.filter(y, w), x, act, limit=1e-13)


def test_white_noise_has_equal_energy_in_every_dimension() -> None:
    transform = FourierTransform((16, 16), 4)
    per_dimension = transform.energy(image(2000, 16, 16)).mean(0) / transform.dimension
    # Relative standard error: sqrt(2 / (2000 · dimension)), at most 0.5 % for the smallest shell of 45 dimensions.
    assert torch.allclose(per_dimension, torch.ones(4, dtype=torch.float64), atol=0.025)


def test_given_edges_belong_to_the_shell_above() -> None:
    shells = FourierTransform((8,), [1.0, 3.0]).shell_of
    assert shells.tolist() == [0, 1, 1, 2, 2, 2, 1, 1]


def test_shells_of_equal_width() -> None:
    # 8 samples: |k| up to 4 in two rings of width 2.
    assert FourierTransform((8,), 2).shell_of.tolist() == [0, 0, 1, 1, 1, 1, 1, 0]


def test_shells_of_equal_energy_by_hand() -> None:
    # Unit rings 0 … 4 with energies 6, 1, 1, 1, 3: half of 12 is reached with ring 0.
    shells = FourierTransform.by_energy((8,), 2, torch.tensor([6.0, 1.0, 1.0, 1.0, 3.0]))
    assert shells.shell_of.tolist() == [0, 1, 1, 1, 1, 1, 1, 1]
    # Thirds are reached with ring 0 (6 of 12, also past the second third's start) and ring 2.
    shells = FourierTransform.by_energy((8,), 3, torch.tensor([6.0, 1.0, 1.0, 1.0, 3.0]))
    assert shells.shell_of.tolist() == [0, 1, 1, 2, 2, 2, 1, 1]


def test_shells_of_equal_energy_share_a_power_law_evenly() -> None:
    data = FourierTransform((64,)).inverse(
        image(500, 64) / (1 + torch.arange(64.0).minimum(64 - torch.arange(64.0)))
    )
    spectrum = FourierTransform((64,)).energy(data).mean(0)
    share = FourierTransform.by_energy((64,), 2, spectrum).energy(data).mean(0) / spectrum.sum()
    assert float(share.min()) > 0.3


def test_spacing_measures_all_axes_by_one_length() -> None:
    # 8 × 4 samples of a square: k is the same length along both axes. On a square lattice k counts double along the
    # short side.
    square = FourierTransform((8, 4), spacing=(1.0, 2.0))
    assert float(square.radius[0, 1]) == float(square.radius[1, 0]) == 1.0
    lattice = FourierTransform((8, 4))
    assert float(lattice.radius[0, 1]) == 2.0
    assert float(lattice.radius[1, 0]) == 1.0


def test_float32_is_exact_to_its_precision() -> None:
    x = image(2, 3, 31, 32).float()
    transform = FourierTransform((31, 32))
    assert relative_error(transform.filter(x, torch.ones(2, transform.n_shells)), x) < 2e-6
    assert relative_error(transform.inverse(transform.forward(x)), x) < 2e-6


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: FourierTransform(()), r"shape \(\) is not a grid: give 1 … 3 whole numbers >= 1"),
        (lambda: FourierTransform((4, 0)), r"shape \(4, 0\) is not a grid"),
        (lambda: FourierTransform((2, 2, 2, 2)), r"give 1 … 3"),
        (lambda: FourierTransform((8,), "rings"), "shells 'rings' are unknown: choose 'unit'"),
        (lambda: FourierTransform((8,), 0), "0 shells asked for, but at least 1"),
        (lambda: FourierTransform((8,), 9), r"shells \[1, 3, 5, 7\] of 9 hold no coefficient: use fewer"),
        (lambda: FourierTransform((8,), [2.1, 2.2]), r"shells \[1\] of 3 hold no coefficient"),
        (lambda: FourierTransform((8,), [3.0, 2.0]), r"edges \(3.0, 2.0\) must be finite and rise"),
        (lambda: FourierTransform((8,), [1.0, 1.0]), "must be finite and rise"),
        (lambda: FourierTransform((8,), [float("nan")]), "must be finite and rise"),
        (lambda: FourierTransform((8, 8), spacing=(1.0, 0.0)), r"spacing \[1.0, 0.0\] does not fit"),
        (lambda: FourierTransform.by_energy((8,), 2, torch.ones(4)), r"shape \(4,\), expected \(5,\)"),
        (lambda: FourierTransform.by_energy((8,), 9, torch.ones(5)), "only 5 units to share: ask for fewer"),
        (lambda: FourierTransform.by_energy((8,), 2, -torch.ones(5)), "must be finite, >= 0"),
        (lambda: FourierTransform.by_energy((8,), 2, torch.zeros(5)), "not all zero"),
        (lambda: FourierTransform((4,)).forward(torch.ones(4)), r"expected \(batch, …, 4\)"),
    ],
)
def test_bad_input_is_refused(make: object, words: str) -> None:
    with pytest.raises(TransformError, match=words):
        make()  # type: ignore[operator]
