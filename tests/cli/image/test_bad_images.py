"""``kflow image train`` on folders of images that cannot be trained on: one line and exit code 2."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kflow_sci.cli.main import main
from tests.images.small_model import write_small


def grey(path: Path, size: int = 8) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.arange(size * size, dtype=np.uint8).reshape(size, size)).save(path)


def nothing(folder: Path) -> None:
    (folder / "notes.txt").write_text("no image")


def one(folder: Path) -> None:
    grey(folder / "only.png")


def two_sizes(folder: Path) -> None:
    grey(folder / "a.png")
    grey(folder / "b.png", 10)


def no_byte(folder: Path) -> None:
    grey(folder / "a.png")
    (folder / "b.png").write_bytes(b"")


def half_a_file(folder: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (32, 32), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "whole.png")
    whole = (folder / "whole.png").read_bytes()
    (folder / "half.png").write_bytes(whole[: len(whole) // 2])


def alpha(folder: Path) -> None:
    grey(folder / "a.png")
    Image.new("LA", (8, 8)).save(folder / "b.png")


def sixteen_bits(folder: Path) -> None:
    Image.fromarray(np.full((8, 8), 4000, np.uint16)).save(folder / "deep.png")


def four_inks(folder: Path) -> None:
    Image.new("CMYK", (8, 8)).save(folder / "print.tif")


def moving(folder: Path) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(folder / "moving.webp", save_all=True, append_images=frames[1:])


def empty_class(folder: Path) -> None:
    grey(folder / "cat" / "a.png")
    (folder / "dog").mkdir()


def odd_size(folder: Path) -> None:
    for i in range(4):
        grey(folder / f"{i}.png", 6)


CASES: list[tuple[Callable[[Path], None], dict[str, object], str]] = [
    (nothing, {}, "holds no image: give one with .png"),
    (one, {}, "1 image cannot be divided into training and held-out: give at least 2"),
    (two_sizes, {}, "b.png has 10 × 10 pixels"),
    (no_byte, {}, "b.png is no image that Pillow can read"),
    (half_a_file, {}, "half.png cannot be read"),
    (alpha, {}, "b.png is greyscale with alpha (mode LA)"),
    (sixteen_bits, {}, "deep.png is 16-bit"),
    (four_inks, {"channels": 3}, "print.tif is CMYK"),
    (moving, {"channels": 3}, "moving.webp is animated (2 frames)"),
    (empty_class, {}, "dog holds no image: fill or remove it"),
    (
        odd_size,
        {"net": "dit", "patch": 4, "heads": 2},
        "size 6 is not divisible by patch 4: sizes 4 or 8 are",
    ),
    (odd_size, {"net": "unet", "layers": 3, "heads": 2}, "size 6 cannot be halved 2 times: sizes 4 or 8 can"),
    (odd_size, {"transform": "wavelet", "cut": "even"}, "size 6 cannot be halved 2 times: use 4 or 8"),
    (
        odd_size,
        {"net": "dit", "patch": 2, "heads": 2, "packing": "haar"},
        "size 3 is not divisible by patch 2",
    ),
]


@pytest.mark.parametrize(
    ("fill", "changes", "said"), CASES, ids=lambda value: getattr(value, "__name__", None)
)
def test_images_that_cannot_be_trained_on_are_refused_in_one_line(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    fill: Callable[[Path], None],
    changes: dict[str, object],
    said: str,
) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    fill(folder)
    settings = {"data": "folder", "source": str(folder), "conditions": [], **changes}
    config = write_small(tmp_path / "c.yaml", tmp_path / "run", **settings)
    assert main(["image", "train", config, "--device", "cpu"]) == 2
    line = capsys.readouterr().err
    assert said in line and line.startswith("kflow: error: ") and line.count("\n") == 1
