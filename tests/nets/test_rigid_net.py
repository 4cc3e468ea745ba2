"""The velocity net and the whole sampler: symmetries, padding, rigidity."""

from __future__ import annotations

import numpy as np
import pytest
import roma
import torch

from kflow_sci.assembly.model.batch import ClusterBatch, molecule_table, spread_subset
from kflow_sci.assembly.model.cluster_model import ClusterModel, ModelConfig
from kflow_sci.assembly.model.start import COMPACT, random_start
from kflow_sci.assembly.molecule import Molecule
from kflow_sci.errors import ClusterError, ConfigError
from kflow_sci.flow.rigid import Pose
from kflow_sci.settings import from_plain
from kflow_sci.testing import relative_error

# Glyoxal-like planar, bromochlorofluoromethane-like chiral: typed by hand, Å.
PLANAR = Molecule.build(
    np.array([6, 6, 8, 8, 1, 1]),
    np.array(
        [
            [0.64, 0.40, 0],
            [-0.64, -0.40, 0],
            [1.72, -0.13, 0],
            [-1.72, 0.13, 0],
            [0.47, 1.49, 0],
            [-0.47, -1.49, 0.0],
        ]
    ),
)[0]
CHIRAL = Molecule.build(
    np.array([6, 35, 17, 9, 1]),
    np.array([[0, 0, 0], [1.1, 1.1, 1.1], [-1.0, -1.0, 1.0], [-0.8, 0.8, -0.8], [0.63, -0.63, -0.63]]),
)[0]
COPIES = 9
SMALL = {"hidden": 32, "layers": 2, "edge": 16}


def make_model(seed: int = 0, **changes: object) -> ClusterModel:
    torch.manual_seed(seed)
    model = ClusterModel(ModelConfig(**{**SMALL, **changes})).double()
    for name, parameter in model.named_parameters():
        if name.startswith(("net.readout.head", "net.readout.weigh")):
            torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


def make_batch(copies: int = COPIES, seed: int = 0) -> tuple[ClusterBatch, Pose]:
    generator = torch.Generator().manual_seed(seed)
    table = molecule_table([PLANAR, CHIRAL], torch.float64)
    kind = torch.tensor([[0, 1] * copies])[:, :copies]
    parity = torch.where(torch.rand(1, copies, generator=generator) < 0.5, -1.0, 1.0).double()
    mask = torch.ones(1, copies, dtype=torch.bool)
    length = torch.tensor([5.0], dtype=torch.float64)
    start = random_start(mask, length, generator)
    return ClusterBatch(("a",), table, kind, parity, mask, length, start), start


def moved(
    batch: ClusterBatch, start: Pose, q: torch.Tensor, shift: float, order: torch.Tensor
) -> tuple[ClusterBatch, Pose]:
    sign = torch.linalg.det(q).sign()
    batch = batch._replace(kind=batch.kind[:, order], parity=sign * batch.parity[:, order])
    return batch, Pose((start.centroid @ q.T + shift)[:, order], (sign * q @ start.rotation)[:, order])


SYMMETRIES = [
    (sign * torch.from_numpy(np.linalg.qr(np.random.default_rng(i).normal(size=(3, 3)))[0]), shift)
    for i, (sign, shift) in enumerate([(1.0, 0.0), (-1.0, 0.0), (1.0, 40.0), (-1.0, -7.0)])
]


@pytest.mark.parametrize(("q", "shift"), SYMMETRIES)
def test_translation_is_polar_and_rotation_is_axial(q: torch.Tensor, shift: float) -> None:
    model = make_model()
    batch, start = make_batch()
    order = torch.randperm(COPIES, generator=torch.Generator().manual_seed(1))
    s = torch.tensor([0.4], dtype=torch.float64)
    move, turn = model.answer(start, batch, model.net.encode(batch.table), s)
    other, other_start = moved(batch, start, q, shift, order)
    other_move, other_turn = model.answer(other_start, other, model.net.encode(batch.table), s)
    assert move.abs().max() > 0.1 and turn.abs().max() > 0.1
    assert relative_error(other_move, (move @ q.T)[:, order]) < 1e-9
    assert relative_error(other_turn, (torch.linalg.det(q).sign() * turn @ q.T)[:, order]) < 1e-9


@pytest.mark.parametrize(
    "changes", [{}, {"prediction": "velocity"}, {"widths": (1.0,), "overlap": 1.0, "steps": (6,)}]
)
@pytest.mark.parametrize(("q", "shift"), SYMMETRIES)
def test_the_whole_sampler_is_equivariant(q: torch.Tensor, shift: float, changes: dict[str, object]) -> None:
    model = make_model(**{"steps": (2,), **changes})
    # Small answers keep the flow smooth: a chaotic one would blow rounding up, which is not a broken symmetry.
    with torch.no_grad():
        for parameter in model.net.readout.parameters():
            parameter.mul_(0.1)
    batch, start = make_batch()
    order = torch.randperm(COPIES, generator=torch.Generator().manual_seed(1))
    pose, solution = model.sample(batch, start)
    other, other_start = moved(batch, start, q, shift, order)
    other_pose, _ = model.sample(other, other_start)
    assert solution.calls == 6
    assert relative_error(pose.centroid, start.centroid) > 1e-3
    assert relative_error(other_pose.centroid, (pose.centroid @ q.T + shift)[:, order]) < 1e-9
    assert (
        relative_error(other_pose.rotation, (torch.linalg.det(q).sign() * q @ pose.rotation)[:, order]) < 1e-9
    )


def test_mirror_images_are_seen_as_different() -> None:
    # Inverting one copy alone is not a symmetry of a cluster, so the answer must change.
    model = make_model()
    batch, start = make_batch()
    s = torch.tensor([0.4], dtype=torch.float64)
    encoded = model.net.encode(batch.table)
    move, _ = model.answer(start, batch, encoded, s)
    flipped = batch.parity.clone()
    flipped[0, 1] *= -1
    other, _ = model.answer(start, batch._replace(parity=flipped), encoded, s)
    assert (other - move).abs().max() > 1e-3


def test_padding_changes_nothing() -> None:
    model = make_model()
    batch, start = make_batch()
    s = torch.tensor([0.4], dtype=torch.float64)
    encoded = model.net.encode(batch.table)
    move, turn = model.answer(start, batch, encoded, s)
    pad = torch.nn.functional.pad
    padded = batch._replace(
        kind=pad(batch.kind, (0, 3)),
        parity=pad(batch.parity, (0, 3), value=1.0),
        mask=pad(batch.mask, (0, 3)),
    )
    eye = torch.eye(3, dtype=torch.float64).expand(1, 3, 3, 3)
    wide = Pose(pad(start.centroid, (0, 0, 0, 3)), torch.cat([start.rotation, eye], dim=1))
    other_move, other_turn = model.answer(wide, padded, encoded, s)
    assert relative_error(other_move[:, :COPIES], move) < 1e-12
    assert relative_error(other_turn[:, :COPIES], turn) < 1e-12
    assert other_move[:, COPIES:].abs().sum() == 0


def test_batch_equals_its_singles() -> None:
    model = make_model(steps=(2,))
    pairs = [make_batch(seed=i) for i in range(3)]
    first = pairs[0][0]
    joint = first._replace(
        ids=("a", "b", "c"),
        kind=torch.cat([b.kind for b, _ in pairs]),
        parity=torch.cat([b.parity for b, _ in pairs]),
        mask=torch.cat([b.mask for b, _ in pairs]),
        length=torch.cat([b.length for b, _ in pairs]),
    )
    start = Pose(torch.cat([p.centroid for _, p in pairs]), torch.cat([p.rotation for _, p in pairs]))
    whole, _ = model.sample(joint, start)
    for i, (batch, single) in enumerate(pairs):
        alone, _ = model.sample(batch, single)
        assert relative_error(whole.centroid[i : i + 1], alone.centroid) < 1e-9


def test_the_cluster_as_a_whole_does_not_drift() -> None:
    model = make_model()
    batch, start = make_batch()
    move, _ = model.answer(
        start, batch, model.net.encode(batch.table), torch.tensor([0.4], dtype=torch.float64)
    )
    assert move.sum(1).abs().max() < 1e-12


def test_untrained_model_stays_at_the_start() -> None:
    model = ClusterModel(ModelConfig(**SMALL)).double()
    batch, start = make_batch()
    pose, solution = model.sample(batch, start)
    assert relative_error(pose.centroid, start.centroid) < 1e-12
    assert relative_error(pose.rotation, start.rotation) < 1e-7
    assert solution.calls == 16


@pytest.mark.parametrize("copies", [2, 3, 40])
def test_any_number_of_molecules(copies: int) -> None:
    model = make_model(steps=(1,))
    batch, start = make_batch(copies)
    pose, _ = model.sample(batch, start)
    assert bool(torch.isfinite(pose.centroid).all())
    eye = torch.eye(3, dtype=torch.float64)
    assert (
        relative_error(pose.rotation @ pose.rotation.transpose(-1, -2), eye.expand_as(pose.rotation)) < 1e-12
    )


@pytest.mark.parametrize("prediction", ["endpoint", "velocity"])
@pytest.mark.parametrize("transform", ["graph", "pca"])
def test_loss_falls_when_it_is_minimised(prediction: str, transform: str) -> None:
    model = make_model(prediction=prediction, transform=transform)
    batch, _ = make_batch(seed=3)
    if transform == "pca":
        model.set_pca(
            torch.randn(40, COPIES, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        )
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    losses = []
    for step in range(60):
        loss = model.loss(batch, torch.Generator().manual_seed(step % 4))["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert np.mean(losses[-8:]) < 0.7 * np.mean(losses[:8])


def test_coupled_target_is_the_same_set_of_atoms_up_to_one_rotation() -> None:
    model = make_model()
    batch, _ = make_batch(seed=5)
    q = roma.random_rotmat(COPIES, dtype=torch.float64)[None]
    target = batch._replace(pose=Pose(batch.pose.centroid, q))
    paired, start = model.pair(target, torch.Generator().manual_seed(0))

    def distances(b: ClusterBatch) -> torch.Tensor:
        atoms = b.table.position[b.kind] @ (b.parity[..., None, None] * b.pose.rotation).transpose(-1, -2)
        atoms = (atoms + b.pose.centroid[:, :, None])[b.table.element[b.kind] > 0]
        return torch.cdist(atoms, atoms).flatten().sort().values

    # The planar molecule has a two-fold axis: renumbering its equal atoms keeps the sorted distances.
    assert torch.allclose(distances(paired), distances(target), atol=1e-6)
    assert sorted(zip(paired.kind[0].tolist(), paired.parity[0].tolist(), strict=True)) == sorted(
        zip(target.kind[0].tolist(), target.parity[0].tolist(), strict=True)
    )
    assert start.centroid.shape == paired.pose.centroid.shape


def test_start_has_the_expected_density_and_uniform_rotations() -> None:
    mask, length = torch.ones(400, 17, dtype=torch.bool), torch.full((400,), 6.0, dtype=torch.float64)
    start = random_start(mask, length, torch.Generator().manual_seed(0))
    # A full ball of radius R has mean squared radius 3 R² / 5.
    radius = (3 * 17 * COMPACT * 6.0**3 / (4 * np.pi)) ** (1 / 3)
    gyration = (start.centroid - start.centroid.mean(1, keepdim=True)).square().sum(-1).mean(1).sqrt()
    assert torch.allclose(gyration, torch.full_like(gyration, np.sqrt(0.6) * radius))
    # Uniform rotations: E[trace] = 0, E[angle] = π/2 + 2/π.
    angle = roma.rotmat_to_rotvec(start.rotation).norm(dim=-1)
    assert float(angle.mean()) == pytest.approx(np.pi / 2 + 2 / np.pi, abs=0.02)


def test_spread_subset_keeps_small_sets_and_covers_large_ones() -> None:
    line = np.stack([np.arange(100.0), np.zeros(100), np.zeros(100)], axis=1)
    assert spread_subset(line[:5], 20).tolist() == [0, 1, 2, 3, 4]
    picked = spread_subset(line, 5)
    assert picked.tolist()[0] == 0 and picked.tolist()[-1] == 99
    assert np.diff(picked).max() <= 50


def test_unknown_settings_and_unfitted_bases_are_refused() -> None:
    with pytest.raises(ConfigError, match="choose graph, pca"):
        ModelConfig(transform="wavelet")
    with pytest.raises(ConfigError, match="choose endpoint"):
        ModelConfig(prediction="noise")
    with pytest.raises(ConfigError, match="another version"):
        from_plain(ModelConfig, {"colour": 1})
    batch, start = make_batch()
    with pytest.raises(ClusterError, match=r"fitted for \[\] copies, not 9"):
        make_model(transform="pca").sample(batch, start)
