"""What the tests of training share: a run of a line, and a store of three crystals."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from tests.training import small_run
from tests.training.tiny_store import tiny_store


@pytest.fixture(scope="session")
def small() -> ModuleType:
    """The module ``small_run``; its file is also a program."""
    return small_run


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Urea, benzene and CHFClBr, eight molecules each."""
    return tiny_store(tmp_path_factory.mktemp("store"))
