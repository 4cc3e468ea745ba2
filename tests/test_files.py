"""Files that are either whole or absent."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from kflow_sci.errors import OutputError
from kflow_sci.files import atomic_write, output_folder


def test_a_finished_block_replaces_the_old_file_and_leaves_no_other(tmp_path: Path) -> None:
    target = tmp_path / "a.csv"
    target.write_text("old")
    with atomic_write(target) as temporary:
        assert (temporary.parent, temporary.suffix) == (tmp_path, ".csv")
        temporary.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"
    assert os.listdir(tmp_path) == ["a.csv"]


@pytest.mark.parametrize("failure", [RuntimeError("net"), KeyboardInterrupt()])
def test_a_failed_block_keeps_the_old_file(tmp_path: Path, failure: BaseException) -> None:
    target = tmp_path / "a.csv"
    target.write_text("old")
    with pytest.raises(type(failure)), atomic_write(target) as temporary:
        temporary.write_text("half")
        raise failure
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.csv"]


def test_missing_parents_are_made(tmp_path: Path) -> None:
    with atomic_write(tmp_path / "x" / "y" / "a.txt") as temporary:
        temporary.write_text("1")
    assert (tmp_path / "x" / "y" / "a.txt").read_text() == "1"


def test_the_new_file_has_the_rights_of_any_other_file(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    with atomic_write(tmp_path / "made") as temporary:
        temporary.write_text("")
    assert (tmp_path / "made").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_link_is_followed_and_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real.txt").write_text("old")
    (tmp_path / "link.txt").symlink_to("real.txt")
    with atomic_write(tmp_path / "link.txt") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "real.txt").read_text() == "new"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs the Linux device that is always full")
def test_a_full_disk_is_one_clear_line_and_keeps_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(OutputError, match="disk is full") as caught, atomic_write(target) as temporary:
        temporary.symlink_to("/dev/full")
        temporary.write_text("x" * 100_000)
    assert "\n" not in str(caught.value)
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO])
def test_troubles_of_the_place_become_output_errors(tmp_path: Path, number: int) -> None:
    with pytest.raises(OutputError, match=r"choose"), atomic_write(tmp_path / "a"):
        raise OSError(number, os.strerror(number))


def test_a_missing_input_read_in_the_block_is_not_blamed_on_the_output(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_write(tmp_path / "a"):
        (tmp_path / "input.cif").read_text()


def test_a_block_that_writes_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="never written"), atomic_write(tmp_path / "a"):
        pass
    assert os.listdir(tmp_path) == []


def test_folders_and_devices_are_no_files(tmp_path: Path) -> None:
    for place in (tmp_path, Path(os.devnull)):
        with pytest.raises(OutputError, match="not a regular file"), atomic_write(place):
            pytest.fail("the block must not run")


def test_a_folder_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "deeper"):
        with pytest.raises(OutputError, match="file"):
            output_folder(place)


def test_a_read_only_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The superuser may write anywhere, so what the system would answer is put in its place.
    monkeypatch.setattr(os, "access", lambda place, mode: False)
    with pytest.raises(OutputError, match="permission denied"):
        output_folder(tmp_path)
    with pytest.raises(OutputError, match="permission denied"), atomic_write(tmp_path / "a"):
        pytest.fail("the block must not run")


def test_a_folder_that_exists_is_taken_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("1")
    assert output_folder(tmp_path) == tmp_path
    assert (tmp_path / "kept").read_text() == "1"


def test_a_name_that_is_too_long_is_one_clear_line(tmp_path: Path) -> None:
    for place in (tmp_path / ("a" * 300), tmp_path / ("a" * 300) / "b"):
        with pytest.raises(OutputError, match="too long"), atomic_write(place) as temporary:
            temporary.write_text("")
