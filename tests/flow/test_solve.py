"""Solvers: order of convergence, edges, counting, adaptive steps."""

from __future__ import annotations

import builtins
import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

from kflow_sci.errors import ScheduleError
from kflow_sci.flow.adaptive import ADAPTIVE, solve_adaptive
from kflow_sci.flow.exact import CoordinateTransform, GaussianMixture, coordinate_path, projectors
from kflow_sci.flow.path import Path
from kflow_sci.flow.schedule import ShellSchedule
from kflow_sci.flow.solve import METHODS, RUNGE_KUTTA, runge_kutta, solve
from kflow_sci.testing import relative_error


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def independent(path: Path) -> tuple[GaussianMixture, Callable[[torch.Tensor], torch.Tensor]]:
    """N(0, 1) to N(m, τ²) in independent coordinates, and its flow in closed form: x₀ -> m + τ x₀."""
    size = path.transform.shell_of.numel()
    mean = torch.linspace(-2, 3, size, dtype=torch.float64)
    tau = torch.linspace(0.3, 2.5, size, dtype=torch.float64)
    target = GaussianMixture(
        projectors(path.transform, (size,)), path.schedule, [1.0], mean[None], torch.diag(tau**2)[None]
    )
    return target, lambda x0: mean + tau * x0


@cache
def curved(overlap: float) -> tuple[Path, GaussianMixture, torch.Tensor, torch.Tensor]:
    """A flow that bends: a mixture of correlated Gaussians, some starts, and where a very fine grid takes them."""
    path = Path(CoordinateTransform(torch.tensor([0, 1, 1])), ShellSchedule((1, 2), overlap))
    root = random(2, 3, 3, seed=4)
    target = GaussianMixture(
        projectors(path.transform, (3,)),
        path.schedule,
        [0.6, 0.4],
        1.5 * random(2, 3, seed=5),
        root @ root.transpose(1, 2) + 0.2 * torch.eye(3, dtype=torch.float64),
    )
    x0 = random(20, 3, seed=1)
    return path, target, x0, solve(target.velocity, x0, path, [160], method="rk4").x


def slope(method: str, overlap: float, steps: tuple[int, ...]) -> float:
    path, target, x0, truth = curved(overlap)
    field = target.endpoint if method.startswith("shell") else target.velocity
    errors = [float((solve(field, x0, path, [n], method=method).x - truth).norm()) for n in steps]
    return -float(np.polyfit(np.log(steps), np.log(errors), 1)[0])


ORDERS = {"shell": 1, "shell_midpoint": 2, "euler": 1, "midpoint": 2, "heun": 2, "rk4": 4}


@pytest.mark.parametrize("overlap", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("method", METHODS)
def test_order_of_convergence_across_edges_where_the_velocity_jumps(method: str, overlap: float) -> None:
    # μ is linear, so the velocity jumps at every edge: a method that looked across one would be of order 1.
    assert slope(method, overlap, (16, 24, 36)) == pytest.approx(ORDERS[method], abs=0.3)


def test_a_grid_that_straddles_an_edge_would_lose_the_order() -> None:
    # Why the grid holds the edges: midpoint steps of even length, which the edge at 1/3 cuts in all of them.
    _, target, x0, truth = curved(0.0)
    steps, errors = (16, 25, 37), []
    for n in steps:
        x = x0
        for i in range(n):
            x = runge_kutta(
                lambda y, t: target.velocity(y, torch.full((len(y),), t).double()),
                x, i / n, (i + 1) / n, 1.0, "midpoint",
            )  # fmt: skip
        errors.append(float((x - truth).norm()))
    assert -float(np.polyfit(np.log(steps), np.log(errors), 1)[0]) < 1.3


@pytest.mark.parametrize("method", METHODS)
def test_single_precision_reaches_the_target_on_the_edges(method: str) -> None:
    path = coordinate_path([1, 1, 1])
    target, truth = independent(path)
    x0 = random(5, 3, seed=2)
    field = target.endpoint if method.startswith("shell") else target.velocity
    error = relative_error(solve(field, x0.float(), path, [40], method=method).x.double(), truth(x0))
    assert error < (0.05 if ORDERS[method] == 1 else 2e-3)


def test_an_endpoint_serves_methods_that_stop_short_of_the_edges() -> None:
    path = coordinate_path([1, 2], overlap=0.3)
    target, truth = independent(path)
    x0 = random(4, 3, seed=3)
    for dtype in (torch.float64, torch.float32):
        x = solve(target.endpoint, x0.to(dtype), path, [40], method="midpoint", prediction="endpoint").x
        assert relative_error(x.double(), truth(x0)) < 1e-3


@pytest.mark.parametrize("method", ["euler", "midpoint", "shell", "shell_midpoint", "dopri5"])
def test_an_endpoint_that_is_a_little_wrong_is_reached_with_as_little_error(method: str) -> None:
    # So is a network's, up to the very end, where dividing by the time left would blow it up.
    path, x0, off = coordinate_path([1, 2], overlap=0.3), random(4, 3, seed=3), 0.01

    def field(x: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
        return 1.0 + off * torch.sin(40 * s[:, None] + x)

    if method == "dopri5":
        x = solve_adaptive(field, x0, path, prediction="endpoint").x
    else:
        x = solve(field, x0, path, [10], method=method, prediction="endpoint").x
    # The midpoint rule extrapolates from the middle of the last step: twice one endpoint less another.
    assert float((x - 1.0).abs().max()) <= (3 if method == "midpoint" else 1.01) * off


@pytest.mark.parametrize("method", METHODS)
def test_calls_are_counted_and_no_stage_looks_across_an_edge(method: str) -> None:
    path = Path(CoordinateTransform(torch.tensor([0, 1, 2])), ShellSchedule.equal(3, overlap=0.2))
    seen: list[float] = []

    def field(x: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
        seen.append(float(s[0]))
        return torch.zeros_like(x)

    solution = solve(field, torch.zeros(1, 3, dtype=torch.float64), path, [4], method=method)
    stages = (
        2 if method == "shell_midpoint" else len(RUNGE_KUTTA[method].nodes) if method in RUNGE_KUTTA else 1
    )
    assert solution.calls == len(seen) == stages * (len(solution.times) - 1)
    # Every stage of a step lies in the half-open interval between the edges on both sides of that step.
    for i, step in enumerate(np.array(seen).reshape(-1, stages)):
        low = max(e for e in path.schedule.edges if e <= float(solution.times[i]) + 1e-12)
        high = min(e for e in path.schedule.edges if e > low)
        assert low <= step.min() and step.max() < high


def test_walking_back_gives_the_noise() -> None:
    path = coordinate_path([1, 2], overlap=0.3)
    target, truth = independent(path)
    x0 = random(4, 3, seed=3)
    back = solve(target.velocity, truth(x0), path, [10], method="rk4", backward=True, keep=True)
    assert relative_error(back.x, x0) < 1e-4
    assert back.times[0] == 1 and back.times[-1] == 0 and torch.equal(back.states[-1], back.x)


@pytest.mark.parametrize("method", ADAPTIVE)
def test_adaptive_steps_keep_the_tolerance_and_share_the_edges(method: str) -> None:
    path = coordinate_path([1, 1, 1], overlap=0.1)
    target, truth = independent(path)
    x0 = random(4, 3, seed=1)
    coarse = method in ("fehlberg2", "adaptive_heun", "bosh3")
    tolerance = 1e-4 if coarse else 1e-7
    solution = solve_adaptive(
        target.velocity, x0, path, method=method, rtol=tolerance, atol=tolerance, keep=True
    )
    assert relative_error(solution.x, truth(x0)) < 100 * tolerance
    assert solution.times.tolist() == pytest.approx(list(path.schedule.edges))
    # At the first edge the last shell has not moved.
    assert relative_error(solution.states[1][:, 2], x0[:, 2]) < 1e-14


def test_adaptive_steps_see_each_side_of_an_edge() -> None:
    # Strict windows and v = ±α′, its sign changing with the shell: any step is exact unless it crosses an edge.
    for dtype in (torch.float32, torch.float64):
        path = Path(CoordinateTransform(torch.tensor([0, 1, 2])), ShellSchedule((1, 1, 1)))
        signs = torch.tensor([1.0, -1.0, 1.0], dtype=dtype)
        seen: list[float] = []

        def field(
            x: torch.Tensor, s: torch.Tensor, path: Path = path, signs: torch.Tensor = signs
        ) -> torch.Tensor:
            seen.append(float(s[0]))  # noqa: B023
            return path.transform.filter(signs.expand_as(x), path.schedule.progress(s)[1])

        solution = solve_adaptive(field, torch.zeros(2, 3, dtype=dtype), path)
        assert relative_error(solution.x, signs.expand(2, 3)) < 1e-6
        assert solution.calls == len(seen) < 90
        assert max(seen) < 1


def test_adaptive_solver_takes_an_endpoint() -> None:
    path = coordinate_path([1, 2], overlap=0.3)
    target, truth = independent(path)
    x0 = random(4, 3, seed=3)
    x = solve_adaptive(target.endpoint, x0, path, prediction="endpoint", rtol=1e-6, atol=1e-6).x
    assert relative_error(x, truth(x0)) < 1e-4


def test_adaptive_solver_says_when_it_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    path, x0 = coordinate_path([1, 1]), torch.ones(1, 2, dtype=torch.float64)
    with pytest.raises(ScheduleError, match="choose dopri5"):
        solve_adaptive(lambda x, s: x, x0, path, method="rk4")
    with pytest.raises(ScheduleError, match="limit 20"):
        solve_adaptive(lambda x, s: torch.sin(1e4 * s[:, None]) * 1e3 * x, x0, path, max_calls=20)
    with pytest.raises(ScheduleError, match="not finite"):
        solve_adaptive(lambda x, s: x / 0.0, x0, path)

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "torchdiffeq":
            raise ModuleNotFoundError(name)
        return original(name, *args, **kwargs)

    original = builtins.__import__
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ScheduleError, match="pip install"):
        solve_adaptive(lambda x, s: x, x0, path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"method": "rk9"}, "choose shell"),
        ({"method": "shell", "backward": True}, "the way back"),
        ({"prediction": "noise"}, "choose endpoint, velocity"),
        ({"method": "rk4", "prediction": "endpoint"}, "end of windows"),
        ({"method": "heun", "steer": [lambda x, s, endpoint: endpoint]}, "end of windows"),
        ({"backward": True, "steer": [lambda x, s, endpoint: endpoint]}, "the way back"),
        ({"steps": [1, 2, 3]}, "expected 2"),
        ({"field": lambda x, s: x[:, :1]}, "make the shapes equal"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, Any], words: str) -> None:
    given: dict[str, Any] = {"field": lambda x, s: x, "steps": [1], "method": "euler", **change}
    with pytest.raises(ScheduleError, match=words):
        solve(given.pop("field"), torch.zeros(1, 2), coordinate_path([1, 1]), given.pop("steps"), **given)


def test_a_field_that_does_nothing_leaves_future_shells_untouched() -> None:
    path = coordinate_path([1, 1])
    x0 = torch.tensor([[math.pi, math.e]])
    for method in METHODS:
        field = (lambda x, s: x0) if method.startswith("shell") else (lambda x, s: torch.zeros_like(x))
        assert torch.equal(solve(field, x0, path, [3], method=method).x, x0)
