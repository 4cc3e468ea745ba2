"""Recipes mean files with addresses and sums; the hub is asked for those of a repository; files are fetched once."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest

from kflow_sci.errors import FetchError
from kflow_sci.fetching.download import NotReached, Patience, download
from kflow_sci.fetching.hub import list_hub
from kflow_sci.fetching.recipes import KINDS, Recipe, recipe_of, recipes, wanted_address, wanted_files
from kflow_sci.fetching.wanted import Wanted, differs_from_git, differs_from_sha256, fetch_all
from tests.faulty_server import Server

SHORT = Patience(tries=2, stall=0.3, pause=0.01, longest=0.02)
TREE = "/api/datasets/who/what/tree/main/COD?recursive=true"


def test_every_recipe_says_what_it_is_who_may_use_it_and_what_to_do_without_a_network() -> None:
    assert {"crystals", "cod-cluster17", "sd-vae"} <= set(recipes())
    for name, recipe in recipes().items():
        assert recipe.name == name and recipe.kind in KINDS
        assert recipe.title and recipe.licence and recipe.server.startswith("https://")
        assert "{folder}" in recipe.by_hand and "{}" not in recipe.by_hand
        assert (recipe.kind == "hub") == bool(recipe.repository and recipe.revision)
        assert (recipe.kind == "files") == bool(recipe.files)
        for file in recipe.files:
            assert re.fullmatch(r"[0-9a-f]{64}", file["sha256"]) and file["size"] > 0
            assert file["url"].startswith("/") and file["url"].endswith(file["path"])


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(
        FetchError, match="'nonsense' is nothing that can be fetched: choose one of crystals, cod-"
    ):
        recipe_of("nonsense")


def test_the_files_of_a_recipe_lie_on_its_server_or_its_mirror() -> None:
    recipe = recipe_of("sd-vae")
    for mirror, begin in ((None, recipe.server), ("http://m:1/x/", "http://m:1/x")):
        files = wanted_files(recipe, mirror)
        assert [file.path for file in files] == ["config.json", "diffusion_pytorch_model.safetensors"]
        assert all(file.urls[0].startswith(begin + "/stabilityai/") for file in files)


def test_an_address_names_its_file() -> None:
    assert wanted_address("https://x.org/a/b%20c.zip?d=e/f#g").path == "b c.zip"
    for url in ("https://x.org/", "https://x.org", "https://x.org/a/", "https://x.org/.."):
        with pytest.raises(FetchError, match="names no file"):
            wanted_address(url)


def git_sum(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def test_the_sum_of_git_is_that_of_git(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"hello\n")
    # What `echo hello | git hash-object --stdin` prints.
    assert differs_from_git(tmp_path / "a", "ce013625030ba8dba906f756967f9e9ca394464a") == ""
    assert "not 000000000000" in differs_from_git(tmp_path / "a", "0" * 40)


def serve_hub(server: Server) -> dict[str, bytes]:
    """A repository of a large and a small file, told on two pages."""
    files = {"COD/raw.zip": b"z" * 5000, "COD/sub/ids 5k.txt": b"1000000\n"}
    large, small = (
        {"type": "file", "path": path, "size": len(content), "oid": git_sum(content)}
        for path, content in files.items()
    )
    large["lfs"] = {"oid": hashlib.sha256(files["COD/raw.zip"]).hexdigest(), "size": 5000}
    large["oid"] = "0" * 40  # of the pointer, not of the file
    following = '<https://elsewhere.org/api/datasets/who/what/tree/main/COD?cursor=2>; rel="next"'
    server.put(
        TREE, json.dumps([{"type": "directory", "path": "COD"}, large]).encode(), headers={"Link": following}
    )
    server.put("/api/datasets/who/what/tree/main/COD?cursor=2", json.dumps([small]).encode())
    server.put("/datasets/who/what/resolve/main/COD/raw.zip", files["COD/raw.zip"])
    server.put("/datasets/who/what/resolve/main/COD/sub/ids%205k.txt", files["COD/sub/ids 5k.txt"])
    return files


def hub_of(server: Server) -> list[Wanted]:
    return list_hub(server.url, "datasets/who/what", "main", "COD", SHORT)


def test_the_hub_says_which_files_there_are_and_all_of_them_are_fetched(
    server: Server, tmp_path: Path
) -> None:
    files = serve_hub(server)
    facts = {"repository": "datasets/who/what", "revision": "main", "folder": "COD"}
    recipe = Recipe("x", "hub", "", "https://nowhere", "", "", **facts)
    wanted = wanted_files(recipe, server.url, SHORT)
    seen: list[tuple[int, int]] = []
    done = fetch_all(wanted, tmp_path, patience=SHORT, progress=lambda a, b: seen.append((a, b)))
    assert (done.new, done.kept, done.failed) == (2, 0, ())
    for path, content in files.items():
        assert (tmp_path / path).read_bytes() == content
    assert seen[-1] == (5008, 5008) and seen == sorted(seen)
    again = fetch_all(wanted, tmp_path, patience=SHORT)
    assert (again.new, again.kept) == (0, 2)


def test_files_that_differ_from_what_the_hub_says_are_not_kept(server: Server, tmp_path: Path) -> None:
    serve_hub(server)
    server.put("/datasets/who/what/resolve/main/COD/raw.zip", b"y" * 5000)
    server.put("/datasets/who/what/resolve/main/COD/sub/ids%205k.txt", b"2000000\n")
    done = fetch_all(hub_of(server), tmp_path, patience=SHORT)
    assert done.new == 0 and [path for path, _ in done.failed] == ["COD/raw.zip", "COD/sub/ids 5k.txt"]
    assert "its SHA-256 is" in done.failed[0][1] and "its sum in git is" in done.failed[1][1]
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (b"<html>", "gives no list of files"),
        (b"{}", "holds no files in COD"),
        (b"[]", "holds no files in COD"),
        (b'["a"]', "gives no list of files"),
        (b'[{"type": "file", "path": "a"}]', "gives no list of files"),
        (b"\xff", "gives no list of files"),
        (b'[{"type": "file", "path": "../a", "size": 1, "oid": "0"}]', "lies outside the folder"),
    ],
)
def test_answers_that_are_no_list_are_refused(server: Server, answer: bytes, says: str) -> None:
    server.put(TREE, answer)
    with pytest.raises(FetchError, match=says) as caught:
        hub_of(server)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("path", ["/etc/x", "../x", "a/../../x", "", ".", "a\\b", "./a"])
def test_paths_that_leave_the_folder_are_refused(path: str) -> None:
    with pytest.raises(FetchError, match="lies outside the folder"):
        Wanted(path, ("http://x/y",))


def test_one_file_that_cannot_be_had_does_not_stop_the_others(server: Server, tmp_path: Path) -> None:
    files = [
        Wanted("a", (server.url + "/none", server.url + "/none2")),
        Wanted("b", (server.url + "/none", server.put("/b", b"b"))),
        Wanted("c", ()),
        Wanted("d", (server.put("/d", b"d", status=(403, 9)),)),
    ]
    done = fetch_all(files, tmp_path, patience=SHORT)
    assert done.new == 1 and (tmp_path / "b").read_bytes() == b"b"
    assert [(path, problem.split(" (")[0].rsplit("/")[-1]) for path, problem in done.failed] == [
        ("a", "none2 is not there"),
        ("c", "no address is known"),
        ("d", "d is refused"),
    ]


def test_a_server_that_goes_away_ends_the_run_and_what_came_is_kept(server: Server, tmp_path: Path) -> None:
    files = [Wanted(name, (server.put(f"/{name}", b"x" * 100),)) for name in "ab"]
    server.put("/b", b"x" * 100, status=(503, 99))
    with pytest.raises(NotReached, match="/b"):
        fetch_all(files, tmp_path, patience=SHORT)
    server.put("/b", b"x" * 100)
    done = fetch_all(files, tmp_path, patience=SHORT)
    assert (done.new, done.kept) == (1, 1) and server.count["/a"] == 1


def test_damaged_files_that_are_there_are_fetched_again(server: Server, tmp_path: Path) -> None:
    content = b"weights"
    digest = hashlib.sha256(content).hexdigest()

    def check(path: Path) -> str:
        return differs_from_sha256(path, digest.upper())

    file = Wanted("a", (server.put("/a", content),), 7, check)
    for there in (b"", b"WEIGHTS", b"weights and more"):
        (tmp_path / "a").write_bytes(there)
        assert file.complaint(tmp_path)
        assert fetch_all([file], tmp_path, patience=SHORT).new == 1
        assert file.complaint(tmp_path) == ""


def test_an_interrupt_leaves_what_came_and_no_file(server: Server, tmp_path: Path) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    url = server.put("/a", b"x" * 1000)
    with pytest.raises(KeyboardInterrupt):
        download(url, tmp_path / "a", progress=interrupt)
    assert [path.name for path in tmp_path.iterdir()] == ["a.part"]
