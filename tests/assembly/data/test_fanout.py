"""Work in parts: in order, not done twice, on processes and machines, and a killed worker is told by name."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

import pytest

from kflow_sci.assembly.data import fanout
from kflow_sci.assembly.data.fanout import Processes, fan_out
from kflow_sci.assembly.data.parts import Part, clear_parts, cut, killed, note_of, parts_folder
from kflow_sci.errors import OutputError, WorkError

WORDS = [f"w{k:02d}" for k in range(11)]


def write_words(path: Path, items: Iterable[str], slow: str = "", deadly: str = "", wrong: str = "") -> None:
    """Write the words and the process that did it; some words take long, kill or fail."""
    lines = []
    for word in items:
        if word == slow:
            time.sleep(0.3)
        if word == deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        if word == wrong:
            raise RuntimeError("boom")
        lines.append(f"{word} {os.getpid()}\n")
    path.write_text("".join(lines))


def words_of(parts: Iterable[Part[str]]) -> tuple[list[str], set[int]]:
    """What the files hold, in the order of the parts, and the processes that wrote it."""
    lines = [line.split() for part in parts for line in part.path.read_text().splitlines()]
    return [word for word, _ in lines], {int(process) for _, process in lines}


def is_running(process: int) -> bool:
    try:
        return bool(Path(f"/proc/{process}/cmdline").read_bytes())  # empty for one that nobody has buried
    except OSError:
        return False


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return parts_folder(tmp_path / "out")


def test_one_worker_is_this_process_and_several_are_others(folder: Path, tmp_path: Path) -> None:
    words, processes = words_of(fan_out(write_words, cut(WORDS, folder, [], size=2)))
    assert words == WORDS and processes == {os.getpid()}
    other = parts_folder(tmp_path / "other")
    words, processes = words_of(
        fan_out(partial(write_words, slow="w00"), cut(WORDS, other, [], size=2), workers=2)
    )
    assert words == WORDS and os.getpid() not in processes and len(processes) == 2


def test_what_is_there_is_not_made_again(folder: Path) -> None:
    made = list(fan_out(write_words, cut(WORDS, folder, [1], size=4)))
    assert [part.reused for part in made] == [False] * 3
    made[1].path.unlink()
    again = list(fan_out(partial(write_words, wrong="w00"), cut(WORDS, folder, [1], size=4), workers=2))
    assert [part.reused for part in again] == [True, False, True]
    assert [part.path for part in again] == [part.path for part in made]


def test_other_settings_stamps_and_neighbours_give_other_files(folder: Path) -> None:
    def names(*settings: object, words: list[str] = WORDS[:2], stamp: str = "") -> list[str]:
        return [part.path.name for part in cut(words, folder, settings, stamp=lambda word: word + stamp)]

    everything = [
        names(),
        names(1),
        names("1"),
        names(stamp="x"),
        names(words=WORDS[:3]),
        names(words=WORDS[1::-1]),
    ]
    assert len({name for some in everything for name in some}) == len(everything)
    assert names(1) == names(1)


def test_items_are_pulled_only_a_little_ahead(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fanout, "LOOK_AHEAD", 3)
    pulled = 0

    def items() -> Iterator[str]:
        nonlocal pulled
        for word in WORDS:
            pulled += 1
            yield word

    for workers in (1, 2):
        pulled = 0
        for done, _ in enumerate(
            fan_out(write_words, cut(items(), folder, [workers], size=1), workers=workers)
        ):
            assert pulled <= done + 4
        assert pulled == len(WORDS)


def test_a_killed_worker_is_told_with_the_item_it_was_at(folder: Path) -> None:
    parts = list(cut(WORDS, folder, [], size=3))
    with pytest.raises(WorkError, match=r"killed at w04 .*out of memory") as caught:
        list(fan_out(partial(write_words, deadly="w04", slow="w00"), parts, workers=2))
    assert "\n" not in str(caught.value)
    assert [part.reused for part in fan_out(write_words, parts, workers=2)][1] is False
    clear_parts(folder)
    assert not folder.exists()


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs a list of processes")
def test_a_worker_killed_between_two_parts_is_replaced(folder: Path) -> None:
    pool = Processes(1)
    seen = set()
    for part in cut(WORDS[:3], folder, [], size=1):
        pending = pool.submit(write_words, part)
        pool.result(pending, part)
        while not pool.room():
            time.sleep(0.01)
        (process,) = words_of([part])[1]
        os.kill(process, signal.SIGKILL)
        while is_running(process):
            time.sleep(0.01)
        time.sleep(0.1)  # the pool hears of it
        seen.add(process)
    pool.close()
    assert len(seen) == 3


def test_a_part_killed_before_its_first_item_names_its_items(folder: Path) -> None:
    (part,) = cut(WORDS, folder, [])
    assert "killed at one of w00 to w10" in str(killed(part))
    note_of(part).write_bytes(b"")
    assert "killed at one of w00 to w10" in str(killed(part))
    note_of(part).write_bytes(b'"w00"\n"w\\n01"\n')
    assert "killed at w\n01 (out" in str(killed(part))


def test_an_error_of_the_work_is_passed_on_and_names_the_item(folder: Path) -> None:
    for workers in (1, 2):
        with pytest.raises(RuntimeError, match="boom") as caught:
            list(fan_out(partial(write_words, wrong="w07"), cut(WORDS, folder, [workers]), workers=workers))
        assert caught.value.__notes__ == ["while working on w07"]
    assert not list(folder.glob("*.now"))


def test_files_of_others_stay(folder: Path) -> None:
    list(fan_out(write_words, cut(WORDS, folder, [])))
    (folder / "mine.txt").write_text("x")
    clear_parts(folder)
    assert [path.name for path in folder.iterdir()] == ["mine.txt"]


def test_odd_numbers_of_workers_and_odd_places_are_refused(tmp_path: Path) -> None:
    for workers in (0, -1):
        with pytest.raises(WorkError, match=f"workers is {workers}"):
            list(fan_out(write_words, [], workers=workers))
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        parts_folder(tmp_path / "file" / "out")


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs a list of processes")
def test_workers_do_not_outlive_a_killed_parent(folder: Path) -> None:
    code = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from tests.assembly.data.test_fanout import *\n"
        "if __name__ == '__main__':\n"
        "    parts = cut(WORDS, Path(sys.argv[1]), [], size=1)\n"
        "    for k, part in enumerate(fan_out(write_words, parts, workers=2)):\n"
        "        if k == 4:\n"
        "            print(*words_of(fan_out(write_words, cut(WORDS[:5], Path(sys.argv[1]), [], size=1)))[1])\n"
        "            sys.stdout.flush()\n"
        "            os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE, text=True, cwd=root, check=False
    )
    workers = [int(word) for word in done.stdout.split()]
    assert done.returncode == -signal.SIGKILL and workers
    for _ in range(100):
        if not any(map(is_running, workers)):
            break
        time.sleep(0.1)
    assert not any(map(is_running, workers))
