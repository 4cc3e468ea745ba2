"""How a command speaks: in words to people, in values to programs, or not at all.

The one idea: a command prints its words as if there were no switches, and hands its values to ``give``; ``--json``,
``--quiet`` and ``-v``, which every command gets where it is loaded, decide here and once what of that reaches standard
output.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, is_dataclass
from typing import Any

import click


@dataclass
class Voice:
    """What one call of ``kflow`` was told about speaking, and what it has to say.

    Attributes:
        words: What was typed after ``kflow``.
        as_json: One JSON object takes the place of all words on standard output.
        quiet: No words and no progress; errors still.
        verbose: Stages with their times on standard error, and tracebacks of refused input.
        values: For the JSON object.
        hint: What to say to a user who interrupts.
        began: When the call began, s of a clock that never goes back.
    """

    words: Sequence[str] = ()
    as_json: bool = False
    quiet: bool = False
    verbose: bool = False
    values: dict[str, Any] = field(default_factory=dict)
    hint: str = ""
    began: float = field(default_factory=time.monotonic)
    _said: io.StringIO = field(default_factory=io.StringIO)

    @property
    def command(self) -> str:
        """What was typed, quoted as a shell takes it."""
        return shlex.join(["kflow", *self.words])

    def detail(self, text: str) -> None:
        """Say on standard error what only ``-v`` wants to know."""
        if self.verbose:
            click.echo(f"kflow: {text}", err=True)

    def remark(self, text: str) -> None:
        """Say on standard error what a user should know though nothing is wrong; ``--quiet`` leaves it out."""
        if not self.quiet:
            click.echo(f"kflow: note: {text}", err=True)

    def switch(self, name: str, context: click.Context) -> None:
        """Turn a switch on; what the command prints from now until it ends goes where the switch says."""
        setattr(self, name, True)
        if name != "verbose":
            context.with_resource(contextlib.redirect_stdout(self._said))

    def finish(self, code: int, error: str = "") -> None:
        """The last words of a call: the JSON object, if it was asked for, and what it cost.

        Args:
            code: Exit code.
            error: Why it failed; empty if it did not.
        """
        if self.as_json:
            document: dict[str, Any] = {"command": self.command, **self.values}
            if error:
                document |= {"error": error, "exit_code": code}
            elif not self.values:
                document["said"] = self._said.getvalue().splitlines()
            click.echo(json.dumps(plain(document), indent=2, allow_nan=False))
        self.detail(f"exit code {code} after {time.monotonic() - self.began:.1f} s{_memory()}")


def voice() -> Voice:
    """That of the call that runs; outside one, a voice without switches."""
    context = click.get_current_context(silent=True)
    found = None if context is None else context.find_object(Voice)
    return found or Voice()


def give(**values: Any) -> None:
    """Give values to whoever asked for ``--json``; they join those given before.

    Args:
        values: Plain ones; paths and numbers of numpy become plain. What is not finite becomes null.
    """
    voice().values.update(values)


def resumable(hint: str = "the same command goes on from there") -> None:
    """Say, should the user interrupt from here on, what becomes of the work."""
    voice().hint = hint


def speaks(command: click.Command) -> click.Command:
    """Give a command the switches, if it has none yet."""
    if not any(isinstance(one, Switch) for one in command.params):
        command.params += [
            Switch("as_json", ["--json"], "Print one JSON object instead of text."),
            Switch("quiet", ["-q", "--quiet"], "Print nothing but errors."),
            Switch("verbose", ["-v", "--verbose"], "Tell stages and times, and where an error arose."),
        ]
    return command


class Switch(click.Option):
    """One of the switches that every command has; it tells the voice and not the command."""

    def __init__(self, name: str, flags: Sequence[str], text: str) -> None:
        super().__init__(
            [*flags, name], is_flag=True, expose_value=False, help=text, callback=self._tell, default=False
        )

    def _tell(self, context: click.Context, parameter: click.Parameter, value: bool) -> None:
        found = context.find_object(Voice)
        if value and found is not None:
            found.switch(str(self.name), context)


def plain(value: Any) -> Any:
    """Values as JSON knows them: paths as text, numbers of numpy as numbers, None for what is not finite."""
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, str | int) else str(value)


def _memory() -> str:
    try:
        import resource
    except ImportError:  # Windows
        return ""
    unit = 1 if sys.platform == "darwin" else 1024
    return f", {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6:.0f} MB of memory at most"
