"""What the commands share."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import click

from kflow_sci.errors import OutputError
from kflow_sci.files import output_folder


class RecordedCommand(click.Command):
    """A command that remembers the words it was called with; see ``command_line``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta["kflow_sci.words"] = list(args)
        return super().parse_args(ctx, args)


def command_line() -> str:
    """What was typed to call the command that runs, quoted as a shell takes it; of a ``RecordedCommand`` only."""
    context = click.get_current_context()
    return shlex.join([*context.command_path.split(), *context.meta["kflow_sci.words"]])


def out_dir(path: str | Path) -> Path:
    """Make the output folder of a command before the long work starts, and take it away if nothing came of it.

    Call it inside a command, first thing after the input was checked: a place that cannot be written is then refused
    at once and not after the work. Folders that this call made and that are still empty when the command ends are
    removed, so a failed command leaves nothing behind.

    Args:
        path: The folder; it may exist, and what is in it stays.

    Returns:
        The folder.

    Raises:
        OutputError: ``path`` is a file or cannot be written.
    """
    folder = Path(path)
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    context = click.get_current_context(silent=True)
    if context is not None:
        context.call_on_close(lambda: _remove_empty(made))
    return output_folder(folder)


def _remove_empty(folders: list[Path]) -> None:
    for folder in folders:  # deepest first
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def refuse_overwrite(folder: Path, names: Sequence[str], force: bool) -> None:
    """Refuse to write into a folder that holds results already.

    Args:
        folder: Where the results go; it need not exist.
        names: Files the command writes.
        force: The user said that they may be replaced.

    Raises:
        OutputError: one of the files is there and ``force`` is not given.
    """
    there = [name for name in names if (folder / name).exists()]
    if there and not force:
        raise OutputError(
            f"{folder} already holds {there[0]}: choose another --out, or --force to overwrite it"
        )


def cores() -> int:
    """Cores this process may use, which under a queue are fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Advance(Protocol):
    """Tells a progress bar how far the work is."""

    def __call__(self, done: int, total: int | None = None, note: str | None = None) -> None:
        """Take the number done, the number to do where it was not known before, and a word to show beside the title."""


@contextmanager
def progress_bar(title: str, total: int | None = None) -> Iterator[Advance]:
    """A bar with time left on standard error, on a terminal only; yields what moves it."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(title, total=total)

        def advance(done: int, total: int | None = None, note: str | None = None) -> None:
            bar.update(task, completed=done, total=total, description=f"{title}, {note}" if note else title)

        yield advance
