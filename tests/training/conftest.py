"""The small run, for every test of this folder."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).with_name("small_run.py")


@pytest.fixture(scope="session")
def small() -> ModuleType:
    """The module ``small_run.py``; ``small.__file__`` is the program."""
    spec = importlib.util.spec_from_file_location("small_run", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["small_run"] = module
    spec.loader.exec_module(module)
    return module
