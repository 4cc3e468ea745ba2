"""``kflow data``: its commands are listed at once and loaded when called."""

from __future__ import annotations

import pytest

from kflow_sci.cli.data import COMMANDS
from tests.cli.test_main import HEAVY, run_python


def answer(*words: str) -> tuple[str, set[str]]:
    """What ``kflow`` prints for these words, and the modules it loaded."""
    code = f"import sys; from kflow_sci.cli.main import main; main({list(words)!r}); print('|'.join(sys.modules))"
    done = run_python("-c", code)
    assert done.returncode == 0, done.stderr
    text, _, modules = done.stdout.rstrip().rpartition("\n")
    return text, set(modules.split("|"))


def test_help_lists_every_command_and_loads_none() -> None:
    text, modules = answer("data", "--help")
    assert all(f"\n  {name} " in text for name in COMMANDS)
    assert not HEAVY & modules
    assert not {name for name in modules if name.startswith("kflow_sci.cli.data.")}


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_gives_its_help_at_once(name: str) -> None:
    text, modules = answer("data", name, "--help")
    assert text.startswith(f"Usage: kflow data {name}")
    assert not HEAVY & modules
