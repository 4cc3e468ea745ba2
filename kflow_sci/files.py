"""Files that are either whole or absent.

The one idea: whatever is written goes to a temporary name beside its target and takes the target's name in one step,
so a crash, Ctrl-C or a full disk never leaves half a file, and never harms the file that was there before.
"""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kflow_sci.errors import OutputError

# An OSError with one of these numbers is about the place written to, whether or not it names a file.
_PLACE = {
    errno.ENOSPC: "the disk is full: free some space or choose another place",
    errno.EDQUOT: "the disk quota is used up: free some space or choose another place",
    errno.EFBIG: "the file is too large for this disk: choose another place",
    errno.EIO: "the disk reports an input/output error: choose another place",
    errno.EROFS: "the place is read-only: choose one you may write to",
}
_NAMED = {
    errno.EACCES: "permission denied: choose a place you may write to",
    errno.EPERM: "permission denied: choose a place you may write to",
    errno.ENOENT: "its folder cannot be made: choose another place",
    errno.ENOTDIR: "a part of its path is a file: choose another place",
    errno.EISDIR: "it is a folder: name a file",
    errno.ENAMETOOLONG: "the name is too long: choose a shorter one",
}


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path to write to; it becomes ``path`` when the block ends, and vanishes when it fails.

    The temporary file lies in the same folder and has the same suffix, so writers that choose a format by the name
    do the same as for ``path``. Missing parent folders are made. A symbolic link is followed, not replaced.

    Args:
        path: The file to make or replace.

    Yields:
        A path that does not exist yet; the block must write it.

    Raises:
        OutputError: ``path`` is a folder or a device, cannot be written, the disk is full, or the block wrote nothing.
            An ``OSError`` about another file (an input read inside the block) is passed on unchanged.
    """
    target = Path(os.path.realpath(path))
    if os.path.exists(target) and not os.path.isfile(target):
        raise OutputError(f"cannot write {path}: it is not a regular file: name a file")
    output_folder(target.parent)
    # A fixed length keeps long names within the limit; the leading dot hides it from "*.ext" patterns.
    temporary = target.with_name(f".{target.name[:40]}-{secrets.token_hex(6)}{target.suffix}")
    try:
        yield temporary
        with open(temporary, "rb") as written:
            os.fsync(written.fileno())
        os.replace(temporary, target)
    except OSError as error:
        named = {
            os.fspath(name)
            for name in (error.filename, error.filename2)
            if isinstance(name, str | os.PathLike)
        }
        if error.errno == errno.ENOENT and os.fspath(temporary) in named and target.parent.is_dir():
            raise OutputError(
                f"cannot write {path}: its temporary file was never written or was removed"
            ) from error
        if error.errno in _PLACE or os.fspath(temporary) in named:
            raise OutputError(f"cannot write {path}: {reason(error)}") from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def output_folder(path: str | os.PathLike[str]) -> Path:
    """Make a folder, with its parents, and make sure that files can be written in it.

    Args:
        path: The folder; it may exist, empty or not.

    Returns:
        The folder as a ``Path``.

    Raises:
        OutputError: ``path`` or a part of it is a file, or it is not writable.
    """
    folder = Path(path)
    if os.path.exists(folder) and not os.path.isdir(folder):
        raise OutputError(f"cannot write into {folder}: it is a file: name a folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the folder {folder}: {reason(error)}") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(f"cannot write into {folder}: permission denied: choose a place you may write to")
    return folder


def reason(error: OSError) -> str:
    """Say in one line why a place cannot be written, and what to do.

    Args:
        error: What the operating system said.

    Returns:
        Cause and mend, without the path.
    """
    known = _PLACE | _NAMED
    return known.get(error.errno or 0, f"{error.strerror or error}: choose another place")
