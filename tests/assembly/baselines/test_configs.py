"""The configs of the rivals are complete and name what they train."""

from __future__ import annotations

from pathlib import Path

import pytest

from kflow_sci.assembly.baselines.learned import rival_class
from kflow_sci.training.config import RivalConfig
from kflow_sci.training.methods import read_train_config

CONFIGS = sorted((Path(__file__).parents[3] / "configs" / "rivals").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_config_makes_its_rival(path: Path) -> None:
    config = read_train_config(path)
    assert isinstance(config, RivalConfig)
    made = rival_class(config.method)(config.rival_settings())
    assert made.calls >= 1
    assert config.out.endswith(path.stem)
