"""Networks for images: what they are told, and the sizes of the published DiTs."""

from __future__ import annotations

import pytest
import torch

from kflow_sci.errors import ConfigError
from kflow_sci.nets.dit import SIZES, DiT
from kflow_sci.nets.image_mlp import ImageMLP

SHELLS = 3


def awake(net: torch.nn.Module) -> torch.nn.Module:
    """A net whose zero-started layers are no longer zero."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=generator))
    return net.eval()


def nets() -> list[torch.nn.Module]:
    return [
        DiT((2, 4, 6), 2, 16, 2, 4, SHELLS, [5, 2]),
        ImageMLP((2, 4, 6), 16, 2, SHELLS, [5, 2]),
    ]


def inputs(n: int = 3) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(n, 2, 4, 6, generator=generator)
    alpha = torch.rand(n, SHELLS, generator=generator)
    return x, torch.rand(n, generator=generator), alpha, torch.tensor([[1, 0], [4, 2], [5, 1]])[:n]


@pytest.mark.parametrize("net", nets(), ids=["dit", "mlp"])
def test_an_untrained_net_answers_zero_and_a_batch_equals_its_members(net: torch.nn.Module) -> None:
    x, s, alpha, condition = inputs()
    assert net(x, s, alpha, condition).abs().max() == 0.0
    awake(net)
    whole = net(x, s, alpha, condition)
    for i in range(len(x)):
        one = net(x[i : i + 1], s[i : i + 1], alpha[i : i + 1], condition[i : i + 1])
        assert torch.allclose(one[0], whole[i], atol=1e-5)


@pytest.mark.parametrize("net", nets(), ids=["dit", "mlp"])
def test_the_answer_depends_on_time_on_the_progress_of_each_shell_and_on_each_condition(
    net: torch.nn.Module,
) -> None:
    awake(net)
    x, s, alpha, condition = inputs(1)
    before = net(x, s, alpha, condition)
    changed = [(s + 0.1, alpha, condition)]
    for j in range(SHELLS):
        other = alpha.clone()
        other[:, j] += 0.1
        changed.append((s, other, condition))
    changed += [(s, alpha, torch.tensor([[5, 0]])), (s, alpha, torch.tensor([[1, 2]]))]
    for told in changed:
        assert (net(x, *told) - before).abs().max() > 1e-4


def test_a_patch_sees_the_pixels_that_belong_to_it() -> None:
    net = DiT((1, 4, 4), 2, 8, 0, 1, SHELLS)
    with torch.no_grad():
        net.into.weight.copy_(torch.eye(8, 4))
        net.out.weight.copy_(torch.eye(4, 8))
        net.place.zero_()
    x = torch.arange(16.0).view(1, 1, 4, 4)
    answer = net(x, torch.zeros(1), torch.zeros(1, SHELLS), torch.zeros(1, 0).long())
    # Only the norm over its features stands between a patch and its answer, so the order inside each patch survives.
    patches = answer.unfold(2, 2, 2).unfold(3, 2, 2).reshape(4, 4)
    assert bool((patches.diff(dim=1) > 0).all())


@pytest.mark.parametrize(("name", "millions"), [("S", 33), ("B", 130), ("L", 458), ("XL", 675)])
def test_sizes_are_those_published(name: str, millions: int) -> None:
    # Peebles & Xie, table 1, for latents 4 × 32 × 32 and 1,000 classes; ours answers no variance and embeds more times.
    hidden, layers, heads = SIZES[name]
    with torch.device("meta"):
        net = DiT((4, 32, 32), 2, hidden, layers, heads, SHELLS, [1000])
    assert sum(p.numel() for p in net.parameters()) / 1e6 == pytest.approx(millions, rel=0.02)


def test_sizes_that_do_not_fit_are_told_with_those_that_do() -> None:
    with pytest.raises(ConfigError, match="size 25 is not divisible by patch 2: sizes 24 or 26 are"):
        DiT((1, 25, 25), 2, 8, 1, 1, SHELLS)
    with pytest.raises(ConfigError, match="hidden = 12 must be divisible by 4 and by heads = 5"):
        DiT((1, 4, 4), 2, 12, 1, 5, SHELLS)
