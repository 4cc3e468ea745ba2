"""What the tests of the command line share."""

from __future__ import annotations

from collections.abc import Callable

import click
import pytest

from kflow_sci.cli import main as cli
from kflow_sci.cli.voice import speaks


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[..., object]], None]:
    """Put a function in the place of the command ``score``."""

    def install(function: Callable[..., object]) -> None:
        made = click.Command("score", callback=function, params=[click.Option(["--copies"], type=int)])
        monkeypatch.setattr(
            cli.LazyGroup, "get_command", lambda self, ctx, name: speaks(made) if name == "score" else None
        )

    return install
