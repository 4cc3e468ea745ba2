"""Which start goes with which target."""

from __future__ import annotations

import itertools
import math

import pytest
import roma
import torch

from kflow_sci.errors import ScheduleError
from kflow_sci.flow.coupling import COUPLINGS, assign, couple, kabsch, match, nearest_equivalent
from kflow_sci.testing import relative_error


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


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


def test_transport_is_the_shortest_pairing_by_enumeration() -> None:
    start, target = random(6, 2, 2, seed=1) + 100.0, random(6, 2, 2, seed=2) + 100.0
    found = match(start, target, "transport").tolist()
    cost = (start[:, None] - target[None]).flatten(2).square().sum(-1)
    best = min(itertools.permutations(range(6)), key=lambda p: sum(float(cost[i, p[i]]) for i in range(6)))
    assert tuple(found) == best


def test_transport_of_single_precision_far_from_the_origin_keeps_its_digits() -> None:
    start = torch.tensor([[0.0], [1.0], [2.0]]) + 1e5
    assert match(start, start[[2, 0, 1]], "transport").tolist() == [1, 2, 0]


def test_transport_on_a_line_keeps_the_order() -> None:
    # In one dimension the optimal pairing is the sorted one.
    start, target = random(50, 1, seed=1), random(50, 1, seed=2)
    paired = target[match(start, target, "transport")]
    assert torch.equal(paired[start[:, 0].argsort()], target.sort(0).values)


def test_couplings_by_name() -> None:
    start, target = random(5, 3, seed=1), random(8, 3, seed=2)
    generator = torch.Generator().manual_seed(0)
    assert match(start, target[:5], "given").tolist() == [0, 1, 2, 3, 4]
    for coupling in ("independent", "transport"):
        index = match(start, target, coupling, generator)
        assert len(set(index.tolist())) == 5 and int(index.max()) < 8
    drawn = {tuple(match(start, target[:5], "independent", generator).tolist()) for _ in range(20)}
    assert len(drawn) > 10
    assert set(COUPLINGS) == {"given", "independent", "transport"}


@pytest.mark.parametrize(
    ("targets", "coupling", "words"),
    [
        ((5, 3), "sinkhorn", "choose given"),
        ((8, 3), "given", "a target for every start"),
        ((4, 3), "transport", "a target for every start"),
        ((5, 2), "transport", "equal shapes"),
        ((5, 3), "independent", "torch.Generator"),
    ],
)
def test_couplings_that_cannot_be_are_refused(targets: tuple[int, int], coupling: str, words: str) -> None:
    with pytest.raises(ScheduleError, match=words):
        match(random(5, 3), random(*targets), coupling)
