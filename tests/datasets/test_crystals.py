"""The list of crystals and the recipe that fetches them."""

from __future__ import annotations

import functools
import importlib.util
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType

import pytest

from tests.crystals_by_hand import BENZENE, UREA

HERE = Path(__file__).parents[2] / "datasets" / "crystals"


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


table, fetch = script("table"), script("fetch")


def test_no_molecule_is_in_two_splits_and_no_crystal_is_listed_twice() -> None:
    rows = table.read_table()
    home: dict[str, str] = {}
    for row in rows:
        assert home.setdefault(row["mol_hash"], row["split"]) == row["split"]
    for column in ("id", "sha256", "structure"):
        assert len({row[column] for row in rows}) == len(rows)
    assert all(row["licence"] for row in rows)
    assert {row["split"] for row in rows if row["folder"] == "predicted"} == {"train"}


def test_the_list_is_that_of_the_crystals(crystals: Path) -> None:
    listed = table.read_table()
    found = table.make_rows(crystals)  # a folder that was fetched lacks what the database lacks
    assert found and all(row in listed for row in found)


def row(text: str, name: str, cod: str, folder: Path, revision: str = "") -> dict[str, str]:
    path = folder / "listed.cif"
    path.write_text(text)
    return dict.fromkeys(table.COLUMNS, "") | {
        "id": name, "folder": "experimental", "cod": cod, "revision": revision,
        "sha256": table.checksum(path), "structure": table.structure_checksum(path),
    }  # fmt: skip


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A database on this machine, and its folder."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    root = tmp_path / "cod"
    root.mkdir()
    http = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(root)))
    thread = threading.Thread(target=http.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{http.server_address[1]}", root
    http.shutdown()
    thread.join()
    http.server_close()


def test_files_are_fetched_checked_and_not_fetched_twice(tmp_path: Path, server: tuple[str, Path]) -> None:
    address, root = server
    rows = [
        row(UREA, "COD1000001", "1000001", tmp_path, revision="7"),
        row(BENZENE, "COD1000002", "1000002", tmp_path, revision="3"),
        row(BENZENE, "OWN_x", "", tmp_path),
    ]
    (root / "1000001.cif@7").write_text(UREA)
    (root / "1000001.cif").write_text("data_newer\n")
    (root / "1000002.cif").write_text("# revised\n" + BENZENE)
    out = tmp_path / "out"
    assert fetch.get(out, rows, address, 0) == 0
    assert (out / "experimental" / "COD1000001.cif").read_text() == UREA
    assert table.check(out / "experimental" / "COD1000002.cif", rows[1]) == "revised"
    assert [r["id"] for r in table.read_table(out / "experimental.csv")] == ["COD1000001", "COD1000002"]
    for path in root.iterdir():
        path.unlink()
    assert fetch.get(out, rows, address, 0) == 0  # nothing is asked for again
    assert fetch.verify(out, rows[:2]) == 0
    assert fetch.verify(out, rows) == 1  # the third one is missing


def test_another_crystal_under_the_number_is_not_kept(
    tmp_path: Path, server: tuple[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    address, root = server
    rows = [row(UREA, "COD1000001", "1000001", tmp_path), row(BENZENE, "COD1000002", "1000002", tmp_path)]
    (root / "1000001.cif").write_text(UREA.replace("0.5953", "0.5960"))
    assert fetch.get(tmp_path / "out", rows, address, 0) == 1
    shown = capsys.readouterr().out
    assert "COD1000001: the database now holds another crystal" in shown
    assert "COD1000002: not in the database" in shown
    assert list((tmp_path / "out" / "experimental").iterdir()) == []


def test_without_a_network_there_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "TRIES", 1)
    words = ["get", str(tmp_path / "out"), "--server", "http://127.0.0.1:9"]
    assert fetch.main(words) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "check the network" in error


def test_a_folder_that_is_none_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fetch.main(["verify", str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_the_real_folder_verifies(crystals: Path) -> None:
    there = {row["id"] for row in table.make_rows(crystals)}
    assert fetch.verify(crystals, [row for row in table.read_table() if row["id"] in there]) == 0
