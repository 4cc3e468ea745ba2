"""Long work cut into parts that a restart finds again.

The one idea: what is made from a part is one file, named by all it is made from. A file that is there already is not
made again, so a restart continues; the files are joined in the order of the items, so neither the number of workers
nor their speed can change a byte of the result. ``fanout`` says how to use it.

The work pulls its items one after the other, and each is noted in a file beside the part when it is pulled: should the
process be killed (for want of memory), the note tells which item it was at.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from kflow_sci import __version__
from kflow_sci.errors import WorkError
from kflow_sci.files import output_folder

Item = TypeVar("Item")
Work = Callable[[Path, Iterable[Item]], None]


@dataclass(frozen=True)
class Part(Generic[Item]):
    """Some items in a row and the file that is made from them.

    Attributes:
        path: The file.
        items: What it is made from; plain values that can be sent to another process.
        reused: The file was there before.
    """

    path: Path
    items: tuple[Item, ...]
    reused: bool = False


def parts_folder(out: str | Path) -> Path:
    """Make the folder for the parts of an output: hidden, beside it.

    Raises:
        OutputError: it cannot be made or written.
    """
    out = Path(out)
    return output_folder(out.with_name(f".{out.name}.parts"))


def clear_parts(folder: Path) -> None:
    """Remove the parts, with what killed workers left, and their folder; files of others stay."""
    for pattern in ("*.part", ".*.part", "*.now"):
        for path in folder.glob(pattern):
            path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # someone put a file of theirs there: it stays
        folder.rmdir()


def cut(
    items: Iterable[Item],
    folder: Path,
    settings: Sequence[Any],
    *,
    size: int = 16,
    stamp: Callable[[Item], Any] = lambda item: item,
) -> Iterator[Part[Item]]:
    """Cut items into parts of ``size``, each with a file named by what it will be made from.

    Args:
        items: Any number, read as needed.
        folder: Where the files go, see ``parts_folder``.
        settings: Plain values (json) on which the result depends: versions, options, seeds.
        size: Items per part, at least 1. It decides how much a kill loses, never the result.
        stamp: What of an item the result depends on, as plain values; for a file its name, size and date.
    """
    remaining = iter(items)
    while some := tuple(itertools.islice(remaining, size)):
        key = json.dumps([__version__, settings, [stamp(item) for item in some]], default=str)
        yield Part(folder / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.part", some)


def make(work: Work[Item], part: Part[Item]) -> None:
    """Do the work of a part, here; an error says at which item it happened."""
    with _Noting(part) as items:
        work(part.path, items)


class _Noting(contextlib.AbstractContextManager[Iterator[Item]]):
    """Notes each item of a part when it is pulled, in a file for those who outlive us and in the error for the rest."""

    def __init__(self, part: Part[Item]) -> None:
        self.part = part
        self.at = str(part.items[0])

    def __enter__(self) -> Iterator[Item]:
        # A line per item, each in one step: whenever the process is killed, the last line is whole.
        with open(note_of(self.part), "wb", buffering=0) as note:
            for item in self.part.items:
                self.at = str(item)
                note.write(json.dumps(self.at).encode() + b"\n")
                yield item

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        note_of(self.part).unlink(missing_ok=True)
        if error is not None:
            error.add_note(f"while working on {self.at}")


def note_of(part: Part[Any]) -> Path:
    """The file whose last line is the item a worker is at; it outlives the worker only if that was killed."""
    return part.path.with_suffix(".now")


def killed(part: Part[Any]) -> WorkError:
    """The error for a part whose worker was killed."""
    try:
        item = json.loads(note_of(part).read_bytes().splitlines()[-1])
    except (OSError, IndexError):
        item = f"one of {part.items[0]} to {part.items[-1]}"
    return WorkError(
        f"a worker process was killed at {item} (out of memory?): leave it out or use fewer workers, and run again; "
        "what was made is kept"
    )
