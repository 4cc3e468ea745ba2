"""A server on this machine that does wrong what servers and networks do wrong."""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Faults:
    """What goes wrong with one file, and how often.

    Attributes:
        breaks: Answers that end in the middle.
        stalls: Answers that stop in the middle without ending.
        corrupts: Answers with one byte changed.
        status: Answers with this code, and how many of them.
        ranges: Whether parts are given.
        etag: Says which version it is.
        no_length: The length is not told.
        wrong_part: A part is given from its beginning whatever was asked for.
        headers: Sent with every answer.
    """

    breaks: int = 0
    stalls: int = 0
    corrupts: int = 0
    status: tuple[int, int] = (0, 0)
    ranges: bool = True
    etag: str = ""
    no_length: bool = False
    wrong_part: bool = False
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Server:
    """Address, files with their faults, and what was asked for."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    faults: dict[str, Faults] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)

    def put(self, path: str, content: bytes, **faults: Any) -> str:
        """Serve a file; its address."""
        self.files[path] = content
        self.faults[path] = Faults(**faults)
        return self.url + path

    @property
    def count(self) -> Counter[str]:
        """How often each file was asked for."""
        return Counter(path for path, _ in self.asked)


@contextmanager
def serving() -> Iterator[Server]:
    """Run the server while the block lasts."""
    state = Server()
    over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            state.asked.append((self.path, self.headers.get("Range", "")))
            content, faults = state.files.get(self.path), state.faults.get(self.path, Faults())
            if content is None:
                self.send_error(404)
                return
            code, times = faults.status
            if times > 0:
                faults.status = code, times - 1
                self.send_response(code)
                for name, value in faults.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.give(content, faults)

        def give(self, content: bytes, faults: Faults) -> None:
            begin = 0
            asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
            same = self.headers.get("If-Range", faults.etag) == faults.etag
            if asked and faults.ranges and same:
                begin = int(asked[1])
                if begin >= len(content):
                    self.send_error(416)
                    return
                told = 0 if faults.wrong_part else begin
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {told}-{len(content) - 1}/{len(content)}")
            else:
                self.send_response(200)
            rest = content[begin:]
            if faults.etag:
                self.send_header("ETag", faults.etag)
            for name, value in faults.headers.items():
                self.send_header(name, value)
            if not faults.no_length:
                self.send_header("Content-Length", str(len(rest)))
            self.end_headers()
            if faults.corrupts > 0:
                faults.corrupts -= 1
                rest = rest[:-1] + bytes([rest[-1] ^ 1])
            if faults.breaks > 0 or faults.stalls > 0:
                rest = rest[: max(1, len(rest) // 2)]
            self.wfile.write(rest)
            self.wfile.flush()
            if faults.stalls > 0:
                faults.stalls -= 1
                over.wait(20)
            faults.breaks -= faults.breaks > 0
            self.close_connection = True

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    state.url = f"http://127.0.0.1:{http.server_address[1]}"
    try:
        yield state
    finally:
        over.set()
        http.shutdown()
        thread.join()
        http.server_close()
