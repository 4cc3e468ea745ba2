"""``kflow crystal`` from the outside: files that others read, answers that come again, one line for bad input."""

from __future__ import annotations

import csv
import html
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import ase.io
import gemmi
import numpy as np
import pytest

from kflow_sci.cli.main import main

UREA = "NC(N)=O"
SMALL = ("--groups", "P21/c,P-1,P212121", "--trials", "12", "--keep", "3", "--workers", "1")


def run(out: Path, *words: str) -> int:
    return main(["crystal", *words, "--out", str(out)])


def table(out: Path) -> list[dict[str, str]]:
    with open(out / "crystals.csv", newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("crystal") / "urea"
    assert run(out, UREA, *SMALL, "--copies", "9") == 0
    return out


def test_crystals_come_ranked_with_their_files(done: Path) -> None:
    rows = table(done)
    assert [row["rank"] for row in rows] == ["1", "2", "3"]
    energies = [float(row["energy"]) for row in rows]
    assert energies == sorted(energies) and energies[0] < 0
    for row in rows:
        block = gemmi.cif.read(str(done / row["file"]))[0]
        small = gemmi.make_small_structure_from_block(block)
        assert small.cell.a == pytest.approx(float(row["a"]), abs=1e-3)
        assert small.spacegroup_hm == row["space_group"]
        # 8 atoms of urea for each operation
        assert len(small.get_all_unit_cell_sites()) == 8 * len(small.spacegroup.operations())
    settings = json.loads((done / "settings.json").read_text())
    assert settings["trials_done"] == 12 and settings["smiles"] == UREA and settings["stopped"] == ""
    assert (done / "best.png").read_bytes().startswith(b"\x89PNG")
    assert not list(done.glob(".*"))


def test_the_report_shows_the_crystals_with_the_meaning_of_every_number(done: Path) -> None:
    page = html.unescape((done / "report.html").read_text(encoding="utf-8"))
    settings = json.loads((done / "settings.json").read_text())
    assert settings["command"].startswith("kflow crystal") and settings["command"] in page
    for word in (
        "3 candidates; 9 × CH4N2O",
        "Lattice energy, kJ/mol",
        table(done)[0]["space_group"],
        "polymorphs",
    ):
        assert word in page
    assert "does not know its meaning" not in page and "stands in vacuum" not in page
    assert main(["view", str(done), "--no-open"]) == 0


def test_json_holds_the_table_and_where_the_files_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path / "out", UREA, *SMALL, "--copies", "9", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["settings"]["trials_done"] == 12 and document["folder"] == str(tmp_path / "out")
    for row in document["crystals"]:
        assert (tmp_path / "out" / row["file"]).is_file()
    assert all((tmp_path / "out" / name).exists() for name in document["files"])


def test_clusters_are_the_nearest_molecules_and_can_be_scored(done: Path, tmp_path: Path) -> None:
    frames = ase.io.read(done / "clusters.extxyz", index=":")
    assert len(frames) == 3
    for frame in frames:
        assert sorted(np.bincount(frame.arrays["molecule"])) == [8] * 9
    assert frames[0].info["space_group"] == table(done)[0]["space_group"]


def test_the_same_seed_gives_the_same_files_and_results_are_not_overwritten_unasked(
    done: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path / "again", UREA, *SMALL, "--copies", "9") == 0
    for name in ("crystals.csv", "clusters.extxyz", "crystals/001.cif"):
        assert (tmp_path / "again" / name).read_bytes() == (done / name).read_bytes()
    capsys.readouterr()
    assert run(tmp_path / "again", UREA, *SMALL) == 2
    assert "--force" in capsys.readouterr().err
    assert run(tmp_path / "again", UREA, *SMALL[:-4], "--keep", "1", "--workers", "1", "--force") == 0
    assert [path.name for path in (tmp_path / "again" / "crystals").iterdir()] == ["001.cif"]


def test_what_the_method_does_not_know_is_said(
    done: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, UREA, *SMALL) == 0
    said = " ".join(capsys.readouterr().out.split())
    for word in ("temperature", "disorder", "flexible", "polymorph", "symmetry elements"):
        assert word in said


def test_conformers_are_tried_and_their_strain_is_told(tmp_path: Path) -> None:
    assert run(tmp_path, "OCCO", *SMALL, "--conformers", "3") == 0
    assert json.loads((tmp_path / "settings.json").read_text())["conformers"] == 3
    assert all(0.0 <= float(row["strain"]) <= 25.0 for row in table(tmp_path))


def test_two_independent_molecules(tmp_path: Path) -> None:
    assert (
        run(
            tmp_path,
            UREA,
            "--groups",
            "P-1",
            "--trials",
            "4",
            "--keep",
            "1",
            "--z-prime",
            "2",
            "--workers",
            "1",
        )
        == 0
    )
    small = gemmi.make_small_structure_from_block(gemmi.cif.read(str(tmp_path / "crystals" / "001.cif"))[0])
    assert len(small.sites) == 16


def test_crystals_can_be_sorted_by_a_calculator(tmp_path: Path) -> None:
    calculator = "tests.assembly.search.test_rerank:Denser"
    assert run(tmp_path, UREA, *SMALL, "--rerank", calculator) == 0
    rows = table(tmp_path)
    volumes = [float(row["volume"]) for row in rows]
    assert volumes == sorted(volumes) and float(rows[0]["above"]) == 0.0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((UREA, "--trials", "0"), "trials is 0"),
        ((UREA, "--keep", "0"), "keep is 0"),
        ((UREA, "--groups", "P21/d"), "the nearest are P21/"),
        ((UREA, "--z-prime", "3"), "z-prime is 3"),
        ((UREA, "--conformers", "0"), "conformers is 0"),
        ((UREA, "--proposals", "magic"), "choose one of random"),
        ((UREA, "--charges", "magic"), "charges is 'magic'"),
        ((UREA, "--rerank", "magic"), "no colon"),
        ((UREA, "--time", "soon"), "is no time"),
        ((UREA, "--time", "0s"), "a positive number"),
        ((UREA, "--workers", "0"), "workers is 0"),
        ((UREA, "--seed", "-1"), "seed"),
        ((UREA, "--copies", "0"), "copies"),
        (("C[Si](C)(C)C",), "Si"),
        (("[Na+].[Cl-]",), "is a salt"),
        (("C[CH]C",), "odd number of electrons"),
        (("CCCCCCCC",), "5 rotatable bonds"),
        (("C[C@H](N)C(=O)O", "--groups", "P-1"), "holds both hands"),
        (("nothing.cif",), "no file"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing_behind(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], message: str
) -> None:
    assert run(tmp_path / "out", *words) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="needs Unix signals")
def test_ctrl_c_shows_what_was_found_and_the_same_command_goes_on(tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ["crystal", UREA, "--trials", "100000", "--keep", "2", "--workers", "1", "--out", str(out)]
    process = subprocess.Popen(
        [sys.executable, "-m", "kflow_sci", *words],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        stdout=subprocess.PIPE,
        text=True,
        # A script that runs the tests in the background lets its children ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    parts = out / ".trials.parts"
    deadline = time.monotonic() + 120
    while len(list(parts.glob("*.part"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 130 and "interrupted" in said
    settings = json.loads((out / "settings.json").read_text())
    first = settings["trials_done"]
    assert settings["stopped"] == "interrupted" and 10 <= first < 100_000
    assert len(table(out)) == 2
    # The rest within a moment, without --force: it goes on where it was.
    again = ["crystal", UREA, "--trials", str(first + 10), "--keep", "2", "--workers", "1", "--out", str(out)]
    assert main(again) == 0
    assert json.loads((out / "settings.json").read_text())["trials_done"] == first + 10
    assert not parts.exists()
