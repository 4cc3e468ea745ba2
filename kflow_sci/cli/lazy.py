"""A group of commands that costs nothing until one of them is called.

The one idea: the names and their help lines are a table, and the module of a command is imported when it is called and
not when it is listed, so that ``kflow --help`` answers at once while ``kflow train`` may load all it needs.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import click
from click.shell_completion import CompletionItem

from kflow_sci.cli.voice import speaks


class LazyGroup(click.Group):
    """A click group whose commands are modules of one package, imported when called.

    The command ``make-crystals`` is the name ``command`` of the module ``make_crystals``. Every command gets the
    switches of ``cli.voice``.

    Args:
        table: Name of each command and its line of help, in the order of use.
        package: The package that holds the modules.
        more: Commands that fewer people need, told in a word or two below the others.
        attributes: What ``click.Group`` takes.
    """

    def __init__(
        self,
        *,
        table: Mapping[str, str],
        package: str,
        more: Mapping[str, str] | None = None,
        **attributes: Any,
    ) -> None:
        super().__init__(**attributes)
        self.table = table
        self.more = more or {}
        self.package = package

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of the table."""
        return [*self.table, *self.more]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of a command; None where the table has no such name."""
        if cmd_name not in self.table and cmd_name not in self.more:
            return None
        module = importlib.import_module(f"{self.package}.{cmd_name.replace('-', '_')}")
        found: click.Command = module.command
        return found if isinstance(found, click.Group) else speaks(found)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands from the table alone: importing them to ask for their help would take seconds."""
        with formatter.section("Commands"):
            formatter.write_dl(list(self.table.items()))
        if self.more:
            with formatter.section("More"):
                formatter.write_text(", ".join(f"{name} ({text})" for name, text in self.more.items()))

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Words that may come next, from the table alone: an answer after each press of Tab."""
        found = [
            CompletionItem(name, help=text)
            for name, text in {**self.table, **self.more}.items()
            if name.startswith(incomplete)
        ]
        return found + click.Command.shell_complete(self, ctx, incomplete)
