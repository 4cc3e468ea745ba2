"""The CIFs of a folder of any size and depth, in an order that is always the same.

The one idea: folders are walked one after the other, each in the order of its names, so a list of half a million files
is never held; what is held is 8 bytes per file, to find two that would have one id.
"""

from __future__ import annotations

import hashlib
import os
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from kflow_sci.errors import ClusterError

SUFFIX = ".cif"


def list_cifs(folder: str | Path) -> Iterator[str]:
    """Paths of all CIFs in a folder and the folders in it.

    Names decide, not contents: what ends in ``.cif`` in any case, and is a file. Hidden files and folders are passed
    over. Links are followed, but not into a folder that holds them.

    Args:
        folder: As the databases lay them out, flat or nested (``1/00/00/1000000.cif``).

    Yields:
        ``folder/…/name.cif``; in each folder by name, folders and files mixed.

    Raises:
        ClusterError: a folder cannot be listed.
    """
    yield from _walk(os.fspath(folder), ())


def _walk(folder: str, above: tuple[tuple[int, int], ...]) -> Iterator[str]:
    try:
        status = os.stat(folder)
        here = (status.st_dev, status.st_ino)
        if here in above:
            return
        with os.scandir(folder) as entries:
            found = sorted(
                (*os.path.splitext(entry.name), is_folder)
                for entry in entries
                if not entry.name.startswith(".")
                and ((is_folder := entry.is_dir()) or (_is_cif(entry.name) and entry.is_file()))
            )
    except OSError as error:
        raise ClusterError(f"{folder} cannot be listed ({error.strerror}): give a folder of CIFs") from None
    for stem, suffix, is_folder in found:
        path = os.path.join(folder, stem + suffix)
        if is_folder:
            yield from _walk(path, (*above, here))
        else:
            yield path


def _is_cif(name: str) -> bool:
    return name[-len(SUFFIX) :].lower() == SUFFIX


def count_cifs(folder: str | Path) -> int:
    """Number of CIFs in a folder and the folders in it.

    Raises:
        ClusterError: there is no such folder, it holds no CIF, or two files would have one id (their name without
            the suffix).
    """
    folder = Path(folder)
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise ClusterError(f"{folder} {what}: give a folder of CIFs")
    digests = array("Q", (_digest(path) for path in list_cifs(folder)))
    if not digests:
        raise ClusterError(f"{folder} holds no file that ends in {SUFFIX}: give a folder of CIFs")
    ordered = np.sort(np.frombuffer(digests, np.uint64))
    twice = set(ordered[1:][ordered[1:] == ordered[:-1]].tolist())
    seen: dict[str, str] = {}
    for path in list_cifs(folder) if twice else ():
        if _digest(path) in twice:
            other = seen.setdefault(name_of(path), path)
            if other != path:
                raise ClusterError(
                    f"{os.path.relpath(other, folder)} and {os.path.relpath(path, folder)} would share the id "
                    f"{name_of(path)}: rename one of them"
                )
    return len(digests)


def name_of(path: str) -> str:
    """The id of a crystal: the name of its file without folder and suffix."""
    return os.path.splitext(os.path.basename(path))[0]


def _digest(path: str) -> int:
    name = name_of(path).encode(errors="surrogateescape")
    return int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "little")


def stamp_of(path: str, folder: str | Path) -> tuple[Any, ...]:
    """Changes when a file does: its place in the folder, its size and its date."""
    try:
        status = os.stat(path)
    except OSError:  # gone since it was listed: reading it will say so
        return (os.path.relpath(path, folder),)
    return os.path.relpath(path, folder), status.st_size, status.st_mtime_ns
