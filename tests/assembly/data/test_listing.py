"""Which files of a folder are crystals, and in which order."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kflow_sci.assembly.data.build import build_store
from kflow_sci.assembly.data.listing import count_cifs, list_cifs, name_of, stamp_of
from kflow_sci.assembly.data.store import open_store
from kflow_sci.errors import ClusterError
from tests.crystals_by_hand import BENZENE, UREA


def fill(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(UREA)
    return folder


def listed(folder: Path) -> list[str]:
    return [os.path.relpath(path, folder) for path in list_cifs(folder)]


def test_nested_folders_are_walked_in_the_order_of_their_names(tmp_path: Path) -> None:
    # The layout of the Crystallography Open Database.
    names = [
        "1/00/00/1000000.cif",
        "1/00/00/1000001.cif",
        "1/00/01/1000100.cif",
        "1/10/00/1100000.cif",
        "2/00/00/2000000.CIF",
        "3.cif",
    ]
    assert listed(fill(tmp_path, *reversed(names))) == names
    assert count_cifs(tmp_path) == len(names)


def test_hidden_and_other_files_are_passed_over(tmp_path: Path) -> None:
    fill(tmp_path, "a.cif", ".b.cif", "._a.cif", ".svn/c.cif", "d.cif.gz", "e.txt", "cif", "f.cif/g.cif")
    (tmp_path / "h.cif").symlink_to(tmp_path / "nowhere")
    assert listed(tmp_path) == ["a.cif", "f.cif/g.cif"]


def test_links_are_followed_but_never_in_a_circle(tmp_path: Path) -> None:
    fill(tmp_path / "real", "x.cif")
    folder = fill(tmp_path / "folder", "sub/a.cif")
    (folder / "link").symlink_to(tmp_path / "real")
    (folder / "one.cif").symlink_to(tmp_path / "folder" / "sub" / "a.cif")
    (folder / "sub" / "up").symlink_to(folder)
    assert listed(folder) == ["link/x.cif", "one.cif", "sub/a.cif"]


def test_two_files_of_one_id_are_refused_wherever_they_lie(tmp_path: Path) -> None:
    fill(tmp_path, "1/a.cif", "1/b.cif", "2/c.cif", "2/a.cif")
    with pytest.raises(ClusterError, match=r"1/a\.cif and 2/a\.cif would share the id a: rename one"):
        count_cifs(tmp_path)


def test_a_name_that_is_no_text_is_left_out_with_a_reason(tmp_path: Path) -> None:
    folder = fill(tmp_path / "cifs", "good.cif")
    odd = os.fsencode(folder) + b"/b\xff.cif"
    try:
        Path(os.fsdecode(odd)).write_text(BENZENE)
    except OSError:
        pytest.skip("this disk takes no such names")
    for workers in (1, 2):
        report = build_store(folder, tmp_path / "x.kfc", 5, workers=workers)
        assert report.clusters == 1 and dict(report.skipped) == {"unreadable": 1}
        assert open_store(tmp_path / "x.kfc").ids == ["good"]
        assert r"b\udcff,unreadable,the name of the file is not UTF-8" in report.skipped_csv.read_text()


def test_the_table_of_refusals_says_nothing_of_where_the_crystals_lie(tmp_path: Path) -> None:
    folder = fill(tmp_path / "cifs", "good.cif", "1/bad.cif")
    (folder / "1" / "bad.cif").write_text("")
    report = build_store(folder, tmp_path / "x.kfc", 5)
    assert report.skipped_csv.read_text().splitlines()[1:] == [
        "bad,unreadable,bad.cif is empty: give a CIF of a crystal"
    ]


def test_a_stamp_changes_with_place_size_and_date(tmp_path: Path) -> None:
    path = str(fill(tmp_path, "1/a.cif") / "1" / "a.cif")
    before = stamp_of(path, tmp_path)
    assert before[0] == "1/a.cif" and before == stamp_of(path, tmp_path)
    os.utime(path, ns=(0, 0))
    assert stamp_of(path, tmp_path) != before
    assert stamp_of(path + "x", tmp_path) == ("1/a.cifx",)
    assert name_of(path) == "a"


def test_a_file_that_vanishes_while_reading_is_left_out_with_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = fill(tmp_path / "cifs", "a.cif", "b.cif")
    paths = list(list_cifs(folder))
    monkeypatch.setattr("kflow_sci.assembly.data.build.list_cifs", lambda _: [*paths, str(folder / "c.cif")])
    report = build_store(folder, tmp_path / "x.kfc", 5)
    assert report.clusters == 2 and dict(report.skipped) == {"unreadable": 1}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may list anything")
def test_a_folder_that_may_not_be_listed_is_refused(tmp_path: Path) -> None:
    fill(tmp_path, "a.cif", "locked/b.cif")
    (tmp_path / "locked").chmod(0)
    with pytest.raises(ClusterError, match=r"locked cannot be listed \(Permission denied\)"):
        list(list_cifs(tmp_path))
