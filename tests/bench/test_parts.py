"""The small parts of a benchmark: methods, budgets, the digest of code, and what all train and are tested on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from kflow_sci.assembly.data.store import open_store, write_store
from kflow_sci.bench.budget import ENDLESS, read_budget
from kflow_sci.bench.code import code_digest
from kflow_sci.bench.methods import METHODS, choose_methods
from kflow_sci.bench.run import in_this_process, run_bench
from kflow_sci.bench.task import make_task
from kflow_sci.errors import ConfigError
from kflow_sci.training.methods import read_train_config
from tests.bench.tiny import SPLIT, plan
from tests.training.tiny_store import write_split

CONFIGS = Path(__file__).parents[2] / "configs"


def test_all_are_the_floors_then_the_learned_ones() -> None:
    methods, added = choose_methods("all")
    assert [method.name for method in methods] == list(METHODS) and not added
    assert [bool(method.floor) for method in methods] == [True] * 4 + [False] * (len(METHODS) - 4)


def test_plain_flow_matching_stands_beside_every_k_flow() -> None:
    for words in ("kflow", "kflow-pca-strict,packmol"):
        methods, added = choose_methods(words)
        assert "plain" in [method.name for method in methods] and added == ["plain"]
    assert choose_methods("plain,kflow")[1] == [] and choose_methods("packmol,bridge")[1] == []


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("kflo", "did you mean 'kflow'?"),
        ("packmoll,kflow", "did you mean 'packmol'?"),
        ("kflow,kflow", "names kflow twice"),
        (" , ", "names none"),
        ("mine=absent.yaml", "no file absent.yaml"),
        ("kflow=x.yaml", "'kflow' is taken"),
        ("../x=y.yaml", "no plain word"),
    ],
)
def test_methods_that_are_none_are_refused(words: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told.replace("?", r"\?").replace("(", r"\(")):
        choose_methods(words)


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if not method.floor])
def test_every_learned_method_has_a_whole_config(name: str) -> None:
    config = read_train_config(METHODS[name].path(CONFIGS))
    method = "kflow" if name.startswith("kflow") or name == "plain" else name
    assert config.method == method


def test_k_flow_and_plain_flow_matching_differ_in_nothing_but_their_shells() -> None:
    shells = {"transform", "widths", "overlap", "steps_per_shell", "out"}
    configs = [
        {key: value for key, value in METHODS[name].values(CONFIGS).items() if key not in shells}
        for name in METHODS
        if name.startswith("kflow") or name == "plain"
    ]
    assert len(configs) == 5 and all(config == configs[0] for config in configs)
    calls = [sum(METHODS[name].values(CONFIGS)["steps_per_shell"]) for name in ("kflow", "plain")]
    assert calls[0] == calls[1]


def test_the_rigid_rivals_have_the_net_of_k_flow() -> None:
    net = ("hidden", "layers", "edge", "neighbours", "contacts", "batch_size", "learning_rate", "ema_decay")
    configs = [METHODS[name].values(CONFIGS) for name in ("kflow", "regression", "bridge")]
    assert all(config[key] == configs[0][key] for config in configs for key in net)


def test_budgets() -> None:
    assert (read_budget(None).minutes, read_budget(None).device) == (5.0, "cpu")
    assert (read_budget("gpu-1h").minutes, read_budget("gpu-1h").device) == (60.0, "cuda")
    assert read_budget("0.5").minutes == 0.5 and read_budget("0.5").steps_of(7) == ENDLESS
    assert read_budget("full").minutes is None and read_budget("full").steps_of(7) == 7
    assert read_budget(None, 12).steps_of(7) == 12


@pytest.mark.parametrize(
    ("text", "steps"), [("tomorrow", None), ("-1", None), ("inf", None), ("nan", None), (None, 0), ("5", 5)]
)
def test_what_is_no_budget_is_refused(text: str | None, steps: int | None) -> None:
    with pytest.raises(ConfigError):
        read_budget(text, steps)


def test_the_digest_of_code_is_that_of_what_is_imported() -> None:
    scores = code_digest(["kflow_sci.assembly.scoring.report"])
    assert scores == code_digest(
        ["kflow_sci.assembly.scoring.report", "kflow_sci.assembly.scoring.published"]
    )
    assert scores != code_digest(["kflow_sci.assembly.scoring.report", "kflow_sci.training.clusters"])
    assert scores != code_digest(["kflow_sci.assembly.scoring.published"])


def test_the_test_set_is_what_the_split_says_cropped_and_named_by_its_content(
    store: Path, tmp_path: Path
) -> None:
    split = write_split(tmp_path / "split.csv", SPLIT)
    task = make_task([store], split, tmp_path / "out", 6, None)
    assert open_store(task.test).ids == ["chfclbr"]
    assert [len(cluster) for cluster in open_store(task.test)] == [6]
    assert (task.train, task.tested, task.has_starts, task.true_volumes) == (1, 1, False, True)
    assert make_task([store], split, tmp_path / "out", 6, None) == task
    assert make_task([store], split, tmp_path / "out", 5, None).folder != task.folder


@pytest.mark.parametrize(
    ("split", "copies", "limit", "told"),
    [
        ({"urea": "train", "benzene": "train", "chfclbr": "train"}, 6, None, "no cluster to test"),
        ({"urea": "none", "benzene": "none", "chfclbr": "test"}, 6, None, "no cluster to train"),
        ({"urea": "train", "benzene": "test", "chfclbr": "test"}, 6, None, "1 crystal to train"),
        ({"urea": "train", "benzene": "train"}, 6, None, "chfclbr is not in split"),
        (SPLIT, 9, None, "holds 8 molecules"),
        (SPLIT, 1, None, "at least 2"),
        (SPLIT, 6, 0, "at least 1 test"),
    ],
)
def test_data_that_make_no_benchmark_are_refused(
    store: Path, tmp_path: Path, split: dict[str, str], copies: int, limit: int | None, told: str
) -> None:
    path = write_split(tmp_path / "split.csv", split)
    with pytest.raises(ConfigError, match=told):
        make_task([store], path, tmp_path / "out", copies, limit)


def test_without_a_split_the_molecules_are_divided(store: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="say which"):
        make_task([store, store], None, tmp_path, 6, None)
    task = make_task([store], None, tmp_path, 6, None)
    assert (task.train, task.tested) == (1, 1)  # the third is looked at in validation
    assert (tmp_path / "split.csv").read_text().startswith("id,split,mol_hash")


def test_methods_start_from_the_initial_states_of_the_data(store: Path, tmp_path: Path) -> None:
    clusters = [replace(c, info={"id": c.info["id"]}) for c in open_store(store)]  # as COD-Cluster17: no cell
    rng = np.random.default_rng(0)
    starts = [replace(c, centroid=c.centroid + 0.3 * rng.normal(size=c.centroid.shape)) for c in clusters]
    write_store(tmp_path / "begun.kfc", clusters, starts=starts)
    given = plan(tmp_path / "begun.kfc", tmp_path / "out", "random-ball,gnn-md,kflow")
    assert given.task.has_starts and not given.task.true_volumes
    outcomes = {one.method.name: one for one in run_bench(given, in_this_process)}
    assert not any(one.reason for one in outcomes.values())
    cell = outcomes["gnn-md"].cell
    assert cell is not None and cell.config["starts"] == "data" and cell.config["copies_min"] == 6
    found = cell.result("sample")
    assert found is not None and found["uses_start"] and found["per_cluster"] == 1  # it draws nothing else
    floor = outcomes["random-ball"].cell
    assert floor is not None and (floor.result("sample") or {})["per_cluster"] == 2


def test_the_configs_are_written_for_five_minutes_on_a_cpu() -> None:
    for path in sorted((CONFIGS / "bench").glob("*.yaml")):
        values = yaml.safe_load(path.read_text())
        assert values["minutes"] == 5 and values["out"].endswith(path.stem)
