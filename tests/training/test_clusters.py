"""Crystals go where the split file says, and a cluster model trains on them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from kflow_sci.assembly.data.store import open_store, write_store
from kflow_sci.assembly.model.generate import Request, load_model, propose
from kflow_sci.checkpoint import load_checkpoint
from kflow_sci.errors import ClusterError, ConfigError
from kflow_sci.training.clusters import load_data, model_config, new_model, read_split, train_clusters
from kflow_sci.training.config import TrainConfig, make_config
from tests.training.tiny_store import SPLIT, settings_for, write_split


def config_for(store: Path, out: Path | str = "unused", **changes: Any) -> TrainConfig:
    return make_config(TrainConfig, settings_for(store, Path(out), **changes))


def ids(clusters: list[Any]) -> list[str]:
    return [cluster.info["id"] for cluster in clusters]


def test_crystals_go_where_the_split_says(store: Path) -> None:
    data = load_data(config_for(store))
    assert sorted(ids(data.train)) == ["benzene", "urea"] and ids(data.val) == ["chfclbr"]


def test_test_crystals_are_never_seen_and_none_leaves_out(store: Path, tmp_path: Path) -> None:
    split = write_split(tmp_path / "s.csv", SPLIT | {"benzene": "test"})
    assert ids(load_data(config_for(store, split=str(split))).train) == ["urea"]
    split = write_split(tmp_path / "s.csv", SPLIT | {"urea": "none"})
    assert ids(load_data(config_for(store, split=str(split))).train) == ["benzene"]


def test_packings_of_one_molecule_share_its_weight(store: Path, tmp_path: Path) -> None:
    split = tmp_path / "s.csv"
    split.write_text("id,split,mol_hash\nurea,train,a\nbenzene,train,a\nchfclbr,val,b\n")
    assert load_data(config_for(store, split=str(split))).weights == [0.5, 0.5]
    assert load_data(config_for(store)).weights == [1.0, 1.0]


def computed_store(folder: Path, store: Path) -> Path:
    """Two packings of one molecule and one of another, as the factory names them."""
    urea, benzene, chiral = sorted(open_store(store), key=lambda c: ["urea", "benzene"].index(c.info["id"])
                                   if c.info["id"] in ("urea", "benzene") else 2)  # fmt: skip
    named = [("A-1", "A", urea), ("A-2", "A", benzene), ("B-1", "B", chiral)]
    path = folder / "computed.kfc"
    write_store(path, [replace(c, info={**c.info, "id": i, "crystal": m}) for i, m, c in named])
    return path


def test_computed_crystals_have_their_share_of_the_draws_and_are_never_validated_on(
    store: Path, tmp_path: Path
) -> None:
    computed = computed_store(tmp_path, store)
    data = load_data(config_for(store, computed=[str(computed)], computed_share=0.6))
    weight = dict(zip(ids(data.train), data.weights, strict=True))
    assert weight == pytest.approx({"urea": 0.2, "benzene": 0.2, "A-1": 0.15, "A-2": 0.15, "B-1": 0.3})
    assert ids(data.val) == ["chfclbr"]
    assert data.data_hash != load_data(config_for(store)).data_hash


def test_a_share_without_computed_crystals_and_the_reverse_are_refused(store: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"computed_share = 0\.5 with 0 computed stores"):
        config_for(store, computed_share=0.5)
    with pytest.raises(ConfigError, match=r"computed_share = 0 with 1 computed stores"):
        config_for(store, computed=[str(computed_store(tmp_path, store))])


def test_the_hash_follows_the_bytes_of_stores_and_split(store: Path, tmp_path: Path) -> None:
    first = load_data(config_for(store)).data_hash
    split = write_split(tmp_path / "s.csv", dict(reversed(SPLIT.items())))
    assert (
        load_data(config_for(store)).data_hash
        == first
        != load_data(config_for(store, split=str(split))).data_hash
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no rows"),
        ("name,split\na,train\n", "needs the columns id and split, but has name, split"),
        ("id,split\na,training\n", "a has split 'training', but known are train, val, test, none"),
        ("id,split\na,train\na,val\n", "a occurs twice"),
        ("id,split,molecule\na,train,m\nb,test,m\n", "a (train) and b (test) are the same molecule m"),
    ],
)
def test_a_split_that_makes_no_sense_is_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "s.csv"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_split(path)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_a_missing_split_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.csv"):
        read_split(tmp_path / "absent.csv")


def test_a_left_out_crystal_may_share_its_molecule(tmp_path: Path) -> None:
    path = tmp_path / "s.csv"
    path.write_text("id,split,molecule\na,none,m\nb,test,m\nc,none,m\n")
    assert read_split(path)["b"] == ("test", "m")


def test_a_cluster_that_the_split_does_not_know_is_refused(store: Path, tmp_path: Path) -> None:
    split = write_split(tmp_path / "s.csv", {"urea": "train", "chfclbr": "val"})
    with pytest.raises(ConfigError, match="benzene of store"):
        load_data(config_for(store, split=str(split)))


@pytest.mark.parametrize("part", ["train", "val"])
def test_an_empty_split_is_refused(store: Path, tmp_path: Path, part: str) -> None:
    split = write_split(
        tmp_path / "s.csv", {name: "test" if at == part else at for name, at in SPLIT.items()}
    )
    with pytest.raises(ConfigError, match=f"no cluster of split {part}"):
        load_data(config_for(store, split=str(split)))


def test_a_store_given_twice_is_refused(store: Path) -> None:
    with pytest.raises(ConfigError, match="occurs twice"):
        load_data(config_for(store, stores=[str(store), str(store)]))


@pytest.mark.parametrize("change", [{"copies_max": 9}, {"validate_copies": 9}])
def test_clusters_with_fewer_molecules_than_asked_are_refused(store: Path, change: dict[str, int]) -> None:
    (key,) = change
    with pytest.raises(ConfigError, match=f"{key} = 9, but cluster .* holds 8 molecules"):
        load_data(config_for(store, **change))


def test_a_missing_or_truncated_store_is_refused(store: Path, tmp_path: Path) -> None:
    (tmp_path / "cut.kfc").write_bytes(store.read_bytes()[:200])
    for path in (tmp_path / "absent.kfc", tmp_path / "cut.kfc"):
        with pytest.raises(ClusterError, match=path.name):
            load_data(config_for(store, stores=[str(path)]))


def test_every_setting_of_the_model_reaches_it(store: Path) -> None:
    changed = {"transform": "pca", "widths": [2, 1], "overlap": 0.25, "mu": "cosine", "prediction": "velocity",
               "weighting": "balanced", "rotation_weight": 0.5, "hidden": 6, "layers": 3, "edge": 5, "neighbours": 2,
               "contacts": 7}  # fmt: skip
    made = model_config(config_for(store, **changed))
    for key, value in changed.items():
        assert getattr(made, key) == (tuple(value) if isinstance(value, list) else value)
    assert made.steps == (1,)


def test_the_first_weights_follow_from_the_seed(store: Path) -> None:
    clusters = list(open_store(store))
    first, again, other = (
        new_model(config_for(store, seed=seed), clusters).state_dict() for seed in (1, 1, 2)
    )
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


@pytest.mark.parametrize("transform", ["graph", "pca"])
def test_a_cluster_model_trains_and_its_weights_generate(store: Path, tmp_path: Path, transform: str) -> None:
    config = config_for(store, tmp_path / "run", transform=transform)
    result = train_clusters(config, device="cpu", show=False)
    assert result.finished and set(result.best["metrics"]) >= {"density_error", "clashing_pairs", "angle"}
    model, header = load_model(tmp_path / "run" / "best.safetensors")
    assert header["data_hash"] == load_data(config).data_hash and header["step"] == 3
    (cluster,) = propose(model, load_data(config).val[0].molecules[0], Request(copies=5, samples=1))
    assert len(cluster) == 5


def test_a_finished_model_is_given_the_room_that_its_samples_need(store: Path, tmp_path: Path) -> None:
    config = config_for(store, tmp_path / "run", room_samples=2)
    rooms = []
    for _ in range(2):  # the second call finds the run finished
        train_clusters(config, device="cpu", show=False)
        model, header = load_model(tmp_path / "run" / "best.safetensors")
        assert header["step"] == 3 and 0.5 < model.config.room < 2.5 and model.config.room != 1.0
        rooms.append(model.config.room)
    assert rooms[0] == rooms[1]


def test_an_interrupted_cluster_run_continues_to_the_same_weights(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import kflow_sci.training.clusters as place

    train_clusters(config_for(store, tmp_path / "whole"), device="cpu", show=False)
    batch = place.ClusterDataset.batch
    drawn: list[int] = []

    def cut(self: Any, *args: Any) -> Any:
        drawn.append(1)
        if len(drawn) == 3:
            raise KeyboardInterrupt
        return batch(self, *args)

    monkeypatch.setattr(place.ClusterDataset, "batch", cut)
    assert not train_clusters(config_for(store, tmp_path / "cut"), device="cpu", show=False).finished
    monkeypatch.undo()
    assert train_clusters(config_for(store, tmp_path / "cut"), device="cpu", show=False).finished
    whole, cut_off = (load_checkpoint(tmp_path / name / "state.safetensors")[0] for name in ("whole", "cut"))
    assert all(torch.equal(whole[name], cut_off[name]) for name in whole)
