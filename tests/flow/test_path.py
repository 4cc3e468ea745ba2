"""The interpolant on R^n and on SE(3)^M, couplings and the solver."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import roma
import torch

from kflow_sci.errors import ScheduleError
from kflow_sci.flow.coupling import assign, couple, kabsch, nearest_equivalent
from kflow_sci.flow.objective import shell_weights
from kflow_sci.flow.path import Path
from kflow_sci.flow.rigid import Pose, dexp, dexp_inverse, from_chart, sample_rigid, to_chart
from kflow_sci.flow.schedule import ShellSchedule
from kflow_sci.flow.solve import solve
from kflow_sci.testing import relative_error
from kflow_sci.transforms.graph import GraphSpectralTransform


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def make_path(start: torch.Tensor, n_shells: int = 3, overlap: float = 0.5, mu: str = "linear") -> Path:
    transform = GraphSpectralTransform.from_points(start[..., :3], n_shells)
    return Path(transform, ShellSchedule.equal(n_shells, overlap, mu))


def poses(batch: int, bodies: int, seed: int) -> Pose:
    return Pose(random(batch, bodies, 3, seed=seed), roma.rotvec_to_rotmat(1.2 * random(batch, bodies, 3, seed=seed + 100)))


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


def test_exact_shell_update_follows_the_path_with_any_step() -> None:
    x0, x1 = random(1, 9, 3, seed=1), random(1, 9, 3, seed=2)
    path = make_path(x0, overlap=0.5, mu="smoothstep")
    times = [torch.tensor([t], dtype=torch.float64) for t in (0.1, 0.7, 1.0)]
    x = path.sample(x0, x1, times[0]).x
    for now, then in itertools.pairwise(times):
        x = path.step(x, x1, now, then)
        assert relative_error(x, path.sample(x0, x1, then).x) < 1e-13


@pytest.mark.parametrize("method", ["shell", "euler", "midpoint"])
def test_solver_with_the_exact_field_ends_at_the_target(method: str) -> None:
    x0, x1 = random(2, 9, 3, seed=1), random(2, 9, 3, seed=2)
    path = make_path(x0, overlap=0.0)

    def field(x: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
        return x1 if method == "shell" else path.sample(x0, x1, s).v

    solution = solve(field, x0, path, [2], method=method, keep=True)
    # Velocities are constant between edges (linear ramp), so even Euler is exact on an edge-aligned grid.
    assert relative_error(solution.x, x1) < 1e-12
    assert solution.calls == (12 if method == "midpoint" else 6)
    assert len(solution.states) == len(solution.times) == 7


@pytest.mark.parametrize(("method", "order"), [("euler", 1), ("midpoint", 2)])
def test_order_of_convergence_across_edges(method: str, order: int) -> None:
    # dx/ds = S(α′) x on each shell has the solution x_j(1) = x_j(0) e^{α_j(1)} = e x_j(0), whatever the windows.
    x0 = random(1, 9, 3, seed=1)
    path = make_path(x0, overlap=0.4)

    def field(x: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
        return path.transform.filter(x, path.schedule.progress(s)[1])

    errors = [float((solve(field, x0, path, [n], method=method).x - math.e * x0).abs().max()) for n in (10, 20, 40)]
    slope = np.polyfit(np.log([10, 20, 40]), np.log(errors), 1)[0]
    assert -slope == pytest.approx(order, abs=0.15)


def test_path_of_wrong_shell_number_and_unknown_solver_are_refused() -> None:
    transform = GraphSpectralTransform.from_points(random(1, 5, 3), 2)
    with pytest.raises(ScheduleError, match="make them equal"):
        Path(transform, ShellSchedule.equal(3))
    with pytest.raises(ScheduleError, match="choose shell"):
        solve(lambda x, s: x, random(1, 5, 3), Path(transform, ShellSchedule.equal(2)), [1], method="rk9")


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
    slerp = roma.unitquat_to_rotmat(roma.utils.unitquat_slerp(q0, q1, torch.tensor(0.3, dtype=torch.float64), shortest_arc=True))
    assert relative_error(pose.rotation, slerp) < 1e-9
    assert relative_error(pose.centroid, 0.7 * start.centroid + 0.3 * target.centroid) < 1e-13


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
    theta = theta / theta.norm(dim=-1, keepdim=True) * torch.linspace(0, math.pi, 500, dtype=torch.float64)[:, None]
    assert relative_error(dexp_inverse(theta, dexp(theta, rate)), rate) < 1e-8


def test_dexp_about_a_fixed_axis_is_the_identity() -> None:
    theta = torch.tensor([[0.0, 0.0, 2.0]], dtype=torch.float64)
    assert torch.allclose(dexp(theta, 3 * theta), 3 * theta)


# -- coupling --------------------------------------------------------------------------------------------------------


def test_assignment_is_optimal_by_enumeration_within_labels() -> None:
    start, target = random(1, 5, 3, seed=1), random(1, 5, 3, seed=2)
    label = torch.tensor([[1, 1, 2, 2, 2]])
    node = assign(start, target, label, label)[0].tolist()
    cost = (start[0][:, None] - target[0][None]).square().sum(-1)
    allowed = [p for p in itertools.permutations(range(5)) if {p[0], p[1]} == {0, 1}]
    best = min(allowed, key=lambda p: sum(float(cost[i, p[i]]) for i in range(5)))
    assert tuple(node) == best


def test_coupling_undoes_renumbering_and_rotation_of_the_start() -> None:
    # A target that is nearly the start, turned by 15° and renumbered: assignment and alignment find it back.
    start = 3.0 * random(1, 12, 3, seed=1)
    start = start - start.mean(1, keepdim=True)
    q = roma.rotvec_to_rotmat(torch.tensor([[0.0, 0.0, math.radians(15)]], dtype=torch.float64))
    order = torch.randperm(12, generator=torch.Generator().manual_seed(4))
    target = (start @ q.transpose(1, 2))[:, order]
    label = torch.ones(1, 12, dtype=torch.long)
    mask = torch.ones(1, 12, dtype=torch.bool)
    found = couple(start, target, label, label, mask, torch.eye(3, dtype=torch.float64)[None], rounds=4)
    paired = target.gather(1, found.node[..., None].expand(-1, -1, 3)) @ found.turn.transpose(1, 2)
    assert relative_error(paired, start) < 1e-9


def test_kabsch_is_proper_even_for_mirror_images() -> None:
    x = random(1, 6, 3, seed=1)
    turn = kabsch(-x, x, torch.ones(1, 6, dtype=torch.bool))
    assert float(torch.linalg.det(turn)) == pytest.approx(1.0)


def test_nearest_equivalent_of_a_two_fold_axis_by_hand() -> None:
    two_fold = torch.stack([torch.eye(3), torch.diag(torch.tensor([-1.0, -1.0, 1.0]))]).double()
    reference = torch.eye(3, dtype=torch.float64)[None, None]
    near_pi = roma.rotvec_to_rotmat(torch.tensor([[[0.0, 0.0, math.pi - 0.1]]], dtype=torch.float64))
    found = nearest_equivalent(near_pi, reference, two_fold[None, None])
    assert roma.rotmat_to_rotvec(found).norm() == pytest.approx(0.1)


def test_loss_weights_by_hand() -> None:
    schedule = ShellSchedule((0.25, 0.75))
    s = torch.tensor([0.1, 0.5], dtype=torch.float64)
    assert shell_weights(schedule, s, "uniform").tolist() == [[1, 1], [1, 1]]
    assert shell_weights(schedule, s, "open").tolist() == [[1, 1], [0, 1]]
    assert shell_weights(schedule, s, "balanced").tolist() == [[4, 1], [0, 1]]
    with pytest.raises(ScheduleError, match="choose uniform"):
        shell_weights(schedule, s, "heavy")


def test_balanced_weights_give_every_shell_the_same_expectation() -> None:
    schedule = ShellSchedule.equal(4, overlap=0.3)
    s = (torch.arange(100_000, dtype=torch.float64) + 0.5) / 100_000
    mean = shell_weights(schedule, s, "balanced").mean(0)
    assert torch.allclose(mean, torch.ones(4, dtype=torch.float64), atol=1e-4)
