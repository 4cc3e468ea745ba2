"""A config is complete, flat and checked line by line."""

from __future__ import annotations

import typing
from pathlib import Path
from typing import Any

import pytest
import yaml

from kflow_sci.errors import ConfigError
from kflow_sci.training.config import TrainConfig, make_config, plain, read_config, write_config

GOOD: dict[str, Any] = {
    "out": "runs/a",
    "seed": 0,
    "batch_size": 8,
    "steps": 100,
    "learning_rate": 1e-3,
    "warmup_steps": 10,
    "weight_decay": 0,
    "clip_norm": 1.0,
    "ema_decay": 0.99,
    "precision": "float32",
    "log_every": 10,
    "save_every": 50,
    "validate_every": 50,
    "best_by": "density_error",
    "best_is": "lowest",
    "stores": ["a.kfc"],
    "split": "split.csv",
    "copies_min": 12,
    "copies_max": 17,
    "transform": "graph",
    "widths": [1, 1, 2.5],
    "overlap": 0.5,
    "mu": "linear",
    "prediction": "endpoint",
    "weighting": "open",
    "rotation_weight": 0.2,
    "hidden": 16,
    "layers": 2,
    "edge": 8,
    "neighbours": 6,
    "contacts": 4,
    "steps_per_shell": [6],
    "validate_copies": 17,
    "validate_samples": 4,
}


def written(folder: Path, values: dict[str, Any] | str) -> Path:
    path = folder / "c.yaml"
    path.write_text(values if isinstance(values, str) else yaml.safe_dump(values))
    return path


def refusal(folder: Path, values: dict[str, Any] | str) -> str:
    with pytest.raises(ConfigError) as caught:
        read_config(written(folder, values), TrainConfig)
    message = str(caught.value)
    assert "\n" not in message and "c.yaml" in message
    return message


def test_a_complete_config_becomes_one_frozen_value(tmp_path: Path) -> None:
    config = read_config(written(tmp_path, GOOD), TrainConfig)
    assert config.widths == (1, 1, 2.5) and config.stores == ("a.kfc",) and config.weight_decay == 0
    with pytest.raises(AttributeError):
        config.steps = 3  # type: ignore[misc]


def test_writing_and_reading_gives_the_same_value(tmp_path: Path) -> None:
    config = make_config(TrainConfig, {**GOOD, "learning_rate": 1e-05, "split": "a: b #c.csv"})
    write_config(config, tmp_path / "copy.yaml")
    assert read_config(tmp_path / "copy.yaml", TrainConfig) == config
    assert list(plain(config)) == list(yaml.safe_load((tmp_path / "copy.yaml").read_text()))


def test_a_value_from_the_command_line_wins(tmp_path: Path) -> None:
    assert read_config(written(tmp_path, GOOD), TrainConfig, out="elsewhere").out == "elsewhere"


@pytest.mark.parametrize("text", ["1e-3", "1.0e-3", "0.001", "+1E-3", ".1e-2"])
def test_numbers_may_be_written_as_people_write_them(tmp_path: Path, text: str) -> None:
    path = written(tmp_path, GOOD)
    path.write_text(
        "".join(line for line in path.read_text().splitlines(True) if "learning_rate" not in line)
    )
    path.write_text(path.read_text() + f"learning_rate: {text}\n")
    assert read_config(path, TrainConfig).learning_rate == 1e-3


@pytest.mark.parametrize(
    ("slip", "meant"),
    [("leaning_rate", "learning_rate"), ("overlapp", "overlap"), ("Steps", "steps"), ("n_layers", "layers")],
)
def test_an_unknown_key_is_refused_with_the_nearest_good_one(tmp_path: Path, slip: str, meant: str) -> None:
    assert f"unknown key '{slip}': did you mean '{meant}'?" in refusal(tmp_path, {**GOOD, slip: 1})


def test_an_unknown_key_near_nothing_lists_the_known_ones(tmp_path: Path) -> None:
    message = refusal(tmp_path, {**GOOD, "zzz": 1})
    assert "'zzz'" in message and "validate_samples" in message


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    message = refusal(tmp_path, {key: value for key, value in GOOD.items() if key not in ("overlap", "mu")})
    assert "missing key 'overlap'" in message and "1 more: mu" in message


@pytest.mark.parametrize(
    ("key", "value", "word"),
    [
        ("steps", "many", "a whole number"),
        ("steps", 10.5, "a whole number"),
        ("steps", True, "a whole number"),
        ("steps", None, "a whole number"),
        ("learning_rate", "fast", "a number"),
        ("out", 7, "text"),
        ("widths", 3, "a list"),
        ("widths", [1, "x", 2], "a list, each entry a number"),
        ("stores", "a.kfc", "a list, each entry text"),
        ("mu", "quadratic", "one of linear, smoothstep, cosine"),
        ("precision", 32, "one of float32, bfloat16"),
        ("layers", {"a": 1}, "a whole number"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused(tmp_path: Path, key: str, value: object, word: str) -> None:
    message = refusal(tmp_path, {**GOOD, key: value})
    assert f"{key} = " in message and word in message


@pytest.mark.parametrize(
    ("key", "value", "limit"),
    [
        ("seed", -1, "at least 0"),
        ("steps", 0, "at least 1"),
        ("learning_rate", 0, "greater than 0"),
        ("learning_rate", float("inf"), "greater than 0"),
        ("clip_norm", float("nan"), "greater than 0"),
        ("overlap", 1.01, "at least 0 and at most 1"),
        ("ema_decay", 1.0, "at most 0.999999"),
        ("copies_min", 1, "at least 2"),
        ("widths", [1, 0, 1], "each greater than 0"),
        ("steps_per_shell", [6, 0, 5], "each at least 1"),
    ],
)
def test_a_value_out_of_range_is_refused_with_the_limit(
    tmp_path: Path, key: str, value: object, limit: str
) -> None:
    message = refusal(tmp_path, {**GOOD, key: value})
    assert f"{key} = " in message and limit in message


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"copies_min": 18}, ("copies_min = 18", "copies_max = 17")),
        ({"warmup_steps": 101}, ("warmup_steps = 101", "steps = 100")),
        ({"steps_per_shell": [6, 5]}, ("steps_per_shell has 2", "3 shells")),
        ({"stores": []}, ("stores is an empty list",)),
        ({"widths": []}, ("widths is an empty list",)),
    ],
)
def test_values_at_odds_with_each_other_are_refused(
    tmp_path: Path, change: dict[str, Any], words: tuple[str, ...]
) -> None:
    message = refusal(tmp_path, {**GOOD, **change})
    assert all(word in message for word in words)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "key: value"),
        ("- a\n- b\n", "key: value"),
        ("steps: 3\nsteps: 4\n", "line 2: key 'steps' is given twice"),
        ("a: [1, 2\nb: 3\n", "line 2"),
        ("a: !!python/object:os.system x\n", "could not determine a constructor"),
        ("3: 4\n", "key 3 is not text"),
        ("{a: 1}: 4\n", "is not text"),
        ("a: \x00\n", "not yaml"),
    ],
)
def test_a_file_that_is_no_flat_yaml_is_refused(tmp_path: Path, text: str, word: str) -> None:
    assert word in refusal(tmp_path, text)


def test_a_missing_file_a_folder_and_a_binary_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "binary.yaml").write_bytes(bytes(range(128, 256)))
    for path in (tmp_path / "absent.yaml", tmp_path, tmp_path / "binary.yaml"):
        with pytest.raises(ConfigError, match=path.name):
            read_config(path, TrainConfig)


def test_choices_are_those_of_the_flow() -> None:
    from kflow_sci.flow.objective import PREDICTIONS, WEIGHTINGS
    from kflow_sci.flow.schedule import RAMPS

    hints = typing.get_type_hints(TrainConfig)
    for key, known in (("mu", RAMPS), ("prediction", PREDICTIONS), ("weighting", WEIGHTINGS)):
        assert set(typing.get_args(hints[key])) == set(known)
