"""A file from the network is whole and checked, or it is not there; what can get better is tried again."""

from __future__ import annotations

import hashlib
import os
import random
import socket
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from kflow_sci.errors import FetchError, OutputError
from kflow_sci.fetching import download as downloading
from kflow_sci.fetching.download import NotReached, NotThere, Patience, download, read, sha256
from tests.faulty_server import Server

CONTENT = random.Random(0).randbytes(300_000)
SHORT = Patience(tries=3, stall=0.3, pause=0.01, longest=0.02)


def is_content(path: Path) -> str:
    return "" if path.read_bytes() == CONTENT else "it is something else"


def test_a_file_arrives_under_its_name_with_progress(server: Server, tmp_path: Path) -> None:
    seen: list[int] = []
    url = server.put("/a", CONTENT)
    download(url, tmp_path / "new" / "a", is_content, size=len(CONTENT), progress=seen.append)
    assert (tmp_path / "new" / "a").read_bytes() == CONTENT
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a"]
    assert seen == sorted(seen) and seen[-1] == len(CONTENT)
    assert sha256(tmp_path / "new" / "a") == hashlib.sha256(CONTENT).hexdigest()


def test_an_empty_file_arrives(server: Server, tmp_path: Path) -> None:
    download(server.put("/a", b""), tmp_path / "a", size=0)
    assert (tmp_path / "a").read_bytes() == b""


@pytest.mark.parametrize("fault", ["breaks", "stalls"])
def test_a_broken_or_stalled_connection_is_gone_on_with(server: Server, tmp_path: Path, fault: str) -> None:
    # Many more times than tries: each brings something.
    url = server.put("/a", CONTENT, etag='"1"', **{fault: 6 if fault == "breaks" else 2})
    download(url, tmp_path / "a", is_content, patience=SHORT)
    assert is_content(tmp_path / "a") == ""
    begins = [int(part[6:-1]) for _, part in server.asked[1:]]
    assert begins[0] == len(CONTENT) // 2 and begins == sorted(set(begins))


def test_a_connection_that_ends_without_saying_how_long_it_is_is_checked_by_size(
    server: Server, tmp_path: Path
) -> None:
    url = server.put("/a", CONTENT, no_length=True, breaks=1, etag='"1"')
    download(url, tmp_path / "a", is_content, size=len(CONTENT), patience=SHORT)
    assert is_content(tmp_path / "a") == ""


def test_what_an_earlier_run_left_is_gone_on_with_if_it_can_be_checked(
    server: Server, tmp_path: Path
) -> None:
    url = server.put("/a", CONTENT)
    (tmp_path / "a.part").write_bytes(CONTENT[:1000])
    download(url, tmp_path / "a", is_content, resume=True)
    assert server.asked == [("/a", "bytes=1000-")]
    (tmp_path / "b.part").write_bytes(CONTENT[:1000])
    download(url, tmp_path / "b", is_content)
    assert server.asked[1:] == [("/a", "")]
    (tmp_path / "c.part").write_bytes(CONTENT)
    download(url, tmp_path / "c", is_content, size=len(CONTENT), resume=True)
    assert len(server.asked) == 2  # all of it was there
    for name in "abc":
        assert is_content(tmp_path / name) == ""


@pytest.mark.parametrize(
    "left", [b"x" * 1000, CONTENT + b"x", CONTENT[:-1] + b"x"], ids=["other", "longer", "as long"]
)
@pytest.mark.parametrize("size", [None, len(CONTENT)])
def test_a_beginning_of_another_file_spoils_nothing(
    server: Server, tmp_path: Path, left: bytes, size: int | None
) -> None:
    (tmp_path / "a.part").write_bytes(left)
    download(server.put("/a", CONTENT), tmp_path / "a", is_content, size=size, resume=True, patience=SHORT)
    assert is_content(tmp_path / "a") == "" and not (tmp_path / "a.part").exists()


def test_a_file_that_changes_between_two_tries_is_begun_again(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = server.put("/a", b"y" * 5000, breaks=1, etag='"1"')

    def change(_: float) -> None:
        server.put("/a", CONTENT, etag='"2"')

    monkeypatch.setattr(downloading.time, "sleep", change)
    download(url, tmp_path / "a", is_content, patience=SHORT)
    assert server.asked[-1] == ("/a", "bytes=2500-") and len(server.asked) == 2


def test_without_a_checksum_or_a_version_nothing_is_pieced_together(server: Server, tmp_path: Path) -> None:
    download(server.put("/a", CONTENT, breaks=1), tmp_path / "a", patience=SHORT)
    assert [part for _, part in server.asked] == ["", ""]
    assert is_content(tmp_path / "a") == ""


@pytest.mark.parametrize("fault", [{"ranges": False}, {"wrong_part": True}])
def test_a_server_that_gives_no_or_wrong_parts_is_asked_for_all(
    server: Server, tmp_path: Path, fault: dict[str, bool]
) -> None:
    url = server.put("/a", CONTENT, breaks=1, etag='"1"', **fault)
    download(url, tmp_path / "a", is_content, patience=SHORT)
    assert is_content(tmp_path / "a") == ""


def test_damage_on_the_way_is_fetched_again_once(server: Server, tmp_path: Path) -> None:
    download(server.put("/a", CONTENT, corrupts=1), tmp_path / "a", is_content, patience=SHORT)
    assert is_content(tmp_path / "a") == "" and server.count["/a"] == 2
    url = server.put("/b", CONTENT, corrupts=9)
    with pytest.raises(
        FetchError, match=r"/b came twice, but it is something else: .* try a mirror"
    ) as caught:
        download(url, tmp_path / "b", is_content, patience=SHORT)
    assert "\n" not in str(caught.value) and server.count["/b"] == 2
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_another_size_than_the_stated_one_is_refused(server: Server, tmp_path: Path) -> None:
    for size in (len(CONTENT) - 1, len(CONTENT) + 1, 0):
        with pytest.raises(FetchError, match=f"it has {len(CONTENT)} bytes, not {size}"):
            download(server.put("/a", CONTENT), tmp_path / "a", size=size, patience=SHORT)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "fault", [{"breaks": 99, "ranges": False}, {"stalls": 99, "ranges": False}, {"status": (503, 99)}]
)
def test_a_server_that_never_gets_on_is_given_up_in_one_line(
    server: Server, tmp_path: Path, fault: dict[str, object]
) -> None:
    url = server.put("/a", CONTENT, etag='"1"', **fault)
    with pytest.raises(NotReached, match=r"cannot get .*/a \(.*; 3 tries\): check the network") as caught:
        download(url, tmp_path / "a", is_content, patience=SHORT)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "a").exists()
    if "status" not in fault:
        assert (tmp_path / "a.part").stat().st_size == len(CONTENT) // 2  # the next run may go on


@pytest.mark.parametrize("code", [429, 500, 503])
def test_a_busy_server_is_asked_again(server: Server, tmp_path: Path, code: int) -> None:
    url = server.put("/a", CONTENT, status=(code, 2), headers={"Retry-After": "3600"})
    download(url, tmp_path / "a", is_content, patience=SHORT)  # an hour is too long for our patience
    assert server.count["/a"] == 3


def test_a_busy_server_says_how_long_to_wait(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(downloading.time, "sleep", waits.append)
    url = server.put("/a", CONTENT, status=(503, 2), headers={"Retry-After": "7"})
    download(url, tmp_path / "a", is_content, patience=Patience(pause=5.0))
    assert waits == [7.0, 10.0]


def test_what_waiting_cannot_mend_is_said_at_once(server: Server, tmp_path: Path) -> None:
    with pytest.raises(NotThere, match=r"is not there .the server answers 404"):
        download(server.url + "/none", tmp_path / "a")
    with pytest.raises(FetchError, match=r"is refused .the server answers 403.*by hand"):
        download(server.put("/a", CONTENT, status=(403, 9)), tmp_path / "a")
    assert server.count == {"/none": 1, "/a": 1}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "url",
    [
        "",
        "a.cif",
        "file:///etc/hosts",
        "ftp://x/y",
        "http://",
        "http://x y/",
        "http://[::1/",
        "http://x:y/",
        "http://ü/",
    ],
)
def test_addresses_that_are_none_are_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(FetchError, match="is no address") as caught:
        download(url, tmp_path / "a")
    assert "\n" not in str(caught.value)


def test_a_server_that_is_not_there_is_told(tmp_path: Path) -> None:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    with pytest.raises(NotReached, match=r"Connection refused.*3 tries"):
        download(f"http://127.0.0.1:{port}/a", tmp_path / "a", patience=SHORT)


def failing(error: BaseException) -> Callable[..., object]:
    def function(*_: object, **__: object) -> object:
        raise urllib.error.URLError(error)  # type: ignore[arg-type]

    return function


def test_no_network_and_no_trust_are_said_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import ssl

    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_message = "self-signed certificate"
    for cause, says in (
        (
            socket.gaierror(-3, "Temporary failure in name resolution"),
            "x.org cannot be found: there is no network",
        ),
        (error, "x.org has no valid certificate .self-signed certificate"),
    ):
        monkeypatch.setattr(urllib.request, "urlopen", failing(cause))
        with pytest.raises(FetchError, match=says):
            download("https://x.org/a", tmp_path / "a")


def test_places_that_cannot_be_written_are_refused(server: Server, tmp_path: Path) -> None:
    url = server.put("/a", CONTENT)
    (tmp_path / "file").write_text("")
    (tmp_path / "b.part").mkdir()
    for place in (tmp_path, tmp_path / "file" / "a"):
        with pytest.raises(OutputError):
            download(url, place)
    if Path("/dev/full").exists():
        (tmp_path / "c.part").symlink_to("/dev/full")
        with pytest.raises(OutputError, match="the disk is full"):
            download(url, tmp_path / "c", resume=True)
    if os.geteuid() != 0:  # root may write anywhere
        (tmp_path / "locked").mkdir(mode=0o500)
        with pytest.raises(OutputError, match="permission denied"):
            download(url, tmp_path / "locked" / "a")


def test_a_short_answer_is_read_with_its_headers(server: Server) -> None:
    body, headers = read(server.put("/a", b"hello", status=(503, 1), headers={"Link": "<x>"}), SHORT)
    assert body == b"hello" and headers["Link"] == "<x>"
    with pytest.raises(NotThere):
        read(server.url + "/none", SHORT)
