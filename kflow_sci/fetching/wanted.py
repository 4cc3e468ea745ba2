"""A list of files to fetch: what is there and right is left alone, the rest is fetched.

The one idea: a file that cannot be had is noted and the others go on; a network that cannot be reached ends the run.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from kflow_sci.errors import FetchError
from kflow_sci.fetching.download import USUAL, Check, NotReached, Patience, download, sha256


@dataclass(frozen=True)
class Wanted:
    """A file to fetch.

    Attributes:
        path: Where it goes inside the folder, with forward slashes.
        urls: Where it is; the next is asked where one has no such file or another one.
        size: Bytes, where known.
        check: Says what is wrong with a complete file, in a few words, or nothing; None where nothing is known of it.
    """

    path: str
    urls: tuple[str, ...]
    size: int | None = None
    check: Check | None = None

    def __post_init__(self) -> None:
        place = PurePosixPath(self.path)
        if (
            not place.parts
            or place.is_absolute()
            or {"..", "."} & set(self.path.split("/"))
            or "\\" in self.path
        ):
            raise FetchError(f"{self.path!r} lies outside the folder that is fetched: do not trust this list")

    def complaint(self, folder: Path) -> str:
        """What is wrong with the file in a folder: ``missing``, a few words, or nothing."""
        path = folder / self.path
        if not path.is_file():
            return "missing"
        size = path.stat().st_size
        if self.size is not None and size != self.size:
            return f"it has {size} bytes, not {self.size}"
        return self.check(path) if self.check else ""


@dataclass(frozen=True)
class Fetched:
    """What came of a fetch.

    Attributes:
        new: Files fetched.
        kept: Files that were there and right.
        failed: Path and reason of those that cannot be had.
    """

    new: int
    kept: int
    failed: tuple[tuple[str, str], ...]


def fetch_all(
    files: Sequence[Wanted],
    folder: str | Path,
    *,
    patience: Patience = USUAL,
    pause: float = 0.0,
    progress: Callable[[int, int], None] | None = None,
) -> Fetched:
    """Fetch files into a folder; run again, it goes on where it ended.

    Args:
        files: What to fetch.
        folder: Where to.
        patience: When to give up.
        pause: Seconds between two files that are fetched, for servers that serve many.
        progress: Called with done and to do: bytes where all sizes are known, else files.

    Raises:
        NotReached: the server cannot be reached; what came stays.
        OutputError: a file cannot be written.
    """
    folder = Path(folder)
    weights = [file.size or 0 for file in files]
    if any(file.size is None for file in files):
        weights = [1] * len(files)
    total, done = sum(weights), 0
    new = kept = 0
    failed: list[tuple[str, str]] = []
    for file, weight in zip(files, weights, strict=True):
        if not file.complaint(folder):
            kept += 1
        else:
            if new and pause:
                time.sleep(pause)
            before = done

            def arriving(there: int, before: int = before, weight: int = weight) -> None:
                if progress:
                    progress(before + min(there, weight if weight > 1 else 0), total)

            problem = _fetch(file, folder, patience, arriving)
            if problem:
                failed.append((file.path, problem))
            else:
                new += 1
        done += weight
        if progress:
            progress(done, total)
    return Fetched(new, kept, tuple(failed))


def _fetch(file: Wanted, folder: Path, patience: Patience, progress: Callable[[int], None]) -> str:
    problem = "no address is known"
    for url in file.urls:
        try:
            download(
                url,
                folder / file.path,
                file.check,
                size=file.size,
                resume=file.check is not None,
                patience=patience,
                progress=progress,
            )
        except NotReached:
            raise
        except FetchError as error:
            problem = str(error)
        else:
            return ""
    return problem


def differs_from_sha256(path: Path, expected: str) -> str:
    """Say how a file differs from its SHA-256, or nothing."""
    found = sha256(path)
    return "" if found == expected.lower() else f"its SHA-256 is {found[:16]}…, not {expected[:16]}…"


def differs_from_git(path: Path, expected: str) -> str:
    """Say how a file differs from the name git gives its content, or nothing."""
    digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with open(path, "rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    found = digest.hexdigest()
    return "" if found == expected.lower() else f"its sum in git is {found[:12]}…, not {expected[:12]}…"
