"""What holds for any schedule, any step plan, and on any device."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kflow_sci.flow.exact import CoordinateTransform
from kflow_sci.flow.likelihood import log_density
from kflow_sci.flow.path import Path
from kflow_sci.flow.schedule import RAMPS, ShellSchedule
from kflow_sci.flow.solve import METHODS, solve
from kflow_sci.flow.steer import Clamp, below, vary
from kflow_sci.flow.stochastic import solve_stochastic
from kflow_sci.testing import assert_batch_equals_singles

SCHEDULES = st.builds(
    ShellSchedule,
    st.lists(st.floats(0.01, 10.0), min_size=1, max_size=6).map(tuple),
    st.floats(0.0, 1.0),
    st.sampled_from(sorted(RAMPS)),
)
FEW = settings(max_examples=50, deadline=None, derandomize=True)


@FEW
@given(SCHEDULES, st.sampled_from([torch.float32, torch.float64]))
def test_every_shell_goes_once_from_0_to_1_inside_its_window(
    schedule: ShellSchedule, dtype: torch.dtype
) -> None:
    s = torch.linspace(0, 1, 401, dtype=dtype)
    alpha, rate = schedule.progress(s)
    start, end = schedule.bounds(s)
    assert bool((alpha.diff(dim=0) >= 0).all()) and bool((rate >= 0).all())
    assert bool((alpha[s[:, None] <= start] == 0).all()) and bool((alpha[s[:, None] >= end] == 1).all())
    # Coarse shells are never behind fine ones of the same ramp that started later.
    assert all(a0 <= a1 and b0 <= b1 for (a0, b0), (a1, b1) in itertools.pairwise(schedule.windows))


@FEW
@given(SCHEDULES, st.integers(1, 40))
def test_any_step_plan_holds_every_edge_and_spends_what_is_asked(schedule: ShellSchedule, extra: int) -> None:
    steps = schedule.spend(schedule.n_shells + extra, [2.0**-j for j in range(schedule.n_shells)])
    assert sum(steps) == schedule.n_shells + extra and min(steps) >= 1
    times = schedule.grid(steps).tolist()
    assert set(schedule.edges) <= set(times)
    assert all(b > a for a, b in itertools.pairwise(times))
    assert len(times) - 1 == max(sum(steps), len(schedule.edges) - 1)


@FEW
@given(SCHEDULES, st.floats(0.0, 1.0))
def test_scale_and_time_are_inverse(schedule: ShellSchedule, share: float) -> None:
    k = torch.tensor([share * schedule.n_shells], dtype=torch.float64)
    assert float((schedule.scale(schedule.time(k)) - k).abs()) < 1e-9


@FEW
@given(SCHEDULES, st.floats(0.0, 1.0))
def test_a_batch_is_its_samples(schedule: ShellSchedule, time: float) -> None:
    shells = torch.arange(schedule.n_shells).repeat(2)
    path = Path(CoordinateTransform(shells), schedule)
    x1 = torch.randn(3, len(shells), generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def point(x0: torch.Tensor) -> torch.Tensor:
        return path.sample(x0, x1[: len(x0)] * 0 + 1, torch.full((len(x0),), time, dtype=torch.float64)).x

    assert_batch_equals_singles(point, x1)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(
    not torch.cuda.is_available(), reason="no GPU on this machine"))])  # fmt: skip
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_flow_keeps_precision_and_device(device: str, dtype: torch.dtype) -> None:
    path = Path(CoordinateTransform(torch.tensor([0, 1, 1])).to(device), ShellSchedule.equal(2, overlap=0.2))
    generator = torch.Generator().manual_seed(0)  # on the CPU, so that samples are the same on every device
    x0 = torch.randn(4, 3, generator=generator, dtype=dtype).to(device)
    made = [vary(path.transform, x0, below(2, 1), generator)]
    for method in METHODS:
        made.append(solve(lambda x, s: torch.tanh(x), x0, path, [2], method=method).x)
    clamp = Clamp(path, torch.ones_like(x0), below(2, 1))
    density = log_density(lambda x, s: torch.tanh(x), x0, path, [2])
    made += [density.x0, density.log_density]
    made.append(solve_stochastic(lambda x, s: x, x0, path, [2], generator=generator, steer=[clamp]).x)
    assert all(x.dtype == dtype and x.device.type == device for x in made)
