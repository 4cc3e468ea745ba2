"""Shared fixtures."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


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
