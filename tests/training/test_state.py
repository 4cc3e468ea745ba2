"""Learning rate, running mean and optimizer, against formulas and torch's own."""

from __future__ import annotations

import dataclasses
from types import ModuleType

import pytest
import torch

from kflow_sci.errors import CheckpointError
from kflow_sci.training.config import FitConfig
from kflow_sci.training.ema import AveragedModel, decay_at
from kflow_sci.training.state import TrainState, learning_rate_at


@pytest.fixture
def config(small: ModuleType) -> FitConfig:
    return FitConfig(**small.SETTINGS)


def test_the_rate_rises_linearly_and_falls_as_half_a_cosine_to_zero(config: FitConfig) -> None:
    config = dataclasses.replace(config, steps=104, warmup_steps=4, learning_rate=2.0)
    assert [learning_rate_at(step, config) for step in range(5)] == [0.5, 1.0, 1.5, 2.0, 2.0]
    assert learning_rate_at(54, config) == pytest.approx(1.0)  # half of the cosine
    assert learning_rate_at(104, config) == pytest.approx(0.0)


def test_no_warm_up_starts_at_the_peak(config: FitConfig) -> None:
    config = dataclasses.replace(config, warmup_steps=0)
    assert learning_rate_at(0, config) == config.learning_rate


def test_the_mean_follows_with_a_decay_that_warms_up() -> None:
    assert decay_at(1, 0.9) == 2 / 11 and decay_at(1000, 0.9) == 0.9
    model = torch.nn.BatchNorm1d(1).double()
    mean = AveragedModel(model, 0.9)
    with torch.no_grad():
        model.weight.fill_(3.0)
        model.running_mean.fill_(7.0)
    mean.update(1)
    assert mean.module.weight.item() == pytest.approx(2 / 11 * 1.0 + 9 / 11 * 3.0)
    assert mean.module.running_mean.item() == 7.0
    assert not mean.module.training and not mean.module.weight.requires_grad and model.training


def test_one_step_is_adamw_with_decay_on_matrices_only(config: FitConfig, small: ModuleType) -> None:
    ours, theirs = small.Line(0.0, 0.0), small.Line(0.0, 0.0)
    state = TrainState(ours, config)
    state.set_rate(0.02)
    reference = torch.optim.AdamW(
        [
            {"params": [theirs.first.weight, theirs.second.weight], "weight_decay": config.weight_decay},
            {"params": [theirs.first.bias, theirs.second.bias], "weight_decay": 0.0},
        ],
        lr=0.02,
    )
    for model, optimizer in ((ours, state.optimizer), (theirs, reference)):
        model.loss(small.batch_of([0, 1, 2]), torch.Generator())["loss"].backward()
        optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))


def test_the_state_comes_back_from_its_tensors(config: FitConfig, small: ModuleType) -> None:
    first, second = TrainState(small.Line(0.0, 0.0), config), TrainState(small.Line(0.0, 0.0), config)
    second.load(first.tensors(), "x")  # before the first step there are no moments
    for step in (1, 2):
        first.model.loss(small.batch_of([0, 1]), torch.Generator())["loss"].backward()
        first.optimizer.step()
        first.mean.update(step)
    second.load(first.tensors(), "x")
    before, after = first.tensors(), second.tensors()
    assert before.keys() == after.keys() and "optimizer.first.weight.exp_avg_sq" in before
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_the_state_of_another_optimizer_is_refused(config: FitConfig, small: ModuleType) -> None:
    state = TrainState(small.Line(0.0, 0.0), config)
    tensors = state.tensors() | {"optimizer.third.weight.step": torch.zeros(())}
    with pytest.raises(CheckpointError, match="optimizer of other parameters"):
        state.load(tensors, "x")
