"""Proposals train on computed crystals, are judged on molecules held back, and never see excluded ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kflow_sci.assembly.bonds import bonded_pairs
from kflow_sci.assembly.data.identity import graph_hash
from kflow_sci.assembly.data.store import write_store
from kflow_sci.assembly.proposals.named import make_proposal
from kflow_sci.assembly.search.setup import make_problem
from kflow_sci.errors import ConfigError
from kflow_sci.training.config import make_config
from kflow_sci.training.methods import read_train_config
from kflow_sci.training.packings import PackingConfig, load_libraries, train_packings
from tests.assembly.proposals.conftest import chiral, computed, water


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("store") / "computed.kfc"
    clusters = [
        computed(molecule, group, energy, seed)
        for seed, (molecule, group, energy) in enumerate(
            [(chiral(), "P21/c", -50.0), (chiral(), "P-1", -48.0), (water(), "P212121", -60.0)]
        )
    ]
    write_store(path, clusters)
    return path


@pytest.fixture
def values(store: Path, tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "out.csv").write_text("inchikey\nUHOVQNZJYSORNB-UHFFFAOYSA-N\n")  # benzene
    return {
        "method": "proposals", "out": str(tmp_path / "run"), "seed": 0, "stores": [str(store)],
        "exclude": str(tmp_path / "out.csv"), "temperature": 4.0, "held_back": 0.5,
        "shells": ["volume", "shape", "turn", "place"], "widths": [1.0, 1.0, 1.0, 1.0], "overlap": 0.5,
        "mu": "linear", "weighting": "open", "hidden": 16, "layers": 1, "images": 6,
        "steps_per_shell": [1, 1, 1, 1], "batch_size": 4, "steps": 4, "learning_rate": 1e-3, "warmup_steps": 1,
        "weight_decay": 0.0, "clip_norm": 1.0, "ema_decay": 0.9, "precision": "float32", "log_every": 2,
        "save_every": 2, "validate_every": 2, "validate_pairs": 4, "best_by": "miss", "best_is": "lowest",
    }  # fmt: skip


def test_what_is_trained_proposes(values: dict[str, Any]) -> None:
    result = train_packings(make_config(PackingConfig, values), device="cpu", show=False)
    assert result.finished and result.best is not None and result.best["metrics"]["miss"] > 0
    proposal = make_proposal(
        make_problem((chiral(),), (), "P21/c"), "flow", result.folder / "best.safetensors"
    )
    assert proposal(0).group.name == "P 1 21/c 1"


def test_a_molecule_is_either_learned_from_or_held_back(values: dict[str, Any]) -> None:
    library, held, _ = load_libraries(make_config(PackingConfig, values))
    assert {m.formula for m in library.molecules} & {m.formula for m in held.molecules} == set()
    assert len(library.entries) + len(held.entries) == 3


def test_excluded_molecules_are_refused(values: dict[str, Any], tmp_path: Path) -> None:
    graph = graph_hash(water().numbers, bonded_pairs(water()))
    (tmp_path / "out.csv").write_text(f"graph\n{graph}\n")
    with pytest.raises(ConfigError, match="is on the list"):
        load_libraries(make_config(PackingConfig, values))


def test_shells_must_be_those_of_the_chart(values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="name each of"):
        make_config(PackingConfig, values | {"shells": ["volume", "colour", "turn", "place"]})


@pytest.mark.parametrize("name", ["kflow", "plain"])
def test_the_configs_are_complete_and_of_equal_budget(name: str) -> None:
    config = read_train_config(Path("configs/proposals") / f"{name}.yaml")
    assert isinstance(config, PackingConfig)
    assert sum(config.steps_per_shell) == 9 and config.steps == 4000
