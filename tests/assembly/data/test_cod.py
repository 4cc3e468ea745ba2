"""Lists of crystals are read and checked; a file is the listed one by its bytes or by what makes the crystal."""

from __future__ import annotations

import csv
import hashlib
import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from kflow_sci.assembly.data.cod import (
    COLUMNS,
    differs_from_row,
    listed_crystals,
    read_ids,
    structure_checksum,
    wanted_crystals,
    write_rows,
    write_tables,
)
from kflow_sci.errors import FetchError
from tests.crystals_by_hand import BENZENE, UREA

LIST = Path(__file__).parents[3] / "datasets" / "crystals" / "ids.csv"


def row_of(text: str, place: Path, **values: str) -> dict[str, str]:
    path = place / "listed.cif"
    path.write_text(text)
    sums = {"sha256": hashlib.sha256(text.encode()).hexdigest(), "structure": structure_checksum(path)}
    return dict.fromkeys(COLUMNS, "") | {"id": "COD1000001", "cod": "1000001"} | sums | values


def listing(folder: Path, text: str | bytes) -> Path:
    path = folder / "list.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_the_list_of_the_project_is_read() -> None:
    assert listed_crystals() == LIST
    rows = read_ids(LIST)
    assert len(rows) == 806 and sum(bool(row["cod"]) for row in rows) == 248


def test_numbers_alone_are_a_list(tmp_path: Path) -> None:
    for text in (
        "1000000\n1000001\n",
        "1000000\r\n1000001",
        "\ufeff1000000\n1000001\n",
        "cod\n1000000\n1000001\n",
    ):
        rows = read_ids(listing(tmp_path, text))
        assert [(row["id"], row["cod"], row["folder"]) for row in rows] == [
            ("1000000", "1000000", ""),
            ("1000001", "1000001", ""),
        ]
    files = wanted_crystals(rows, "https://x.org/cod/")
    assert files[0].path == "1000000.cif" and files[0].urls == ("https://x.org/cod/1000000.cif",)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "has no column cod and no numbers"),
        ("\n", "has no column cod and no numbers"),
        ("id,name\na,b\n", "has no column cod and no numbers"),
        ("cod\n", "lists no crystal"),
        ("cod\n12345\n", "row 2: cod is '12345', not a number of seven digits"),
        ("1000000\nabc\n", "row 3: cod is 'abc'"),
        ("cod\n0000102\n", "cod is '0000102'"),
        ("cod,id\n1000000,../x\n", "id is '../x', not a plain name"),
        ("cod,id\n1000000,.x\n", "id is '.x'"),
        ("cod,folder\n1000000,/etc\n", "folder is '/etc', not a plain name, or nothing"),
        ("cod,id\n,\n", "id is '', not a plain name"),
        ("cod,revision\n1000000,r7\n", "revision is 'r7'"),
        ("cod,sha256\n1000000,abc\n", "sha256 is 'abc', not 64 hex digits"),
        ("cod,structure\n1000000,abc\n", "structure is 'abc'"),
        ("1000000\n1000000\n", "row 3: 1000000 is listed twice"),
        ("cod\n１００００００\n", "not a number of seven digits"),
        (b"cod\n\xff\n", "is no text"),
    ],
)
def test_lists_that_cannot_be_are_refused_in_one_line(tmp_path: Path, text: str | bytes, says: str) -> None:
    with pytest.raises(FetchError) as caught:
        read_ids(listing(tmp_path, text))
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_a_list_that_is_not_there_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(FetchError, match="cannot be read"):
            read_ids(path)


def test_the_revision_that_was_used_is_asked_for_first(tmp_path: Path) -> None:
    row = row_of(UREA, tmp_path, revision="7", folder="experimental")
    (file,) = wanted_crystals([row], "https://x.org/cod")
    assert file.urls == ("https://x.org/cod/1000001.cif@7", "https://x.org/cod/1000001.cif")
    assert file.path == "experimental/COD1000001.cif"
    assert wanted_crystals([row | {"cod": ""}], "https://x.org/cod")[0].urls == ()


def test_a_revised_text_is_the_same_crystal_and_a_moved_atom_is_not(tmp_path: Path) -> None:
    row = row_of(UREA, tmp_path)
    path = tmp_path / "a.cif"
    for text, complaint in (
        (UREA, ""),
        ("# revised\n" + UREA, ""),
        (UREA.replace("0.5953", "0.5960"), "it is another crystal than the listed one"),
        (BENZENE, "it is another crystal than the listed one"),
        ("<html>", "it is no crystal of ours (unreadable)"),
        ("", "it is no crystal of ours (unreadable)"),
    ):
        path.write_text(text)
        assert differs_from_row(path, row) == complaint
    assert differs_from_row(path, row | {"structure": ""}) == "it is another file than the listed one"


def test_without_a_sum_a_file_must_at_least_be_a_cif(tmp_path: Path) -> None:
    row = row_of(UREA, tmp_path, sha256="", structure="")
    path = tmp_path / "a.cif"
    for text, complaint in (
        (UREA, ""),
        ("#---\n#$Date$\n\ndata_1000000\n", ""),
        ("<html>", "it is no CIF"),
        ("", "it is no CIF"),
    ):
        path.write_text(text)
        assert differs_from_row(path, row) == complaint


def test_tables_list_what_is_there(tmp_path: Path) -> None:
    rows = [
        row_of(UREA, tmp_path, id=name, folder=folder, formula="CH4N2O")
        for name, folder in (("a", "experimental"), ("b", "experimental"), ("c", "predicted"))
    ]
    (tmp_path / "experimental").mkdir()
    (tmp_path / "experimental" / "b.cif").write_text(UREA)
    write_tables(rows, tmp_path)
    with open(tmp_path / "experimental.csv", newline="") as stream:
        (found,) = csv.DictReader(stream)
    assert found["id"] == "b" and found["formula"] == "CH4N2O" and "sha256" not in found
    assert not (tmp_path / "predicted.csv").exists()
    write_rows(tmp_path / "again.csv", rows)
    assert [row["id"] for row in read_ids(tmp_path / "again.csv")] == ["a", "b", "c"]


def table_script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("table", LIST.with_name("table.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_list_is_that_of_the_crystals(crystals: Path) -> None:
    listed = read_ids(LIST)
    found = table_script().make_rows(crystals)  # a folder that was fetched lacks what the database lacks
    assert found and all(row in listed for row in found)


def test_no_molecule_is_in_two_splits_and_no_crystal_is_listed_twice() -> None:
    rows = read_ids(LIST)
    home: dict[str, str] = {}
    for row in rows:
        assert home.setdefault(row["mol_hash"], row["split"]) == row["split"]
    for column in ("id", "sha256", "structure"):
        assert len({row[column] for row in rows}) == len(rows)
    assert all(row["licence"] for row in rows)
    assert {row["split"] for row in rows if row["folder"] == "predicted"} == {"train"}
