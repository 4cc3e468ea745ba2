"""One yaml, complete and flat, becomes one frozen value.

The one idea: a setting is one line of a dataclass, with its type, its range and what it means; reading,
checking and the error messages follow from that line. Nothing is inherited between files and nothing has a
default, so a config alone says what was trained. ``FitConfig`` is what the training loop needs to know,
``TrainConfig`` adds what a cluster model needs.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import operator
import re
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml

from kflow_sci.errors import ConfigError
from kflow_sci.files import atomic_write

_RULES: dict[str, tuple[str, Callable[[float, float], bool]]] = {
    "low": ("at least", operator.ge),
    "above": ("greater than", operator.gt),
    "high": ("at most", operator.le),
}

Config = TypeVar("Config", bound="FitConfig")


def setting(
    meaning: str, *, low: float | None = None, high: float | None = None, above: float | None = None
) -> Any:
    """A field of a config: what it means, and the range of its numbers (of each entry, for a list).

    Args:
        meaning: In the user's words; printed when the value is refused.
        low: Smallest value allowed.
        high: Largest value allowed.
        above: The value must be greater than this.
    """
    return dataclasses.field(metadata={"meaning": meaning, "low": low, "high": high, "above": above})


@dataclass(frozen=True, kw_only=True)
class FitConfig:
    """What the training loop needs, whatever is trained.

    Raises:
        ConfigError: A value of the wrong type, out of range, or at odds with another.
    """

    out: str = setting("run folder, relative to where the command is given")
    seed: int = setting("the one seed all random numbers follow from", low=0)
    batch_size: int = setting("training examples per step, over all processes together", low=1)
    steps: int = setting("optimizer steps", low=1)
    learning_rate: float = setting("peak of the learning rate", above=0.0)
    warmup_steps: int = setting("steps of linear warm-up; cosine to zero after them", low=0)
    weight_decay: float = setting("decoupled decay of matrices (biases and gains have none)", low=0.0)
    clip_norm: float = setting("largest norm of the gradient", above=0.0)
    ema_decay: float = setting("decay of the running mean of the weights", low=0.0, high=0.999999)
    precision: Literal["float32", "bfloat16"] = setting("bfloat16 is autocast; weights stay float32")
    log_every: int = setting("steps per row of metrics.csv", low=1)
    save_every: int = setting("steps between two saved states", low=1)
    validate_every: int = setting("steps between two validations", low=1)
    best_by: str = setting("the validation score that chooses best.safetensors")
    best_is: Literal["lowest", "highest"] = setting("whether a small or a large score is good")

    def __post_init__(self) -> None:
        hints = typing.get_type_hints(type(self))
        for field in dataclasses.fields(self):
            _check(field, hints[field.name], getattr(self, field.name))
        if self.warmup_steps > self.steps:
            raise ConfigError(
                f"warmup_steps = {self.warmup_steps} is more than steps = {self.steps}: lower it"
            )


@dataclass(frozen=True, kw_only=True)
class TrainConfig(FitConfig):
    """What `kflow train` needs to train a model of clusters."""

    stores: tuple[str, ...] = setting("files that `kflow data build` wrote")
    split: str = setting("csv with the columns id and split (train, val, test, none)")
    copies_min: int = setting("molecules per training cluster, at least", low=2)
    copies_max: int = setting("molecules per training cluster, at most", low=2)

    transform: Literal["graph", "pca"] = setting("where the shells come from")
    widths: tuple[float, ...] = setting(
        "flow time of each shell; one shell is plain flow matching", above=0.0
    )
    overlap: float = setting("of the shells' windows: 0 strict, 1 plain flow matching", low=0.0, high=1.0)
    mu: Literal["linear", "smoothstep", "cosine"] = setting("ramp of a shell inside its window")
    prediction: Literal["endpoint", "velocity"] = setting("what the net answers")
    weighting: Literal["uniform", "open", "balanced"] = setting("weight of each shell's error over flow time")
    rotation_weight: float = setting("weight of rotation errors against translation errors", low=0.0)

    hidden: int = setting("features of a molecule inside the net", low=1)
    layers: int = setting("rounds of messages", low=1)
    edge: int = setting("features of a message", low=1)
    neighbours: int = setting("molecules each molecule hears", low=1)
    contacts: int = setting("neighbours whose surfaces are looked at", low=1)

    steps_per_shell: tuple[int, ...] = setting("solver steps; one number per shell, or one for all", low=1)
    validate_copies: int = setting("molecules per cluster in validation", low=2)
    validate_samples: int = setting("clusters sampled for each validation crystal", low=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.copies_min > self.copies_max:
            raise ConfigError(f"copies_min = {self.copies_min} is more than copies_max = {self.copies_max}")
        for name in ("stores", "widths", "steps_per_shell"):
            if not getattr(self, name):
                raise ConfigError(f"{name} is an empty list: give at least one entry")
        if len(self.steps_per_shell) not in (1, len(self.widths)):
            raise ConfigError(
                f"steps_per_shell has {len(self.steps_per_shell)} numbers for {len(self.widths)} shells (widths): "
                "give one per shell, or one for all"
            )


def read_config(path: str | Path, kind: type[Config], **replaced: Any) -> Config:
    """Read a yaml file into a config of the given kind.

    Args:
        path: The yaml file.
        kind: ``TrainConfig`` or another kind of ``FitConfig``.
        replaced: Values that win over the file (from the command line).

    Raises:
        ConfigError: The file is missing or is no flat yaml mapping; a key is unknown (the nearest good one is
            named), missing or given twice; a value has the wrong type or is out of range. The message names
            the file.
    """
    path = Path(path)
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except OSError as error:
        raise ConfigError(f"cannot read config {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"config {path} is not a text file: give a yaml file") from error
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigError(f"config {path}, line {line}: {error.problem}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"config {path} is not yaml: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"config {path} is no list of `key: value` lines: see configs/ for a complete one")
    try:
        return make_config(kind, {**values, **replaced})
    except ConfigError as error:
        raise ConfigError(f"config {path}: {error}") from error


def make_config(kind: type[Config], values: Mapping[str, Any]) -> Config:
    """A config from a plain mapping, lists allowed where it has tuples.

    Raises:
        ConfigError: As ``read_config``.
    """
    names = [field.name for field in dataclasses.fields(kind)]
    for key in values:
        if key not in names:
            raise ConfigError(f"unknown key '{key}': {nearest(str(key), names)}")
    missing = [name for name in names if name not in values]
    if missing:
        meaning = next(f.metadata["meaning"] for f in dataclasses.fields(kind) if f.name == missing[0])
        others = f" (and {len(missing) - 1} more: {', '.join(missing[1:])})" if len(missing) > 1 else ""
        raise ConfigError(f"missing key '{missing[0]}', {meaning}{others}: a config is complete, add a line")
    tuples: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}
    return kind(**tuples)


def plain(config: FitConfig) -> dict[str, Any]:
    """The config as json and yaml know it, in the order of the fields."""
    return {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in ((field.name, getattr(config, field.name)) for field in dataclasses.fields(config))
    }


def write_config(config: FitConfig, path: str | Path) -> None:
    """Write a config that ``read_config`` reads back to the same value."""
    with atomic_write(path) as beside:
        # A json value is a yaml value, and json writes lists on one line.
        lines = [f"{key}: {json.dumps(value, ensure_ascii=False)}\n" for key, value in plain(config).items()]
        beside.write_text("".join(lines), encoding="utf-8")


def nearest(word: str, known: list[str]) -> str:
    """``did you mean 'x'?``, or the whole list where nothing is near."""
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"did you mean '{close[0]}'?" if close else f"known are {', '.join(known)}"


def _check(field: dataclasses.Field[Any], hint: Any, value: Any) -> None:
    name, about = field.name, field.metadata
    if not _fits(value, hint):
        raise ConfigError(f"{name} = {value!r} is not {_words(hint)} ({about['meaning']})")
    bounds = {key: about[key] for key in _RULES if about[key] is not None}
    for number in value if isinstance(value, tuple) else (value,):
        if isinstance(number, bool) or not isinstance(number, int | float):
            continue
        if not (math.isfinite(number) and all(_RULES[key][1](number, b) for key, b in bounds.items())):
            limits = " and ".join(f"{_RULES[key][0]} {b:g}" for key, b in bounds.items()) or "finite"
            limits = f"each {limits}" if isinstance(value, tuple) else limits
            raise ConfigError(f"{name} = {value!r} is out of range: it must be {limits} ({about['meaning']})")


def _fits(value: Any, hint: Any) -> bool:
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return any(value == choice and type(value) is type(choice) for choice in inner)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, one) for one in inner)
    if origin is tuple:
        return isinstance(value, tuple) and all(_fits(entry, inner[0]) for entry in value)
    if isinstance(value, bool):  # True is an int in Python, but "layers: yes" is a slip
        return hint is bool
    return isinstance(value, (int, float) if hint is float else hint)


def _words(hint: Any) -> str:
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return f"one of {', '.join(map(str, inner))}"
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_words(one) for one in inner)
    if origin is tuple:
        return f"a list, each entry {_words(inner[0])}"
    return {int: "a whole number", float: "a number", str: "text", bool: "true or false"}.get(hint, str(hint))


class _Loader(yaml.SafeLoader):
    """Safe yaml that reads 1e-3 as a number and refuses a key given twice, which yaml would let pass."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.MarkedYAMLError(
                    problem=f"key {key!r} is not text", problem_mark=key_node.start_mark
                )
            if key in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"key '{key}' is given twice", problem_mark=key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


# Yaml 1.1 wants a dot in every number with an exponent; nobody who types 1e-3 knows that.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)
