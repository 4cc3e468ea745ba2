"""One image file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from kflow_sci.errors import ImageError
from kflow_sci.images.pixels import read_image, to_bytes

RAMP = np.arange(48, dtype=np.uint8).reshape(4, 4, 3) * 5


def test_an_image_is_channels_rows_columns_in_minus_one_to_one(tmp_path: Path) -> None:
    Image.fromarray(RAMP).save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png", 3)
    assert image.shape == (3, 4, 4)
    # byte b is b/127.5 − 1; column 1 of row 0 has bytes 15, 20, 25
    assert image[:, 0, 1].tolist() == pytest.approx([15 / 127.5 - 1, 20 / 127.5 - 1, 25 / 127.5 - 1])


def test_bytes_survive_reading_and_writing() -> None:
    every = np.arange(256, dtype=np.uint8).reshape(16, 16)
    back = to_bytes(read_image(Image.fromarray(every), 1)[None])
    assert np.array_equal(back[0, :, :, 0], every)


def test_a_size_scales_the_shorter_side_and_cuts_the_middle(tmp_path: Path) -> None:
    wide = np.zeros((8, 16), np.uint8)
    wide[:, 4:12] = 255
    assert torch.equal(read_image(Image.fromarray(wide), 1, 8), torch.ones(1, 8, 8))


def of_mode(mode: str, folder: Path) -> Path:
    colour = Image.fromarray(RAMP)
    path = folder / "odd.png"
    if mode == "CMYK":
        colour.convert("CMYK").save(path := folder / "odd.tif")
    elif mode == "I;16":
        Image.fromarray(np.full((4, 4), 256 * 51, np.uint16)).save(path)
    elif mode == "animated":
        colour.save(path := folder / "odd.gif", save_all=True, append_images=[colour.rotate(90)])
    else:
        colour.convert(mode).save(path)
    return path


@pytest.mark.parametrize(
    ("mode", "said"),
    [
        ("L", "is greyscale"),
        ("RGBA", "is colour with alpha"),
        ("I;16", "is 16-bit"),
        ("CMYK", "is CMYK"),
        ("animated", r"is animated \(2 frames\)"),
    ],
)
def test_a_file_of_another_kind_is_refused_by_name_or_converted_on_demand(
    tmp_path: Path, mode: str, said: str
) -> None:
    path = of_mode(mode, tmp_path)
    with pytest.raises(ImageError, match=rf"odd\.\w+ {said}.*other_modes: convert"):
        read_image(path, 3)
    assert read_image(path, 3, other_modes="convert").shape == (3, 4, 4)


def test_alpha_is_put_on_white_and_sixteen_bits_keep_the_upper_eight(tmp_path: Path) -> None:
    clear = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    assert torch.equal(read_image(clear, 3, other_modes="convert"), torch.ones(3, 4, 4))
    deep = read_image(of_mode("I;16", tmp_path), 1, other_modes="convert")
    assert deep.unique().tolist() == pytest.approx([51 / 127.5 - 1])


def test_a_truncated_file_is_named(tmp_path: Path) -> None:
    whole = tmp_path / "whole.png"
    noise = np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)
    Image.fromarray(noise).save(whole)
    (tmp_path / "cut.png").write_bytes(whole.read_bytes()[:600])
    with pytest.raises(ImageError, match=r"cut.png cannot be read .* cut off or damaged"):
        read_image(tmp_path / "cut.png", 1)


def test_a_text_file_is_no_image(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("hello")
    with pytest.raises(ImageError, match=r"text.png is no image that Pillow can read"):
        read_image(tmp_path / "text.png", 1)
