"""The browser that opens the page."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of the system's Chromium; ``KFLOW_CHROMIUM`` where it has another name."""
    path = os.environ.get("KFLOW_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        if os.environ.get("CI"):
            pytest.fail(
                "no Chromium, and these tests must not be skipped in CI: install the package chromium"
            )
        pytest.skip("no Chromium on this machine: install it, or set KFLOW_CHROMIUM")
    return path


@pytest.fixture(scope="module")
def launch(chromium: str) -> Iterator[Callable[..., Any]]:
    """Starts a headless Chromium with further arguments; all are closed in the end."""
    from playwright.sync_api import sync_playwright

    quiet = [
        "--no-sandbox",
        "--disable-background-networking",
        "--disable-component-update",
        "--no-first-run",
    ]
    with sync_playwright() as playwright:
        yield lambda *arguments: playwright.chromium.launch(
            executable_path=chromium, args=[*quiet, *arguments]
        )


class Visit:
    """A page that is open, and what happened since.

    Attributes:
        page: Of playwright.
        requests: Addresses that the page asked for, itself first.
        errors: Errors of its scripts and those that the console told.
    """

    def __init__(self, browser: Any, path: Path, *, drawn: bool = True, **context: Any) -> None:
        self.requests: list[str] = []
        self.errors: list[str] = []
        self.page = browser.new_context(**context).new_page()
        self.page.set_default_timeout(120_000)
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", lambda told: self.errors.append(told.text) if told.type == "error" else None)
        self.page.goto(path.as_uri())
        if drawn:
            self.page.wait_for_selector("#picture[data-ready]", state="attached")

    def wait_for(self, candidate: int, stop: int) -> None:
        """Wait until a stop of a candidate is drawn."""
        self.page.wait_for_function(
            "which => document.getElementById('picture').dataset.drawn === which", arg=f"{candidate}/{stop}"
        )
