"""Images that programs leave behind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kflow_sci.errors import ImageError
from kflow_sci.images.pixels import to_bytes
from kflow_sci.images.scores.pictures import open_pictures, same_shape


@pytest.mark.parametrize("channels", [1, 3])
def test_files_and_bytes_are_the_same_images(tmp_path: Path, channels: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 6, 5, channels), dtype=np.uint8)
    (tmp_path / "files").mkdir()
    for i, image in enumerate(pixels):
        Image.fromarray(image[..., 0] if channels == 1 else image).save(tmp_path / "files" / f"{i}.png")
    np.savez(tmp_path / "bytes.npz", arr_0=pixels[..., 0] if channels == 1 else pixels)
    (tmp_path / "made").mkdir()
    np.savez(tmp_path / "made" / "samples.npz", arr_0=pixels)
    Image.new("RGB", (90, 90)).save(tmp_path / "made" / "samples.png")  # the grid beside them is no sample
    for name in ("files", "bytes.npz", "made"):
        found = open_pictures(tmp_path / name)
        assert found.shape == (channels, 6, 5)
        assert np.array_equal(to_bytes(found.read(range(4))), pixels)


def test_colour_and_grey_in_one_folder_are_refused(tmp_path: Path) -> None:
    Image.new("L", (4, 4)).save(tmp_path / "a.png")
    Image.new("RGB", (4, 4)).save(tmp_path / "b.png")
    with pytest.raises(ImageError, match=r"b\.png is colour"):
        open_pictures(tmp_path)


def test_shapes_must_agree() -> None:
    same_shape((3, 8, 8), (3, 8, 8))
    with pytest.raises(
        ImageError, match="the samples are grey and the reference colour: convert one of them"
    ):
        same_shape((1, 8, 8), (3, 8, 8))
    with pytest.raises(
        ImageError, match="the samples have 8 × 9 pixels, the reference 8 × 8: scale one of them"
    ):
        same_shape((3, 8, 9), (3, 8, 8))
