"""The loss of the regression compares sets of poses; the transport it and the bridge use, by hand."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.spatial.transform import Rotation

from kflow_sci.assembly.baselines.regression import Regression, RegressionSettings, set_loss
from kflow_sci.assembly.baselines.rigid_body import pair_costs
from kflow_sci.assembly.baselines.transport import sinkhorn, transport_value
from kflow_sci.flow.rigid import Pose
from kflow_sci.settings import make_config
from tests.assembly.baselines.tiny import LENGTH, SETTINGS, generator, rival, tiny_batch

MATCHINGS = ["exact", "sinkhorn"]


def settings(matching: str, epsilon: float = 0.05) -> RegressionSettings:
    return make_config(
        RegressionSettings, {**SETTINGS["regression"], "matching": matching, "epsilon": epsilon}
    )


def renumbered(pose: Pose, copies: int) -> Pose:
    """The first copies of either hand (they alternate) swapped among themselves."""
    order = torch.arange(pose.centroid.shape[1])
    order[0], order[2], order[1], order[3] = 2, 0, 3, 1
    return Pose(pose.centroid[:, order], pose.rotation[:, order])


@pytest.mark.parametrize("matching", MATCHINGS)
def test_the_loss_is_zero_at_the_truth_however_it_is_numbered(matching: str) -> None:
    batch = tiny_batch()
    for pose in (batch.pose, renumbered(batch.pose, 4)):
        assert float(set_loss(pose, batch.pose, batch, settings(matching))) == pytest.approx(0.0, abs=1e-10)


@pytest.mark.parametrize("matching", MATCHINGS)
def test_the_loss_does_not_see_the_numbering_of_either_set(matching: str) -> None:
    batch = tiny_batch()
    value = set_loss(batch.start, batch.pose, batch, settings(matching))
    assert float(value) > 0.1
    for one, other in (
        (renumbered(batch.start, 4), batch.pose),
        (batch.start, renumbered(batch.pose, 4)),
    ):
        assert float(set_loss(one, other, batch, settings(matching))) == pytest.approx(float(value), rel=1e-9)


@pytest.mark.parametrize("matching", MATCHINGS)
def test_the_gradient_is_that_of_finite_differences(matching: str) -> None:
    batch = tiny_batch()
    direction = torch.randn(batch.pose.centroid.shape, generator=generator(), dtype=torch.float64)

    def value(t: torch.Tensor) -> torch.Tensor:
        moved = Pose(batch.start.centroid + t * direction, batch.start.rotation)
        return set_loss(moved, batch.pose, batch, settings(matching, 0.5))

    t = torch.zeros((), dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(value(t), t)
    by_steps = (value(torch.tensor(1e-5)) - value(torch.tensor(-1e-5))) / 2e-5
    # The envelope theorem holds where Sinkhorn has converged, which it has with this much entropy.
    assert float(slope) == pytest.approx(float(by_steps), rel=1e-6 if matching == "exact" else 1e-4)


def test_costs_by_hand() -> None:
    batch = tiny_batch((2, 2))
    shift = Pose(batch.pose.centroid + torch.tensor([LENGTH, 0.0, 0.0]), batch.pose.rotation)
    angle = torch.as_tensor(Rotation.from_rotvec([0.0, 0.0, 0.4]).as_matrix())
    turn = Pose(batch.pose.centroid, batch.pose.rotation @ angle)
    there = [pair_costs(pose, batch.pose, batch, 0.5) for pose in (shift, turn)]
    assert there[0].diagonal(dim1=1, dim2=2).flatten().tolist() == pytest.approx([1.0] * 4)
    assert there[1].diagonal(dim1=1, dim2=2).flatten().tolist() == pytest.approx([1.0 - math.cos(0.4)] * 4)
    # Copies 0 and 1 are mirror images of each other.
    assert (there[0][:, 0, 1] == 1e6).all()


def test_an_orientation_that_looks_the_same_costs_nothing() -> None:
    batch = tiny_batch((2, 2))
    (two_fold,) = (g for g in batch.table.group[1] if not torch.allclose(g, torch.eye(3, dtype=g.dtype)))
    same = Pose(batch.pose.centroid, batch.pose.rotation @ two_fold)
    cost = pair_costs(same, batch.pose, batch, 1.0).diagonal(dim1=1, dim2=2)
    assert cost[1].tolist() == pytest.approx([0.0, 0.0], abs=1e-9)  # water
    assert (cost[0] > 0.1).all()  # no symmetry


def test_the_regression_calls_its_net_once() -> None:
    model, batch = rival("regression"), tiny_batch()
    seen = []
    model.net.register_forward_hook(lambda *_: seen.append(1))
    with torch.no_grad():
        model.walk(batch, batch.start, generator())
    assert isinstance(model, Regression)
    assert len(seen) == model.calls == 1


@pytest.mark.parametrize("method", ["regression", "bridge"])
def test_the_volume_of_the_start_is_kept_if_asked_for(method: str) -> None:
    batch = tiny_batch()

    def gyration(pose: Pose) -> list[float]:
        return [float(c[m].var(0).sum()) for c, m in zip(pose.centroid, batch.mask, strict=True)]

    with torch.no_grad():
        free, kept = (
            rival(method, keep_volume=k).walk(batch, batch.start, generator()) for k in (False, True)
        )
    assert gyration(kept) == pytest.approx(gyration(batch.start))
    assert gyration(free) != pytest.approx(gyration(batch.start), rel=1e-3)


def test_balanced_transport_of_two_points_by_hand() -> None:
    # Plan [[a, ½−a], [½−a, a]] with a/(½−a) = exp(c/ε) by symmetry.
    cost = torch.tensor([[[0.0, 1.0], [1.0, 0.0]]], dtype=torch.float64)
    ratio = math.exp(1.0 / 0.5)
    a = 0.5 * ratio / (1.0 + ratio)
    plan = sinkhorn(cost, 0.5)
    assert plan.mass[0].flatten().tolist() == pytest.approx([a, 0.5 - a, 0.5 - a, a])
    # ⟨plan, cost⟩ + ε KL(plan | ¼)
    entropy = 2 * a * math.log(4 * a) + 2 * (0.5 - a) * math.log(4 * (0.5 - a))
    assert float(plan.value) == pytest.approx(2 * (0.5 - a) + 0.5 * entropy)
    assert float(transport_value(cost, 0.5)) == pytest.approx(float(plan.value))


def test_with_little_entropy_the_plan_is_the_best_assignment() -> None:
    # Greedy would take (0, 0) for 1 and then pay 10; the best is 2 + 2 + 3.
    cost = torch.tensor([[[1.0, 2.0, 9.0], [2.0, 10.0, 9.0], [9.0, 9.0, 3.0]]], dtype=torch.float64)
    wanted = torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64) / 3.0
    assert torch.allclose(sinkhorn(cost, 0.1).mass[0], wanted, atol=3e-3)


def test_mass_that_costs_more_than_the_reach_to_move_is_left_behind() -> None:
    # One point each: the mass maximises −(m c + ε(m log m − m) + 2 r (m log m − m)), so m = exp(−c / (ε + 2 r)).
    for cost, reach in ((0.3, 1.0), (5.0, 1.0), (5.0, 20.0)):
        plan = sinkhorn(torch.full((1, 1, 1), cost, dtype=torch.float64), 0.1, reach, rounds=3000)
        assert float(plan.mass) == pytest.approx(math.exp(-cost / (0.1 + 2 * reach)), rel=1e-6)
