"""AssembleFlow: both variants, corrected and as published."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import roma
import torch
from torch import Tensor

from kflow_sci.assembly.baselines.assembleflow import (
    AssembleFlow,
    geodesic_path,
    quaternion_of,
    slerp_path,
    slerp_rate,
)
from kflow_sci.assembly.baselines.learned import propose_learned, rival_class
from kflow_sci.assembly.model.batch import ClusterBatch
from kflow_sci.errors import ConfigError
from kflow_sci.flow.rigid import Pose
from kflow_sci.nets.assembleflow import small_turn
from kflow_sci.nets.point_attention import PointAttention
from kflow_sci.settings import make_config
from tests.assembly.baselines.tiny import CHIRAL, LENGTH, cluster, tiny_batch

SHARED: dict[str, Any] = {
    "as_published": False,
    "time_steps": 4,
    "translation_weight": 1.0,
    "rotation_weight": 10.0,
    "hidden": 16,
    "interactions": 2,
    "radial": 6,
    "molecule_cutoff": 5.0,
    "cluster_cutoff": 30.0,
    "layers": 2,
    "heads": 4,
}
SETTINGS: dict[str, dict[str, Any]] = {
    "assembleflow-atom": {**SHARED, "convs": 2, "dropout": 0.1},
    "assembleflow-molecule": {**SHARED, "query_points": 3, "value_points": 4},
}
VARIANTS = sorted(SETTINGS)
BOTH = [False, True]


def make(method: str, seed: int = 0, trained: bool = True, **changes: Any) -> AssembleFlow:
    """In double precision and evaluation mode; ``trained``: layers that begin at zero are filled at random."""
    torch.manual_seed(seed)
    kind = rival_class(method)
    model = kind(make_config(kind.settings_kind, {**SETTINGS[method], **changes})).double()
    for parameter in model.parameters():
        if trained and not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    return model.eval()  # type: ignore[return-value]


@torch.no_grad()
def ends(model: AssembleFlow, batch: ClusterBatch, pose: Pose | None = None) -> Pose:
    """Where the net says that the poses of the batch end."""
    s = torch.tensor([0.25, 0.5], dtype=torch.float64)[: len(batch.ids)]
    centroid, quaternion = model.endpoint(pose or batch.pose, batch, model.encoder(batch.table), s)
    return Pose(centroid, roma.unitquat_to_rotmat(quaternion))


def moved(pose: Pose, turn: Tensor, shift: Tensor) -> Pose:
    return Pose(pose.centroid @ turn.T + shift, turn @ pose.rotation)


def furthest(a: Pose, b: Pose, mask: Tensor) -> float:
    return max(float((x - y)[mask].abs().max()) for x, y in zip(a, b, strict=True))


TURN = roma.rotvec_to_rotmat(torch.tensor([0.3, -1.1, 0.8], dtype=torch.float64))
SHIFT = torch.tensor([2.0, -1.0, 0.5], dtype=torch.float64)


@pytest.mark.parametrize("method", VARIANTS)
def test_turning_and_shifting_the_cluster_turns_and_shifts_the_answer(method: str) -> None:
    model, batch = make(method), tiny_batch()
    expected = moved(ends(model, batch), TURN, SHIFT)
    assert furthest(ends(model, batch, moved(batch.pose, TURN, SHIFT)), expected, batch.mask) < 1e-9


@pytest.mark.parametrize("method", VARIANTS)
def test_the_published_net_gives_another_answer_to_a_turned_cluster(method: str) -> None:
    model, batch = make(method, as_published=True), tiny_batch()
    turned = ends(model, batch, moved(batch.pose, TURN, 0 * SHIFT))
    expected = moved(ends(model, batch), TURN, 0 * SHIFT)
    assert (turned.rotation - expected.rotation)[batch.mask].abs().max() > 0.05
    moves_along_world_axes = method == "assembleflow-molecule"
    error = (turned.centroid - expected.centroid)[batch.mask].abs().max()
    assert error > 0.05 if moves_along_world_axes else error < 1e-9


@pytest.mark.parametrize("as_published", BOTH)
@pytest.mark.parametrize("method", VARIANTS)
def test_renumbered_copies_get_the_renumbered_answer(method: str, as_published: bool) -> None:
    model, batch = make(method, as_published=as_published), tiny_batch((5,))
    order = torch.tensor([3, 0, 4, 2, 1])
    other = batch._replace(
        kind=batch.kind[:, order],
        parity=batch.parity[:, order],
        pose=Pose(*(x[:, order] for x in batch.pose)),
    )
    expected = Pose(*(x[:, order] for x in ends(model, batch)))
    assert furthest(ends(model, other), expected, batch.mask) < 1e-9


@pytest.mark.parametrize("as_published", BOTH)
@pytest.mark.parametrize("method", VARIANTS)
def test_a_padded_batch_gives_what_its_clusters_give_alone(method: str, as_published: bool) -> None:
    model = make(method, as_published=as_published)
    together = ends(model, tiny_batch((4, 4)))
    batch = tiny_batch((5, 4))
    alone = ends(model, batch)
    for x, y in zip(together, alone, strict=True):
        assert (x[1, :4] - y[1, :4]).abs().max() < 1e-9


@pytest.mark.parametrize("method", VARIANTS)
def test_the_hand_of_a_molecule_changes_the_answer(method: str) -> None:
    model, batch = make(method), tiny_batch((5,))
    mirrored = batch._replace(parity=-batch.parity)
    assert furthest(ends(model, batch), ends(model, mirrored), batch.mask) > 1e-4


def test_the_published_molecule_net_does_not_see_the_hand() -> None:
    model, batch = make("assembleflow-molecule", as_published=True), tiny_batch((5,))
    assert furthest(ends(model, batch), ends(model, batch._replace(parity=-batch.parity)), batch.mask) == 0


@pytest.mark.parametrize("as_published", BOTH)
@pytest.mark.parametrize("method", VARIANTS)
def test_every_parameter_learns(method: str, as_published: bool) -> None:
    # The optimizer of a run is saved whole; a parameter without a gradient would have no moments.
    model = make(method, as_published=as_published).train()
    model.loss(tiny_batch(), torch.Generator().manual_seed(0))["loss"].backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("as_published", BOTH)
@pytest.mark.parametrize("method", VARIANTS)
def test_one_cluster_is_learnt_by_heart(method: str, as_published: bool) -> None:
    still = {"dropout": 0.0} if method == "assembleflow-atom" else {}
    model = make(method, trained=False, as_published=as_published, **still)
    batch = tiny_batch((4,))
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    losses = []
    for step in range(100):
        loss = model.loss(batch, torch.Generator().manual_seed(step % 4))["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert np.mean(losses[-4:]) < 0.3 * np.mean(losses[:4])


# -- paths -------------------------------------------------------------------------------------------------------------


def about_z(*degrees: float) -> Tensor:
    vector = torch.tensor([[0.0, 0.0, np.deg2rad(x)] for x in degrees], dtype=torch.float64)
    return roma.rotvec_to_rotmat(vector)[None]


def at(rotation: Tensor) -> Pose:
    return Pose(torch.zeros(*rotation.shape[:2], 3, dtype=torch.float64), rotation)


HALF = torch.tensor([0.5], dtype=torch.float64)


@pytest.mark.parametrize("path", [slerp_path, geodesic_path])
def test_halfway_of_a_quarter_turn_is_an_eighth(path: Any) -> None:
    start = Pose(torch.tensor([[[0.0, 0.0, 0.0]]], dtype=torch.float64), about_z(0))
    target = Pose(torch.tensor([[[2.0, 4.0, 0.0]]], dtype=torch.float64), about_z(90))
    point = path(start, target, HALF)
    assert torch.allclose(point.rotation, about_z(45))
    assert point.centroid.tolist() == [[[1.0, 2.0, 0.0]]]


def test_the_published_arc_may_go_the_longer_way_round() -> None:
    # From 100° to −100° the short way is 160° through the half turn; both quaternions have a positive scalar part
    # and a negative product, so the arc between them takes 200°, through no turn at all.
    start, target = at(about_z(100)), at(about_z(-100))
    assert torch.allclose(slerp_path(start, target, HALF).rotation, about_z(0))
    assert torch.allclose(geodesic_path(start, target, HALF).rotation, about_z(180))


def test_equal_rotations_are_safe_when_corrected_and_not_a_number_when_stepped_as_published() -> None:
    pose = at(about_z(40, 0))
    assert torch.allclose(geodesic_path(pose, pose, HALF).rotation, pose.rotation)
    assert torch.allclose(slerp_path(pose, pose, HALF).rotation, pose.rotation)
    exact = torch.tensor([[[0.0, 0.0, 0.0, 1.0]]], dtype=torch.float64)
    assert slerp_rate(exact, exact, HALF[:, None, None]).isnan().all()


def test_the_published_rate_is_the_derivative_of_the_published_arc() -> None:
    first, last = quaternion_of(about_z(10)), quaternion_of(about_z(80))
    # About a fixed axis: q = (0, 0, sin φ/2, cos φ/2) with φ = 10° + 70° s.
    half, rate = np.deg2rad(45 / 2), np.deg2rad(70 / 2)
    expected = torch.tensor([[[0.0, 0.0, rate * np.cos(half), -rate * np.sin(half)]]], dtype=torch.float64)
    assert torch.allclose(slerp_rate(first, last, HALF[:, None, None]), expected)


def test_a_small_turn_is_twice_the_arc_tangent_of_the_vector() -> None:
    turn = roma.unitquat_to_rotvec(small_turn(torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64)))
    assert torch.allclose(turn, torch.tensor([0.0, np.pi / 2, 0.0], dtype=torch.float64))


# -- loss and walk -----------------------------------------------------------------------------------------------------


class Answer(torch.nn.Module):
    """A net that always gives the same answer, and counts."""

    def __init__(self, centroid: Tensor, quaternion: Tensor) -> None:
        super().__init__()
        self.centroid, self.quaternion, self.times = centroid, quaternion, []  # type: ignore[var-annotated]

    def forward(self, placed: Any, table: Any, encoded: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        self.times.append(float(s[0]))
        return self.centroid, self.quaternion


def test_the_sign_of_a_quaternion_counts_only_as_published() -> None:
    batch = tiny_batch()
    wanted = quaternion_of(batch.pose.rotation)
    for as_published, expected in ((False, 0.0), (True, 1.0)):  # mean over four components of (2 q)²
        model = make("assembleflow-atom", as_published=as_published)
        model.net = Answer(batch.pose.centroid, -wanted)
        parts = model.loss(batch, torch.Generator().manual_seed(0))
        assert float(parts["rotation"]) == pytest.approx(expected, abs=1e-7)


def test_the_weights_of_the_published_loss() -> None:
    batch = tiny_batch()
    model = make("assembleflow-molecule", as_published=True)
    model.net = Answer(batch.pose.centroid + 2.0, quaternion_of(batch.pose.rotation))
    parts = model.loss(batch, torch.Generator().manual_seed(0))
    assert float(parts["translation"]) == pytest.approx(4.0)  # the mean over components, not their sum
    model.net = Answer(batch.pose.centroid, -quaternion_of(batch.pose.rotation))
    assert float(model.loss(batch, torch.Generator().manual_seed(0))["loss"]) == pytest.approx(10.0, rel=1e-6)


@pytest.mark.parametrize("as_published", BOTH)
def test_the_walk_arrives_at_a_constant_answer_in_equal_steps(as_published: bool) -> None:
    batch = tiny_batch((5,))
    model = make("assembleflow-molecule", as_published=as_published, time_steps=200)
    model.net = Answer(batch.pose.centroid, quaternion_of(batch.pose.rotation))
    end = model.walk(batch, batch.start, torch.Generator())
    assert model.net.times == pytest.approx([i / 200 for i in range(200)]) and model.calls == 200
    assert torch.allclose(end.centroid, batch.pose.centroid)
    limit = 5e-2 if as_published else 1e-6  # Euler steps along the derivative of the arc are of first order
    assert (end.rotation - batch.pose.rotation).abs().max() < limit


def test_published_attention_brings_no_news_of_other_molecules_but_by_pairs() -> None:
    torch.manual_seed(0)
    h = torch.randn(1, 3, 8, dtype=torch.float64)
    other = h.clone()
    other[0, 1:] += 1.0
    pair, place = torch.zeros(1, 3, 3, 8, dtype=torch.float64), torch.randn(1, 3, 3, dtype=torch.float64)
    near, frame = ~torch.eye(3, dtype=torch.bool)[None], torch.eye(3, dtype=torch.float64).expand(1, 3, 3, 3)
    for as_published in BOTH:
        net = PointAttention(8, 2, 3, 4, as_published).double()
        torch.nn.init.normal_(net.out.weight)
        first, second = (net(x, pair, frame, place, near)[0, 0] for x in (h, other))
        assert torch.allclose(first, second) == as_published


# -- sizes and samples -------------------------------------------------------------------------------------------------


def linear(inside: int, outside: int, bias: bool = True) -> int:
    return inside * outside + outside * bias


def test_the_number_of_parameters_of_the_published_attention() -> None:
    # Four heads of 128 features, 8 points of a query and 12 of a value: the sizes of the published code.
    count = sum(p.numel() for p in PointAttention(128, 4, 8, 12, True).parameters())
    scalars, vectors = linear(128, 3 * 4 * 128, False), linear(128, 4 * (8 + 8 + 12) * 3, False)
    out = linear(4 * (32 + 128 + 4 * 12), 128)
    assert count == scalars + vectors + linear(128, 4) + linear(128, 32) + 4 + out


def test_as_published_the_rounds_without_effect_have_no_parameters() -> None:
    sizes = [
        sum(p.numel() for p in make("assembleflow-atom", as_published=flag, convs=convs).parameters())
        for flag, convs in ((True, 1), (True, 5), (False, 1), (False, 2))
    ]
    h = 16
    attention = 4 * linear(h, h) + linear(h, h, False) + 2 * linear(h, h) + 2 * 2 * h
    assert sizes[0] == sizes[1] and sizes[3] - sizes[2] == 2 * attention  # two layers, one round more in each


def test_heads_must_divide_the_features() -> None:
    with pytest.raises(ConfigError, match="hidden = 16 is no multiple of heads = 3"):
        make("assembleflow-atom", heads=3)


@pytest.mark.parametrize("as_published", BOTH)
@pytest.mark.parametrize("method", VARIANTS)
def test_samples_follow_from_seed_and_start_and_not_from_their_number(
    method: str, as_published: bool
) -> None:
    model = make(method, as_published=as_published)
    few, more = (propose_learned(model, CHIRAL, 5, n, seed=3, volume=LENGTH**3) for n in (1, 3))
    other = propose_learned(model, CHIRAL, 5, 1, seed=4, volume=LENGTH**3)
    starts = [cluster(CHIRAL, 5, seed) for seed in (7, 8)]
    begun = propose_learned(model, CHIRAL, 5, 2, seed=3, volume=LENGTH**3, start=starts)
    assert len(more) == 3 and all(len(c) == 5 and c.info["calls"] == 4 for c in more)
    assert np.allclose(few[0].positions, more[0].positions, atol=1e-9)
    assert not np.allclose(few[0].positions, other[0].positions)
    assert not np.allclose(begun[0].positions, begun[1].positions)
    assert [list(c.parity) for c in begun] == [list(c.parity) for c in starts]
