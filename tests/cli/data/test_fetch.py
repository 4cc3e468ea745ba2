"""``kflow data fetch``: whole and checked files, or one line that says what to put where."""

from __future__ import annotations

import hashlib
import socket
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from kflow_sci.assembly.data.cod import structure_checksum
from kflow_sci.cli.main import main
from kflow_sci.fetching import recipes
from tests.crystals_by_hand import BENZENE, UREA
from tests.faulty_server import Server

QUICK = ["--tries", "2", "--stall", "0.3"]


@pytest.fixture
def weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> bytes:
    """A recipe of one file."""
    content = bytes(range(256)) * 1000
    digest = hashlib.sha256(content).hexdigest()
    table = tmp_path / "recipes.yaml"
    table.write_text(
        "weights:\n  kind: files\n  title: some weights\n  server: https://nowhere.invalid\n  licence: MIT\n"
        "  by_hand: put w.bin into {folder}\n  then: use {folder}/w.bin\n"
        f"  files: [{{path: w.bin, url: /w.bin, size: {len(content)}, sha256: {digest}}}]\n"
    )
    monkeypatch.setattr(recipes, "TABLE", table)
    return content


def test_without_a_name_all_names_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "fetch"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(recipes.recipes())
    assert "MIT" in lines[1]


def test_a_broken_connection_ends_in_a_whole_file(
    server: Server,
    weights: bytes,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    server.put("/w.bin", weights, breaks=3)
    words = ["data", "fetch", "weights", "--out", str(tmp_path / "x"), "--mirror", server.url, *QUICK]
    assert main(words) == 0
    assert (tmp_path / "x" / "w.bin").read_bytes() == weights
    shown = capsys.readouterr().out
    assert "1 of 1 files are in" in shown and "(1 fetched now)" in shown and "next: use" in shown
    assert main(words) == 0
    assert "(0 fetched now)" in capsys.readouterr().out
    assert main([*words, "--verify"]) == 0
    (tmp_path / "x" / "w.bin").write_bytes(weights[:-1])
    assert main([*words, "--verify"]) == 2
    shown, error = capsys.readouterr()
    assert "w.bin: it has 255999 bytes, not 256000" in shown
    assert "1 of 1 files in" in error and error.count("\n") == 1


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ({"corrupts": 9}, "came twice, but its SHA-256 is"),
        ({"stalls": 9, "ranges": False}, "nothing came any more"),
        ({"breaks": 9, "ranges": False}, "the connection broke off at 128000 of 256000 bytes"),
        ({"status": (404, 9)}, "the server answers 404"),
        ({"status": (503, 9)}, "the server answers 503"),
    ],
)
def test_what_cannot_be_had_ends_in_one_line_and_no_file(
    server: Server,
    weights: bytes,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    fault: dict[str, object],
    says: str,
) -> None:
    server.put("/w.bin", weights, **fault)
    out = tmp_path / "x"
    assert main(["data", "fetch", "weights", "--out", str(out), "--mirror", server.url, *QUICK]) == 2
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1
    assert not (out / "w.bin").exists()


def test_without_a_network_one_line_says_what_to_put_where(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(*_: object, **__: object) -> object:
        raise urllib.error.URLError(socket.gaierror(-2, "Name or service not known"))

    monkeypatch.setattr(urllib.request, "urlopen", nothing)
    monkeypatch.chdir(tmp_path)
    for name, what in (
        ("crystals", ".cif as crystals/experimental/CODNUMBER.cif"),
        ("cod-cluster17", "put the folder COD of https://huggingface.co/datasets/"),
        ("sd-vae", "put config.json and diffusion_pytorch_model.safetensors"),
    ):
        assert main(["data", "fetch", name]) == 2
        shown, error = capsys.readouterr()
        assert "Without a network" in error and what in error and name in error
        assert error.count("\n") == 1 and shown == ""
    assert list(tmp_path.iterdir()) == []


def cod(server: Server, folder: Path) -> Path:
    """A database of two crystals, one of them revised, and a list of three."""
    server.put("/1000001.cif@7", UREA.encode())
    server.put("/1000001.cif", b"data_newer\n")
    server.put("/1000002.cif", b"# revised\n" + BENZENE.encode())
    lines = ["id,folder,cod,revision,sha256,structure,formula"]
    for name, number, revision, text in (
        ("COD1000001", "1000001", "7", UREA),
        ("COD1000002", "1000002", "3", BENZENE),
        ("OWN_x", "", "", BENZENE),
    ):
        (folder / "t.cif").write_text(text)
        digest, structure = hashlib.sha256(text.encode()).hexdigest(), structure_checksum(folder / "t.cif")
        lines.append(f"{name},experimental,{number},{revision},{digest},{structure},X")
    (folder / "ids.csv").write_text("\n".join(lines))
    return folder / "ids.csv"


def test_crystals_of_a_list_are_fetched_checked_and_not_fetched_twice(
    server: Server,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    ids, out = cod(server, tmp_path), tmp_path / "out"
    words = [
        "data",
        "fetch",
        "crystals",
        "--out",
        str(out),
        "--ids",
        str(ids),
        "--mirror",
        server.url,
        *QUICK,
    ]
    assert main(words) == 0
    assert (out / "experimental" / "COD1000001.cif").read_text() == UREA
    assert (out / "experimental" / "COD1000002.cif").read_text() == "# revised\n" + BENZENE
    assert [line.split(",")[0] for line in (out / "experimental.csv").read_text().splitlines()] == [
        "id",
        "COD1000001",
        "COD1000002",
    ]
    shown = capsys.readouterr().out
    assert "2 of 2 files" in shown and "1 listed files are not in the database" in shown
    server.files.clear()
    assert main(words) == 0  # nothing is asked for again
    assert main([*words, "--verify"]) == 0
    assert "2 of 3 files are there and right" in capsys.readouterr().out


def test_another_crystal_under_the_number_is_not_kept(
    server: Server,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    ids, out = cod(server, tmp_path), tmp_path / "out"
    for path in ("/1000001.cif@7", "/1000001.cif"):
        server.put(path, UREA.replace("0.5953", "0.5960").encode())
    del server.files["/1000002.cif"]
    words = [
        "data",
        "fetch",
        "crystals",
        "--out",
        str(out),
        "--ids",
        str(ids),
        "--mirror",
        server.url,
        *QUICK,
    ]
    assert main(words) == 2
    shown, error = capsys.readouterr()
    assert "COD1000001.cif" in shown and "it is another crystal than the listed one" in shown
    assert "COD1000002.cif" in shown and "the server answers 404" in shown
    assert "2 of 2 files cannot be had" in error and error.count("\n") == 1
    assert not [path for path in out.rglob("*") if path.is_file()]


def test_a_file_at_another_address_takes_the_place_of_the_known_ones(
    server: Server,
    tmp_path: Path,
) -> None:
    url = server.put("/elsewhere/COD.zip", b"zip")
    words = ["data", "fetch", "cod-cluster17", "--out", str(tmp_path / "x"), "--url", url, *QUICK]
    assert main(words) == 0
    assert (tmp_path / "x" / "COD.zip").read_bytes() == b"zip"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["nonsense"], "is nothing that can be fetched"),
        (["sd-vae", "--ids", "x"], "does not take"),
        (["sd-vae", "--out", "file"], "file is a file"),
        (["sd-vae", "--verify"], "sd-vae does not exist"),
        (["sd-vae", "--verify", "--url", "http://x/y"], "leave one out"),
        (["sd-vae", "--url", "nonsense:///y"], "is no address"),
        (["sd-vae", "--url", "http://x/"], "names no file"),
        (["sd-vae", "--mirror", "nonsense"], "is no address"),
        (["crystals", "--ids", "none"], "cannot be read"),
        (["crystals", "--tries", "0"], "0 is not in the range"),
        (["crystals", "--stall", "-1"], "-1.0 is not in the range"),
    ],
)
def test_words_that_make_no_sense_are_refused_in_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    says: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    assert main(["data", "fetch", *words]) == 2
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_real_folder_verifies(crystals: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "fetch", "crystals", "--out", str(crystals), "--verify"]) == 0
    assert "files are there and right" in capsys.readouterr().out
