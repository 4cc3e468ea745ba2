"""The store of three crystals, built once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.training.tiny_store import tiny_store


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Urea, benzene and CHFClBr, eight molecules each."""
    return tiny_store(tmp_path_factory.mktemp("store"))
