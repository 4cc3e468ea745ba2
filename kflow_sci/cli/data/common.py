"""What the commands that make stores share: who does the work, what may be overwritten, what is said at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from kflow_sci.cli.common import cores, refuse_overwrite
from kflow_sci.cli.voice import resumable

force_option = click.option("--force", is_flag=True, help="Overwrite the output if it is there.")


def of_many_workers(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of every command that makes a store on all cores or on many machines."""
    for option in (
        force_option,
        click.option(
            "--scheduler",
            metavar="ADDRESS",
            help="Work on the machines of a dask scheduler, as tcp://host:8786; all must see the files.",
        ),
        click.option("--workers", type=int, default=None, help="Processes.  [default: one per core]"),
    ):
        command = option(command)
    return command


def ready_to_make(
    out: Path, workers: int | None, scheduler: str | None, force: bool, beside: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Check what ``of_many_workers`` brought, before the work.

    Args:
        out: The store.
        workers: As typed.
        scheduler: As typed.
        force: As typed.
        beside: Other files that the command makes in the folder of ``out``.

    Returns:
        ``workers`` and ``scheduler``, as the functions that make stores take them.

    Raises:
        OutputError: one of the files is there and ``force`` is not given.
    """
    if scheduler is not None and workers is not None:
        raise click.UsageError(
            "--workers are processes of this machine, --scheduler has its own: give one of them"
        )
    if not out.is_dir():  # which is refused in other words
        refuse_overwrite(out.parent, (out.name, *beside), force)
    resumable()
    return {"workers": cores() if workers is None else workers, "scheduler": scheduler}


def tell_store(out: Path, what: str, clusters: int, reused: int = 0) -> None:
    """Say what a store holds, how large it is, and what of it an earlier run had made."""
    size = out.stat().st_size
    click.echo(f"{what}: {out} ({size / 1000:.0f} kB, {size / clusters:.0f} bytes each)")
    if reused:
        click.echo(f"{reused} part(s) of an earlier run were used again")


def counts(counter: Counter[str]) -> str:
    """``clash 3, no_cell 1``."""
    return ", ".join(f"{word} {count}" for word, count in counter.most_common())
