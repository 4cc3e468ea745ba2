"""When each shell moves."""

from __future__ import annotations

import itertools

import pytest
import torch

from kflow_sci.errors import ScheduleError
from kflow_sci.flow.schedule import RAMPS, ShellSchedule


def at(schedule: ShellSchedule, s: float) -> tuple[list[float], list[float]]:
    alpha, rate = schedule.progress(torch.tensor([s], dtype=torch.float64))
    return alpha[0].tolist(), rate[0].tolist()


def test_strict_windows_tile_time() -> None:
    schedule = ShellSchedule((1.0, 3.0))
    assert schedule.windows == ((0.0, 0.25), (0.25, 1.0))
    assert at(schedule, 0.125) == ([0.5, 0.0], [4.0, 0.0])
    alpha, rate = at(schedule, 0.625)
    assert alpha == [1.0, 0.5] and rate == pytest.approx([0.0, 4 / 3])


def test_overlap_one_and_one_shell_are_plain_flow_matching() -> None:
    s = torch.linspace(0, 1, 11, dtype=torch.float64)
    for schedule in (ShellSchedule.equal(4, overlap=1.0), ShellSchedule.plain()):
        alpha, rate = schedule.progress(s)
        assert torch.equal(alpha, s[:, None].expand_as(alpha))
        assert torch.equal(rate, torch.ones_like(rate))
        assert schedule.edges == (0.0, 1.0)


def test_half_overlap_of_three_equal_shells_by_hand() -> None:
    schedule = ShellSchedule.equal(3, overlap=0.5)
    assert [pytest.approx(w) for w in [(0, 2 / 3), (1 / 6, 5 / 6), (1 / 3, 1)]] == list(schedule.windows)
    assert schedule.edges == pytest.approx((0, 1 / 6, 1 / 3, 2 / 3, 5 / 6, 1))


@pytest.mark.parametrize("mu", RAMPS)
@pytest.mark.parametrize("overlap", [0.0, 0.3, 1.0])
def test_progress_is_monotone_from_exactly_0_to_exactly_1(mu: str, overlap: float) -> None:
    schedule = ShellSchedule((0.2, 0.5, 0.3), overlap, mu)
    alpha, _ = schedule.progress(torch.linspace(0, 1, 1001, dtype=torch.float64))
    assert bool((alpha[0] == 0).all()) and bool((alpha[-1] == 1).all())
    assert bool((alpha.diff(dim=0) >= 0).all())


@pytest.mark.parametrize("mu", RAMPS)
def test_rate_is_the_time_derivative_of_progress(mu: str) -> None:
    schedule = ShellSchedule((0.2, 0.5, 0.3), 0.4, mu)
    s, h = torch.rand(50, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 0.98 + 0.01, 1e-6
    s = s[(s[:, None] - torch.tensor(schedule.edges)).abs().amin(1) > 1e-4]
    difference = (schedule.progress(s + h)[0] - schedule.progress(s - h)[0]) / (2 * h)
    assert torch.allclose(difference, schedule.progress(s)[1], atol=1e-7)


def test_smoothstep_starts_and_ends_at_rest() -> None:
    _, rate = ShellSchedule.equal(2, mu="smoothstep").progress(
        torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)
    )
    assert rate.abs().max() == 0


@pytest.mark.parametrize(
    ("schedule", "steps"),
    [
        (ShellSchedule((0.1, 0.6, 0.3)), [4]),
        (ShellSchedule((0.1, 0.6, 0.3)), [1, 2, 9]),
        (ShellSchedule.equal(3, overlap=0.5), [6, 5, 5]),
        (ShellSchedule.plain(), [16]),
        (ShellSchedule.equal(5, overlap=0.2), [2]),
    ],
)
def test_grid_contains_every_edge_and_spends_the_steps_asked(
    schedule: ShellSchedule, steps: list[int]
) -> None:
    grid = schedule.grid(steps)
    total = sum(steps) if len(steps) > 1 else steps[0] * schedule.n_shells
    assert len(grid) == total + 1
    assert bool((grid.diff() > 0).all())
    for edge in schedule.edges:
        assert (grid - edge).abs().min() < 1e-12


def test_strict_grid_gives_each_shell_its_own_steps() -> None:
    schedule = ShellSchedule((0.1, 0.9))
    grid = schedule.grid([3, 2])
    assert grid.tolist() == pytest.approx([0, 0.1 / 3, 0.2 / 3, 0.1, 0.55, 1.0])


def test_one_step_per_shell_still_never_straddles_an_edge() -> None:
    schedule = ShellSchedule.equal(4, overlap=0.5)
    grid = schedule.grid([1])
    assert len(grid) == len(schedule.edges)


def test_widths_by_energy_and_dimension_by_hand() -> None:
    assert ShellSchedule.by_energy([8.0, 1.0, 1.0]).widths == pytest.approx((0.8, 0.1, 0.1))
    assert ShellSchedule.by_energy([16.0, 1.0], power=0.5).widths == pytest.approx((0.8, 0.2))
    assert ShellSchedule.by_energy(torch.tensor([16.0, 1.0]), power=0.0).widths == (0.5, 0.5)
    assert ShellSchedule.by_dimension([1, 3], power=1.0).widths == (0.25, 0.75)
    assert ShellSchedule.by_dimension([1, 4], 0.3, "cosine", power=0.5) == ShellSchedule(
        (1, 2), 0.3, "cosine"
    )


def test_scale_counts_the_shells_that_are_passed() -> None:
    strict = ShellSchedule((0.5, 0.25, 0.25))
    assert strict.scale(torch.tensor([0.0, 0.25, 0.5, 0.625, 1.0])).tolist() == [0.0, 0.5, 1.0, 1.5, 3.0]
    plain = ShellSchedule.equal(4, overlap=1.0)
    assert plain.scale(torch.tensor([0.25])).tolist() == [1.0]


@pytest.mark.parametrize("mu", RAMPS)
@pytest.mark.parametrize("overlap", [0.0, 0.3, 1.0])
def test_time_is_the_inverse_of_scale(mu: str, overlap: float) -> None:
    schedule = ShellSchedule((0.2, 0.5, 0.3), overlap, mu)
    k = torch.linspace(0, 3, 301, dtype=torch.float64)
    s = schedule.time(k)
    assert torch.allclose(schedule.scale(s), k, atol=1e-12)
    assert bool((s.diff() > 0).all())
    edges = torch.tensor(schedule.edges, dtype=torch.float64)
    assert torch.equal(schedule.time(schedule.scale(edges)), edges)


def test_edges_split_by_rounding_are_one_edge() -> None:
    # Windows of 4 shells with overlap 1/5 meet in pairs (a_{j+2} = b_j), but not to the last bit in floating point.
    for n, overlap in ((4, 0.2), (5, 1 / 6), (7, 0.3), (9, 0.1)):
        schedule = ShellSchedule.equal(n, overlap)
        assert set(sum(schedule.windows, ())) | {0.0, 1.0} == set(schedule.edges)
        assert min(b - a for a, b in itertools.pairwise(schedule.edges)) > 1e-6


@pytest.mark.parametrize("overlap", [0.0, 0.4])
def test_moving_shells_are_those_with_a_rate(overlap: float) -> None:
    schedule = ShellSchedule((0.2, 0.5, 0.3), overlap)
    s = torch.linspace(0, 1, 101, dtype=torch.float64)
    assert torch.equal(schedule.moving(s), schedule.progress(s)[1] > 0)


def test_steps_are_dealt_by_share() -> None:
    schedule = ShellSchedule.equal(3)
    assert schedule.spend(9) == (3, 3, 3)
    assert schedule.spend(10, [100.0, 1.0, 1.0]) == (8, 1, 1)
    assert schedule.spend(3, [1.0, 0.0, 0.0]) == (1, 1, 1)
    assert len(schedule.grid(schedule.spend(16, [3.0, 2.0, 1.0]))) == 17


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: ShellSchedule(()), "positive"),
        (lambda: ShellSchedule((1.0, 0.0)), "positive"),
        (lambda: ShellSchedule((1.0, float("nan"))), "positive"),
        (lambda: ShellSchedule.equal(2, overlap=1.5), r"outside \[0, 1\]"),
        (lambda: ShellSchedule.equal(2, mu="quadratic"), "choose one of"),
        (lambda: ShellSchedule.equal(2).progress(torch.tensor([1.5])), r"\[0, 1\]"),
        (lambda: ShellSchedule.equal(2).progress(torch.tensor([float("nan")])), r"\[0, 1\]"),
        (lambda: ShellSchedule.equal(3).grid([1, 2]), "expected 3"),
        (lambda: ShellSchedule.equal(3).grid([0]), ">= 1"),
        (lambda: ShellSchedule((1.0, 1e-8)), "shell 1 has 1.0e-08 of flow time"),
        (lambda: ShellSchedule.by_energy([1.0, 0.0]), "join an empty shell"),
        (lambda: ShellSchedule.by_energy([1.0, float("inf")]), "each must be > 0"),
        (lambda: ShellSchedule.by_dimension([3, 0]), "join an empty shell"),
        (lambda: ShellSchedule.equal(2).progress(torch.tensor([[0.5]])), "one float per sample"),
        (lambda: ShellSchedule.equal(2).progress(torch.tensor([1])), "one float per sample"),
        (lambda: ShellSchedule.equal(2).time(torch.tensor([2.5])), r"\[0, 2\]"),
        (lambda: ShellSchedule.equal(2).time(torch.tensor([float("nan")])), r"\[0, 2\]"),
        (lambda: ShellSchedule.equal(2).spend(1), "at least one step"),
        (lambda: ShellSchedule.equal(2).spend(4, [1.0]), "expected 2"),
        (lambda: ShellSchedule.equal(2).spend(4, [0.0, 0.0]), "not all 0"),
    ],
)
def test_bad_settings_are_refused(make, words: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ScheduleError, match=words):
        make()
