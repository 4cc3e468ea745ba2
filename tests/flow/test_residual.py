"""What the best linear guess leaves."""

from __future__ import annotations

import pytest
import torch

from kflow_sci.errors import ScheduleError
from kflow_sci.flow.exact import CoordinateTransform
from kflow_sci.flow.path import Path
from kflow_sci.flow.residual import Residual
from kflow_sci.flow.schedule import ShellSchedule

PATH = Path(CoordinateTransform(torch.tensor([0, 0, 1])), ShellSchedule.equal(2, overlap=0.5))
GUESS = Residual(PATH, (4.0, 0.25))


def pair(n: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    x0 = torch.randn(n, 3, generator=generator, dtype=torch.float64)
    x1 = torch.randn(n, 3, generator=generator, dtype=torch.float64) * torch.tensor([2.0, 2.0, 0.5])
    return x0, x1, torch.rand(n, generator=generator, dtype=torch.float64)


def test_the_right_answer_gives_the_endpoint_at_every_time() -> None:
    x0, x1, s = pair(50)
    x = PATH.sample(x0, x1, s).x
    assert torch.allclose(GUESS.endpoint(GUESS.target(x0, x1, s), x, s), x1, atol=1e-12)


def test_an_answer_of_zero_is_the_least_squares_guess_for_gaussian_data() -> None:
    # E[x₁ | x] = α σ² / (α² σ² + (1 − α)²) x, here by a regression over many pairs at s = 0.5.
    x0, x1, _ = pair(200_000)
    s = torch.full((len(x0),), 0.5, dtype=torch.float64)
    x = PATH.sample(x0, x1, s).x
    slope = (x * x1).sum(0) / x.square().sum(0)
    assert torch.allclose(GUESS.endpoint(torch.zeros_like(x), x, s)[0] / x[0], slope, atol=0.01)


def test_what_is_asked_for_has_variance_one_in_every_shell_at_every_time() -> None:
    x0, x1, _ = pair(100_000)
    for time in (0.0, 0.3, 0.7):
        s = torch.full((len(x0),), time, dtype=torch.float64)
        assert torch.allclose(GUESS.target(x0, x1, s).var(0), torch.ones(3, dtype=torch.float64), atol=0.02)


def test_the_right_answer_gives_the_velocity_of_the_path_also_at_the_end_of_a_window() -> None:
    x0, x1, s = pair(50)
    for times in (s, torch.ones_like(s)):
        point = PATH.sample(x0, x1, times)
        assert torch.allclose(
            GUESS.velocity(GUESS.target(x0, x1, times), point.x, times), point.v, atol=1e-12
        )


@pytest.mark.parametrize("variance", [(1.0,), (1.0, 0.0), (1.0, float("nan"))])
def test_variances_must_be_positive_and_one_per_shell(variance: tuple[float, ...]) -> None:
    with pytest.raises(ScheduleError, match="expected 2 positive numbers, one per shell"):
        Residual(PATH, variance)
