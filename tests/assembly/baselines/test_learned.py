"""The interface of the learned rivals: registry, starts, samples, and K-Flow as one of them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from kflow_sci.assembly.baselines import learned
from kflow_sci.assembly.baselines.kflow import KFlow
from kflow_sci.assembly.baselines.learned import METHODS, Rival, load, propose_learned, rival_class, start_of
from kflow_sci.assembly.cluster import Cluster
from kflow_sci.assembly.model.batch import ClusterBatch
from kflow_sci.assembly.model.cluster_model import ClusterModel, ModelConfig
from kflow_sci.assembly.model.generate import propose
from kflow_sci.assembly.model.request import Request, volume_per_molecule
from kflow_sci.assembly.model.start import COMPACT
from kflow_sci.assembly.scoring.frame import Frame
from kflow_sci.checkpoint import save_checkpoint
from kflow_sci.errors import CheckpointError, ClusterError, ConfigError
from kflow_sci.flow.rigid import Pose
from kflow_sci.settings import Settings
from kflow_sci.training.config import RivalConfig
from tests.assembly.baselines.tiny import CHIRAL, LENGTH, WATER, cluster, tiny_batch

VOLUME = LENGTH**3


class Still(Rival):
    """Leaves everything where it is; with noise, shifts all by one number."""

    settings_kind = Settings
    noisy = False

    def __init__(self) -> None:
        super().__init__(Settings())
        self.weight = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))

    @property
    def calls(self) -> int:
        return 7

    def walk(self, batch: ClusterBatch, start: Pose, generator: torch.Generator) -> Pose | Tensor:
        noise = torch.randn(1, generator=generator, dtype=torch.float64) if self.noisy else 0.0
        return Pose(start.centroid + noise, start.rotation)


class Noisy(Still):
    stochastic = noisy = True


class Atoms(Still):
    rigid = False

    def walk(self, batch: ClusterBatch, start: Pose, generator: torch.Generator) -> Tensor:
        turned = batch.table.position[batch.kind] @ start.rotation.transpose(-1, -2)
        return start.centroid[:, :, None] + batch.parity[..., None, None] * turned


class Lost(Still):
    def walk(self, batch: ClusterBatch, start: Pose, generator: torch.Generator) -> Pose:
        rotation = start.rotation.clone()
        rotation[1, 2] = torch.nan
        return Pose(start.centroid, rotation)


def draw(model: Rival, n: int = 2, seed: int = 0, **more: Any) -> list[Any]:
    return propose_learned(model, CHIRAL, 5, n, seed, VOLUME, **more)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_has_a_class_whose_settings_hide_none_of_training(method: str) -> None:
    kind = rival_class(method)
    assert issubclass(kind, Rival)
    own, shared = ({f.name for f in dataclasses.fields(c)} for c in (kind.settings_kind, RivalConfig))
    assert not own & shared


def test_an_unknown_method_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="'gnnmd' is unknown: did you mean 'gnn-md'"):
        rival_class("gnnmd")


@pytest.mark.parametrize("kind", [Still, Noisy, Atoms])
def test_a_sample_follows_from_its_seed_and_number_alone(kind: type[Rival], monkeypatch: Any) -> None:
    few, more, other = draw(kind(), 1), draw(kind(), 3), draw(kind(), 1, seed=1)
    monkeypatch.setattr(learned, "_ATOMS_PER_CHUNK", 1)
    one_by_one = draw(kind(), 3)
    assert np.array_equal(few[0].positions, more[0].positions)
    assert all(np.array_equal(a.positions, b.positions) for a, b in zip(more, one_by_one, strict=True))
    assert not np.allclose(more[0].positions, more[1].positions)
    assert not np.allclose(few[0].positions, other[0].positions)


def test_random_starts_have_the_volume_that_was_asked_for() -> None:
    (one,) = draw(Still(), 1)
    # A full ball of five molecules has mean squared radius 3/5 R².
    radius = (3 * 5 * COMPACT * VOLUME / (4 * np.pi)) ** (1 / 3)
    gyration = np.sqrt(np.square(one.centroid - one.centroid.mean(0)).sum(1).mean())
    assert gyration == pytest.approx(np.sqrt(0.6) * radius)
    assert one.info == {"sample": 0, "volume": VOLUME, "calls": 7}


def test_given_starts_are_kept_copy_by_copy_and_moved_to_the_origin() -> None:
    starts = [cluster(CHIRAL, 5, seed) for seed in (1, 2)]
    for begun, start in zip(draw(Still(), start=starts), starts, strict=True):
        expected = start.positions - start.centroid.mean(0)
        assert np.allclose(begun.positions, expected, atol=1e-9)


def test_a_rival_of_atoms_gives_frames() -> None:
    starts = [cluster(CHIRAL, 5, 3)]
    (frame,) = draw(Atoms(), 1, start=starts)
    assert isinstance(frame, Frame) and frame.n_molecules == 5
    assert np.array_equal(frame.numbers, starts[0].numbers)
    assert np.allclose(frame.positions, starts[0].positions - starts[0].centroid.mean(0), atol=1e-9)


def test_a_sample_that_is_not_finite_stays_visible() -> None:
    good, lost, after = draw(Lost(), 3)
    assert np.isfinite(good.positions).all() and np.isfinite(after.positions).all()
    assert np.isnan(lost.positions_of(2)).all() and np.isfinite(lost.positions_of(1)).all()


@pytest.mark.parametrize(
    ("starts", "words"),
    [
        ([cluster(CHIRAL, 5, 0)], "1 starts for 2 samples"),
        ([cluster(CHIRAL, 4, 0)] * 2, "start 0 has 4 molecules, but 5 copies"),
        ([cluster(WATER, 5, 0)] * 2, "start 0 is of molecule"),
    ],
)
def test_starts_that_do_not_fit_are_refused(starts: list[Cluster], words: str) -> None:
    with pytest.raises(ClusterError, match=words):
        draw(Still(), start=starts)


def test_a_rival_that_has_no_use_for_starts_refuses_them() -> None:
    model = Still()
    model.uses_start = False  # type: ignore[misc]
    with pytest.raises(ClusterError, match="Still has no use for a start"):
        draw(model, start=[cluster(CHIRAL, 5, seed) for seed in (1, 2)])


@pytest.mark.parametrize("change", [{"n": 0}, {"seed": -1}])
def test_numbers_out_of_range_are_refused(change: dict[str, int]) -> None:
    with pytest.raises(ClusterError, match=next(iter(change))):
        draw(Still(), **change)


def test_training_starts_from_the_batch_or_else_at_random() -> None:
    batch = tiny_batch()
    assert start_of(batch, torch.Generator()) is batch.start
    drawn = start_of(tiny_batch(start=False), torch.Generator().manual_seed(0))
    assert drawn.centroid.shape == batch.pose.centroid.shape


# -- K-Flow ------------------------------------------------------------------------------------------------------------

SMALL = ModelConfig(hidden=8, layers=1, edge=4, neighbours=4, contacts=3, widths=(1.0, 1.0), steps=(2, 1))


def test_kflow_samples_as_a_user_of_it_would() -> None:
    torch.manual_seed(0)
    model = ClusterModel(SMALL).eval()
    theirs = draw(KFlow(model))
    density = volume_per_molecule(CHIRAL, 1.0) / VOLUME
    ours = propose(model, CHIRAL, Request(copies=5, samples=2, seed=0, density=density))
    for a, b in zip(theirs, ours, strict=True):
        assert np.array_equal(a.positions, b.positions) and a.info["calls"] == b.info["calls"]
        assert a.info["volume"] == VOLUME


def test_kflow_also_begins_where_it_is_told() -> None:
    torch.manual_seed(0)
    starts = [cluster(CHIRAL, 5, seed) for seed in (1, 2)]
    first, second = draw(KFlow(ClusterModel(SMALL)), start=starts)
    assert list(first.parity) == list(starts[0].parity)
    assert not np.allclose(first.positions, second.positions)


def test_kflow_loads_as_a_rival(tmp_path: Path) -> None:
    model = ClusterModel(SMALL)
    save_checkpoint(tmp_path / "k.safetensors", model.state_dict(), {"model": model.config_dict()})
    rival = load(tmp_path / "k.safetensors")
    assert isinstance(rival, KFlow) and rival.config_dict()["hidden"] == 8 and not rival.training


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ({}, "holds no rival"),
        ({"rival": {"method": "new", "settings": {}}}, "holds no rival"),
        ({"kind": "packing proposals", "model": {"shells": []}}, "holds no rival"),
        ({"rival": {"method": "gnn-md", "settings": {"x": 1}}}, "needs another version"),
    ],
)
def test_other_weights_are_refused(tmp_path: Path, header: dict[str, Any], words: str) -> None:
    save_checkpoint(tmp_path / "w.safetensors", {"a": torch.zeros(1)}, header)
    with pytest.raises(CheckpointError, match=words):
        load(tmp_path / "w.safetensors")
