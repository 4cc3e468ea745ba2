"""Shared fixtures."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faulty_server import Server, serving


def pytest_sessionstart(session: pytest.Session) -> None:
    """Compile once, before the workers start, by a search for three trials.

    Code that was just compiled and code that comes from numba's cache may round differently, and two workers would
    compile the same twice.
    """
    if hasattr(session.config, "workerinput"):
        return
    with tempfile.TemporaryDirectory() as folder:
        words = ["crystal", "NC(N)=O", "--trials", "3", "--workers", "1", "--out", str(Path(folder) / "out")]
        subprocess.run(
            [sys.executable, "-m", "kflow_sci", *words],
            cwd=Path(__file__).parents[1],
            capture_output=True,
            check=True,
        )


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
