"""One file from the network, whole and checked, or not there at all.

The one idea: what has come is kept in ``NAME.part`` beside the target, and every try asks only for the rest; the file
takes its name when its checksum holds. A connection that breaks off or stalls, and a server that is busy, are tried
again as long as something arrives; what cannot get better by waiting is said at once.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import re
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from socket import gaierror
from typing import NoReturn, TypeVar

from kflow_sci import __version__
from kflow_sci.errors import FetchError, OutputError
from kflow_sci.files import output_folder, reason

Check = Callable[[Path], str]
Result = TypeVar("Result")

CHUNK = 1 << 16  # bytes
BUSY = {408, 425, 429, 500, 502, 503, 504}
GONE = {400, 404, 410}  # 400: what the Crystallography Open Database answers to an odd revision


class NotReached(FetchError):
    """The server cannot be reached, or does not give the file in the end; another time may be better."""


class NotThere(FetchError):
    """The server has no such file."""


@dataclass(frozen=True)
class Patience:
    """How long to wait for what.

    Attributes:
        tries: Tries in a row that bring nothing, at least 1.
        stall: Seconds without a byte after which a connection is given up.
        pause: Seconds before the second try; doubled each time.
        longest: Most seconds between two tries, also where the server asks for more.
    """

    tries: int = 5
    stall: float = 30.0
    pause: float = 1.0
    longest: float = 60.0


USUAL = Patience()


class _Again(Exception):
    """One try failed, the next may not; ``spoilt``: what was kept of the file is of no use to it."""

    def __init__(self, problem: object, wait: float = 0.0, spoilt: bool = False) -> None:
        super().__init__(" ".join(str(problem).split())[:150] or type(problem).__name__)
        self.wait = wait
        self.spoilt = spoilt


def download(
    url: str,
    path: str | os.PathLike[str],
    check: Check | None = None,
    *,
    size: int | None = None,
    resume: bool = False,
    patience: Patience = USUAL,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Fetch a file.

    Args:
        url: ``http://`` or ``https://``.
        path: The file to make; its folder is made too.
        check: Says what is wrong with a complete file, in a few words, or nothing.
        size: Bytes it must have, where known.
        resume: Go on with a ``.part`` that an earlier run left. Only sensible if ``check`` would notice that the file
            has changed meanwhile; within a run a broken connection is always gone on with.
        patience: When to give up.
        progress: Called with the bytes that are there.

    Raises:
        NotThere: the server has no such file.
        NotReached: the server cannot be reached or gives up again and again; ``.part`` stays.
        FetchError: the address is none, the server refuses, or what came twice is not the file.
        OutputError: the file cannot be written.
    """
    path = Path(path)
    if path.is_dir():
        raise OutputError(f"cannot write {path}: it is a folder: name a file")
    part = path.with_name(path.name + ".part")
    if not resume and part.is_file():
        part.unlink()
    transfer = _Transfer(url, part, size, resume, patience.stall, progress)
    complaint = ""
    for _ in range(2):  # a part of an earlier version spoils the first
        _patiently(url, transfer.attempt, patience, transfer.have)
        complaint = _complaint(part, size, check)
        if not complaint:
            break
        part.unlink()
    else:
        raise FetchError(
            f"{url} came twice, but {complaint}: the file there has changed or is damaged on its way; try a mirror"
        )
    with open(part, "rb") as stream:
        os.fsync(stream.fileno())
    os.replace(part, path)


def read(url: str, patience: Patience = USUAL) -> tuple[bytes, Message]:
    """Fetch a short answer, with its headers.

    Raises:
        NotThere, NotReached, FetchError: as ``download``.
    """

    def attempt() -> tuple[bytes, Message]:
        with _open(url, {}, patience.stall) as answer:
            return answer.read(), answer.headers

    return _patiently(url, attempt, patience, lambda: 0)


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hex digits."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _patiently(
    url: str, attempt: Callable[[], Result], patience: Patience, reached: Callable[[], int]
) -> Result:
    failures, best = 0, reached()
    while True:
        try:
            return attempt()
        except _Again as again:
            failures = failures + 1 if reached() <= best else 1
            best = max(best, reached())
            if failures >= patience.tries:
                raise NotReached(
                    f"cannot get {url} ({again}; {failures} tries): check the network or try a mirror, and run again"
                ) from None
            time.sleep(min(max(again.wait, patience.pause * 2 ** (failures - 1)), patience.longest))


@dataclass
class _Transfer:
    """A file on its way.

    Attributes:
        url, part, size, stall, progress: As in ``download``.
        trusted: What is there may be gone on with even if the server cannot say that it is of the same version.
        validator: What recognises the version, as the server said.
    """

    url: str
    part: Path
    size: int | None
    trusted: bool
    stall: float
    progress: Callable[[int], None] | None
    validator: str = ""

    def have(self) -> int:
        return self.part.stat().st_size if self.part.is_file() else 0

    def attempt(self) -> None:
        """Ask for what is missing."""
        have = self.have()
        if have and (have == self.size):
            return
        if not (self.trusted or self.validator) or have > (self.size or have):
            have = 0
        headers = {"Range": f"bytes={have}-"} if have else {}
        if have and self.validator:
            headers["If-Range"] = self.validator
        try:
            with _open(self.url, headers, self.stall) as answer:
                self._take(answer, have)
        except _Again as again:
            if again.spoilt:
                self.part.unlink(missing_ok=True)
            raise

    def _take(self, answer: http.client.HTTPResponse, have: int) -> None:
        if answer.status != http.HTTPStatus.PARTIAL_CONTENT:
            have = 0  # the whole file, from a server that gives no parts or has another version
        elif not re.match(rf"bytes {have}-", answer.headers.get("Content-Range", "")):
            raise _Again("the server gives another part than the one asked for", spoilt=True)
        etag: str = answer.headers.get("ETag", "")
        self.validator = "" if etag.startswith("W/") else etag
        length = answer.headers.get("Content-Length", "")
        whole = have + int(length) if length.isdecimal() else None
        output_folder(self.part.parent)
        with _writing(self.part), open(self.part, "ab" if have else "wb", buffering=0) as stream:
            while chunk := _receive(answer):
                stream.write(chunk)
                have += len(chunk)
                if self.progress:
                    self.progress(have)
        if whole is not None and have < whole:
            raise _Again(f"the connection broke off at {have} of {whole} bytes")


def _receive(answer: http.client.HTTPResponse) -> bytes:
    try:
        return answer.read1(CHUNK)
    except TimeoutError:
        raise _Again("nothing came any more") from None
    except (OSError, http.client.HTTPException) as error:
        raise _Again(error) from None


@contextlib.contextmanager
def _open(url: str, headers: dict[str, str], stall: float) -> Iterator[http.client.HTTPResponse]:
    """Ask for an address; what goes wrong is sorted into what may get better and what may not."""
    _refuse_odd(url)
    more = {"User-Agent": f"kflow_sci/{__version__}", "Accept-Encoding": "identity"}
    try:
        answer = urllib.request.urlopen(urllib.request.Request(url, headers=headers | more), timeout=stall)
    except urllib.error.HTTPError as error:
        error.close()
        _refused(url, error)
    except urllib.error.URLError as error:
        _unreached(url, error.reason)
    except (OSError, http.client.HTTPException) as error:
        raise _Again(error) from None
    with answer:
        yield answer


def _refuse_odd(url: str) -> None:
    try:
        parts = urllib.parse.urlsplit(url)
        fine = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # its host or port is none
        fine = False
    if not fine or not re.fullmatch(r"[!-~]+", url):
        raise FetchError(
            f"{url!r} is no address that can be fetched: give one like https://host/name, without spaces"
        )


def _refused(url: str, error: urllib.error.HTTPError) -> NoReturn:
    said = f"{error.code} {error.reason}"
    if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
        raise _Again(f"the server answers {said}", spoilt=True) from None
    if error.code in BUSY:
        wait = error.headers.get("Retry-After", "") or ""
        raise _Again(f"the server answers {said}", float(wait) if wait.isdecimal() else 0.0) from None
    if error.code in GONE:
        raise NotThere(
            f"{url} is not there (the server answers {said}): check the address or try a mirror"
        ) from None
    raise FetchError(
        f"{url} is refused (the server answers {said}): it may ask for an account; fetch it by hand"
    ) from None


def _unreached(url: str, why: object) -> NoReturn:
    host = urllib.parse.urlsplit(url).netloc
    if isinstance(why, gaierror):
        raise NotReached(
            f"{host} cannot be found: there is no network here, or the address is wrong"
        ) from None
    if isinstance(why, ssl.SSLCertVerificationError):
        raise FetchError(f"{host} has no valid certificate ({why.verify_message}): do not trust it") from None
    raise _Again(why) from None


@contextlib.contextmanager
def _writing(part: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:  # what the network does wrong is an _Again by now
        raise OutputError(f"cannot write {part}: {reason(error)}") from error


def _complaint(part: Path, size: int | None, check: Check | None) -> str:
    there = part.stat().st_size
    if size is not None and there != size:
        return f"it has {there} bytes, not {size}"
    return check(part) if check else ""
