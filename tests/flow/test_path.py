"""The interpolant on R^n and on SE(3)^M, and what may be predicted along it."""

from __future__ import annotations

import itertools
import math

import pytest
import roma
import torch

from kflow_sci.errors import ScheduleError
from kflow_sci.flow.exact import CoordinateTransform
from kflow_sci.flow.path import Path
from kflow_sci.flow.rigid import Pose, dexp, dexp_inverse, from_chart, sample_rigid, to_chart
from kflow_sci.flow.schedule import RAMPS, ShellSchedule
from kflow_sci.testing import relative_error
from kflow_sci.transforms.base import KTransform
from kflow_sci.transforms.fourier import FourierTransform
from kflow_sci.transforms.graph import GraphSpectralTransform
from kflow_sci.transforms.wavelet import WaveletTransform


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def make_path(start: torch.Tensor, n_shells: int = 3, overlap: float = 0.5, mu: str = "linear") -> Path:
    transform = GraphSpectralTransform.from_points(start[..., :3], n_shells)
    return Path(transform, ShellSchedule.equal(n_shells, overlap, mu))


def poses(batch: int, bodies: int, seed: int) -> Pose:
    return Pose(
        random(batch, bodies, 3, seed=seed),
        roma.rotvec_to_rotmat(1.2 * random(batch, bodies, 3, seed=seed + 100)),
    )


@pytest.mark.parametrize("mu", ["linear", "smoothstep"])
@pytest.mark.parametrize("overlap", [0.0, 0.5, 1.0])
def test_velocity_is_the_time_derivative_of_the_path(mu: str, overlap: float) -> None:
    x0, x1 = random(6, 7, 3, seed=1), random(6, 7, 3, seed=2)
    path = make_path(x0, overlap=overlap, mu=mu)
    s, h = torch.tensor([0.05, 0.2, 0.41, 0.55, 0.77, 0.93], dtype=torch.float64), 1e-6
    difference = (path.sample(x0, x1, s + h).x - path.sample(x0, x1, s - h).x) / (2 * h)
    assert relative_error(difference, path.sample(x0, x1, s).v) < 1e-7


def test_passed_shells_are_data_and_future_shells_are_start() -> None:
    x0, x1 = random(1, 9, 3, seed=1), random(1, 9, 3, seed=2)
    path = make_path(x0, overlap=0.0)
    x = path.sample(x0, x1, torch.tensor([0.5], dtype=torch.float64)).x
    assert relative_error(path.transform.project(x, 0), path.transform.project(x1, 0)) < 1e-13
    assert relative_error(path.transform.project(x, 2), path.transform.project(x0, 2)) < 1e-13


def test_velocity_lies_in_the_active_shell() -> None:
    x0, x1 = random(1, 9, 3, seed=1), random(1, 9, 3, seed=2)
    path = make_path(x0, overlap=0.0)
    v = path.sample(x0, x1, torch.tensor([0.5], dtype=torch.float64)).v
    assert relative_error(path.transform.project(v, 1), v) < 1e-13


@pytest.mark.parametrize(("n_shells", "overlap"), [(1, 0.0), (3, 1.0)])
def test_one_shell_and_full_overlap_are_the_straight_line(n_shells: int, overlap: float) -> None:
    x0, x1 = random(4, 9, 3, seed=1), random(4, 9, 3, seed=2)
    s = torch.tensor([0.0, 0.3, 0.8, 1.0], dtype=torch.float64)
    x = make_path(x0, n_shells, overlap).sample(x0, x1, s).x
    assert relative_error(x, x0 + s[:, None, None] * (x1 - x0)) < 1e-13


def test_velocity_of_the_true_endpoint_is_the_path_velocity() -> None:
    x0, x1 = random(2, 9, 3, seed=1), random(2, 9, 3, seed=2)
    path = make_path(x0, overlap=0.3)
    s = torch.tensor([0.35, 0.8], dtype=torch.float64)
    point = path.sample(x0, x1, s)
    assert relative_error(path.velocity_from_endpoint(point.x, x1, s), point.v) < 1e-12


@pytest.mark.parametrize("overlap", [0.0, 0.4, 1.0])
def test_passed_shells_are_data_and_future_shells_start_to_the_last_bit(overlap: float) -> None:
    # The identity as transform leaves nothing to round, so equality is exact.
    schedule = ShellSchedule.equal(3, overlap)
    shell_of = torch.tensor([[0, 2, 1], [1, 0, 2]])
    x0, x1 = random(40, 2, 3, seed=1), random(40, 2, 3, seed=2)
    s = torch.linspace(0, 1, 40, dtype=torch.float64)
    x = Path(CoordinateTransform(shell_of), schedule).sample(x0, x1, s).x
    alpha = schedule.progress(s)[0][:, shell_of]
    assert torch.equal(x[alpha == 1], x1[alpha == 1]) and torch.equal(x[alpha == 0], x0[alpha == 0])
    assert int((alpha == 1).sum()) > 0 and int((alpha == 0).sum()) > 0


@pytest.mark.parametrize("transform", [FourierTransform((8, 8), 3), WaveletTransform((8, 8), "db2", 2)])
def test_passed_shells_keep_all_digits_that_the_transform_keeps(transform: KTransform) -> None:
    x0, x1 = random(1, 8, 8, seed=1), random(1, 8, 8, seed=2)
    path = Path(transform, ShellSchedule.equal(3))
    x = path.sample(x0, x1, torch.tensor([0.5], dtype=torch.float64)).x
    lost = float((transform.inverse(transform.forward(x1)) - x1).abs().max())
    assert float((transform.project(x, 0) - transform.project(x1, 0)).abs().max()) <= 4 * lost + 4e-16
    assert float((transform.project(x, 2) - transform.project(x0, 2)).abs().max()) <= 4 * lost + 4e-16


@pytest.mark.parametrize("mu", RAMPS)
@pytest.mark.parametrize("overlap", [0.0, 0.4, 1.0])
def test_any_of_endpoint_velocity_and_noise_gives_the_others(mu: str, overlap: float) -> None:
    x0, x1 = random(3, 9, 3, seed=1), random(3, 9, 3, seed=2)
    path = make_path(x0, overlap=overlap, mu=mu)
    s = torch.tensor([0.15, 0.55, 0.9], dtype=torch.float64)
    x, v, _ = path.sample(x0, x1, s)
    moves = path.schedule.moving(s).double()
    truth = {"endpoint": x1, "velocity": v, "noise": x0}
    for given, wanted in itertools.product(truth, truth):
        found = path.convert(truth[given], x, s, given=given, wanted=wanted)
        error = path.transform.filter(found - truth[wanted], moves)
        assert float(error.abs().max()) < 1e-12, (given, wanted)


def test_a_shell_at_rest_tells_what_it_can() -> None:
    path = Path(CoordinateTransform(torch.tensor([0, 1, 2])), ShellSchedule.equal(3))
    x0, x1 = random(1, 3, seed=1), random(1, 3, seed=2)
    s = torch.tensor([0.5], dtype=torch.float64)
    x, v, _ = path.sample(x0, x1, s)
    # Shell 0 is finished: x is the endpoint, the noise is forgotten. Shell 2 is unreached: x is the noise.
    endpoint = path.convert(v, x, s, given="velocity", wanted="endpoint")
    noise = path.convert(v, x, s, given="velocity", wanted="noise")
    assert torch.allclose(endpoint[0, :2], x1[0, :2]) and endpoint[0, 2] == x[0, 2]
    assert torch.allclose(noise[0, 1:], x0[0, 1:]) and noise[0, 0] == x[0, 0]
    for given, value in (("endpoint", x1), ("noise", x0)):
        moved = path.convert(value, x, s, given=given, wanted="velocity")
        assert moved[0, 0] == moved[0, 2] == 0


def test_exact_shell_update_follows_the_path_with_any_step() -> None:
    x0, x1 = random(1, 9, 3, seed=1), random(1, 9, 3, seed=2)
    path = make_path(x0, overlap=0.5, mu="smoothstep")
    times = [torch.tensor([t], dtype=torch.float64) for t in (0.1, 0.7, 1.0)]
    x = path.sample(x0, x1, times[0]).x
    for now, then in itertools.pairwise(times):
        x = path.step(x, x1, now, then)
        assert relative_error(x, path.sample(x0, x1, then).x) < 1e-13


def test_what_does_not_fit_the_path_is_refused() -> None:
    transform = GraphSpectralTransform.from_points(random(2, 5, 3), 2)
    with pytest.raises(ScheduleError, match="make them equal"):
        Path(transform, ShellSchedule.equal(3))
    path, x, s = Path(transform, ShellSchedule.equal(2)), random(2, 5, 3), torch.tensor([0.5, 0.5]).double()
    with pytest.raises(ScheduleError, match="equal shapes"):
        path.sample(x, x[:, :4], s)
    with pytest.raises(ScheduleError, match="one time per sample"):
        path.sample(x, x, s[:1])
    with pytest.raises(ScheduleError, match=r"\[0, 1\]"):
        path.sample(x, x, s + 1)
    with pytest.raises(ScheduleError, match="choose endpoint"):
        path.convert(x, x, s, given="score", wanted="noise")


# -- rigid bodies ----------------------------------------------------------------------------------------------------


def test_angular_velocity_is_the_derivative_of_the_rotation() -> None:
    start, target = poses(3, 6, 1), poses(3, 6, 2)
    path = make_path(start.centroid, overlap=0.3, mu="smoothstep")
    s, h = torch.tensor([0.2, 0.45, 0.9], dtype=torch.float64), 1e-6
    here = sample_rigid(path, start, target, s)
    ahead, behind = sample_rigid(path, start, target, s + h), sample_rigid(path, start, target, s - h)
    omega = roma.rotmat_to_rotvec(ahead.pose.rotation @ behind.pose.rotation.transpose(-1, -2)) / (2 * h)
    assert relative_error(omega, here.angular) < 1e-6
    assert relative_error((ahead.pose.centroid - behind.pose.centroid) / (2 * h), here.velocity) < 1e-6


def test_one_shell_is_lerp_and_slerp() -> None:
    start, target = poses(1, 5, 1), poses(1, 5, 2)
    path = make_path(start.centroid, 1, 1.0)
    pose = sample_rigid(path, start, target, torch.tensor([0.3], dtype=torch.float64)).pose
    q0, q1 = roma.rotmat_to_unitquat(start.rotation), roma.rotmat_to_unitquat(target.rotation)
    slerp = roma.unitquat_to_rotmat(
        roma.utils.unitquat_slerp(q0, q1, torch.tensor(0.3, dtype=torch.float64), shortest_arc=True)
    )
    assert relative_error(pose.rotation, slerp) < 1e-9
    assert relative_error(pose.centroid, 0.7 * start.centroid + 0.3 * target.centroid) < 1e-13


@pytest.mark.parametrize("overlap", [0.0, 0.3, 1.0])
def test_angular_velocity_tells_the_target_orientation_of_the_moving_shells(overlap: float) -> None:
    start, target = poses(2, 7, 1), poses(2, 7, 2)
    path = make_path(start.centroid, overlap=overlap)
    s = torch.tensor([0.4, 0.5], dtype=torch.float64)
    here = sample_rigid(path, start, target, s)
    x = to_chart(here.pose, start.rotation)
    # What a network that sees only rotations answers, brought into the chart and carried to the endpoint there.
    velocity = torch.cat([here.velocity, dexp_inverse(x[..., 3:], here.angular)], dim=-1)
    endpoint = path.convert(velocity, x, s, given="velocity", wanted="endpoint")
    apart = endpoint - to_chart(target, start.rotation)
    assert float(path.transform.filter(apart, path.schedule.moving(s).double()).abs().max()) < 1e-8


def test_path_reaches_start_and_target() -> None:
    start, target = poses(2, 6, 1), poses(2, 6, 2)
    path = make_path(start.centroid)
    for s, pose in ((0.0, start), (1.0, target)):
        end = sample_rigid(path, start, target, torch.full((2,), s, dtype=torch.float64)).pose
        assert relative_error(end.centroid, pose.centroid) < 1e-12
        assert relative_error(end.rotation, pose.rotation) < 1e-12


@pytest.mark.parametrize("parity", [1.0, -1.0])
def test_path_commutes_with_motion_and_relabelling(parity: float) -> None:
    start, target = poses(1, 8, 1), poses(1, 8, 2)
    q = parity * roma.random_rotmat(dtype=torch.float64)
    order = torch.randperm(8, generator=torch.Generator().manual_seed(3))
    s = torch.tensor([0.6], dtype=torch.float64)

    # A reflection Q turns positions by Q and proper rotations R into det(Q) Q R: the parity of the copy takes the sign.
    def move(pose: Pose) -> Pose:
        return Pose((pose.centroid @ q.T + 3.0)[:, order], (parity * q @ pose.rotation)[:, order])

    plain = sample_rigid(make_path(start.centroid), start, target, s)
    moved = sample_rigid(make_path(move(start).centroid), move(start), move(target), s)
    assert relative_error(moved.pose.centroid, move(plain.pose).centroid) < 1e-9
    assert relative_error(moved.pose.rotation, move(plain.pose).rotation) < 1e-9
    assert relative_error(moved.velocity, (plain.velocity @ q.T)[:, order]) < 1e-9
    assert relative_error(moved.angular, (parity * plain.angular @ q.T)[:, order]) < 1e-9


def test_chart_round_trip_and_dexp_inverse() -> None:
    pose, base = poses(1, 50, 1), poses(1, 50, 2).rotation
    back = from_chart(to_chart(pose, base), base)
    assert relative_error(back.rotation, pose.rotation) < 1e-12
    theta, rate = random(500, 3, seed=5), random(500, 3, seed=6)
    theta = (
        theta
        / theta.norm(dim=-1, keepdim=True)
        * torch.linspace(0, math.pi, 500, dtype=torch.float64)[:, None]
    )
    assert relative_error(dexp_inverse(theta, dexp(theta, rate)), rate) < 1e-8


def test_dexp_about_a_fixed_axis_is_the_identity() -> None:
    theta = torch.tensor([[0.0, 0.0, 2.0]], dtype=torch.float64)
    assert torch.allclose(dexp(theta, 3 * theta), 3 * theta)
