"""``kflow data build``: the same bytes however it is run, and a reason for every crystal left out."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from kflow_sci.assembly.data import build as building
from kflow_sci.assembly.data.build import build_store
from kflow_sci.assembly.data.store import open_store
from kflow_sci.cli.main import main
from kflow_sci.errors import ClusterError, OutputError
from tests.crystals_by_hand import BENZENE, CARBON_DIOXIDE, UREA, chfclbr_p21c


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Good crystals, bad ones, and files that are none."""
    cifs = tmp_path / "cifs"
    cifs.mkdir()
    texts = {
        "b_urea.cif": UREA,
        "a_benzene.CIF": BENZENE,
        "d_dioxide.cif": CARBON_DIOXIDE,
        "c_chfclbr.cif": chfclbr_p21c(),
        "e_empty.cif": "",
        "f_no_hydrogen.cif": UREA.replace("H2 0.1441 0.6441 -0.0380\n", ""),
        "README.txt": "not a crystal",
    }
    for name, text in texts.items():
        (cifs / name).write_text(text)
    (cifs / "subfolder.cif").mkdir()
    return cifs


def test_crystals_become_a_store_and_a_table_of_those_left_out(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "made" / "x.kfc"
    assert main(["data", "build", str(folder), str(out), "--copies", "9", "--workers", "1"]) == 0
    store = open_store(out)
    assert store.ids == ["a_benzene", "b_urea", "c_chfclbr", "d_dioxide"]
    assert [len(c) for c in store] == [9] * 4
    assert store.info["crystals"] == 4 and store.info["copies"] == 9
    assert store.info["skipped"] == {"missing_hydrogens": 1, "unreadable": 1}
    assert store[1].info["volume"] == pytest.approx(72.53, abs=0.01)
    with open(out.with_name("skipped.csv"), newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [(r["id"], r["reason"]) for r in rows] == [
        ("e_empty", "unreadable"),
        ("f_no_hydrogen", "missing_hydrogens"),
    ]
    assert all(r["message"] for r in rows)
    assert sorted(p.name for p in out.parent.iterdir()) == ["skipped.csv", "x.kfc"]
    shown = capsys.readouterr().out
    assert "4 clusters of 9 molecules" in shown and "missing_hydrogens 1" in shown


def test_workers_and_file_order_change_no_byte(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(building, "PART", 2)
    other = tmp_path / "other"
    other.mkdir()
    for path in sorted(folder.glob("*.*"), reverse=True):
        if path.is_file():
            (other / path.name).write_bytes(path.read_bytes())
    seen = []
    for k, (source, workers) in enumerate(((folder, 1), (other, 2))):
        build_store(source, tmp_path / f"{k}" / "x.kfc", 7, workers=workers)
        seen.append([(tmp_path / f"{k}" / name).read_bytes() for name in ("x.kfc", "skipped.csv")])
    assert seen[0] == seen[1]


def stop_after(files: int, stop: Callable[[], None]) -> Callable[[int, int], None]:
    def progress(done: int, total: int) -> None:
        if done >= files:
            stop()

    return progress


def interrupt() -> None:
    raise KeyboardInterrupt


def test_an_interrupted_run_goes_on_and_gives_the_same_bytes(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_store(folder, tmp_path / "whole" / "x.kfc", 7)
    monkeypatch.setattr(building, "PART", 2)
    out = tmp_path / "again" / "x.kfc"
    with pytest.raises(KeyboardInterrupt):
        build_store(folder, out, 7, progress=stop_after(2, interrupt))
    assert not out.exists() and not out.with_name("skipped.csv").exists()
    report = build_store(folder, out, 7)
    assert report.reused == 1
    for name in ("x.kfc", "skipped.csv"):
        assert out.with_name(name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert len(list(out.parent.iterdir())) == 2


def test_a_killed_run_goes_on(folder: Path, tmp_path: Path) -> None:
    build_store(folder, tmp_path / "whole" / "x.kfc", 7)
    out = tmp_path / "again" / "x.kfc"
    code = (
        "import os, signal, sys\n"
        "from kflow_sci.assembly.data import build\n"
        "build.PART = 2\n"
        "die = lambda done, total: done >= 4 and os.kill(os.getpid(), signal.SIGKILL)\n"
        "build.build_store(sys.argv[1], sys.argv[2], 7, progress=die)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(folder), str(out)], check=False)
    assert done.returncode == -signal.SIGKILL
    code = code.replace("progress=die", "").replace("build.build_store", "report = build.build_store")
    subprocess.run(
        [sys.executable, "-c", code + "sys.exit(report.reused != 2)", str(folder), str(out)], check=True
    )
    assert out.read_bytes() == (tmp_path / "whole" / "x.kfc").read_bytes()


def test_parts_of_other_settings_or_changed_files_are_not_used(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(building, "PART", 2)
    out = tmp_path / "x.kfc"
    with pytest.raises(KeyboardInterrupt):
        build_store(folder, out, 7, progress=stop_after(4, interrupt))
    (folder / "b_urea.cif").write_text(UREA + "\n")
    with pytest.raises(KeyboardInterrupt):
        build_store(folder, out, 8, progress=stop_after(2, interrupt))
    report = build_store(folder, out, 7)
    assert report.reused == 1  # the second part; urea is in the first
    assert [len(c) for c in open_store(out)] == [7] * 4
    assert not out.with_name(".x.kfc.parts").exists()


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="needs process groups")
def test_ctrl_c_ends_in_one_line_and_the_run_can_go_on(tmp_path: Path) -> None:
    cifs = tmp_path / "cifs"
    cifs.mkdir()
    for k in range(96):
        (cifs / f"{k:03d}.cif").write_text(BENZENE)
    out = tmp_path / "x.kfc"
    words = ["data", "build", str(cifs), str(out), "--workers", "2", "--copies", "5"]
    run = subprocess.Popen(
        [sys.executable, "-m", "kflow_sci", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # Jobs in the background of a script are started deaf to SIGINT, and pass that on.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    parts = tmp_path / ".x.kfc.parts"
    while run.poll() is None and not list(parts.glob("[!.]*.part")):
        time.sleep(0.002)
    os.killpg(run.pid, signal.SIGINT)  # as a terminal does: to parent and workers
    _, errors = run.communicate(timeout=60)
    assert run.returncode == 130
    last = errors.splitlines()[-1]
    assert last == "kflow: interrupted: the same command goes on from there" and "Traceback" not in errors
    assert not out.exists()
    report = build_store(cifs, out, 5)
    assert report.reused > 0 and report.clusters == 96


def children(process: int) -> list[int]:
    text = Path(f"/proc/{process}/task/{process}/children").read_text()
    found = [int(word) for word in text.split()]
    return [child for child in found if "spawn_main" in Path(f"/proc/{child}/cmdline").read_text()]


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs a list of processes")
def test_a_worker_killed_by_the_system_is_told_with_the_crystal_it_was_reading(tmp_path: Path) -> None:
    cifs = tmp_path / "cifs"
    cifs.mkdir()
    for k in range(96):
        (cifs / f"{k:03d}.cif").write_text(BENZENE)
    out = tmp_path / "x.kfc"
    words = ["data", "build", str(cifs), str(out), "--workers", "2", "--copies", "5"]
    run = subprocess.Popen(
        [sys.executable, "-m", "kflow_sci", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    parts = tmp_path / ".x.kfc.parts"
    while run.poll() is None and not list(parts.glob("[!.]*.part")):
        time.sleep(0.002)
    os.kill(children(run.pid)[-1], signal.SIGKILL)  # as a system does that runs out of memory
    shown, errors = run.communicate(timeout=60)
    assert run.returncode == 2, shown + errors
    assert len(errors.splitlines()) == 1
    assert "a worker process was killed at" in errors and ".cif" in errors and "out of memory" in errors
    assert not out.exists()
    assert build_store(cifs, out, 5).reused > 0


def test_a_damaged_part_is_thrown_away_and_the_next_run_makes_it_again(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_store(folder, tmp_path / "whole" / "x.kfc", 7)
    monkeypatch.setattr(building, "PART", 2)
    out = tmp_path / "x.kfc"
    for damage in (lambda text: text[: len(text) // 2], lambda text: text[:80] + b"????" + text[84:]):
        with pytest.raises(KeyboardInterrupt):
            build_store(folder, out, 7, progress=stop_after(4, interrupt))
        part = min((tmp_path / ".x.kfc.parts").glob("*.part"))
        part.write_bytes(damage(part.read_bytes()))
        with pytest.raises(ClusterError, match="was damaged and is removed: run again"):
            build_store(folder, out, 7)
        assert not part.exists() and not out.exists()
        build_store(folder, out, 7)
        assert out.read_bytes() == (tmp_path / "whole" / "x.kfc").read_bytes()
        out.unlink()


def test_a_fault_of_the_program_is_not_taken_for_a_bad_crystal(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(path: Path) -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr(building, "read_crystal", fails)
    with pytest.raises(RuntimeError, match="boom") as caught:
        build_store(folder, tmp_path / "x.kfc", 5)
    assert caught.value.__notes__ == [f"while working on {folder / 'a_benzene.CIF'}"]


def test_every_independent_molecule_can_be_a_centre(tmp_path: Path) -> None:
    from tests.assembly.reading.test_crystal import two_conformers

    (tmp_path / "z.cif").write_text(two_conformers(10.0))
    for centres, ids in (("first", ["z"]), ("all", ["z", "z_2"])):
        build_store(tmp_path, tmp_path / "x.kfc", 5, centres=centres)
        store = open_store(tmp_path / "x.kfc")
        assert store.ids == ids
        assert {c.info["crystal"] for c in store} == {"z"}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--copies", "1"], "copies is 1"),
        (["--copies", "0"], "copies is 0"),
        (["--copies", "-3"], "copies is -3"),
        (["--copies", "100000"], "copies is 100000"),
        (["--copies", "x"], "'x' is not a valid integer"),
        (["--workers", "0"], "workers is 0"),
        (["--centres", "some"], "some"),
    ],
)
def test_options_out_of_range_are_refused_in_one_line(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], says: str
) -> None:
    assert main(["data", "build", str(folder), str(tmp_path / "out" / "x.kfc"), *words]) == 2
    error = capsys.readouterr().err
    assert says in error and error.strip().count("\n") == 0
    assert not (tmp_path / "out").exists()


def test_folders_that_hold_no_crystals_are_refused(tmp_path: Path, folder: Path) -> None:
    out = tmp_path / "x.kfc"
    (tmp_path / "none").mkdir()
    for source, says in (
        (tmp_path / "absent", "does not exist"),
        (folder / "b_urea.cif", "is a file"),
        (tmp_path / "none", "no file that ends in .cif"),
    ):
        with pytest.raises(ClusterError, match=says):
            build_store(source, out, 5)
    (folder / "b_urea.CIF").write_text(UREA)
    with pytest.raises(ClusterError, match="share the id b_urea"):
        build_store(folder, out, 5)
    assert not out.exists()


def test_a_folder_of_bad_crystals_leaves_the_table_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cifs = tmp_path / "cifs"
    cifs.mkdir()
    (cifs / "a.cif").write_text("nonsense")
    assert main(["data", "build", str(cifs), str(tmp_path / "out" / "x.kfc"), "--workers", "1"]) == 2
    assert "none of the 1 CIFs" in capsys.readouterr().err
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["skipped.csv"]


def test_places_that_cannot_be_written_are_refused_before_the_work(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="it is a folder"):
        build_store(folder, tmp_path, 5)
    with pytest.raises(OutputError):
        build_store(folder, folder / "b_urea.cif" / "x.kfc", 5)
    if os.geteuid() != 0:  # root may write anywhere
        locked = tmp_path / "locked"
        locked.mkdir(mode=0o500)
        with pytest.raises(OutputError, match="permission denied"):
            build_store(folder, locked / "x.kfc", 5)
