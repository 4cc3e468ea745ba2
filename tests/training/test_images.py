"""Training of image models: what follows from the seed, what is held out, what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL

from kflow_sci.checkpoint import read_header
from kflow_sci.errors import ConfigError, ImageError, KFlowError
from kflow_sci.images.model import load_image_model
from kflow_sci.settings import read_config
from kflow_sci.training.images import ImageTrainConfig, divide, new_image_model, ready, train_images
from tests.images.small_model import train_config

CONFIGS = sorted((Path(__file__).parents[2] / "configs" / "images").glob("*.yaml"))


def train(out: Path, **changes: object) -> Path:
    result = train_images(train_config(out, **changes), device="cpu", show=False)
    assert result.finished
    return out / "best.safetensors"


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_is_complete(path: Path) -> None:
    config = read_config(path, ImageTrainConfig)
    assert Path(config.out).name == path.stem


@pytest.mark.parametrize(
    "changes",
    [
        {"transform": "fourier", "shells": "unit", "cut": "even", "sample_steps": 8},
        {"transform": "wavelet", "shells": 3, "cut": "even", "prediction": "velocity", "method": "midpoint"},
        {"transform": "pca", "shells": 3, "rank": 20, "widths": "amplitude", "step_shares": "widths"},
    ],
    ids=["fourier", "wavelet", "pca"],
)
def test_weights_on_disk_give_the_samples_of_the_model_that_was_trained(
    tmp_path: Path, changes: dict[str, object]
) -> None:
    weights = train(tmp_path / "run", **changes)
    model, header = load_image_model(weights)
    assert header["data"] == {"train": 1438, "held_out": 359}
    one, two = (
        load_image_model(weights)[0].sample(2, torch.Generator().manual_seed(0), label=3).x for _ in "ab"
    )
    assert torch.equal(one, two) and torch.isfinite(one).all()
    assert sum(model.config.widths) > 0 and len(model.config.variance) == len(model.config.widths)


def test_an_interrupted_training_ends_with_the_same_weights(tmp_path: Path) -> None:
    whole = train(tmp_path / "whole", steps=4, warmup_steps=1)
    parts = tmp_path / "parts"
    config = train_config(parts, steps=4, warmup_steps=1)
    from kflow_sci.training import images as module

    calls = 0
    find = module._image

    def stop_in_the_middle(seed: int, place: int, n: int) -> int:
        nonlocal calls
        calls += 1
        if calls == 3 * config.batch_size:
            raise KeyboardInterrupt
        return find(seed, place, n)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_image", stop_in_the_middle)
        assert not train_images(config, device="cpu", show=False).finished
    assert train_images(config, device="cpu", show=False).finished
    for name, value in load_image_model(whole)[0].state_dict().items():
        assert torch.equal(value, load_image_model(parts / "best.safetensors")[0].state_dict()[name]), name


def test_mirrors_are_trained_on_and_never_held_out() -> None:
    config = train_config("unused", data="faces", size=24, select="face", conditions=[], mirrors=True)
    seen, held = divide(config)
    assert len(seen.ids) == 160 and len(held.ids) == 20
    assert not set(held.ids) & {name.removesuffix(", mirrored") for name in seen.ids}


def test_shells_and_windows_follow_from_training_images_alone_and_the_split_from_its_own_seed() -> None:
    one, two = (train_config("unused", seed=seed, widths="energy") for seed in (0, 1))
    assert divide(one)[1].ids == divide(two)[1].ids
    models = [new_image_model(config, divide(config)[0]) for config in (one, two)]
    assert models[0].config == models[1].config
    assert not all(
        torch.equal(a, b) for a, b in zip(models[0].parameters(), models[1].parameters(), strict=True)
    )


def test_a_model_of_latents_is_trained_from_the_files_of_latents(tmp_path: Path) -> None:
    from PIL import Image

    torch.manual_seed(0)
    vae = AutoencoderKL(in_channels=1, out_channels=1, down_block_types=["DownEncoderBlock2D"] * 2,
                        up_block_types=["UpDecoderBlock2D"] * 2, block_out_channels=[4, 4], norm_num_groups=2,
                        latent_channels=2)  # fmt: skip
    vae.save_pretrained(tmp_path / "vae")
    (tmp_path / "images").mkdir()
    for i in range(6):
        Image.new("L", (16, 16), 40 * i).save(tmp_path / "images" / f"{i}.png")
    changes = {"data": "folder", "source": str(tmp_path / "images"), "conditions": [], "vae": str(tmp_path / "vae"),
               "latents": str(tmp_path / "latents"), "batch_size": 2, "validate_samples": 2}  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WORLD_SIZE", "2")
        with pytest.raises(
            ImageError, match=r"are missing: encode them first, with kflow image latents CONFIG"
        ):
            ready(train_config(tmp_path / "run", **changes))
    header = read_header(train(tmp_path / "run", **changes))
    assert header["image_model"]["shape"] == [2, 8, 8]
    assert sorted(p.name for p in (tmp_path / "latents").iterdir()) == ["held-out", "train"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"data": "folder"}, "source = None does not fit data = 'folder': give the folder or name"),
        ({"source": "x"}, "an embedded set has none, set null"),
        ({"channels": 3}, "digits are greyscale: set channels: 1"),
        ({"vae": "x"}, "vae and latents belong together"),
        ({"conditions": ["colour"]}, "condition 'colour' is unknown to these images: they have class, ink"),
        ({"select": "ten"}, "class 'ten' is unknown to these images"),
        (
            {"net": "dit", "patch": 3, "hidden": 8, "heads": 2},
            "size 8 is not divisible by patch 3: sizes 6 or 9 are",
        ),
        ({"transform": "wavelet", "cut": "even", "shells": 5}, "size 8 cannot be halved 4 times: use 16"),
        ({"widths": [1.0, 1.0]}, "2 widths for 3 shells"),
        ({"sample_steps": 2}, "2 steps for 3 shells"),
    ],
)
def test_bad_settings_are_refused_before_the_first_step(
    tmp_path: Path, changes: dict[str, object], said: str
) -> None:
    with pytest.raises(KFlowError, match=said) as caught:
        train(tmp_path / "run", **changes)
    assert "\n" not in str(caught.value)


def test_a_key_with_a_slip_is_answered_with_the_right_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"unknown key 'overlapp': did you mean 'overlap'\?"):
        train_config(tmp_path, overlapp=0.5)
