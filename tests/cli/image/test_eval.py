"""``kflow image eval`` on the command line."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from kflow_sci.cli.main import main
from kflow_sci.images.data import embedded, hold_out, read_all
from kflow_sci.images.pixels import to_bytes
from kflow_sci.images.scores.classifier import Classifier, digit_classifier, save_classifier
from kflow_sci.images.scores.frechet import frechet_distance
from tests.images.small_model import write_small


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained model of digits, and folders of images right and wrong."""
    folder = tmp_path_factory.mktemp("eval")
    assert main(["image", "train", write_small(folder / "c.yaml", folder / "run"), "--device", "cpu"]) == 0
    train, test = hold_out(embedded("digits"), 0.2, 0)
    for name, images in (("train", train), ("test", test)):
        pixels = to_bytes(read_all(images, range(40)))
        np.savez(folder / f"{name}.npz", arr_0=pixels)
        (folder / name).mkdir()
        for i, image in enumerate(pixels):
            Image.fromarray(image[..., 0]).save(folder / name / f"{i:02d}.png")
    for name, mode, size in (("colour", "RGB", 8), ("large", "L", 9), ("small", "L", 8)):
        (folder / name).mkdir()
        for i in range(2 if name == "small" else 5):
            Image.new(mode, (size, size), 40 * i if mode == "L" else (40 * i, 0, 0)).save(
                folder / name / f"{i}.png"
            )
    (folder / "empty").mkdir()
    np.savez(folder / "floats.npz", arr_0=np.zeros((5, 8, 8)))
    (folder / "torn.npz").write_bytes(b"PK\x03\x04 torn")
    save_classifier(Classifier((1, 9, 9), ("a", "b"), 4, 6), folder / "nine.safetensors")
    return folder


def scores(folder: Path) -> dict[str, dict[str, float]]:
    found = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
    return {row["score"]: row for row in found["scores"]}


def test_weights_are_sampled_and_scored_with_counts_floor_and_settings(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    words = ["image", "eval", str(place / "run" / "best.safetensors"), "--samples", "60", "--drop", "0.5",
             "--out", str(out)]  # fmt: skip
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "60 samples against 359 images (test)" in said and "6 network calls a sample; seed 0" in said
    assert "warning: samples: 60 images are fewer than 65 that 64 features need" in said
    assert "warning: reference: 359 images are fewer than 2,048" in said
    found = scores(out)
    assert list(found) == [
        "frechet", "kernel", "precision", "recall", "frechet_dropped", "cdr", "accuracy"
    ]  # fmt: skip
    assert found["frechet"]["value"] > found["frechet"]["floor"] > 0.0  # hardly trained
    assert found["frechet"]["low"] is None  # fewer samples than features
    assert found["precision"]["samples"] == found["precision"]["reference_images"] == 60
    ratio = found["frechet_dropped"]["value"] / found["frechet"]["value"]
    assert found["cdr"]["value"] == pytest.approx(ratio)
    assert found["accuracy"]["floor"] > 0.98
    settings = json.loads((out / "scores.json").read_text(encoding="utf-8"))["settings"]
    assert settings["count"] == 60 and settings["seed"] == 0 and len(settings["features_sha256"]) == 64
    rows = list(csv.DictReader((out / "scores.csv").open(encoding="utf-8")))
    assert [row["score"] for row in rows] == list(found) and all(row["data_sha256"] for row in rows)
    with Image.open(out / "samples.png") as grid:
        assert grid.size[0] >= 64
    assert main(words) == 2 and main([*words, "--force"]) == 0


def test_the_same_seed_gives_the_same_scores_and_another_seed_others(place: Path, tmp_path: Path) -> None:
    found = []
    for name, seed in (("a", "0"), ("b", "0"), ("c", "1")):
        words = [
            "image",
            "eval",
            str(place / "run" / "best.safetensors"),
            "--samples",
            "20",
            "--told",
            "class",
        ]
        assert main([*words, "--seed", seed, "--out", str(tmp_path / name)]) == 0
        found.append(scores(tmp_path / name))
    assert found[0] == found[1] != found[2]


def test_a_folder_and_its_bytes_score_as_the_features_do(place: Path, tmp_path: Path) -> None:
    _, test = hold_out(embedded("digits"), 0.2, 0)
    train = torch.from_numpy(np.load(place / "train.npz")["arr_0"]).permute(0, 3, 1, 2).float() / 127.5 - 1.0
    net = digit_classifier()
    held = torch.from_numpy(to_bytes(read_all(test))).permute(0, 3, 1, 2).float() / 127.5 - 1.0
    expected = frechet_distance(net.features(train), net.features(held))
    for name in ("train", "train.npz"):
        out = tmp_path / name
        words = ["image", "eval", str(place / name), "--config", str(place / "c.yaml"), "--out", str(out)]
        assert main(words) == 0
        assert scores(out)["frechet"]["value"] == pytest.approx(expected, rel=1e-6)
        assert "accuracy" not in scores(out)


def test_images_elsewhere_are_a_reference_without_floor(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "image",
        "eval",
        str(place / "train"),
        "--reference",
        str(place / "train"),
        "--features",
        "pixels",
    ]
    assert main([*words, "--samples", "40", "--out", str(tmp_path / "out")]) == 0
    found = scores(tmp_path / "out")
    assert found["frechet"]["value"] == pytest.approx(0.0, abs=1e-6) and found["frechet"]["floor"] is None
    assert found["precision"]["value"] == found["recall"]["value"] == 1.0
    said = " ".join(capsys.readouterr().out.split())  # a long path of the reference breaks the line
    assert "features: pixels (64)" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["W", "--samples", "3"], "features of 3 images: at least 4 are needed"),
        (["small", "--reference", "test.npz"], "features of 2 images: at least 4 are needed"),
        (["train", "--reference", "train-of-what"], "train-of-what does not exist"),
        (["train", "--reference", "test.npz", "--samples", "41"], "holds 40 images: ask for at most 40"),
        (
            ["large", "--reference", "test.npz"],
            "the samples have 9 × 9 pixels, the reference 8 × 8: scale one",
        ),
        (["colour", "--reference", "test"], "--reference test of which data? Give --config, or a folder"),
        (["colour", "--reference", "test.npz"], "the samples are colour and the reference grey: convert one"),
        (
            ["W", "--reference", "large"],
            "the samples have 8 × 8 pixels, the reference 9 × 9: scale one of them",
        ),
        (["W", "--features", "digit"], "features 'digit' are neither known nor a file: did you mean digits?"),
        (
            ["W", "--features", "vgg"],
            "features 'vgg' are neither known nor a file: choose digits, pixels, inc",
        ),
        (["W", "--features", "nine.safetensors"], "trained on images (1, 9, 9), but these are (1, 8, 8)"),
        (["W", "--features", "W"], "holds no image classifier"),
        (["W", "--features", "c.yaml"], "c.yaml"),
        (["empty", "--reference", "test.npz"], "holds no image"),
        (["W", "--reference", "empty"], "holds no image"),
        (["W", "--reference", "nowhere"], "nowhere does not exist"),
        (["nowhere.safetensors"], "does not exist"),
        (["nowhere.npz", "--reference", "test.npz"], "nowhere.npz holds no images: give an .npz file"),
        (["torn.npz", "--reference", "test.npz"], "torn.npz holds no images: give an .npz file"),
        (["floats.npz", "--reference", "test.npz"], "holds float64 of shape (5, 8, 8, 1): expected uint8"),
        (["train", "--reference", "test.npz", "--steps", "8"], "--steps is for a model that draws samples"),
        (["train", "--reference", "test.npz", "--drop", "0.5"], "--drop is for a model that draws samples"),
        (["W", "--config", "c.yaml"], "--config is for SAMPLES that are images"),
        (["W", "--told", "size"], "condition 'size' is unknown to this model; known are class, ink"),
        (["W", "--told", "none", "--drop", "0.5"], "--drop 0.5 cannot be: no condition is told"),
        (["W", "--drop", "1.5"], "--drop 1.5 cannot be: it is the last share of the scales, in (0, 1]"),
        (["W", "--told", "none", "--guidance", "2"], "--guidance strengthens a condition, but none is told"),
        (["W", "--guidance", "strong"], "--guidance 'strong' is no number"),
    ],
)
def test_bad_input_is_one_line(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    names = {"W": place / "run" / "best.safetensors"} | {path.name: path for path in place.iterdir()}
    full = [str(names[word]) if word in names and word != "test" else word for word in words]
    out = tmp_path / "out"
    assert main(["image", "eval", *full, "--out", str(out)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("kflow: error: ") and error.count("\n") == 1 and said in error
    assert not out.exists()


def test_inception_without_its_library_is_one_line(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torchmetrics = pytest.importorskip("torchmetrics.utilities.imports")
    if torchmetrics._TORCH_FIDELITY_AVAILABLE:
        pytest.skip("torch-fidelity is installed")
    words = [
        "image",
        "eval",
        str(place / "train"),
        "--reference",
        str(place / "test"),
        "--features",
        "inception",
    ]
    assert main([*words, "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert (
        "features 'inception' need torchmetrics and torch-fidelity: pip install" in said
        and said.count("\n") == 1
    )
