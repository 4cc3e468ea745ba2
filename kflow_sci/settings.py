"""Settings of anything: one line of a dataclass each, read from a flat yaml file and checked.

The one idea: a setting is one line of a dataclass, with its type, its range and what it means; reading, checking and
the error messages follow from that line. Nothing is inherited between files, so a file alone says what was done.
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
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import yaml

from kflow_sci.errors import ConfigError
from kflow_sci.files import atomic_write

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_RULES: dict[str, tuple[str, Callable[[float, float], bool]]] = {
    "low": ("at least", operator.ge),
    "above": ("greater than", operator.gt),
    "high": ("at most", operator.le),
}


def setting(
    meaning: str,
    *,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    default: Any = dataclasses.MISSING,
) -> Any:
    """A field of a config: what it means, and the range of its numbers (of each entry, for a list).

    Args:
        meaning: In the user's words; printed when the value is refused.
        low: Smallest value allowed.
        high: Largest value allowed.
        above: The value must be greater than this.
        default: For a setting younger than files that lack it: what was done before it existed. All others are
            written out in every file.
    """
    metadata = {"meaning": meaning, "low": low, "high": high, "above": above}
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Base of all settings; a subclass adds lines of ``name: type = setting(...)``.

    Raises:
        ConfigError: A value of the wrong type or out of range.
    """

    def __post_init__(self) -> None:
        hints = typing.get_type_hints(type(self))
        for field in dataclasses.fields(self):
            _check(field, hints[field.name], getattr(self, field.name))


Config = TypeVar("Config", bound=Settings)
Described = TypeVar("Described", bound="DataclassInstance")


def read_config(path: str | Path, kind: type[Config], **replaced: Any) -> Config:
    """Read a yaml file into a config of the given kind.

    Args:
        path: The yaml file.
        kind: A kind of ``Settings``.
        replaced: Values that win over the file (from the command line).

    Raises:
        ConfigError: The file is missing or is no flat yaml mapping; a key is unknown (the nearest good one is
            named), missing or given twice; a value has the wrong type or is out of range. The message names
            the file.
    """
    return make_named(kind, {**read_values(path), **replaced}, path)


def make_named(kind: type[Config], values: Mapping[str, Any], path: str | Path) -> Config:
    """``make_config`` whose messages name the file that the values come from.

    Raises:
        ConfigError: As ``read_config``.
    """
    try:
        return make_config(kind, values)
    except ConfigError as error:
        raise ConfigError(f"config {path}: {error}") from error


def read_values(path: str | Path) -> dict[str, Any]:
    """The keys and values of a flat yaml file, not yet checked.

    Raises:
        ConfigError: The file is missing, is no flat yaml mapping, or gives a key twice.
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
    return values


def make_config(kind: type[Config], values: Mapping[str, Any]) -> Config:
    """A config from a plain mapping, lists allowed where it has tuples.

    Raises:
        ConfigError: As ``read_config``.
    """
    names = [field.name for field in dataclasses.fields(kind)]
    for key in values:
        if key not in names:
            raise ConfigError(f"unknown key '{key}': {nearest(str(key), names)}")
    needed = [field for field in dataclasses.fields(kind) if field.default is dataclasses.MISSING]
    missing = [field.name for field in needed if field.name not in values]
    if missing:
        meaning = next(field.metadata["meaning"] for field in needed if field.name == missing[0])
        others = f" (and {len(missing) - 1} more: {', '.join(missing[1:])})" if len(missing) > 1 else ""
        raise ConfigError(f"missing key '{missing[0]}', {meaning}{others}: a config is complete, add a line")
    tuples: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}
    return kind(**tuples)


def plain(config: Settings) -> dict[str, Any]:
    """The config as json and yaml know it, in the order of the fields."""
    return {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in ((field.name, getattr(config, field.name)) for field in dataclasses.fields(config))
    }


def from_plain(kind: type[Described], values: Mapping[str, Any]) -> Described:
    """What the header of weights says of a model, as its dataclass again; a list becomes a tuple.

    Raises:
        ConfigError: A key that the dataclass does not have; keys that are missing keep their default.
    """
    unknown = set(values) - {field.name for field in dataclasses.fields(kind)}
    if unknown:
        raise ConfigError(
            f"unknown model setting {sorted(unknown)}: these weights need another version of kflow_sci"
        )
    return kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in values.items()})


def write_config(config: Settings, path: str | Path) -> None:
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
    words = {int: "a whole number", float: "a number", str: "text", bool: "true or false", type(None): "null"}
    return words.get(hint, str(hint))


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
