"""Steering: what is kept, what is varied, what is restored, when a condition counts, where an energy acts."""

from __future__ import annotations

import math
from typing import Any

import pytest
import roma
import torch

from kflow_sci.errors import ScheduleError
from kflow_sci.flow.adaptive import solve_adaptive
from kflow_sci.flow.condition import ByScale
from kflow_sci.flow.exact import CoordinateTransform, GaussianMixture, coordinate_path, projectors
from kflow_sci.flow.path import Path
from kflow_sci.flow.rigid import Pose, from_chart, to_chart
from kflow_sci.flow.schedule import ShellSchedule
from kflow_sci.flow.solve import solve
from kflow_sci.flow.steer import Clamp, Downhill, above, below, mix, restore, vary
from kflow_sci.flow.stochastic import solve_stochastic
from kflow_sci.testing import relative_error
from kflow_sci.transforms.fourier import FourierTransform
from kflow_sci.transforms.graph import GraphSpectralTransform
from kflow_sci.transforms.wavelet import WaveletTransform


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gaussian(path: Path, shape: tuple[int, ...]) -> GaussianMixture:
    size = math.prod(shape)
    root = random(1, size, size, seed=4) / math.sqrt(size)
    spread = root @ root.transpose(1, 2) + 0.3 * torch.eye(size, dtype=torch.float64)
    p = projectors(path.transform, shape)
    return GaussianMixture(p, path.schedule, [1.0], random(1, *shape, seed=5), spread)


def test_weights_below_and_above_a_scale_by_hand() -> None:
    assert below(3, 0) == (0.0, 0.0, 0.0) and below(3, 3) == (1.0, 1.0, 1.0)
    assert below(3, 1.25) == (1.0, 0.25, 0.0) and above(3, 1.25) == (0.0, 0.75, 1.0)


# -- noise -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [1.0, 1.6])
def test_varied_noise_stays_white(k: float) -> None:
    transform = FourierTransform((16,), 3)
    noise = vary(transform, random(4000, 16, seed=1), above(3, k), torch.Generator().manual_seed(2))
    assert relative_error(noise.T.cov(), torch.eye(16).double()) < 0.12
    assert float(transform.energy(noise).mean(0)[1]) == pytest.approx(float(transform.dimension[1]), rel=0.05)


def test_frozen_noise_gives_the_same_coarse_shells_and_new_detail() -> None:
    path = Path(WaveletTransform((8,), "haar", 2), ShellSchedule.equal(3))
    target = gaussian(path, (8,))
    start = random(1, 8, seed=1).expand(6, -1)
    varied = vary(path.transform, start, above(3, 1), torch.Generator().manual_seed(0))
    x = solve(target.endpoint, varied, path, [8]).x
    coarse, fine = path.transform.project(x, 0), path.transform.project(x, 2)
    assert float((coarse - coarse[:1]).abs().max()) < 1e-12
    assert float(fine.std(0).max()) > 0.1


def test_noise_of_both_parts_adds_up() -> None:
    transform, a, b = FourierTransform((8, 8), 4), random(3, 8, 8, seed=1), random(3, 8, 8, seed=2)
    mixed = mix(transform, a, b, below(4, 2))
    for j in range(4):
        assert relative_error(transform.project(mixed, j), transform.project(a if j < 2 else b, j)) < 1e-13


# -- editing and restoring -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["shell", "shell_midpoint", "euler", "midpoint", "dopri5", "stochastic"])
@pytest.mark.parametrize("keep", [below(3, 2), above(3, 1)])
def test_an_edited_sample_keeps_the_clamped_shells_with_every_solver(
    method: str, keep: tuple[float, ...]
) -> None:
    path = Path(FourierTransform((8,), 3), ShellSchedule.equal(3, overlap=0.3))
    target, given, x0 = gaussian(path, (8,)), random(1, 8, seed=7), random(4, 8, seed=8)
    steer = [Clamp(path, given, keep)]
    if method == "dopri5":
        x = solve_adaptive(target.velocity, x0, path, steer=steer).x
    elif method == "stochastic":
        x = solve_stochastic(target.endpoint, x0, path, [8], steer=steer, generator=torch.Generator()).x
    else:
        field = target.endpoint if method.startswith("shell") else target.velocity
        x = solve(field, x0, path, [8], method=method, steer=steer).x
    limit = 1e-5 if method == "dopri5" else 1e-12
    for j, weight in enumerate(keep):
        away = float(
            (path.transform.project(x, j) - path.transform.project(given.expand(4, -1), j)).abs().max()
        )
        assert away < limit if weight == 1 else away > 0.1


def test_known_coarse_shells_give_the_conditional_distribution_of_the_fine_ones() -> None:
    # Strict windows: the flow of the fine shell given the coarse one is affine; its shift and matrix are the
    # conditional mean and covariance of the target, by the formula of Gaussians.
    path = coordinate_path([2, 3])
    target = gaussian(path, (5,))
    given = torch.tensor([[1.5, -1.0, 0.0, 0.0, 0.0]], dtype=torch.float64)
    start = torch.cat([torch.zeros(1, 5), torch.eye(5)[2:]]).double()
    x = solve_adaptive(
        target.velocity, start, path, rtol=1e-7, atol=1e-7, steer=[Clamp(path, given, below(2, 1))]
    ).x
    matrix = (x[1:] - x[0])[:, 2:].T
    c, mean = target.covariance[0], target.mean[0]
    gain = c[2:, :2] @ torch.linalg.inv(c[:2, :2])
    assert relative_error(x[0, 2:], mean[2:] + gain @ (given[0, :2] - mean[:2])) < 1e-4
    assert relative_error(matrix @ matrix.T, c[2:, 2:] - gain @ c[:2, 2:]) < 1e-4


def test_a_blurred_image_is_restored_in_the_shells_that_survived() -> None:
    path = Path(FourierTransform((16, 16), 4), ShellSchedule.equal(4))
    truth, gain = random(2, 16, 16, seed=3), [1.0, 0.6, 0.2, 0.001]
    observed = path.transform.filter(truth, torch.tensor([gain], dtype=torch.float64).expand(2, -1))
    clamp = restore(path, observed, gain)
    x = solve(lambda x, s: torch.zeros_like(x), random(2, 16, 16), path, [2], steer=[clamp]).x
    for j in range(3):
        assert relative_error(path.transform.project(x, j), path.transform.project(truth, j)) < 1e-12
    assert float(path.transform.project(x, 3).abs().max()) < 1e-12  # lost, and so what the network says: 0


def test_inpainting_is_a_mask_of_shells() -> None:
    hole = torch.zeros(6, 6, dtype=torch.long)
    hole[2:4, 2:4] = 1
    path = Path(CoordinateTransform(hole), ShellSchedule.equal(2))
    image = random(1, 6, 6, seed=1)
    x = solve(
        lambda x, s: torch.full_like(x, 9.0), random(1, 6, 6), path, [2], steer=[restore(path, image, [1, 0])]
    ).x
    assert relative_error(x[0][hole == 0], image[0][hole == 0]) < 1e-12
    assert relative_error(x[0][hole == 1], torch.full((4,), 9.0).double()) < 1e-12


def test_a_cluster_is_edited_through_its_chart() -> None:
    # The same call on SE(3)^M: molecules are moved as wholes from a given cluster, what is fine is generated.
    base = roma.random_rotmat(6, dtype=torch.float64)[None]
    start = Pose(random(1, 6, 3, seed=1), base)
    given = Pose(random(1, 6, 3, seed=2), roma.random_rotmat(6, dtype=torch.float64)[None])
    path = Path(GraphSpectralTransform.from_points(start.centroid, 3), ShellSchedule.equal(3))
    known = to_chart(given, base)
    x = solve(
        lambda x, s: torch.zeros_like(x),
        to_chart(start, base),
        path,
        [2],
        steer=[Clamp(path, known, below(3, 3))],
    ).x
    end = from_chart(x, base)
    assert relative_error(end.centroid, given.centroid) < 1e-12
    assert relative_error(end.rotation, given.rotation) < 1e-9


def test_steerings_act_one_after_the_other() -> None:
    path, x0 = coordinate_path([1, 1]), torch.zeros(1, 2)
    first, second = (Clamp(path, torch.full((1, 2), v), [1, w]) for v, w in ((3.0, 1), (5.0, 0)))
    assert solve(lambda x, s: x, x0, path, [1], steer=[first, second]).x.tolist() == [[5.0, 3.0]]


# -- energy ----------------------------------------------------------------------------------------------------------


def test_an_energy_moves_the_chosen_shells_alone() -> None:
    path = Path(FourierTransform((8,), 3), ShellSchedule.equal(3))
    target, x0 = gaussian(path, (8,)), random(3, 8, seed=2)
    plain = solve(target.endpoint, x0, path, [10]).x
    spring = Downhill(path, lambda x: 0.5 * (x - 4.0).square().sum(1), above(3, 2), rate=0.5)
    pulled = solve(target.endpoint, x0, path, [10], steer=[spring]).x
    for j in range(2):
        assert relative_error(path.transform.project(pulled, j), path.transform.project(plain, j)) < 1e-12
    # The spring's minimum is a constant, with no part in the last shell: there the endpoint is halved.
    assert float(path.transform.project(pulled, 2).norm()) < 0.7 * float(
        path.transform.project(plain, 2).norm()
    )


def test_an_energy_step_by_hand_and_its_limit() -> None:
    path, at = coordinate_path([2]), torch.tensor([[3.0, 4.0], [0.3, 0.4]], dtype=torch.float64)
    s = torch.zeros(2, dtype=torch.float64)

    def energy(x: torch.Tensor) -> torch.Tensor:
        return x.square().sum(1)

    free = Downhill(path, energy, [1.0], rate=0.5)(at, s, at)
    assert torch.equal(free, torch.zeros_like(at))
    # Root mean square displacement √12.5 is cut to √0.5, that of the second sample is below it.
    held = Downhill(path, energy, [1.0], rate=0.5, limit=math.sqrt(0.5))(at, s, at)
    assert torch.allclose(held, torch.tensor([[2.4, 3.2], [0.0, 0.0]], dtype=torch.float64))


def test_an_energy_works_where_gradients_are_off() -> None:
    path = coordinate_path([1, 1])
    spring = Downhill(path, lambda x: x.square().sum(1), [1, 1], rate=0.25)
    with torch.no_grad():
        x = solve(lambda x, s: torch.ones_like(x), torch.zeros(2, 2), path, [1], steer=[spring]).x
    assert not x.requires_grad and x.tolist() == [[0.5, 0.5], [0.5, 0.5]]


# -- conditions ------------------------------------------------------------------------------------------------------


def net(x: torch.Tensor, s: torch.Tensor, condition: float) -> torch.Tensor:
    return torch.full_like(x, condition)


def test_a_condition_is_dropped_or_swapped_at_a_scale() -> None:
    path = coordinate_path([1, 1, 1])
    field = ByScale(net, path, plan=[(0, 5.0), (1, 7.0), (2, 0.0)], null=0.0)
    solution = solve(field, torch.zeros(2, 3), path, [4])
    assert solution.x.tolist() == [[5.0, 7.0, 0.0]] * 2
    assert solution.calls == 12


@pytest.mark.parametrize("method", ["shell", "midpoint"])
def test_guidance_weighs_each_shell_and_pays_only_where_it_acts(method: str) -> None:
    path = coordinate_path([1, 1, 1])
    field = ByScale(net, path, plan=[(0, 2.0)], null=1.0, guidance=[3.0, 1.0, 0.0])
    solution = solve(field, torch.zeros(1, 3), path, [4], method=method, prediction="endpoint")
    # 1 + w (2 − 1) in each shell.
    assert relative_error(solution.x, torch.tensor([[4.0, 2.0, 1.0]])) < 1e-5
    per_step = 1 if method == "shell" else 2
    assert solution.calls == per_step * (4 * 2 + 4 * 1 + 4 * 2)


def test_a_dropped_condition_needs_no_guidance() -> None:
    path, null = coordinate_path([1, 1]), object()
    seen: list[Any] = []

    def watched(x: torch.Tensor, s: torch.Tensor, condition: Any) -> torch.Tensor:
        seen.append(condition)
        return x

    field = ByScale(watched, path, plan=[(0, "cat"), (1, null)], null=null, guidance=[2.0, 2.0])
    solution = solve(field, torch.zeros(1, 2), path, [1])
    assert seen == ["cat", null, null] and solution.calls == 3


# -- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda p, x: below(2, 2.5), r"outside \[0, 2\]"),
        (lambda p, x: mix(p.transform, x, x, [1.0]), "expected 2"),
        (lambda p, x: mix(p.transform, x, x, [1.0, 1.5]), r"in \[0, 1\]"),
        (lambda p, x: mix(p.transform, x, x, [1.0, math.nan]), r"in \[0, 1\]"),
        (lambda p, x: vary(p.transform, x, [-1, 0], torch.Generator()), r"in \[0, 1\]"),
        (lambda p, x: restore(p, x, [1.0, -0.1]), "numbers >= 0"),
        (lambda p, x: restore(p, x, [1.0, 0.1], floor=0.0), "must be positive"),
        (lambda p, x: Downhill(p, lambda y: y.sum(), [1, 1], 0.1)(x, x[:, 0], x), "one number per sample"),
        (lambda p, x: ByScale(net, p, plan=[(1, 0.0)]), "begin at 0"),
        (lambda p, x: ByScale(net, p, plan=[(0, 0.0), (0, 1.0)]), "and rise"),
        (lambda p, x: ByScale(net, p, plan=[(0, 0.0)], guidance=[1.0]), "give one per shell"),
    ],
)
def test_what_cannot_be_is_refused(make: Any, words: str) -> None:
    with pytest.raises(ScheduleError, match=words):
        make(coordinate_path([1, 1]), torch.zeros(1, 2))
