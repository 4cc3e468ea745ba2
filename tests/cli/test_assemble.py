"""``kflow assemble`` from the outside: files out, reproducible, and one clear line for bad input."""

from __future__ import annotations

import csv
import html
import json
import os
import shlex
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
import torch

from kflow_sci.assembly.energy import minimise
from kflow_sci.assembly.model import generate
from kflow_sci.assembly.model.cluster_model import ClusterModel, ModelConfig
from kflow_sci.checkpoint import load_checkpoint, save_checkpoint
from kflow_sci.cli.main import main
from kflow_sci.report.page.scores import columns_for
from tests.crystals_by_hand import UREA

UREA_SMILES = "NC(N)=O"
WATER_XYZ = "3\n\nO 0.0 0.0 0.0\nH 0.96 0.0 0.0\nH -0.24 0.93 0.0\n"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model that moves things a little; what it has learnt does not matter here."""
    torch.manual_seed(0)
    model = ClusterModel(ModelConfig(hidden=16, layers=1, edge=8, steps=(2, 1, 1)))
    for parameter in model.net.readout.parameters():
        torch.nn.init.normal_(parameter, std=0.02)
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    save_checkpoint(path, model.state_dict(), {"model": model.config_dict(), "step": 0})
    return path


def run(weights: Path, out: Path, *words: str) -> int:
    return main(["assemble", *words, "--weights", str(weights), "--out", str(out)])


def refused(capsys: pytest.CaptureFixture[str], code: int, out: Path | None = None) -> str:
    """Exit code 2, one line on stderr, and nothing left behind; returns the line."""
    text = capsys.readouterr().err
    assert code == 2, text
    assert text.startswith("kflow: error: ") and text.count("\n") == 1, text
    assert out is None or not out.exists()
    return text


def test_a_smiles_becomes_files(weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "urea"
    assert run(weights, out, UREA_SMILES, "--copies", "5", "--samples", "3", "--seed", "4") == 0
    assert sorted(p.name for p in out.iterdir()) == [
        "best.png",
        "clusters.extxyz",
        "report.html",
        "settings.json",
        "summary.csv",
    ]
    frames = ase.io.read(out / "clusters.extxyz", index=":")
    assert len(frames) == 3 and all(len(f) == 5 * 8 for f in frames)
    assert np.array_equal(frames[0].arrays["molecule"], np.repeat(np.arange(5), 8))
    assert [f.info["rank"] for f in frames] == [1, 2, 3]
    rows = list(csv.DictReader((out / "summary.csv").open()))
    assert [row["rank"] for row in rows] == ["1", "2", "3"]
    settings = json.loads((out / "settings.json").read_text())
    words = [UREA_SMILES, "--copies", "5", "--samples", "3", "--seed", "4"]
    assert shlex.split(settings["command"])[: 2 + len(words)] == ["kflow", "assemble", *words]
    assert settings["command"] in html.unescape((out / "report.html").read_text())
    assert (settings["seed"], settings["copies"], settings["formula"]) == (4, 5, "CH4N2O")
    assert "CH4N2O" in capsys.readouterr().out


def test_the_same_seed_gives_the_same_files_and_another_seed_others(weights: Path, tmp_path: Path) -> None:
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        assert (
            run(weights, tmp_path / name, UREA_SMILES, "--copies", "4", "--samples", "2", "--seed", seed) == 0
        )
    a, b, c = ((tmp_path / name / "clusters.extxyz").read_bytes() for name in "abc")
    assert a == b and a != c


def test_a_sample_does_not_depend_on_how_many_are_drawn(weights: Path, tmp_path: Path) -> None:
    for name, samples in (("few", "1"), ("many", "3")):
        assert run(weights, tmp_path / name, UREA_SMILES, "--copies", "4", "--samples", samples) == 0
    few = ase.io.read(tmp_path / "few" / "clusters.extxyz")
    many = ase.io.read(tmp_path / "many" / "clusters.extxyz", index=":")
    same = next(f for f in many if f.info["sample"] == 0)
    assert np.abs(few.positions - same.positions).max() < 1e-4


def test_molecules_stay_rigid_within_1e_4_angstrom(weights: Path, tmp_path: Path) -> None:
    (tmp_path / "w.xyz").write_text(WATER_XYZ)
    assert run(weights, tmp_path / "out", str(tmp_path / "w.xyz"), "--copies", "12", "--samples", "2") == 0
    for frame in ase.io.read(tmp_path / "out" / "clusters.extxyz", index=":"):
        for i in range(12):
            atoms = frame[frame.arrays["molecule"] == i]
            distances = np.sort(atoms.get_all_distances()[np.triu_indices(3, 1)])
            expected = np.sort([0.96, np.hypot(0.24, 0.93), np.hypot(1.20, 0.93)])
            assert np.abs(distances - expected).max() < 1e-4


def test_a_crystal_gives_its_molecule_and_several_inputs_get_folders(weights: Path, tmp_path: Path) -> None:
    (tmp_path / "urea.cif").write_text(UREA)
    (tmp_path / "w.xyz").write_text(WATER_XYZ)
    out = tmp_path / "out"
    code = run(
        weights, out, str(tmp_path / "urea.cif"), str(tmp_path / "w.xyz"), "--copies", "3", "--samples", "1"
    )
    assert code == 0
    assert sorted(p.name for p in out.iterdir()) == ["urea", "w"]
    assert ase.io.read(out / "urea" / "clusters.extxyz").get_chemical_formula() == "C3H12N6O3"


def test_density_decides_the_volume(weights: Path, tmp_path: Path) -> None:
    volumes = []
    for density in ("0.8", "1.6"):
        out = tmp_path / density
        assert run(weights, out, UREA_SMILES, "--copies", "6", "--samples", "1", "--density", density) == 0
        volumes.append(ase.io.read(out / "clusters.extxyz").info["volume"])
    # Urea: 60.056 g/mol; 60.056 / 0.6022 / 0.8 = 124.66 Å^3 per molecule.
    assert volumes[0] == pytest.approx(124.66, abs=0.02)
    assert volumes[0] == pytest.approx(2 * volumes[1])


def test_results_are_not_overwritten_without_force(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (UREA_SMILES, "--copies", "3", "--samples", "1")
    assert run(weights, tmp_path / "o", *words) == 0
    before = (tmp_path / "o" / "clusters.extxyz").read_bytes()
    capsys.readouterr()
    assert "--force" in refused(capsys, run(weights, tmp_path / "o", *words, "--seed", "9"))
    assert (tmp_path / "o" / "clusters.extxyz").read_bytes() == before
    assert run(weights, tmp_path / "o", *words, "--seed", "9", "--force") == 0


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["C1CC"], "SMILES"),
        ([""], "empty"),
        (["CCO.O"], "separate molecules"),
        (["[Na+].[Cl-]"], "is a salt"),
        (["[He]"], "at least 2"),
        (["C" * 70], "200"),
        (["[U]C"], "not supported"),
        (["missing.xyz"], "missing.xyz"),
        ([UREA_SMILES, "--copies", "0"], "copies is 0"),
        ([UREA_SMILES, "--copies", "1"], "copies is 1"),
        ([UREA_SMILES, "--copies=-3"], "copies is -3"),
        ([UREA_SMILES, "--copies", "x"], "--copies"),
        ([UREA_SMILES, "--samples", "0"], "samples is 0"),
        ([UREA_SMILES, "--seed=-1"], "seed is -1"),
        ([UREA_SMILES, "--density", "0"], "density is 0"),
        ([UREA_SMILES, "--density", "nan"], "density is nan"),
        ([UREA_SMILES, "--steps-per-shell", "0"], "below 1"),
        ([UREA_SMILES, "--steps-per-shell", "a"], "whole number"),
        ([UREA_SMILES, "--steps-per-shell", "3,3"], "expected 3"),
        ([UREA_SMILES, "--hands", "left"], "--hands"),
        ([UREA_SMILES, "--device", "nonsense"], "nonsense"),
        ([], "give a molecule"),
        (["12", "O"], "number 12 follows no molecule"),
        (["O", "12", "5"], "number 5 follows no molecule"),
        (["CCO", "12", "O"], "'O' has no count"),
        (["CCO", "0", "O", "3"], "at least 1 of each"),
        (["CCO", "900", "O", "300"], "copies is 1200"),
        (["O", "5", "--copies", "4"], "--copies and counts"),
        (["O", "--box", "3,4"], "three lengths"),
        (["O", "--sphere=-1"], "positive number"),
        (["O", "40", "--sphere", "3"], "need"),
        (["O", "--sphere", "8", "--box", "9"], "--sphere and --box"),
        (["O", "--around", "none.xyz"], "none.xyz does not exist"),
        (["O", "--format", "doc"], "no format 'doc'"),
        (["O", "--energy", "nonsense"], "no energy nonsense"),
        (["O", "--energy", "ase:no_such_package.X"], "pip install no_such_package"),
        (["O", "--relax", "soft"], "--relax"),
        (["O", "--keep", "a"], "list of molecules"),
        (["O", "--keep", "0"], "--keep needs"),
        (["O", "--above", "1"], "need --edit"),
        (["O", "--start", "a.xyz"], "leave out INPUT"),
        (["--edit", "a.xyz"], "one of --above K and --below K"),
        (["--edit", "a.xyz", "--above", "1"], "a.xyz does not exist"),
        (["--start", "a.xyz", "--samples", "3"], "leave out --samples"),
        (["CCO", "3", "O", "3", "--conformers", "2"], "clusters of one molecule"),
        (["O", "--conformers", "0"], "conformers is 0"),
    ],
)
def test_bad_input_gets_one_line(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], expected: str
) -> None:
    out = tmp_path / "out"
    assert expected in refused(capsys, run(weights, out, *words), out)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty.xyz", b""),
        ("short.xyz", b"5\n\nC 0 0 0\n"),
        ("binary.xyz", bytes(range(256)) * 4),
        ("wrong.sdf", WATER_XYZ.encode()),
        ("nan.xyz", b"2\n\nO 0 0 nan\nH 0 0 1\n"),
        ("overlap.xyz", b"2\n\nO 0 0 0\nH 0 0 0.01\n"),
        ("element.xyz", b"2\n\nQq 0 0 0\nH 0 0 1\n"),
        (
            "nocell.cif",
            b"data_x\nloop_\n_atom_site_label\n_atom_site_fract_x\n_atom_site_fract_y\n_atom_site_fract_z\nC1 0 0 0\n",
        ),
        ("text.cif", b"hello"),
    ],
)
def test_bad_files_get_one_line(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, content: bytes
) -> None:
    (tmp_path / name).write_bytes(content)
    out = tmp_path / "out"
    assert Path(name).stem in refused(capsys, run(weights, out, str(tmp_path / name)), out)


def test_bad_weights_get_one_line(weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    missing = tmp_path / "none.safetensors"
    assert "none.safetensors" in refused(capsys, run(missing, out, UREA_SMILES), out)
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(weights.read_bytes()[:-100])
    refused(capsys, run(cut, out, UREA_SMILES), out)
    pickled = tmp_path / "model.pt"
    torch.save({"a": torch.zeros(1)}, pickled)
    refused(capsys, run(pickled, out, UREA_SMILES), out)
    tensors, header = load_checkpoint(weights)
    other = tmp_path / "other.safetensors"
    save_checkpoint(other, tensors, {**header, "model": {**header["model"], "flavour": "new"}})
    assert "another version" in refused(capsys, run(other, out, UREA_SMILES), out)
    save_checkpoint(other, tensors, {"step": 1})
    assert "no cluster model" in refused(capsys, run(other, out, UREA_SMILES), out)
    name = next(iter(tensors))
    save_checkpoint(other, {**tensors, name: tensors[name][..., :1].clone()}, header)
    refused(capsys, run(other, out, UREA_SMILES), out)


def test_an_output_that_is_a_file_is_refused(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "taken"
    place.write_text("mine")
    assert "taken" in refused(capsys, run(weights, place, UREA_SMILES))
    assert place.read_text() == "mine"


def test_a_read_only_output_is_refused(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # The superuser may write anywhere, so what the system would answer is put in its place.
    monkeypatch.setattr(os, "access", lambda place, mode: not str(place).startswith(str(tmp_path)))
    out = tmp_path / "out"
    assert "permission" in refused(capsys, run(weights, out, UREA_SMILES), out)


def test_a_full_disk_leaves_nothing_half_written(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    out = tmp_path / "out"
    out.mkdir()
    (out / "clusters.extxyz").symlink_to("/dev/full")
    code = run(weights, out, UREA_SMILES, "--copies", "2", "--samples", "1", "--force")
    assert "clusters.extxyz" in refused(capsys, code)
    assert [p.name for p in out.iterdir()] == ["clusters.extxyz"]


def test_ctrl_c_ends_cleanly(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("kflow_sci.assembly.model.generate.propose", interrupt)
    out = tmp_path / "out"
    assert run(weights, out, UREA_SMILES) == 130
    assert capsys.readouterr().err.strip() == "kflow: interrupted"
    assert not out.exists()


def frames(path: Path) -> list[ase.Atoms]:
    return ase.io.read(path, index=":")


def test_ctrl_c_writes_the_samples_that_were_made(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = generate.propose

    def interrupted(*words: Any) -> None:
        finished = words[-1]
        whole(*words)
        del finished[2:]
        raise KeyboardInterrupt

    monkeypatch.setattr(generate, "propose", interrupted)
    out = tmp_path / "ein Ordner, Å 空"
    assert run(weights, out, UREA_SMILES, "--copies", "3", "--samples", "5", "--relax", "rigid") == 130
    assert "2 of 5 samples" in capsys.readouterr().err
    assert sorted(f.info["sample"] for f in frames(out / "clusters.extxyz")) == [0, 1]
    settings = json.loads((out / "settings.json").read_text(encoding="utf-8"))
    assert settings["stopped"] == "interrupted" and settings["samples_done"] == 2
    assert (out / "report.html").is_file() and not (out / "relaxed.extxyz").exists()


def test_ctrl_c_keeps_what_was_relaxed(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, calls = minimise.relax_rigid, []

    def interrupted(*words: Any, **more: Any) -> Any:
        calls.append(words)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return whole(*words, **more)

    monkeypatch.setattr(minimise, "relax_rigid", interrupted)
    out = tmp_path / "out"
    assert run(weights, out, UREA_SMILES, "--copies", "3", "--samples", "3", "--relax", "rigid") == 130
    why = sorted(str(f.info.get("relax_failed")) for f in frames(out / "relaxed.extxyz"))
    assert why == ["None", "interrupted", "interrupted"]


def test_ctrl_c_during_slow_energies_ranks_by_fast_ones(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(name: str) -> Any:
        def energy(sites: object) -> float:
            raise KeyboardInterrupt

        return energy

    monkeypatch.setattr("kflow_sci.assembly.energy.candidates.energy_function", slow)
    out = tmp_path / "out"
    assert run(weights, out, UREA_SMILES, "--copies", "3", "--samples", "2", "--energy", "uff") == 130
    assert all("MMFF94" in f.info["energy_model"] for f in frames(out / "clusters.extxyz"))


def test_json_holds_the_scores_and_where_the_files_are(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    words = [UREA_SMILES, "--copies", "3", "--samples", "2", "--format", "sdf", "--json"]
    assert run(weights, out, *words) == 0
    (result,) = json.loads(capsys.readouterr().out)["results"]
    assert sorted(result["files"]) == sorted(p.name for p in out.iterdir()) and result["folder"] == str(out)
    assert [row["rank"] for row in result["candidates"]] == [1, 2]
    rows = list(csv.DictReader((out / "summary.csv").open()))
    assert [float(row["energy"]) for row in rows] == [row["energy"] for row in result["candidates"]]


@pytest.mark.parametrize(
    "words",
    [
        [UREA_SMILES],
        ["OCCO", "--conformers", "2", "--relax", "rigid", "--energy", "uff"],
        ["O", "--box", "9", "--density", "0.5", "--relax", "full"],
    ],
)
def test_every_score_has_a_meaning(weights: Path, tmp_path: Path, words: list[str]) -> None:
    few = [] if "--box" in words else ["--copies", "3"]
    assert run(weights, tmp_path / "o", *words, *few, "--samples", "2") == 0
    for name in ("clusters", "relaxed"):
        if (tmp_path / "o" / f"{name}.extxyz").is_file():
            infos = [
                {key: value.item() if hasattr(value, "item") else value for key, value in f.info.items()}
                | {"energy": -1.0}  # which ASE keeps elsewhere
                for f in frames(tmp_path / "o" / f"{name}.extxyz")
            ]
            columns, constants = columns_for(infos)
            shown = [*columns, *(score for score, _ in constants)]
            assert {"rank", "sample", "energy", "energy_model", "calls"} <= {score.key for score in shown}
            assert [score.key for score in shown if "does not know" in score.meaning] == []


def test_a_mixture_is_written_in_every_format_in_one_order(weights: Path, tmp_path: Path) -> None:
    out = tmp_path / "mix"
    words = ["CO", "3", "O", "2", "--samples", "2", "--format", "xyz,sdf,pdb,cif,parquet", "--pairs"]
    assert run(weights, out, *words) == 0
    expected = {f"clusters.{x}" for x in ("extxyz", "xyz", "sdf", "pdb", "cif", "parquet")}
    assert expected <= {p.name for p in out.iterdir()}
    extended, plain = frames(out / "clusters.extxyz"), frames(out / "clusters.xyz")
    for a, b in zip(extended, plain, strict=True):
        assert a.get_chemical_formula() == "C3H16O5"
        assert np.abs(a.positions - b.positions).max() < 1e-7
        assert np.bincount(a.arrays["molecule"]).tolist() == [6, 6, 6, 3, 3]
    settings = json.loads((out / "settings.json").read_text())
    assert settings["copies"] == [3, 2] and settings["formula"] == ["CH4O", "H2O"]
    rows = list(csv.DictReader((out / "pairs.csv").open()))
    assert len(rows) == 2 * 10
    total = sum(float(r["energy"]) for r in rows if r["rank"] == "1") / 5
    assert total == pytest.approx(extended[0].get_potential_energy(), abs=0.01)


def test_a_held_core_stays_and_a_box_holds_its_molecules(weights: Path, tmp_path: Path) -> None:
    (tmp_path / "core.xyz").write_text(WATER_XYZ)
    assert (
        run(weights, tmp_path / "o", "CO", "6", "--around", str(tmp_path / "core.xyz"), "--samples", "1") == 0
    )
    (frame,) = frames(tmp_path / "o" / "clusters.extxyz")
    assert len(frame) == 3 + 6 * 6
    assert np.abs(frame.positions[:3] - [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]]).max() < 1e-5
    assert run(weights, tmp_path / "b", "O", "--density", "0.5", "--box", "12,12,14", "--samples", "1") == 0
    (frame,) = frames(tmp_path / "b" / "clusters.extxyz")
    # 12 x 12 x 14 = 2016 Å^3; water at 0.5 g/cm^3 takes 59.83 Å^3.
    assert len(frame) == 3 * 33
    assert (np.abs(frame.positions).max(0) < [6.02, 6.02, 7.02]).all()


def test_a_cluster_is_begun_from_edited_and_relaxed(weights: Path, tmp_path: Path) -> None:
    first = tmp_path / "first"
    assert run(weights, first, UREA_SMILES, "--copies", "4", "--samples", "2") == 0
    given = first / "clusters.extxyz"
    assert run(weights, tmp_path / "s", "--start", str(given), "--keep", "0,2", "--no-resolve") == 0
    for before, after in zip(
        frames(given),
        sorted(frames(tmp_path / "s" / "clusters.extxyz"), key=lambda f: f.info["sample"]),
        strict=True,
    ):
        for k in (0, 2):
            mine = before.arrays["molecule"] == k
            assert np.abs(before.positions[mine] - after.positions[mine]).max() < 1e-4
    words = ["--edit", str(given), "--above", "3", "--samples", "2", "--no-contacts", "--no-resolve"]
    assert run(weights, tmp_path / "e", *words) == 0
    for frame in frames(tmp_path / "e" / "clusters.extxyz"):
        assert np.abs(frame.positions - frames(given)[0].positions).max() < 1e-3
    words = [UREA_SMILES, "--copies", "3", "--samples", "2", "--relax", "rigid", "--energy", "uff"]
    assert run(weights, tmp_path / "r", *words) == 0
    raw, relaxed = (frames(tmp_path / "r" / f"{name}.extxyz") for name in ("clusters", "relaxed"))
    assert [f.info["rank"] for f in raw] == [f.info["rank"] for f in relaxed] == [1, 2]
    for a, b in zip(raw, relaxed, strict=True):
        assert a.info["sample"] == b.info["sample"]
        assert b.get_potential_energy() < a.get_potential_energy()
        assert a.info["energy_relaxed"] == b.get_potential_energy()


def test_conformers_are_ranked_together_with_their_strain(weights: Path, tmp_path: Path) -> None:
    # 1,2-Ethanediol has several conformers by its two torsions.
    words = ["OCCO", "--copies", "3", "--samples", "2", "--conformers", "2"]
    assert run(weights, tmp_path / "c", *words) == 0
    rows = list(csv.DictReader((tmp_path / "c" / "summary.csv").open()))
    assert len(rows) == 4
    assert sorted(r["conformer"] for r in rows) == ["0", "0", "1", "1"]
    assert sorted(r["sample"] for r in rows) == ["0", "1", "2", "3"]
    assert {float(r["strain"]) == 0.0 for r in rows if r["conformer"] == "0"} == {True}
    assert all(float(r["strain"]) > 0.0 for r in rows if r["conformer"] == "1")
    keys = [(float(r["clashing_pairs"]), float(r["energy"]) + float(r["strain"])) for r in rows]
    assert keys == sorted(keys)
