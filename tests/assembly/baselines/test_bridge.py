"""The bridge: its marginals, its steps and its coupling."""

from __future__ import annotations

import pytest
import torch

from kflow_sci.assembly.baselines.bridge import BridgeSettings, bridge_point, bridge_step, unbalanced
from kflow_sci.flow.rigid import Pose
from kflow_sci.settings import make_config
from tests.assembly.baselines.tiny import LENGTH, SETTINGS, generator, tiny_batch

MANY = 20000
SCALES = torch.tensor([[[0.5, 0.5, 0.5, 0.2, 0.2, 0.2]]], dtype=torch.float64)
ZERO = torch.zeros(1, MANY, 6, dtype=torch.float64)


def settings(**changes: float) -> BridgeSettings:
    return make_config(BridgeSettings, {**SETTINGS["bridge"], **changes})


@pytest.mark.parametrize("s", [0.0, 0.25, 1.0])
def test_a_point_of_the_bridge_is_normal_about_the_straight_line(s: float) -> None:
    x = bridge_point(ZERO, ZERO + 2.0, torch.tensor([s], dtype=torch.float64), SCALES, generator())
    assert x.mean((0, 1)).tolist() == pytest.approx([2.0 * s] * 6, abs=0.01)
    wanted = (s * (1.0 - s)) ** 0.5 * SCALES[0, 0]
    assert x.std((0, 1)).tolist() == pytest.approx(wanted.tolist(), rel=0.03)


def test_steps_towards_a_known_end_have_the_marginals_of_the_bridge_and_reach_it() -> None:
    draws, end, x, steps = generator(), 2.0, ZERO, 8
    for k in range(steps):
        x = x + bridge_step(end - x, k / steps, (k + 1) / steps, SCALES, draws)
        s = (k + 1) / steps
        assert x.std((0, 1)).tolist() == pytest.approx(
            ((s * (1.0 - s)) ** 0.5 * SCALES[0, 0]).tolist(), rel=0.03, abs=1e-12
        )
        assert x.mean((0, 1)).tolist() == pytest.approx([end * s] * 6, abs=0.02)
    assert torch.allclose(x, ZERO + end)


def test_with_far_reach_and_little_entropy_the_coupling_is_the_best_assignment() -> None:
    batch = tiny_batch()
    order = torch.tensor([2, 3, 0, 1, 4])
    start = Pose(batch.pose.centroid[:, order], batch.pose.rotation[:, order])
    pair = unbalanced(start, batch.pose, batch, settings(epsilon=0.005, reach=1e4), generator())
    assert torch.allclose(pair.target.centroid, start.centroid)
    assert pair.weight[batch.mask].tolist() == pytest.approx([1.0] * 9, rel=1e-2)
    assert (pair.weight[~batch.mask] == 0).all()


def test_a_copy_far_from_every_target_counts_for_less() -> None:
    batch = tiny_batch((5,))
    start = Pose(batch.pose.centroid.clone(), batch.pose.rotation)
    start.centroid[0, 0] += 10.0 * LENGTH
    near = unbalanced(start, batch.pose, batch, settings(reach=0.5), generator()).weight[0]
    far = unbalanced(start, batch.pose, batch, settings(reach=1e4), generator()).weight[0]
    assert float(near.sum()) == pytest.approx(5.0)
    assert float(near[0]) < 0.01
    assert float(far[0]) == pytest.approx(1.0, rel=0.05)


def test_only_copies_of_the_same_kind_and_hand_are_paired() -> None:
    batch = tiny_batch((5,))
    for seed in range(20):
        pair = unbalanced(batch.start, batch.pose, batch, settings(epsilon=50.0), generator(seed))
        where = (pair.target.centroid[0][:, None] - batch.pose.centroid[0]).norm(dim=-1).argmin(1)
        assert (batch.parity[0, where] == batch.parity[0]).all()
