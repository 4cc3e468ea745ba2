"""Sets of images: embedded, in folders, on the hub; what is held out."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from kflow_sci.errors import ImageError
from kflow_sci.images.data import Conditioned, MemoryImages, WithMirrors, embedded, hold_out, only
from kflow_sci.images.folder import FolderImages, open_folder
from kflow_sci.images.hub import open_hub


def save(path: Path, value: int = 0, size: tuple[int, int] = (4, 4)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full(size, value, np.uint8)).save(path)


def numbered(n: int) -> MemoryImages:
    pixels = torch.arange(n, dtype=torch.float32)[:, None, None, None].expand(n, 1, 2, 2).contiguous()
    return MemoryImages(
        pixels, [str(i) for i in range(n)], {"class": ("x", "y")}, (torch.arange(n) % 2)[:, None]
    )


def test_digits_have_ten_classes_and_thirds_of_ink() -> None:
    digits = embedded("digits")
    assert digits.shape == (1, 8, 8) and len(digits.ids) == 1797
    # classes as documented by the UCI repository for this part of the data set
    assert digits.labels[:, 0].bincount().tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert [digits.images[digits.labels[:, 1] == i].mean().item() for i in range(3)] == sorted(
        digits.images[digits.labels[:, 1] == i].mean().item() for i in range(3)
    )
    assert digits.images.min() == -1.0 and digits.images.max() == 1.0


def test_faces_can_be_cut_to_an_even_size_and_chosen_alone() -> None:
    faces = only(embedded("faces", 24), "class", "face")
    assert faces.shape == (1, 24, 24) and len(faces.ids) == 100
    with pytest.raises(ImageError, match=r"size 26 is not within the 25 pixels of 'faces'"):
        embedded("faces", 26)


def test_what_is_held_out_follows_from_the_seed_and_is_never_trained_on() -> None:
    images = numbered(50)
    train, held = hold_out(images, 0.2, seed=1)
    again, other = hold_out(images, 0.2, seed=1)[1], hold_out(images, 0.2, seed=2)[1]
    assert len(held.ids) == 10 and not set(train.ids) & set(held.ids)
    assert held.ids == again.ids != other.ids
    assert held.read([3]).unique().tolist() == [float(held.ids[3])]


def test_one_image_cannot_be_divided() -> None:
    with pytest.raises(ImageError, match=r"1 image cannot be divided .* give at least 2"):
        hold_out(numbered(1), 0.2, seed=0)


def test_a_mirror_image_has_left_and_right_exchanged_and_the_same_label() -> None:
    pixels = torch.tensor([[[[1.0, 2.0]]], [[[3.0, 4.0]]]])
    images = WithMirrors(MemoryImages(pixels, ["a", "b"], {"class": ("x", "y")}, torch.tensor([[0], [1]])))
    assert images.read([1, 3]).flatten().tolist() == [3.0, 4.0, 4.0, 3.0]
    assert images.labels.flatten().tolist() == [0, 1, 0, 1] and images.ids[2] == "a, mirrored"


def test_conditions_are_columns_in_the_order_asked_for() -> None:
    chosen = Conditioned(embedded("digits"), ("ink", "class"))
    assert list(chosen.conditions) == ["ink", "class"] and chosen.labels[:5, 1].tolist() == [0, 1, 2, 3, 4]
    with pytest.raises(
        ImageError, match=r"condition 'colour' is unknown to these images: they have class, ink"
    ):
        Conditioned(embedded("digits"), ("colour",))


def test_subfolders_are_classes_in_alphabetical_order(tmp_path: Path) -> None:
    save(tmp_path / "dog" / "deep" / "b.png", 255)
    save(tmp_path / "cat" / "a.png", 0)
    images = open_folder(tmp_path, 1)
    assert images.conditions == {"class": ("cat", "dog")} and images.labels.flatten().tolist() == [0, 1]
    assert list(images.ids) == ["cat/a.png", "dog/deep/b.png"]
    assert images.read([1, 0]).mean((1, 2, 3)).tolist() == [1.0, -1.0]


def test_a_folder_read_on_demand_is_the_folder_read_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(3):
        save(tmp_path / f"{i}.png", 80 * i)
    at_once = open_folder(tmp_path, 1)
    monkeypatch.setattr("kflow_sci.images.folder._IN_MEMORY", 0)
    lazy = open_folder(tmp_path, 1)
    assert isinstance(lazy, FolderImages) and isinstance(at_once, MemoryImages)
    assert torch.equal(lazy.read([2, 0]), at_once.read([2, 0])) and lazy.conditions == {}


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("none here")
    with pytest.raises(ImageError, match=r"holds no image: give one with \.png"):
        open_folder(tmp_path, 1)
    with pytest.raises(ImageError, match=r"does not exist: give a folder"):
        open_folder(tmp_path / "nowhere", 1)


def test_an_empty_class_folder_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "cat" / "a.png")
    (tmp_path / "dog").mkdir()
    with pytest.raises(ImageError, match=r"class folder .*dog holds no image: fill or remove it"):
        open_folder(tmp_path, 1)


def test_images_beside_class_folders_are_refused(tmp_path: Path) -> None:
    save(tmp_path / "cat" / "a.png")
    save(tmp_path / "lost.png")
    with pytest.raises(ImageError, match=r"holds images \(lost.png, …\) beside folders \(cat, …\)"):
        open_folder(tmp_path, 1)


def test_mixed_sizes_are_refused_unless_a_size_is_set(tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    save(tmp_path / "b.png", size=(6, 4))
    with pytest.raises(ImageError, match=r"b.png has 6 × 4 pixels, .*a.png 4 × 4: set size"):
        open_folder(tmp_path, 1)
    assert open_folder(tmp_path, 1, 4).shape == (1, 4, 4)


def test_a_data_set_in_the_format_of_the_hub_is_read_by_its_columns(tmp_path: Path) -> None:
    for i, name in enumerate(("cat", "dog")):
        for j in range(2):
            save(tmp_path / "set" / "train" / name / f"{j}.png", 100 * i + 20 * j)
    images = open_hub(str(tmp_path / "set"), 1, 4)
    assert images.conditions == {"class": ("cat", "dog")} and images.labels.flatten().tolist() == [0, 0, 1, 1]
    assert images.read([3]).unique().tolist() == pytest.approx([120 / 127.5 - 1])
    shutil.rmtree(tmp_path / "set")
    with pytest.raises(ImageError, match=r"set, part train, cannot be loaded"):
        open_hub(str(tmp_path / "set"), 1, 4)
    with pytest.raises(ImageError, match=r"set size"):
        open_hub("owner/name", 1, None)
