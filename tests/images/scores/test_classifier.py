"""The classifier that small images are measured by."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from kflow_sci.checkpoint import read_header, save_checkpoint
from kflow_sci.errors import CheckpointError, ImageError
from kflow_sci.images.data import MemoryImages, embedded, hold_out, read_all
from kflow_sci.images.scores.classifier import (
    DIGITS_HELD_OUT,
    DIGITS_SPLIT_SEED,
    Classifier,
    digit_classifier,
    load_classifier,
    save_classifier,
    shipped_digits,
    train_classifier,
)
from kflow_sci.images.scores.frechet import frechet_distance


def test_the_shipped_classifier_knows_the_digits_that_were_held_out() -> None:
    _, held = hold_out(embedded("digits"), DIGITS_HELD_OUT, DIGITS_SPLIT_SEED)
    net, x = digit_classifier(), read_all(held)
    accuracy = net.accuracy(x, held.labels[:, 0])
    assert accuracy >= 0.98 and net.features(x).shape == (359, 64)
    assert read_header(shipped_digits())["about"]["held_out_accuracy"] == pytest.approx(accuracy, abs=0.003)


def test_its_features_order_images_by_how_far_they_are_from_digits() -> None:
    train, held = hold_out(embedded("digits"), DIGITS_HELD_OUT, DIGITS_SPLIT_SEED)
    net, x = digit_classifier(), read_all(held)
    real = net.features(x)
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    rising = [
        frechet_distance(net.features(images.clamp(-1.0, 1.0)), real)
        for images in (read_all(train), x + 0.5 * noise, x + noise, noise)
    ]
    assert rising == sorted(rising)


def two_kinds() -> MemoryImages:
    """Upright and lying bars of 5 × 5 pixels."""
    images = torch.full((40, 1, 5, 5), -1.0)
    for i in range(40):
        if i % 2:
            images[i, 0, i // 2 % 5, :] = 1.0
        else:
            images[i, 0, :, i // 2 % 5] = 1.0
    labels = torch.arange(40)[:, None] % 2
    return MemoryImages(images, [str(i) for i in range(40)], {"class": ("upright", "lying")}, labels)


def test_training_follows_from_the_seed_and_leaves_the_global_generator_alone() -> None:
    bars = two_kinds()
    state = torch.get_rng_state()
    nets = [train_classifier(bars, seed=seed, epochs=20, batch_size=8, hidden=16) for seed in (1, 1, 2)]
    assert torch.equal(torch.get_rng_state(), state)
    same, again, other = (net.features(bars.images) for net in nets)
    assert torch.equal(same, again) and not torch.equal(same, other)
    assert nets[0].accuracy(bars.images, bars.labels[:, 0]) == 1.0


def test_a_classifier_is_the_same_after_writing_and_reading(tmp_path: Path) -> None:
    bars = two_kinds()
    net = train_classifier(bars, epochs=1, width=4, hidden=8)
    save_classifier(net, tmp_path / "net.safetensors", data="bars")
    again = load_classifier(tmp_path / "net.safetensors")
    assert torch.equal(again(bars.images), net(bars.images)) and again.classes == ("upright", "lying")
    assert read_header(tmp_path / "net.safetensors")["about"] == {"data": "bars"}


def test_what_does_not_fit_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"trained on images \(1, 8, 8\), but these are \(1, 25, 25\)"):
        digit_classifier().features(torch.zeros(2, 1, 25, 25))
    with pytest.raises(ImageError, match="condition 'colour' is unknown to these images: they have class"):
        train_classifier(two_kinds(), "colour")
    with pytest.raises(ImageError, match="a classifier needs 2 classes and 4 × 4 pixels"):
        Classifier((1, 8, 8), ["one"])
    save_checkpoint(tmp_path / "other.safetensors", {"x": torch.zeros(1)}, {})
    with pytest.raises(CheckpointError, match="holds no image classifier"):
        load_classifier(tmp_path / "other.safetensors")
