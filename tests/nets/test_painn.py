"""PaiNN: symmetries, the cutoff, and edges against a peer."""

from __future__ import annotations

import pytest
import torch
from scipy.spatial.transform import Rotation

from kflow_sci.nets.painn import PaiNN, neighbour_edges
from kflow_sci.testing import relative_error

CUTOFF = 2.5
# The rotation part of an improper operation: a turn about a skew axis times the inversion.
TURN = -torch.as_tensor(Rotation.from_rotvec([0.3, -1.1, 0.7]).as_matrix())


@pytest.fixture(scope="module")
def net() -> PaiNN:
    torch.manual_seed(0)
    return PaiNN(features=12, layers=3, cutoff=CUTOFF, radial=6).double()


@pytest.fixture(scope="module")
def cloud() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    position = 4.0 * torch.rand(20, 3, generator=generator, dtype=torch.float64)
    scalars = torch.randn(20, 12, generator=generator, dtype=torch.float64)
    group = torch.tensor([0] * 12 + [1] * 8)
    return scalars, position, neighbour_edges(position, group, CUTOFF, most=20)


def test_scalars_are_invariant_and_vectors_turn_with_the_cloud_reflections_included(net, cloud) -> None:
    scalars, position, edges = cloud
    s, v = net(scalars, position, edges)
    moved_s, moved_v = net(scalars, position @ TURN.T + 3.0, edges)
    assert v.abs().max() > 0.1
    assert relative_error(moved_s, s) < 1e-9
    assert relative_error(moved_v, v @ TURN.T) < 1e-9


def test_renumbering_nodes_and_edges_renumbers_the_answer(net, cloud) -> None:
    scalars, position, edges = cloud
    order = torch.randperm(20, generator=torch.Generator().manual_seed(2))
    place = order.argsort()
    shuffle = torch.randperm(edges.shape[1], generator=torch.Generator().manual_seed(3))
    s, v = net(scalars, position, edges)
    moved_s, moved_v = net(scalars[order], position[order], place[edges][:, shuffle])
    assert relative_error(moved_s, s[order]) < 1e-9
    assert relative_error(moved_v, v[order]) < 1e-9


def test_the_answer_does_not_jump_when_a_pair_crosses_the_cutoff(net) -> None:
    scalars = torch.ones(2, 12, dtype=torch.float64)
    both = torch.tensor([[0, 1], [1, 0]])

    def answer(distance: float, edges: torch.Tensor) -> torch.Tensor:
        position = torch.tensor([[0.0, 0.0, 0.0], [distance, 0.0, 0.0]], dtype=torch.float64)
        return torch.cat([x.flatten() for x in net(scalars, position, edges)])

    alone = answer(CUTOFF + 1.0, both[:, :0])
    assert relative_error(answer(CUTOFF - 1e-5, both), alone) < 1e-8
    assert relative_error(answer(CUTOFF + 1e-5, both), alone) < 1e-15
    assert relative_error(answer(0.5 * CUTOFF, both), alone) > 1e-3


def test_features_of_an_edge_reach_its_message() -> None:
    torch.manual_seed(0)
    net = PaiNN(features=4, layers=1, cutoff=CUTOFF, radial=3, attributes=1).double()
    scalars = torch.ones(2, 4, dtype=torch.float64)
    position = torch.tensor([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]], dtype=torch.float64)
    edges = torch.tensor([[0], [1]])
    one, two = (
        net(scalars, position, edges, torch.full((1, 1), x, dtype=torch.float64))[0] for x in (0.0, 1.0)
    )
    assert relative_error(one[1], two[1]) > 1e-3
    assert torch.equal(one[0], two[0])  # nothing arrives at node 0


def test_edges_are_the_pairs_below_the_cutoff_within_a_group(cloud) -> None:
    _, position, edges = cloud
    distance = torch.cdist(position, position)
    group = torch.tensor([0] * 12 + [1] * 8)
    near = (distance < CUTOFF) & (group[:, None] == group) & ~torch.eye(20, dtype=torch.bool)
    assert {tuple(e) for e in edges.T.tolist()} == {tuple(e) for e in near.nonzero().tolist()}


def test_of_too_many_edges_the_shortest_are_kept(cloud) -> None:
    _, position, _ = cloud
    edges = neighbour_edges(position, torch.zeros(20, dtype=torch.long), cutoff=10.0, most=3)
    distance = torch.cdist(position, position).fill_diagonal_(torch.inf)
    wanted = distance.topk(3, largest=False).indices
    for node in range(20):
        assert set(edges[0, edges[1] == node].tolist()) == set(wanted[node].tolist())


def test_points_at_the_same_place_keep_everything_finite(net) -> None:
    position = torch.zeros(3, 3, dtype=torch.float64)
    edges = neighbour_edges(position, torch.zeros(3, dtype=torch.long), CUTOFF, most=2)
    assert edges.shape == (2, 6)
    assert all(x.isfinite().all() for x in net(torch.ones(3, 12, dtype=torch.float64), position, edges))


def test_a_group_that_has_blown_up_is_left_alone_and_harms_no_other(net) -> None:
    position = torch.tensor([[0.0, 0, 0], [torch.inf, 0, 0], [0, 0, 0], [1, 0, 0]], dtype=torch.float64)
    edges = neighbour_edges(position, torch.tensor([0, 0, 1, 1]), CUTOFF, most=2)
    assert edges.tolist() == [[3, 2], [2, 3]]
