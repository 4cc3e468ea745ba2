"""Shared fixtures."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faulty_server import Server, serving


@pytest.fixture(scope="session")
def crystals() -> Path:
    """Folder with ``experimental/``, ``predicted/`` and their tables; ``KFLOW_CRYSTALS`` or ``../shared/crystals``."""
    folder = Path(os.environ.get("KFLOW_CRYSTALS", Path(__file__).parents[2] / "shared" / "crystals"))
    if not (folder / "experimental.csv").is_file():
        if os.environ.get("CI"):
            pytest.fail(
                f"no crystals at {folder}, and these tests must not be skipped in CI: set KFLOW_CRYSTALS"
            )
        pytest.skip(f"no crystals at {folder}: fetch them (datasets/README.md) and set KFLOW_CRYSTALS")
    return folder


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server on this machine that does wrong what servers and networks do wrong."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving() as running:
        yield running
