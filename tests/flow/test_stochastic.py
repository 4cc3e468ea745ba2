"""The stochastic sampler: same marginals as the flow."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from kflow_sci.errors import ScheduleError
from kflow_sci.flow.exact import CoordinateTransform, GaussianMixture, coordinate_path, projectors
from kflow_sci.flow.path import Path
from kflow_sci.flow.schedule import ShellSchedule
from kflow_sci.flow.solve import solve
from kflow_sci.flow.stochastic import score, solve_stochastic
from kflow_sci.testing import relative_error


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gaussian(path: Path, size: int, sigma: float = 1.0) -> GaussianMixture:
    root = random(1, size, size, seed=4) / math.sqrt(size)
    spread = root @ root.transpose(1, 2) + 0.3 * torch.eye(size, dtype=torch.float64)
    p = projectors(path.transform, (size,))
    return GaussianMixture(p, path.schedule, [1.0], random(1, size, seed=5), spread, sigma)


@pytest.mark.parametrize("s", [0.1, 0.45, 0.8])
@pytest.mark.parametrize("sigma", [1.0, 1.7])
def test_score_is_the_gradient_of_the_log_density(s: float, sigma: float) -> None:
    path = coordinate_path([1, 2], overlap=1.0)
    target = gaussian(path, 3, sigma)
    x = random(10, 3).requires_grad_()
    (truth,) = torch.autograd.grad(target.log_density(x, s).sum(), x)
    times = torch.full((10,), s, dtype=torch.float64)
    endpoint = target.endpoint(x.detach(), times)
    assert relative_error(score(path, x.detach(), endpoint, times, sigma), truth) < 1e-10


def test_score_is_known_in_the_unfinished_shells_of_a_strict_path() -> None:
    path = coordinate_path([1, 1, 1])
    target = gaussian(path, 3)
    x = random(10, 3).requires_grad_()
    (truth,) = torch.autograd.grad(target.log_density(x, 0.5).sum(), x)
    times = torch.full((10,), 0.5, dtype=torch.float64)
    found = score(path, x.detach(), target.endpoint(x.detach(), times), times)
    assert relative_error(found[:, 1:], truth[:, 1:]) < 1e-10
    assert not found[:, 0].any()


@pytest.mark.parametrize(("churn", "overlap"), [(0.3, 0.5), (1.0, 0.0), (1.0, 1.0), (2.0, 0.0), (2.0, 0.5)])
def test_moments_at_every_time_are_those_of_the_flow(churn: float, overlap: float) -> None:
    path = coordinate_path([1, 1], overlap)
    target = gaussian(path, 2)
    n = 10_000
    solution = solve_stochastic(
        target.endpoint, random(n, 2, seed=1), path, [100], churn=churn, keep=True,
        generator=torch.Generator().manual_seed(2),
    )  # fmt: skip
    for index in (25, 50, 100, len(solution.times) - 1):
        s = solution.times[index : index + 1]
        alpha = path.schedule.progress(s)[0][0]
        data, noise = torch.diag(alpha), torch.diag(1 - alpha)
        covariance = data @ target.covariance[0] @ data + noise @ noise
        x = solution.states[index]
        # Three standard errors of 10,000 samples are 4 %; 100 steps per shell leave up to 3 %.
        assert relative_error(x.mean(0), data @ target.mean[0]) < 0.06
        assert relative_error(x.T.cov(), covariance) < 0.08


def second_moment(target: GaussianMixture, path: Path, steps: int, churn: float) -> float:
    """Variance at s = 1 in one dimension with no sampling error: each step is x -> m x + c z, so follow m and c."""
    times = path.schedule.grid([steps])
    variance = 1.0
    for now, then in zip(times[:-1].tolist(), times[1:].tolist(), strict=True):
        slope = float((target.endpoint(torch.ones(1, 1).double(), torch.tensor([now]).double())
                       - target.endpoint(torch.zeros(1, 1).double(), torch.tensor([now]).double()))[0, 0])  # fmt: skip
        kept = ((1 - then) / (1 - now)) ** churn
        noise = (1 - now * slope) / (1 - now)
        mean = then * slope + (1 - then) * kept * noise
        variance = mean**2 * variance + (1 - then) ** 2 * (1 - kept**2)
    return variance


def test_variance_converges_to_the_target_s_at_first_order() -> None:
    path = Path(CoordinateTransform(torch.tensor([0])), ShellSchedule.plain())
    one = torch.ones(1, 1, 1, dtype=torch.float64)
    target = GaussianMixture(one, path.schedule, [1.0], 0 * one[0], 4 * one)
    steps = (50, 100, 200)
    errors = [abs(second_moment(target, path, n, 1.0) - 4.0) for n in steps]
    assert -np.polyfit(np.log(steps), np.log(errors), 1)[0] == pytest.approx(1.0, abs=0.2)
    # The recursion by hand and the sampler agree.
    x = solve_stochastic(
        target.endpoint, random(40_000, 1), path, [50], generator=torch.Generator().manual_seed(1)
    ).x
    assert float(x.var()) == pytest.approx(second_moment(target, path, 50, 1.0), rel=0.03)


def test_without_churn_it_is_the_shell_update() -> None:
    path = coordinate_path([1, 2], overlap=0.4)
    target, x0 = gaussian(path, 3), random(5, 3)
    quiet = solve_stochastic(target.endpoint, x0, path, [6], churn=0.0, generator=torch.Generator())
    assert relative_error(quiet.x, solve(target.endpoint, x0, path, [6]).x) < 1e-13


def test_noise_is_fresh_in_the_moving_shell_alone() -> None:
    path = coordinate_path([1, 1, 1])
    generator = torch.Generator().manual_seed(0)
    solution = solve_stochastic(
        lambda x, s: torch.zeros_like(x), random(50, 3), path, [4], keep=True, generator=generator
    )
    for j, (start, end) in enumerate(((0, 4), (4, 8), (8, 12))):
        first, middle, last = (solution.states[i] for i in (start, start + 2, end))
        others = [i for i in range(3) if i != j]
        assert torch.equal(first[:, others], last[:, others])
        ratio = middle[:, j] / first[:, j]
        assert float(ratio.std()) > 0.1  # deterministic decay would be one factor for all


def test_velocity_serves_the_stochastic_sampler() -> None:
    path = coordinate_path([1, 1], overlap=0.3)
    target, x0 = gaussian(path, 2), random(5, 2)
    runs = [
        solve_stochastic(f, x0, path, [10], prediction=p, generator=torch.Generator().manual_seed(3)).x
        for f, p in ((target.endpoint, "endpoint"), (target.velocity, "velocity"))
    ]
    assert relative_error(runs[0], runs[1]) < 1e-10


@pytest.mark.parametrize(("churn", "sigma"), [(-1.0, 1.0), (math.nan, 1.0), (1.0, 0.0)])
def test_negative_noise_is_refused(churn: float, sigma: float) -> None:
    with pytest.raises(ScheduleError, match="churn must be >= 0"):
        solve_stochastic(
            lambda x, s: x, random(1, 2), coordinate_path([1, 1]), [1], churn=churn, sigma=sigma,
            generator=torch.Generator(),
        )  # fmt: skip
