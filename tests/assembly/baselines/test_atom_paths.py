"""GNN-MD and CrystalFlow: the walk with a field that is known."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from kflow_sci.assembly.baselines.atoms import atoms_at, cloud_of
from kflow_sci.assembly.baselines.crystal_flow import speed
from tests.assembly.baselines.tiny import LENGTH, WATER, generator, rival, tiny_batch


class Known(torch.nn.Module):
    """Stands for the net: answers what a function of (position, time) says."""

    def __init__(self, answer: Any) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, cloud: Any, position: Any, length: Any, start: Any, s: Any, noise: Any = None) -> Any:
        return self.answer(position, s)


def test_the_steps_of_a_constant_answer_add_up_to_it() -> None:
    batch = tiny_batch()
    model = rival("gnn-md", time_steps=7)
    model.net = Known(lambda x, s: torch.ones_like(x))
    end = model.walk(batch, batch.start, generator())
    cloud = cloud_of(batch)
    moved = cloud.take(end) - cloud.take(atoms_at(batch, batch.start))
    assert torch.allclose(moved, LENGTH * torch.ones_like(moved))


@pytest.mark.parametrize("method", ["crystal-flow-lerp", "crystal-flow-ve", "crystal-flow-vp"])
def test_the_velocity_to_one_known_target_leads_there(method: str) -> None:
    batch = tiny_batch()
    model = rival(method, time_steps=400)
    cloud = cloud_of(batch)
    start, target = (cloud.take(atoms_at(batch, pose)) for pose in (batch.start, batch.pose))
    u1 = (target - start) / LENGTH

    def velocity(position: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
        at = model.noising.marginal(s[0])
        u = (position - start) / LENGTH
        noise = torch.zeros_like(u) if method.endswith("lerp") else (u - at.mean * u1) / at.deviation
        return (at.mean_rate * u1 + at.deviation_rate * noise) / speed(at)

    model.net = Known(velocity)
    end = cloud.take(model.walk(batch, batch.start, generator()))
    left = (end - target) / LENGTH
    # What is left is the noise at the last time, and for VP the share of the mean that is not yet there.
    at = model.noising.marginal(torch.tensor(model.last, dtype=torch.float64))
    assert float(left.std()) < 1.3 * float(at.deviation) + 5e-3
    assert float(left.abs().max()) < 5.0 * float(at.deviation) + 5e-3


def test_atoms_of_poses_are_rigid_copies_and_padding_is_zero() -> None:
    batch = tiny_batch()
    atoms = atoms_at(batch, batch.pose)
    assert atoms.shape == (2, 5, 5, 3)
    assert not atoms[1, :, 3:].any()  # water has three atoms
    assert not atoms[1, 4].any()  # the second cluster has four copies
    wanted = torch.cdist(*[torch.as_tensor(WATER.positions)] * 2)
    for copy in range(4):
        assert torch.allclose(torch.cdist(atoms[1, copy, :3], atoms[1, copy, :3]), wanted)
    cloud = cloud_of(batch)
    assert torch.equal(cloud.spread(cloud.take(atoms)), atoms)
    assert cloud.element.tolist() == batch.table.element[0].tolist() * 5 + [8, 1, 1] * 4
