"""Spectra of data whose decay is known."""

from __future__ import annotations

import math

import pytest
import torch

from kflow_sci.errors import TransformError
from kflow_sci.transforms.fourier import FourierTransform
from kflow_sci.transforms.graph import GraphSpectralTransform
from kflow_sci.transforms.spectrum import Spectrum, energy_along
from kflow_sci.transforms.wavelet import WaveletTransform


def power_law(exponent: float, samples: int = 400, size: int = 64, seed: int = 0) -> torch.Tensor:
    """Gaussian signals whose energy falls as k^exponent."""
    transform = FourierTransform(size)
    c = torch.randn(samples, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return transform.inverse(c * transform.radius.clamp(min=1.0) ** (exponent / 2))


@pytest.mark.parametrize("exponent", [0.0, -1.0, -2.5])
def test_slope_of_a_power_law_lies_in_its_interval(exponent: float) -> None:
    spectrum = Spectrum.of(FourierTransform(64), power_law(exponent))
    slope = spectrum.slope(per_dimension=True)
    assert float(slope.low) < exponent < float(slope.high)
    # Every shell is known to √(2 / (2 · 400)) = 5 %; over 32 wave numbers with a spread of .8 in ln k that makes .011.
    assert 0.02 < float(slope.high - slope.low) < 0.09


def test_interval_covers_the_truth_as_often_as_it_says() -> None:
    hits = 0
    for seed in range(60):
        slope = Spectrum.of(FourierTransform(16), power_law(-2.0, 60, 16, seed)).slope(per_dimension=True)
        hits += int(slope.low) < 0 and float(slope.low) <= -2.0 <= float(slope.high)
    # 95 % of 60 is 57; a percentile bootstrap of 60 samples covers a little less. Below 50 has probability < 1e-3.
    assert hits >= 50


def test_beta_is_the_local_slope() -> None:
    k = torch.linspace(1.0, 20.0, 400, dtype=torch.float64)
    spectrum = Spectrum((k**-2 * torch.exp(-k / 5))[None], torch.ones_like(k), k)
    # ln E = −2 ln k − k/5, so d ln E / d ln k = −2 − k/5; central differences err by the square of the step.
    assert torch.allclose(spectrum.beta()[1:-1], -2 - k[1:-1] / 5, atol=2e-3)


def test_shells_without_wave_number_or_energy_have_no_beta_and_are_left_out_of_slopes() -> None:
    spectrum = Spectrum(
        torch.tensor([[7.0, 1.0, 0.0, 1 / 9.0]]), torch.ones(4), torch.tensor([0.0, 1.0, 2.0, 3.0])
    )
    assert spectrum.beta().isnan().tolist() == [True, False, True, False]
    assert float(spectrum.slope().value) == pytest.approx(-2.0)
    assert Spectrum(torch.ones(1, 2), torch.ones(2), torch.tensor([0.0, 1.0])).beta().isnan().all()


def test_projection_error_is_what_keeping_low_shells_leaves() -> None:
    transform, x = FourierTransform((8, 8), 4), torch.randn(1, 8, 8, dtype=torch.float64)
    error = Spectrum.of(transform, x).projection_error().value
    for j in range(4):
        w = (torch.arange(4) <= j).double()[None]
        assert float(error[j]) == pytest.approx(
            float((x - transform.filter(x, w)).norm() / x.norm()), abs=1e-7
        )


def test_white_noise_has_norm_ratio_one_per_dimension_and_root_of_dimensions_in_all() -> None:
    x = torch.randn(4000, 16, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    spectrum = Spectrum.of(WaveletTransform((16, 16), "haar", 1), x)
    assert float(spectrum.low_over_high(per_dimension=True).value) == pytest.approx(1.0, abs=0.01)
    assert float(spectrum.low_over_high().value) == pytest.approx(math.sqrt(64 / 192), abs=0.01)


def test_batches_and_joined_spectra_are_those_of_all_samples() -> None:
    transform, x = WaveletTransform(16, "db2", 2), torch.randn(30, 16, dtype=torch.float64)
    whole = Spectrum.of(transform, x)
    assert torch.allclose(Spectrum.of(transform, iter(x.split(7))).energy, whole.energy)
    joined = Spectrum.join([Spectrum.of(transform, part) for part in x.split(7)])
    assert torch.allclose(joined.energy, whole.energy)
    assert torch.allclose(joined.scale, whole.scale)


def test_clouds_of_several_sizes_join_by_their_number_of_samples() -> None:
    parts = []
    for batch, nodes in ((3, 8), (1, 4)):
        points = torch.randn(
            batch, nodes, 3, generator=torch.Generator().manual_seed(nodes), dtype=torch.float64
        )
        parts.append(Spectrum.of(GraphSpectralTransform.from_points(points, 2), points))
    joined = Spectrum.join(parts)
    assert joined.dimension.tolist() == pytest.approx([(3 * 4 + 2) / 4, (3 * 4 + 2) / 4])


def test_energy_along_a_flow() -> None:
    transform = FourierTransform((8,), 2)
    x = torch.randn(5, 8, dtype=torch.float64)
    table = energy_along(transform, [x, transform.project(x, 0), 2 * x])
    assert torch.allclose(table[0], transform.energy(x).mean(0))
    assert float(table[1, 1]) == pytest.approx(0.0)
    assert torch.allclose(table[2], 4 * table[0])


def test_resampling_holds_few_numbers_however_many_samples_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    spectrum = Spectrum.of(FourierTransform(16), power_law(-1.0, 50, 16))
    whole = spectrum.mean()
    monkeypatch.setattr("kflow_sci.transforms.spectrum._AT_ONCE", 120)
    assert torch.allclose(spectrum.mean().low, whole.low, rtol=0.05)


FLAT = Spectrum(torch.ones(3, 4), torch.ones(4), torch.arange(4.0))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Spectrum(torch.ones(3, 4), torch.ones(3), torch.ones(4)), "do not fit"),
        (lambda: Spectrum(torch.ones(3, 4), torch.ones(3), torch.ones(3)), "do not fit"),
        (lambda: Spectrum(torch.ones(0, 4), torch.ones(4), torch.ones(4)), "needs samples"),
        (lambda: Spectrum(-torch.ones(1, 4), torch.ones(4), torch.ones(4)), "finite energies >= 0"),
        (lambda: Spectrum.of(FourierTransform(4), torch.full((2, 4), math.nan)), "check the data for NaN"),
        (lambda: Spectrum.of(FourierTransform(4), []), "no batch was given"),
        (lambda: Spectrum.join([]), r"spectra with \[\] shells"),
        (
            lambda: Spectrum.join([FLAT, Spectrum(torch.ones(1, 2), torch.ones(2), torch.ones(2))]),
            r"\[4, 2\] shells",
        ),
        (lambda: FLAT.low_over_high(4), "split is 4, but must lie in 1 … 3"),
        (lambda: FLAT.slope(slice(0, 2)), "1 shells with k > 0 and energy > 0 are too few"),
        (lambda: FLAT.bootstrap(torch.sqrt, level=1.0), "level 1.0 must lie in"),
        (lambda: FLAT.bootstrap(torch.sqrt, draws=0), "draws 0 be at least 1"),
        (lambda: energy_along(FourierTransform(4), []), "no states given: solve with keep=True"),
    ],
)
def test_bad_input_is_refused(make: object, words: str) -> None:
    with pytest.raises(TransformError, match=words):
        make()  # type: ignore[operator]
