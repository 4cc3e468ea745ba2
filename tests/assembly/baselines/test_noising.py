"""The three paths from a displacement to noise, against their formulas."""

from __future__ import annotations

import math

import pytest
import torch

from kflow_sci.assembly.baselines.crystal_sde import reverse
from kflow_sci.assembly.baselines.noising import Noising
from kflow_sci.errors import ConfigError

VE, VP, LERP = Noising("VE", 0.02, 3.0), Noising("VP", 0.1, 20.0), Noising("LERP", 0.0, 0.0)
ENDS = torch.tensor([0.0, 1.0], dtype=torch.float64)


def test_exploding_variance_goes_from_its_smallest_to_its_largest_deviation_and_keeps_the_mean() -> None:
    at = VE.marginal(ENDS)
    assert at.mean.tolist() == [1.0, 1.0]
    assert at.deviation.tolist() == pytest.approx([0.02, 3.0])
    assert float(VE.marginal(torch.tensor(0.5)).deviation) == pytest.approx(math.sqrt(0.02 * 3.0), rel=1e-6)


def test_preserved_variance_loses_the_mean_as_the_integral_of_beta_says() -> None:
    at = VP.marginal(ENDS)
    # The integral of 0.1 + 19.9 τ over [0, 1] is 10.05.
    assert at.mean.tolist() == pytest.approx([1.0, math.exp(-5.025)])
    assert at.deviation.tolist() == pytest.approx([0.0, math.sqrt(1.0 - math.exp(-10.05))])
    tau = torch.linspace(0.01, 1.0, 7, dtype=torch.float64)
    half = VP.marginal(tau)
    assert torch.allclose(half.mean.square() + half.deviation.square(), torch.ones_like(tau))


def test_the_straight_path_has_no_noise() -> None:
    at = LERP.marginal(torch.tensor([0.0, 0.25, 1.0], dtype=torch.float64))
    assert at.mean.tolist() == [1.0, 0.75, 0.0]
    assert at.deviation.tolist() == at.deviation_rate.tolist() == [0.0, 0.0, 0.0]
    assert at.mean_rate.tolist() == [-1.0, -1.0, -1.0]


@pytest.mark.parametrize("noising", [VE, VP, LERP])
def test_rates_are_derivatives(noising: Noising) -> None:
    tau = torch.linspace(0.05, 0.95, 7, dtype=torch.float64)
    low, at, high = (noising.marginal(tau + h) for h in (-1e-6, 0.0, 1e-6))
    assert torch.allclose(at.mean_rate, (high.mean - low.mean) / 2e-6, rtol=1e-7, atol=1e-8)
    assert torch.allclose(at.deviation_rate, (high.deviation - low.deviation) / 2e-6, rtol=1e-7, atol=1e-8)


def test_drift_and_diffusion_are_those_of_the_two_equations() -> None:
    tau = torch.linspace(0.1, 1.0, 5, dtype=torch.float64)
    beta = 0.1 + 19.9 * tau
    f, g2 = VP.drift(tau)
    assert torch.allclose(f, -0.5 * beta)
    assert torch.allclose(g2, beta)
    f, g2 = VE.drift(tau)
    sigma = 0.02 * 150.0**tau
    assert torch.equal(f, torch.zeros_like(tau))
    assert torch.allclose(g2, 2.0 * sigma.square() * math.log(150.0))


@pytest.mark.parametrize("noising", [VE, VP])
def test_the_reverse_equation_with_the_exact_score_reaches_mean_and_variance_of_a_gaussian(
    noising: Noising,
) -> None:
    mean, deviation = 0.6, 0.5
    generator = torch.Generator().manual_seed(0)

    def noise_in(u: torch.Tensor, tau: float) -> torch.Tensor:
        # u = m x + n z with x ~ N(mean, deviation²): E[z | u] = n (u − m mean) / (m² deviation² + n²).
        at = noising.marginal(torch.tensor(tau, dtype=torch.float64))
        spread = (at.mean * deviation).square() + at.deviation.square()
        return at.deviation * (u - at.mean * mean) / spread

    end = noising.marginal(ENDS[1])
    first = end.deviation * torch.randn(20000, 1, generator=generator, dtype=torch.float64)
    u = reverse(noising, noise_in, first, 200, generator)
    # The start lacks the mean and spread that are left at τ = 1; for VE that shifts the result a little:
    # (0.5/3)² of the mean is lost.
    assert float(u.mean()) == pytest.approx(mean, abs=0.03)
    assert float(u.std()) == pytest.approx(deviation, rel=0.03)


def test_unknown_paths_and_reversed_ends_are_refused() -> None:
    with pytest.raises(ConfigError, match="choose VE, VP, LERP"):
        Noising("VQ", 0.1, 1.0)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"low = 3.0 and high = 1.0 .* 0 < low < high"):
        Noising("VE", 3.0, 1.0)
