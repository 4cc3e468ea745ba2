"""Where copies stand before the flow moves them."""

from __future__ import annotations

import math

import torch

from kflow_sci.assembly.model.start import COMPACT, random_start
from kflow_sci.flow.rigid import Pose


def starts(copies: list[int], length: float = 5.0) -> tuple[Pose, torch.Tensor]:
    mask = torch.arange(max(copies)) < torch.tensor(copies)[:, None]
    lengths = torch.full((len(copies),), length, dtype=torch.float64)
    return random_start(mask, lengths, torch.Generator().manual_seed(0)), mask


def test_the_radius_of_gyration_is_that_of_the_full_ball() -> None:
    pose, mask = starts([17, 9, 2])
    for centroid, real in zip(pose.centroid, mask, strict=True):
        c = centroid[real] - centroid[real].mean(0)
        ball = (3 * len(c) * COMPACT * 5.0**3 / (4 * math.pi)) ** (1 / 3)
        assert torch.isclose(c.square().sum(1).mean(), torch.tensor(0.6 * ball**2, dtype=torch.float64))


def test_one_copy_is_in_the_middle_and_which_one_is_chance() -> None:
    pose, _ = starts([17] * 60)
    away = pose.centroid.norm(dim=-1)
    nearest = away.min(dim=1)
    # The mean of the others is not quite that of the ball, so it is not quite at 0; the next ones are a molecule away.
    assert nearest.values.mean() < 0.3 * 5.0
    assert away.sort(dim=1).values[:, 1].mean() > 0.7 * 5.0
    assert len(set(nearest.indices.tolist())) > 10


def test_copies_of_a_start_do_not_clump() -> None:
    pose, _ = starts([17] * 20)
    apart = torch.cdist(pose.centroid, pose.centroid) + 1e3 * torch.eye(17, dtype=torch.float64)
    assert apart.min() > 0.7 * 5.0
