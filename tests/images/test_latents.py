"""Latents: encoded once, checked, and never mixed up."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL

from kflow_sci.errors import ImageError
from kflow_sci.images.data import MemoryImages
from kflow_sci.images.latents import Autoencoder, cached_latents, load_autoencoder


def tiny(seed: int = 0) -> AutoencoderKL:
    torch.manual_seed(seed)
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=["DownEncoderBlock2D"] * 2,
        up_block_types=["UpDecoderBlock2D"] * 2,
        block_out_channels=[4, 4],
        norm_num_groups=2,
        latent_channels=2,
    )


def images(n: int = 3, size: int = 8) -> MemoryImages:
    pixels = torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(1)) * 2 - 1
    return MemoryImages(pixels, [str(i) for i in range(n)], {}, torch.zeros(n, 0).long())


def test_latents_are_those_of_diffusers_times_the_scale(tmp_path: Path) -> None:
    vae, data = tiny(), images()
    cache = cached_latents(data, Autoencoder(vae, 0.5), tmp_path)
    with torch.no_grad():
        wanted = vae.encode(data.images).latent_dist
    assert cache.shape == (2, 4, 4)
    assert torch.allclose(cache.read([0, 1, 2]), 0.5 * wanted.mean, atol=2e-3)  # kept in half precision
    draws = torch.stack([cache.read([0], torch.Generator().manual_seed(i))[0] for i in range(200)])
    assert torch.allclose(draws.std(0), 0.5 * wanted.std[0], rtol=0.35)


def test_decoding_undoes_the_scale() -> None:
    vae = tiny()
    z = torch.randn(2, 2, 4, 4)
    with torch.no_grad():
        wanted = vae.decode(z).sample
    assert torch.allclose(Autoencoder(vae, 0.5).decode(0.5 * z), wanted, atol=1e-5)


def test_an_interrupted_encoding_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kflow_sci.images.latents.PART", 2)
    vae, data = Autoencoder(tiny()), images(5)
    seen: list[tuple[int, int]] = []
    whole = cached_latents(data, vae, tmp_path, advance=lambda done, total: seen.append((done, total)))
    assert seen == [(2, 5), (4, 5), (5, 5)]
    first = tmp_path / "latents-00000.safetensors"
    stamp = first.stat().st_mtime_ns
    (tmp_path / "latents-00002.safetensors").unlink()
    with pytest.raises(ImageError, match=r"are missing: encode them first, with kflow image latents"):
        cached_latents(data, vae, tmp_path, make=False)
    again = cached_latents(data, vae, tmp_path)
    assert torch.equal(again.mean, whole.mean) and first.stat().st_mtime_ns == stamp


def test_latents_of_another_autoencoder_or_of_other_images_are_refused(tmp_path: Path) -> None:
    cached_latents(images(), Autoencoder(tiny()), tmp_path)
    for vae in (Autoencoder(tiny(1)), Autoencoder(tiny(), 0.3)):
        with pytest.raises(
            ImageError, match=r"holds latents of another autoencoder: choose another latents folder"
        ):
            cached_latents(images(), vae, tmp_path)
    with pytest.raises(ImageError, match=r"holds latents of other images"):
        cached_latents(images(2), Autoencoder(tiny()), tmp_path)


def test_a_damaged_file_of_latents_is_named(tmp_path: Path) -> None:
    cached_latents(images(), Autoencoder(tiny()), tmp_path)
    file = tmp_path / "latents-00000.safetensors"
    data = file.read_bytes()
    file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(ImageError, match=r"do not have their checksum: remove this file"):
        cached_latents(images(), Autoencoder(tiny()), tmp_path)
    file.write_bytes(data[:-9])
    with pytest.raises(ImageError, match=r"are damaged: remove this file"):
        cached_latents(images(), Autoencoder(tiny()), tmp_path)


def test_sizes_that_the_autoencoder_cannot_halve_are_told_with_those_that_fit() -> None:
    vae = Autoencoder(tiny())
    with pytest.raises(ImageError, match=r"size 9 is not divisible by the autoencoder's 2: use 8 or 10"):
        vae.shape((3, 9, 8))
    with pytest.raises(ImageError, match=r"takes 3 channels, the images have 1"):
        vae.shape((1, 8, 8))


def test_an_autoencoder_is_loaded_from_a_folder_and_a_missing_one_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vae = tiny()
    vae.save_pretrained(tmp_path / "vae")
    assert load_autoencoder(tmp_path / "vae", 0.5).fingerprint == Autoencoder(vae, 0.5).fingerprint
    with pytest.raises(ImageError, match=r"nowhere is no local folder and cannot be fetched"):
        load_autoencoder(tmp_path / "nowhere")
