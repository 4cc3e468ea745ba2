"""Extractors: by name, from a file, and Inception as torchmetrics has it."""

from __future__ import annotations

from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch

from kflow_sci.errors import ImageError
from kflow_sci.images.data import MemoryImages
from kflow_sci.images.scores.classifier import Classifier, save_classifier
from kflow_sci.images.scores.features import as_files_hold, extract, make_extractor


def images(n: int, shape: tuple[int, int, int] = (1, 4, 4)) -> MemoryImages:
    values = torch.rand((n, *shape), generator=torch.Generator().manual_seed(0)) * 2.0 - 1.0
    return MemoryImages(values, [str(i) for i in range(n)], {}, torch.zeros(n, 0).long())


def test_images_are_those_that_files_hold() -> None:
    levels = torch.arange(256).view(1, 1, 16, 16) / 127.5 - 1.0
    assert torch.equal(as_files_hold(levels), levels)
    assert as_files_hold(
        torch.tensor([-3.0, 0.001, 7.0]).view(1, 1, 1, 3)
    ).flatten().tolist() == pytest.approx([-1.0, 128 / 127.5 - 1.0, 1.0], abs=1e-6)


def test_pixels_are_the_images_in_their_order_whatever_the_batch() -> None:
    ten, seen = images(10), []
    found = extract(make_extractor("pixels"), ten, at_once=4, advance=seen.append)
    assert np.array_equal(found, as_files_hold(ten.images).flatten(1).double().numpy())
    assert seen == [4, 8, 10]


def test_a_classifier_of_ones_own_is_a_file(tmp_path: Path) -> None:
    net = Classifier((1, 4, 4), ("a", "b"), 4, 6).eval()
    save_classifier(net, tmp_path / "own.safetensors")
    extractor = make_extractor(str(tmp_path / "own.safetensors"))
    ten = images(10)
    with torch.no_grad():
        expected = net.features(as_files_hold(ten.images)).double().numpy()
    assert np.allclose(extract(extractor, ten), expected, atol=1e-6)
    assert len(extractor.sha256) == 64 and extractor.classifier is not None
    assert extractor.classifier.classes == ("a", "b")


@pytest.mark.parametrize("shape", [(1, 5, 5), (3, 5, 5)])
def test_inception_gets_bytes_in_three_colours(
    shape: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    fid = pytest.importorskip("torchmetrics.image.fid")

    class Stand(torch.nn.Module):
        def __init__(self, name: str, features_list: list[str]) -> None:
            super().__init__()
            assert (name, features_list) == ("inception-v3-compat", ["2048"])

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            assert x.dtype == torch.uint8 and x.shape[1:] == (3, 5, 5)
            return x.float().mean((2, 3))

    monkeypatch.setattr(fid, "NoTrainInceptionV3", Stand)
    five = images(5, shape)
    found = extract(make_extractor("inception"), five)
    expected = ((as_files_hold(five.images) + 1.0) * 127.5).mean((2, 3)).expand(-1, 3)
    assert np.allclose(found, expected, atol=1e-3)


def test_inception_whose_weights_cannot_be_fetched_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    fid = pytest.importorskip("torchmetrics.image.fid")

    def unreachable(*_: object) -> None:
        raise URLError("no route to host")

    monkeypatch.setattr(fid, "NoTrainInceptionV3", unreachable)
    with pytest.raises(
        ImageError, match=r"the weights of Inception cannot be fetched .*: torch-fidelity keeps them"
    ):
        make_extractor("inception")
