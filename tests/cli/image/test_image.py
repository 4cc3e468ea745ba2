"""``kflow image`` on the command line."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kflow_sci.cli.main import main
from tests.images.small_model import write_small


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("digits")
    assert main(["image", "train", write_small(folder / "c.yaml", folder / "run"), "--device", "cpu"]) == 0
    return folder / "run" / "best.safetensors"


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("faces")
    config = write_small(
        folder / "c.yaml", folder / "run", data="faces", size=24, select="face", conditions=[]
    )
    assert main(["image", "train", config, "--device", "cpu"]) == 0
    return folder / "run" / "best.safetensors"


def refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["image", *words]) == 2
    said = capsys.readouterr().err
    assert said.startswith("kflow: error: ") and said.count("\n") == 1
    return said


def test_training_says_where_the_weights_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = write_small(tmp_path / "c.yaml", "unused")
    for _ in range(2):  # a second call has nothing to do
        assert main(["image", "train", config, "--device", "cpu", "--out", str(tmp_path / "run")]) == 0
        said = capsys.readouterr().out
        assert said.startswith("3 steps done. Best at step 3 (loss ") and "best.safetensors" in said


def test_sampling_leaves_a_grid_the_scales_a_moving_picture_and_the_bytes(
    digits: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    words = ["image", "sample", str(digits), "--n", "5", "--batch", "3", "--tell", "class=3@0-2",
             "--tell", "ink=thin@1", "--guidance", "1,2,1", "--out", str(out)]  # fmt: skip
    assert main(words) == 0
    assert np.load(out / "samples.npz")["arr_0"].shape == (5, 8, 8, 1)
    about = json.loads((out / "samples.json").read_text())
    # six steps, two in each of three shells that overlap by half; a second call where the guided shell moves
    assert about["images"] == 5 and about["calls"] > 6 and "--guidance 1,2,1" in about["command"]
    with Image.open(out / "flow.gif") as gif:
        assert gif.n_frames == 7
    with Image.open(out / "scales.png") as strip:
        assert strip.width > strip.height  # three samples, four scales
    assert main(words) == 2 and main([*words, "--force"]) == 0


def test_a_plain_label_and_a_seed_give_the_same_images_whatever_the_batch(
    digits: Path, tmp_path: Path
) -> None:
    grids = []
    for name, batch in (("a", "4"), ("b", "4")):
        words = [
            "image",
            "sample",
            str(digits),
            "--n",
            "4",
            "--label",
            "7",
            "--drop",
            "0.7",
            "--batch",
            batch,
        ]
        assert main([*words, "--seed", "3", "--out", str(tmp_path / name)]) == 0
        grids.append((tmp_path / name / "samples.png").read_bytes())
    assert grids[0] == grids[1]


def test_an_edit_at_the_last_scale_keeps_the_whole_image(digits: Path, tmp_path: Path) -> None:
    given = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4
    Image.fromarray(given).save(tmp_path / "x.png")
    words = ["image", "edit", str(digits), str(tmp_path / "x.png"), "--k", "3", "--n", "2"]
    assert main([*words, "--out", str(tmp_path / "out")]) == 0
    with Image.open(tmp_path / "out" / "edit-1.png") as kept:
        assert np.array_equal(np.asarray(kept), given)


def test_restoring_held_out_faces_reports_psnr_beside_bicubic(
    faces: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (["--enlarge", "2"], ["--blur", "1.0"]):
        out = tmp_path / words[0].strip("-")
        assert (
            main(["image", "restore", str(faces), *words, "--n", "3", "--draws", "2", "--out", str(out)]) == 0
        )
        said = capsys.readouterr().out
        assert said.startswith("3 held-out images") and said.count("dB") == 2 and "SSIM" in said
        assert "(mean of 2 draws, 12 network calls)" in said
        assert (out / "restore.png").is_file()


def test_json_gives_what_the_words_say(
    faces: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (["restore", "--enlarge", "2", "--draws", "1"], ["spectrum"], ["sample"]):
        out = tmp_path / words[0]
        more = ["--n", "2", "--out", str(out), "--json"]
        assert main(["image", words[0], str(faces), *words[1:], *more]) == 0
        told = json.loads(capsys.readouterr().out)
        assert all((out / name).is_file() for name in told["files"])
        if words[0] == "restore":
            assert told["images"] == 2 and told["calls"] == 6
            assert {"psnr", "psnr_without", "ssim", "ssim_without"} <= set(told)


def test_a_small_image_is_enlarged(faces: Path, tmp_path: Path) -> None:
    Image.new("L", (12, 12), 90).save(tmp_path / "x.png")
    words = ["image", "restore", str(faces), str(tmp_path / "x.png"), "--enlarge", "2", "--draws", "1"]
    assert main([*words, "--out", str(tmp_path / "out")]) == 0
    with Image.open(tmp_path / "out" / "restore.png") as large:
        assert large.size == (24, 24)


def test_the_spectrum_of_a_config_and_of_weights(digits: Path, tmp_path: Path) -> None:
    config = write_small(tmp_path / "c.yaml", tmp_path / "run")
    assert main(["image", "spectrum", config, "--n", "20", "--out", str(tmp_path / "data")]) == 0
    assert main(["image", "spectrum", str(digits), "--n", "20", "--out", str(tmp_path / "both")]) == 0
    rows = list(csv.DictReader((tmp_path / "both" / "spectrum.csv").open()))
    assert [row["of"] for row in rows] == ["held-out images"] * 3 + ["samples"] * 3
    assert (tmp_path / "both" / "flow.png").is_file() and not (tmp_path / "data" / "flow.png").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["sample", "W", "--guidance", "1.5"], "guidance strengthens a condition, but none is given"),
        (["sample", "W", "--guidance", "strong"], "--guidance 'strong' is no number"),
        (["sample", "W", "--label", "11"], "class '11' is unknown to this model: choose 0, 1, 2"),
        (["sample", "W", "--label", "1", "--tell", "ink=thin"], "--label and --tell are both given"),
        (["sample", "W", "--tell", "ink=thin@2-9"], "ink is told from scale 2 to 9, but scales are 0 … 3"),
        (["sample", "W", "--steps", "2"], "2 steps for 3 shells"),
        (["sample", "W", "--vae", "x"], "this model works on pixels: leave the autoencoder out"),
        (["sample", "nowhere.safetensors"], "does not exist"),
        (["edit", "W", "I", "--k", "9"], r"scale is 9.0, outside [0, 3]"),
        (["edit", "W", "I", "--k", "-1"], r"scale is -1.0, outside [0, 3]"),
        (["edit", "W", "L", "--k", "1"], "9 × 9 pixels, but it must have 8 × 8"),
        (["restore", "W"], "give either --enlarge 2 or --blur WIDTH"),
        (["restore", "W", "--enlarge", "3"], "factor is 3: choose 2, 4, 8"),
        (["restore", "W", "--blur", "0"], "the width of the blur is 0: give a positive number of pixels"),
        (["restore", "W", "--enlarge", "2", "--label", "cat"], "class 'cat' is unknown to this model"),
        (
            ["restore", "W", "L", "--enlarge", "2"],
            "the image has shape (1, 9, 9), but the model needs (1, 4, 4)",
        ),
    ],
)
def test_bad_input_is_one_line(
    digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    Image.new("L", (8, 8)).save(tmp_path / "i.png")
    Image.new("L", (9, 9)).save(tmp_path / "l.png")
    names = {"W": str(digits), "I": str(tmp_path / "i.png"), "L": str(tmp_path / "l.png")}
    out = tmp_path / "out"
    assert said in refused([*(names.get(word, word) for word in words), "--out", str(out)], capsys)
    assert not out.exists()


def test_latents_are_only_for_configs_with_an_autoencoder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_small(tmp_path / "c.yaml", tmp_path / "run")
    assert "works on pixels (vae: null): there is nothing to encode" in refused(["latents", config], capsys)
