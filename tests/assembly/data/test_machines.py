"""Work on the machines of a dask scheduler: the same bytes, and one line for whatever is wrong with them."""

from __future__ import annotations

import builtins
import socket
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from kflow_sci.assembly.data import build as building
from kflow_sci.assembly.data import machines
from kflow_sci.assembly.data.build import build_store
from kflow_sci.assembly.data.fanout import fan_out
from kflow_sci.assembly.data.machines import make_there
from kflow_sci.assembly.data.parts import Part, cut, parts_folder
from kflow_sci.cli.main import main
from kflow_sci.errors import WorkError
from tests.assembly.data.test_fanout import WORDS, words_of, write_words
from tests.crystals_by_hand import BENZENE, CARBON_DIOXIDE, UREA, chfclbr_p21c

distributed = pytest.importorskip("distributed", reason="the extra dask is not installed")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two workers of one thread, each a process of its own; a task whose worker dies is not tried again."""
    import dask

    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0", host="127.0.0.1"
        ) as made,
    ):
        yield made


def unused_address() -> str:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return f"tcp://127.0.0.1:{found.getsockname()[1]}"


def test_two_workers_of_a_scheduler_build_the_bytes_of_one_process(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(building, "PART", 2)
    texts = [UREA, BENZENE, CARBON_DIOXIDE, chfclbr_p21c(), ""]
    for k in range(15):
        path = tmp_path / "cifs" / f"{k % 3}" / f"10000{k:02d}.cif"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(texts[k % len(texts)])
    build_store(tmp_path / "cifs", tmp_path / "serial" / "x.kfc", 9)
    monkeypatch.chdir(tmp_path)  # which the workers do not follow
    words = ["cifs", "dask/x.kfc", "--copies", "9", "--scheduler", cluster.scheduler_address]
    assert main(["data", "build", *words]) == 0
    for name in ("x.kfc", "skipped.csv"):
        assert (tmp_path / "dask" / name).read_bytes() == (tmp_path / "serial" / name).read_bytes()
    assert sorted(path.name for path in (tmp_path / "dask").iterdir()) == ["skipped.csv", "x.kfc"]
    assert "12 clusters of 9 molecules from 12 crystals" in capsys.readouterr().out


def test_both_workers_work_and_what_is_there_is_not_made_again(cluster: Any, tmp_path: Path) -> None:
    folder = parts_folder(tmp_path / "out")
    work = partial(write_words, slow="w00")
    made = list(fan_out(work, cut(WORDS, folder, [], size=1), scheduler=cluster.scheduler_address))
    words, processes = words_of(made)
    assert words == WORDS and len(processes) == 2
    made[3].path.unlink()
    again = list(fan_out(work, cut(WORDS, folder, [], size=1), scheduler=cluster.scheduler_address))
    assert [k for k, part in enumerate(again) if not part.reused] == [3]


def test_a_killed_worker_is_told_with_the_item_it_was_at(cluster: Any, tmp_path: Path) -> None:
    parts = cut(WORDS, parts_folder(tmp_path / "out"), [], size=len(WORDS))
    with pytest.raises(WorkError, match="killed at w04") as caught:
        list(fan_out(partial(write_words, deadly="w04"), parts, scheduler=cluster.scheduler_address))
    assert "\n" not in str(caught.value)


def test_an_error_of_the_work_is_passed_on(cluster: Any, tmp_path: Path) -> None:
    parts = cut(WORDS, parts_folder(tmp_path / "out"), [])
    with pytest.raises(RuntimeError, match="boom"):
        list(fan_out(partial(write_words, wrong="w04"), parts, scheduler=cluster.scheduler_address))


def test_a_folder_that_the_workers_do_not_see_is_named(cluster: Any, tmp_path: Path) -> None:
    parts = cut(WORDS, parts_folder(tmp_path / "out"), [])
    with pytest.raises(WorkError, match=r"does not see .*elsewhere: use folders on a disk"):
        list(fan_out(write_words, parts, scheduler=cluster.scheduler_address, needs=[tmp_path / "elsewhere"]))


def write_nothing(path: Path, items: Iterator[str]) -> None:
    """A worker whose disk is another one."""


def test_a_file_that_does_not_arrive_is_missed(cluster: Any, tmp_path: Path) -> None:
    parts = cut(WORDS, parts_folder(tmp_path / "out"), [])
    with pytest.raises(WorkError, match="it is not here"):
        list(fan_out(write_nothing, parts, scheduler=cluster.scheduler_address))


def test_another_version_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WorkError, match=r"has kflow_sci .*, not 0\.0\.0: install one version"):
        make_there(write_words, Part(tmp_path / "x.part", ("w",)), [], "0.0.0")


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "nonsense://x:1", "", "127.0.0.1"])
def test_a_scheduler_that_does_not_answer_ends_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], address: str
) -> None:
    monkeypatch.setattr(machines, "CONNECT", 0.5)
    (tmp_path / "a.cif").write_text(UREA)
    words = [str(tmp_path), str(tmp_path / "out" / "x.kfc"), "--scheduler", address]
    assert main(["data", "build", *words]) == 2
    error = capsys.readouterr().err
    assert "no dask scheduler answers" in error and len(error.splitlines()) == 1
    assert not (tmp_path / "out" / "x.kfc").exists()


def test_a_scheduler_without_workers_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machines, "WAIT_FOR_WORKERS", 0.3)
    with distributed.LocalCluster(
        n_workers=0, dashboard_address=":0", processes=True, host="127.0.0.1"
    ) as empty:
        parts = cut(WORDS, parts_folder(tmp_path / "out"), [])
        with pytest.raises(WorkError, match=r"has had no worker for .* start some with dask worker"):
            list(fan_out(write_words, parts, scheduler=empty.scheduler_address))


def test_a_scheduler_that_goes_away_is_told_and_what_was_made_is_kept(tmp_path: Path) -> None:
    folder = parts_folder(tmp_path / "out")
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, dashboard_address=":0", host="127.0.0.1"
    ) as mortal:
        work = partial(write_words, slow="w01")
        made = fan_out(work, cut(WORDS, folder, [], size=1), scheduler=mortal.scheduler_address)
        next(made)
        mortal.close()
        with pytest.raises(WorkError, match="went away: start it and run again"):
            list(made)
    assert next(fan_out(write_words, cut(WORDS, folder, [], size=1))).reused


def test_a_missing_package_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    importing = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name.split(".")[0] == "distributed":
            raise ModuleNotFoundError(name)
        return importing(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    (tmp_path / "a.cif").write_text(UREA)
    words = [str(tmp_path), str(tmp_path / "out" / "x.kfc"), "--scheduler", unused_address()]
    assert main(["data", "build", *words]) == 2
    assert "pip install 'kflow_sci[dask]'" in capsys.readouterr().err


def test_workers_and_a_scheduler_are_not_both_taken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(tmp_path), str(tmp_path / "x.kfc"), "--scheduler", "tcp://x:1", "--workers", "2"]
    assert main(["data", "build", *words]) == 2
    assert "give one of them" in capsys.readouterr().err
