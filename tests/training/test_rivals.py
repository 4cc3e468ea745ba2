"""`kflow train` trains a rival as it trains K-Flow: same data, same loop, same validation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kflow_sci.assembly.baselines.learned import load, propose_learned
from kflow_sci.assembly.cluster import Cluster
from kflow_sci.assembly.data.store import open_store, write_store
from kflow_sci.assembly.model.dataset import ClusterDataset
from kflow_sci.checkpoint import load_checkpoint, read_header
from kflow_sci.errors import ConfigError
from kflow_sci.training.clusters import load_data, train_clusters
from kflow_sci.training.config import RivalConfig, TrainConfig, make_config
from kflow_sci.training.methods import config_kind, read_train_config
from tests.assembly.baselines.test_assembleflow import SETTINGS as ASSEMBLEFLOW
from tests.training.tiny_store import settings_for, write_settings

CLUSTERS = {"stores", "split", "copies_min", "copies_max", "validate_copies", "validate_samples"}
KFLOW = {"transform", "widths", "overlap", "mu", "prediction", "weighting", "rotation_weight", "hidden", "layers",
         "edge", "neighbours", "contacts", "steps_per_shell"}  # fmt: skip
FOLDERS = ("assembly", "bench", "rivals")  # those of images and proposals have tests of their own
CONFIGS = sorted(p for name in FOLDERS for p in (Path(__file__).parents[2] / "configs" / name).glob("*.yaml"))


def rival_settings(
    store: Path, out: Path, method: str = "assembleflow-molecule", **changes: Any
) -> dict[str, Any]:
    shared = {key: value for key, value in settings_for(store, out).items() if key not in KFLOW}
    return {**shared, **ASSEMBLEFLOW[method], "method": method, "starts": "random", **changes}


def rival_config(
    store: Path, out: Path, method: str = "assembleflow-molecule", **changes: Any
) -> RivalConfig:
    config = make_config(config_kind(method), rival_settings(store, out, method, **changes))
    assert isinstance(config, RivalConfig)
    return config


@pytest.mark.parametrize("method", ASSEMBLEFLOW)
def test_a_rival_trains_and_its_weights_sample(store: Path, tmp_path: Path, method: str) -> None:
    result = train_clusters(rival_config(store, tmp_path / "run", method), device="cpu", show=False)
    assert result.finished and result.best is not None
    assert set(result.best["metrics"]) == {"density_error", "clashing_pairs", "matched_pm", "failed"}
    weights = tmp_path / "run" / "best.safetensors"
    header, model = read_header(weights), load(weights)
    assert header["rival"] == {"method": method, "settings": ASSEMBLEFLOW[method]}
    assert header["settings"]["method"] == method and model.config_dict() == ASSEMBLEFLOW[method]
    tensors, _ = load_checkpoint(weights)
    assert all(tensor.equal(tensors[name]) for name, tensor in model.state_dict().items())
    molecule = open_store(store)[0].molecules[0]
    (sample,) = propose_learned(model, molecule, 6, 1, 0, molecule.crystal_volume)
    assert isinstance(sample, Cluster) and len(sample) == 6


def test_an_interrupted_run_continues_to_the_same_weights(
    store: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    import kflow_sci.training.clusters as place

    train_clusters(rival_config(store, tmp_path / "whole"), device="cpu", show=False)
    real = place.fit

    def cut_short(config: Any, model: Any, batches: Any, *args: Any, **kwargs: Any) -> Any:
        def failing(step: int, rank: int, world_size: int) -> Any:
            if step == 2:
                raise KeyboardInterrupt
            return batches(step, rank, world_size)

        return real(config, model, failing, *args, **kwargs)

    monkeypatch.setattr(place, "fit", cut_short)
    assert not train_clusters(rival_config(store, tmp_path / "cut"), device="cpu", show=False).finished
    monkeypatch.setattr(place, "fit", real)
    assert train_clusters(rival_config(store, tmp_path / "cut"), device="cpu", show=False).finished
    whole, cut = (load_checkpoint(tmp_path / name / "last.safetensors")[0] for name in ("whole", "cut"))
    assert all(whole[name].equal(cut[name]) for name in whole)


# -- starts from the data ----------------------------------------------------------------------------------------------


def with_starts(store: Path, path: Path, parity: int = 1) -> str:
    """A store whose clusters begin where the copies are moved apart along the diagonal."""
    clusters = list(open_store(store))
    starts = [
        Cluster(
            c.molecules,
            c.kind,
            c.centroid + np.arange(len(c))[:, None],
            c.rotation,
            parity * c.parity,
            c.info,
        )
        for c in clusters
    ]
    write_store(path, clusters, starts=starts)
    return str(path)


def test_starts_of_the_data_belong_to_their_clusters(store: Path, tmp_path: Path) -> None:
    config = rival_config(
        store, tmp_path / "run", stores=[with_starts(store, tmp_path / "s.kfc")], starts="data"
    )
    data = load_data(config)
    assert data.starts is not None and data.val_starts is not None
    for start, cluster in zip(data.starts + data.val_starts, data.train + data.val, strict=True):
        moved = start.centroid - cluster.centroid
        assert np.allclose(moved, np.arange(len(start))[:, None], atol=1e-3)
    assert train_clusters(config, device="cpu", show=False).finished


def test_the_starts_of_a_batch_are_those_of_its_clusters(store: Path, tmp_path: Path) -> None:
    config = rival_config(
        store, tmp_path / "run", stores=[with_starts(store, tmp_path / "s.kfc")], starts="data"
    )
    data = load_data(config)
    batch = ClusterDataset(data.train, None, data.starts).batch(4, (3, 3), torch.Generator().manual_seed(0))
    assert batch.start is not None
    # Copies 0, 1 and 2 are moved by as many Å along each axis; both states are centred.
    expected = torch.tensor([-1.0, 0.0, 1.0])[:, None].expand(4, 3, 3)
    assert torch.allclose(batch.start.centroid - batch.pose.centroid, expected, atol=1e-3)


def test_starts_that_are_not_there_or_of_the_other_hand_are_refused(store: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"starts = 'data', but store .* holds none"):
        load_data(rival_config(store, tmp_path, starts="data"))
    mirrored = with_starts(store, tmp_path / "m.kfc", parity=-1)  # of these molecules CHFClBr alone is chiral
    with pytest.raises(ConfigError, match="cluster chfclbr starts from mirror images"):
        load_data(rival_config(store, tmp_path, stores=[mirrored], starts="data"))


# -- configs -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_is_complete_and_says_what_it_trains(path: Path) -> None:
    config = read_train_config(path)
    assert isinstance(config, TrainConfig | RivalConfig)
    if path.parent.name in ("assembly", "rivals"):
        assert f"\nmethod: {config.method}\n" in path.read_text(encoding="utf-8")


def test_a_config_without_a_method_is_one_of_kflow(store: Path, tmp_path: Path) -> None:
    path = write_settings(tmp_path / "c.yaml", settings_for(store, tmp_path / "run"))
    config = read_train_config(path)
    assert isinstance(config, TrainConfig) and config.method == "kflow" and config.minutes is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"method": "assembleflow"}, "method = 'assembleflow' is unknown: did you mean 'assembleflow-atom'?"),
        ({"method": 3}, "method = 3 is unknown"),
        ({"query_point": 3}, "unknown key 'query_point': did you mean 'query_points'?"),
        ({"heads": 0}, "heads = 0 is out of range"),
        ({"as_published": "yes"}, "as_published = 'yes' is not true or false"),
        ({"minutes": 0}, "minutes = 0 is out of range: it must be greater than 0"),
        ({"widths": [1]}, "unknown key 'widths'"),
    ],
)
def test_bad_settings_of_a_rival_are_one_line(
    store: Path, tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    settings = rival_settings(store, tmp_path / "run") | changes
    path = write_settings(tmp_path / "c.yaml", settings)
    with pytest.raises(ConfigError) as caught:
        read_train_config(path)
    assert words in str(caught.value) and "\n" not in str(caught.value) and str(path) in str(caught.value)


def test_a_missing_setting_of_a_rival_is_named(store: Path, tmp_path: Path) -> None:
    settings = rival_settings(store, tmp_path / "run")
    settings.pop("value_points")
    with pytest.raises(ConfigError, match="missing key 'value_points', points of a value"):
        read_train_config(write_settings(tmp_path / "c.yaml", settings))
