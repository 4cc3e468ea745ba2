"""The convolutional network for images."""

from __future__ import annotations

import pytest
import torch

from kflow_sci.errors import ConfigError
from kflow_sci.images.networks import make_net
from kflow_sci.nets.image_conv import ImageConv
from tests.nets.test_dit import SHELLS, awake, inputs


def net(patch: int = 2) -> torch.nn.Module:
    return ImageConv((2, 4, 6), patch, 8, 2, SHELLS, [5, 2])


def test_an_untrained_net_answers_zero_and_a_batch_equals_its_members() -> None:
    x, s, alpha, condition = inputs()
    assert net()(x, s, alpha, condition).abs().max() == 0.0
    woken = awake(net())
    whole = woken(x, s, alpha, condition)
    for i in range(len(x)):
        one = woken(x[i : i + 1], s[i : i + 1], alpha[i : i + 1], condition[i : i + 1])
        assert torch.allclose(one[0], whole[i], atol=1e-5)


def test_the_answer_depends_on_all_that_is_told() -> None:
    woken = awake(net())
    x, s, alpha, condition = inputs(1)
    before = woken(x, s, alpha, condition)
    for changed in ((s + 0.1, alpha, condition), (s, alpha + 0.1, condition), (s, alpha, condition + 1)):
        assert (woken(x, *changed) - before).abs().max() > 1e-5


def test_away_from_the_border_what_is_moved_is_answered_moved() -> None:
    still = ImageConv((1, 40, 40), 2, 8, 1, SHELLS)
    woken = awake(still)
    with torch.no_grad():
        still.place.zero_()
    x = torch.zeros(1, 1, 40, 40)
    x[..., 16:20, 16:20] = torch.randn(4, 4, generator=torch.Generator().manual_seed(0))
    told = (torch.full((1,), 0.3), torch.full((1, SHELLS), 0.3), torch.zeros(1, 0).long())
    a, b = woken(x, *told), woken(x.roll((4, 2), (2, 3)), *told)
    assert torch.allclose(a.roll((4, 2), (2, 3))[..., 12:28, 12:28], b[..., 12:28, 12:28], atol=1e-5)


def test_sizes_that_do_not_fit_are_one_line() -> None:
    with pytest.raises(ConfigError, match="size 25 has no two or more whole patches of 2"):
        ImageConv((1, 25, 24), 2, 8, 1, SHELLS)
    with pytest.raises(ConfigError, match="heads = 2, but net conv has no attention: set heads: 1"):
        make_net("conv", shape=(1, 8, 8), patch=2, hidden=8, layers=1, heads=2, n_shells=2, conditions=())
