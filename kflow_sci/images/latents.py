"""Images as latents of an autoencoder, kept on disk.

The one idea: encoding is done once. Mean and spread of every latent lie in files of a thousand images with a checksum
each, written whole or not at all; what is there is not done again, so an interrupted run goes on where it was. Every
file names the autoencoder by the hash of its weights, and another one is refused.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from kflow_sci.checkpoint import load_checkpoint, read_header, save_checkpoint
from kflow_sci.errors import CheckpointError, ImageError
from kflow_sci.files import output_folder
from kflow_sci.images.data import ImageSet

SCALE = 0.18215
"""Factor that brings latents of Stable Diffusion's autoencoders to unit variance; the published value."""
PART = 1024

Advance = Callable[[int, int], None]
"""``(images done, images in all)``"""


class Autoencoder:
    """An ``AutoencoderKL`` of diffusers, with the scale of its latents.

    Args:
        vae: The module; it is put into evaluation mode.
        scale: What latents are multiplied with.
    """

    def __init__(self, vae: Any, scale: float = SCALE) -> None:
        self.vae = vae.eval().requires_grad_(False)
        self.scale = scale
        total = hashlib.sha256(f"{scale!r}".encode())
        for name, value in sorted(vae.state_dict().items()):
            total.update(name.encode())
            total.update(value.detach().float().cpu().contiguous().numpy().tobytes())
        self.fingerprint = total.hexdigest()

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return next(self.vae.parameters()).device

    @property
    def factor(self) -> int:
        """Pixels per latent along a side."""
        return int(2 ** (len(self.vae.config.block_out_channels) - 1))

    def shape(self, images: tuple[int, int, int]) -> tuple[int, int, int]:
        """Shape of the latents of images of a shape.

        Raises:
            ImageError: other channels than it knows, or sizes that it cannot halve so often.
        """
        channels, rows, columns = images
        if channels != self.vae.config.in_channels:
            raise ImageError(
                f"the autoencoder takes {self.vae.config.in_channels} channels, the images have {channels}: change "
                "channels"
            )
        for n in (rows, columns):
            if n % self.factor:
                below, above = n // self.factor * self.factor, -(-n // self.factor) * self.factor
                fit = f"{below} or {above}" if below else f"{above}"
                raise ImageError(f"size {n} is not divisible by the autoencoder's {self.factor}: use {fit}")
        return int(self.vae.config.latent_channels), rows // self.factor, columns // self.factor

    @torch.no_grad()
    def encode(
        self, images: Float[Tensor, "batch channels rows columns"]
    ) -> tuple[Float[Tensor, "batch ..."], Float[Tensor, "batch ..."]]:
        """Mean and standard deviation of the latents, scaled, on the CPU."""
        found = self.vae.encode(images.to(self.device)).latent_dist
        return (self.scale * found.mean).float().cpu(), (self.scale * found.std).float().cpu()

    @torch.no_grad()
    def decode(
        self, latents: Float[Tensor, "batch ..."], at_once: int = 8
    ) -> Float[Tensor, "batch channels rows columns"]:
        """Images of latents, on the CPU."""
        parts = [self.vae.decode(z.to(self.device) / self.scale).sample for z in latents.split(at_once)]
        return torch.cat([part.float().cpu() for part in parts])


def load_autoencoder(
    name: str | Path, scale: float = SCALE, device: str | torch.device = "cpu"
) -> Autoencoder:
    """An autoencoder from a local folder, or by its name on the hub (``stabilityai/sd-vae-ft-mse``).

    Raises:
        ImageError: diffusers is missing, or there is no such autoencoder and it cannot be fetched.
    """
    try:
        from diffusers import AutoencoderKL
    except ImportError as error:
        raise ImageError("latents need diffusers: pip install 'kflow_sci[images]'") from error
    try:
        vae = AutoencoderKL.from_pretrained(str(name), use_safetensors=True)
    except (OSError, ValueError) as error:
        first = (str(error).strip().splitlines() or ["no reason given"])[0]
        raise ImageError(
            f"autoencoder {name} is no local folder and cannot be fetched ({first}): download it and name its folder"
        ) from error
    return Autoencoder(vae.to(device), scale)


@dataclass(frozen=True)
class LatentImages:
    """Latents of a set; with a generator they are drawn from their distribution, without it they are its mean."""

    whole: ImageSet
    mean: Float[Tensor, "images channels rows columns"]
    spread: Float[Tensor, "images channels rows columns"]
    fingerprint: str

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, rows, columns of the latents."""
        _, channels, rows, columns = self.mean.shape
        return channels, rows, columns

    @property
    def ids(self) -> Sequence[str]:
        """Names of the images."""
        return self.whole.ids

    @property
    def conditions(self) -> dict[str, tuple[str, ...]]:
        """As of the images."""
        return self.whole.conditions

    @property
    def labels(self) -> Int[Tensor, "images conditions"]:
        """As of the images."""
        return self.whole.labels

    def digest(self) -> str:
        return hashlib.sha256(f"{self.whole.digest()} {self.fingerprint}".encode()).hexdigest()

    def read(self, index: Sequence[int], generator: torch.Generator | None = None) -> Tensor:
        mean = self.mean[list(index)].float()
        if generator is None:
            return mean
        return mean + self.spread[list(index)].float() * torch.randn(mean.shape, generator=generator)


def cached_latents(
    images: ImageSet,
    vae: Autoencoder,
    folder: str | Path,
    *,
    at_once: int = 16,
    make: bool = True,
    advance: Advance = lambda done, total: None,
) -> LatentImages:
    """Latents of a set, from the files in a folder; what is missing there is encoded and kept.

    They are held in memory in half precision: two bytes for each of mean and spread, 16 kB for an image of 256 × 256.

    Args:
        images: The set.
        vae: The autoencoder.
        folder: Of the files.
        at_once: Images encoded together.
        make: Encode what is missing; False to refuse instead.
        advance: Told how far it is.

    Raises:
        ImageError: the folder holds latents of another autoencoder or of other images, or a file that is
            damaged or missing.
        OutputError: the folder cannot be written.
    """
    shape, place, n = vae.shape(images.shape), output_folder(folder), len(images.ids)
    about = {"autoencoder": vae.fingerprint, "images": images.digest()}
    parts: list[tuple[Tensor, Tensor]] = []
    for number, first in enumerate(range(0, n, PART)):
        index = range(first, min(n, first + PART))
        file = place / f"latents-{number:05d}.safetensors"
        if not file.is_file() and not make:
            raise ImageError(
                f"latents {file} are missing: encode them first, with kflow image latents CONFIG"
            )
        if not file.is_file():
            _encode(images, vae, index, file, about, at_once)
        parts.append(_read(file, about, (len(index), *shape)))
        advance(index.stop, n)
    mean, spread = (torch.cat([part[i] for part in parts]) for i in (0, 1))
    return LatentImages(images, mean, spread, vae.fingerprint)


def _encode(
    images: ImageSet, vae: Autoencoder, index: range, file: Path, about: dict[str, str], at_once: int
) -> None:
    found = [vae.encode(images.read(index[i : i + at_once])) for i in range(0, len(index), at_once)]
    tensors = {
        "mean": torch.cat([mean for mean, _ in found]).half(),
        "spread": torch.cat([spread for _, spread in found]).half(),
    }
    if not all(bool(torch.isfinite(value).all()) for value in tensors.values()):
        raise ImageError(
            f"the autoencoder gives latents that are not finite for images {index.start} … {index.stop - 1}"
        )
    save_checkpoint(file, tensors, {**about, "kind": "latents", "sha256": _sum(tensors)})


def _read(file: Path, about: dict[str, str], shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    try:
        header = read_header(file)
        for key, what in (("autoencoder", "of another autoencoder"), ("images", "of other images")):
            if header.get(key) != about[key]:
                raise ImageError(
                    f"{file} holds latents {what}: choose another latents folder, or remove this one"
                )
        tensors, _ = load_checkpoint(file)
    except CheckpointError as error:
        raise ImageError(f"latents {file} are damaged: remove this file, and it is made again") from error
    if header["sha256"] != _sum(tensors) or tensors["mean"].shape != shape:
        raise ImageError(f"latents {file} do not have their checksum: remove this file, and it is made again")
    return tensors["mean"], tensors["spread"]


def _sum(tensors: dict[str, Tensor]) -> str:
    total = hashlib.sha256()
    for name in sorted(tensors):
        total.update(tensors[name].contiguous().view(torch.uint8).numpy().tobytes())
    return total.hexdigest()
