"""What the commands share."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import click
from click.shell_completion import CompletionItem

from kflow_sci.cli.voice import voice
from kflow_sci.errors import OutputError
from kflow_sci.files import atomic_write, output_folder

if TYPE_CHECKING:
    from kflow_sci.report.tables import Column


INTERRUPTED = 130  # exit code


def command_line(without: str = "") -> str:
    """What was typed to call the command that runs, quoted as a shell takes it; ``without`` one of its words."""
    return shlex.join(["kflow", *(word for word in voice().words if word != without)])


def output_options(default: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The options ``--out`` and ``--force`` of a command that fills a folder.

    Args:
        default: The folder if none is named.
    """

    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        command = click.option("--force", is_flag=True, help="Overwrite results that are there.")(command)
        return click.option(
            "--out",
            type=click.Path(path_type=Path),
            default=Path(default),
            show_default=True,
            help="Output folder.",
        )(command)

    return add


def files_too(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Tab completes file names where a word may be a file or something else, such as a SMILES."""
    return [CompletionItem(incomplete, type="file")]


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
            f"{folder} already holds {there[0]}: choose another place for the output, or --force to overwrite it"
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
    """A bar with time left on standard error, on a terminal only; yields what moves it. ``-v`` tells its time."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    speaker = voice()
    began, reached = time.monotonic(), 0
    # Standard output is left alone: what is printed meanwhile goes where the switches say.
    with Progress(
        *columns,
        console=console,
        disable=speaker.quiet or not console.is_terminal,
        redirect_stdout=False,
    ) as bar:
        task = bar.add_task(title, total=total)

        def advance(done: int, total: int | None = None, note: str | None = None) -> None:
            nonlocal reached
            reached = done
            bar.update(task, completed=done, total=total, description=f"{title}, {note}" if note else title)

        yield advance
    speaker.detail(f"{title}: {reached} in {time.monotonic() - began:.2f} s")


def show_ranked(
    title: str, columns: Sequence[Column], rows: Sequence[Mapping[str, Any]], whole: Path, most: int = 20
) -> None:
    """Print the first rows of a ranking, as many of its columns as the terminal has room for.

    Args:
        title: Above it.
        columns: The most wanted first; those that the first row lacks are left out.
        rows: Best first, at least one.
        whole: Where all rows and columns are.
        most: Rows to print.
    """
    from rich.console import Console
    from rich.measure import Measurement
    from rich.table import Table

    from kflow_sci.report.tables import show

    # A file or a pipe has no width, so nothing need be left out there.
    console = Console()
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console = Console(width=200)
    shown = [column for column in columns if column.key in rows[0]]
    cells = {c.key: [show(row[c.key], c.decimals) for row in rows[:most]] for c in shown}
    for count in range(len(shown), 0, -1):
        table = Table(title=title, title_justify="left")
        for column in shown[:count]:
            # A value stays in one piece; its heading may break between words.
            table.add_column(column.title, justify="right", min_width=max(map(len, cells[column.key])))
        for row in zip(*(cells[column.key] for column in shown[:count]), strict=True):
            table.add_row(*row)
        if Measurement.get(console, console.options.update(max_width=1000), table).minimum <= console.width:
            break
    console.print(table)
    more = [f"{len(rows) - most} more"] if len(rows) > most else []
    more += [f"{', '.join(c.title for c in shown[count:])}"] if count < len(shown) else []
    if more:
        click.echo(f"… and {'; '.join(more)} in {whole}")


def write_settings(folder: Path, values: Mapping[str, Any]) -> dict[str, Any]:
    """Note in ``settings.json`` how results were made, with the version of this package; returns what was noted.

    Raises:
        OutputError: the file cannot be written.
    """
    import json

    from kflow_sci import __version__

    record = {"kflow_sci": __version__, **values}
    with atomic_write(folder / "settings.json") as path:
        path.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return record
