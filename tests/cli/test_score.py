"""``kflow score`` from the outside."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase.io import read as ase_read
from ase.io import write as ase_write

from kflow_sci.assembly.baselines import random_ball, renumbered
from kflow_sci.assembly.molecule import Molecule
from kflow_sci.assembly.scoring.measures import Reference
from kflow_sci.cli.main import main


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """Two samples of each of two references."""
    numbers = np.array([6, 9, 17, 35, 1])
    positions = np.array([[0, 0, 0], [1.35, 0, 0], [-0.5, 1.7, 0], [-0.6, -0.7, 1.7], [-0.4, -0.6, -0.8]])
    molecule = Molecule.build(numbers, positions, name="CHFClBr")[0]
    truths, samples = [], []
    for k in range(2):
        (truth,) = random_ball.propose(molecule, 9, 1, k, 110.0)
        truth.info["id"] = f"truth-{k}"
        truths.append(truth.to_ase())
        samples += [sample.to_ase() for sample in renumbered.propose(truth, 2, k)]
    pred, ref = tmp_path / "pred.extxyz", tmp_path / "ref.extxyz"
    ase_write(pred, samples, format="extxyz")
    ase_write(ref, truths, format="extxyz")
    return pred, ref


def test_prints_tables_with_directions(files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["score", *map(str, files)]) == 0
    output = capsys.readouterr().out
    for word in ("matched_pm", "overlay_n", "pm_center", "↓", "↑", "4 samples of 2 references"):
        assert word in output
    assert output.index("solved") < output.index("matched_pm") < output.index("pm_center"), (
        "what means something leads"
    )
    for word in ("floor: random ball", "truth: true, renumbered", "contact_distance", "chirality_kept"):
        assert word in output


def test_only_the_measures_asked_for_and_energies_by_name(
    files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--measures", "overlay_n,matched_pm", "--energy", "uff", "--json"]
    assert main(["score", *map(str, files), *words]) == 0
    document = json.loads(capsys.readouterr().out)
    assert list(document["measures"]) == ["overlay_n", "matched_pm", "energy", "energy_gap"]
    energy, gap = (abs(document["measures"][name]["mean"]["mean"]) for name in ("energy", "energy_gap"))
    assert gap < 1e-5 * energy, "but for the digits of the file"
    assert document["meta"]["data"]["energy"] == "uff"
    assert document["floors"]["values"]["random ball"]["overlay_n"] < 15


def test_json_is_all_that_is_printed_on_request(
    files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["score", *map(str, files), "--json", "--seed", "3"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["meta"]["seed"] == 3
    assert document["measures"]["overlay_n"]["mean"]["mean"] == 9
    assert document["measures"]["matched_pm"]["mean"]["mean"] < 1e-5
    assert document["published"]["separation"]["better"] == "higher"


def test_out_holds_json_and_rows_and_is_not_overwritten_unasked(
    files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "scores"
    assert main(["score", *map(str, files), "--out", str(out)]) == 0
    assert sorted(path.name for path in out.iterdir()) == ["crystals.csv", "scores.csv", "scores.json"]
    assert len((out / "scores.csv").read_text().splitlines()) == 5
    (out / "scores.csv").write_text("mine")
    assert main(["score", *map(str, files), "--out", str(out)]) == 2
    assert "already holds" in capsys.readouterr().err
    assert (out / "scores.csv").read_text() == "mine"
    assert main(["score", *map(str, files), "--out", str(out), "--force"]) == 0


def test_ctrl_c_reports_the_references_that_were_done(
    files: tuple[Path, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole, scored = Reference.score, []

    def interrupted(*words: Any) -> Any:
        scored.append(words)
        if len(scored) == 4:  # the second sample of the second reference
            raise KeyboardInterrupt
        return whole(*words)

    monkeypatch.setattr(Reference, "score", interrupted)
    out = tmp_path / "scores"
    assert main(["score", *map(str, files), "--measures", "matched_pm", "--out", str(out), "--json"]) == 130
    shown = capsys.readouterr()
    document = json.loads(shown.out)
    assert document["meta"]["stopped"] == 1 and document["meta"]["samples"] == 2
    assert "1 of 2 references are not scored" in shown.err
    assert len((out / "scores.csv").read_text().splitlines()) == 3
    scored[:] = [()] * 3
    assert main(["score", *map(str, files), "--measures", "matched_pm"]) == 130
    assert capsys.readouterr().err.strip() == "kflow: interrupted", "nothing was done"


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_what_does_not_fit_gets_one_line_and_writes_nothing(
    files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pred, ref = files
    good = pred.read_text()
    out = tmp_path / "scores"

    def refused(*words: str) -> str:
        assert main(["score", str(pred), str(ref), "--out", str(out), *words]) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert len(captured.err.splitlines()) == 1
        assert not out.exists()
        return captured.err

    change(pred, "\nC ", "\nN ")
    assert "different elements" in refused()
    pred.write_text(good.replace("id=truth-1", "id=truth-7"))
    assert "truth-7" in refused()
    pred.write_text("\n".join(good.splitlines()[:20]))
    assert "breaks off" in refused()
    pred.write_text("")
    assert "no frame" in refused()
    pred.write_bytes(b"\x00\xff\xfe" * 99)
    assert "kflow: error:" in refused()
    pred.unlink()
    assert "does not exist" in refused()
    pred.write_text(good)
    assert "out of range" in refused("--angle", "120")
    assert "no measure overlap_n: did you mean 'overlay_n'?" in refused("--measures", "overlap_n")
    assert "there is no energy gfn3" in refused("--energy", "gfn3")
    assert "Invalid value" in refused("--size", "x")


def test_a_failed_sample_and_a_missing_reference_are_said(
    files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    pred, ref = files
    lines = pred.read_text().splitlines()
    words = lines[2].split()
    lines[2] = " ".join([words[0], "nan", *words[2:]])
    pred.write_text("\n".join(lines[: 2 * 47]) + "\n")
    assert main(["score", str(pred), str(ref)]) == 0
    output = capsys.readouterr().out
    assert "1 sample(s) failed" in output
    assert "1 reference(s) have no sample (truth-1)" in output


def test_an_unwritable_place_is_refused_before_the_work(
    files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("mine")
    assert main(["score", *map(str, files), "--out", str(tmp_path / "file")]) == 2
    assert "it is a file" in capsys.readouterr().err


def test_result_files_of_assembleflow_are_scored_with_and_without_a_reference(
    files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    geometric = pytest.importorskip("torch_geometric.data", exc_type=ImportError)
    references = ase_read(files[1], index=":")
    parts = []
    for which, atoms in enumerate(references):
        for shift in (0.0, 0.3):
            part = geometric.Data(
                x=torch.from_numpy(atoms.numbers - 1).long(),
                final_positions=torch.from_numpy(atoms.positions).float() - 1.0,
                intra_batch=torch.from_numpy(atoms.arrays["molecule"]).long(),
            )
            part["pred_positions_tid_0"] = torch.zeros(len(atoms), 3)
            part["pred_positions_tid_200"] = part.final_positions * (1 + shift)
            part["repeat_idx_to_idx"] = torch.tensor([which])
            parts.append(part)
    folder = tmp_path / "output_data_size_32_repeat_2"
    folder.mkdir()
    torch.save(geometric.InMemoryDataset.collate(parts), folder / "batch_0.pt")
    for words in ([str(folder), str(files[1])], [str(folder)]):
        assert main(["score", *words, "--json"]) == 0
        document = json.loads(capsys.readouterr().out)
        assert (document["meta"]["references"], document["meta"]["samples"]) == (2, 4)
        assert document["measures"]["overlay_n"]["best_of_samples"]["mean"] == 9
        assert document["published"]["pm_atom"]["first"] < 1e-4, "the best of two repeats is the truth"
        assert document["measures"]["broken_bonds"]["mean"]["mean"] == pytest.approx(0.5), (
            "of 30 % longer bonds"
        )
    assert main(["score", str(files[0])]) == 2
    assert "give the reference" in capsys.readouterr().err
    assert main(["score", str(tmp_path), str(files[1])]) == 2
    assert "holds no batch_0.pt" in capsys.readouterr().err
