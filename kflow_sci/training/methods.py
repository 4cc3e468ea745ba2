"""Which config a method needs: the key ``method`` of a yaml file decides.

The one idea: all configs share a loop and differ in their keys, so reading a file starts with the one key that says
which others are to be expected.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from kflow_sci.errors import ConfigError
from kflow_sci.settings import make_named, read_values
from kflow_sci.training.config import RivalConfig, TrainConfig, known_rival
from kflow_sci.training.packings import PackingConfig


def config_kind(method: str) -> type[TrainConfig] | type[RivalConfig] | type[PackingConfig]:
    """The config that training a method needs.

    Raises:
        ConfigError: An unknown method.
    """
    if method == "kflow":
        return TrainConfig
    if method == "proposals":
        return PackingConfig
    rival = known_rival(method)
    bases = (RivalConfig, rival.settings_kind)
    return dataclasses.make_dataclass(f"{rival.__name__}Config", (), bases=bases, frozen=True, kw_only=True)


def read_train_config(path: str | Path, **replaced: Any) -> TrainConfig | RivalConfig | PackingConfig:
    """The config of `kflow train`; its key ``method`` says of what, K-Flow where the key is missing.

    Raises:
        ConfigError: As ``settings.read_config``.
    """
    values = {**read_values(path), **replaced}
    try:
        kind = config_kind(values.get("method", "kflow"))
    except ConfigError as error:
        raise ConfigError(f"config {path}: {error}") from error
    return make_named(kind, values, path)
