"""Where training meets images: a config in, a trained image model out.

The one idea: an epoch is a permutation that follows from the seed and its number, so a step knows its images from its
own number; the images held out follow from a seed of their own, so that runs with other seeds are measured on the same.
"""

from __future__ import annotations

import copy
import hashlib
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from kflow_sci.errors import ConfigError, ImageError
from kflow_sci.images.config import ImageConfig
from kflow_sci.images.data import (
    EMBEDDED,
    Conditioned,
    ImageSet,
    WithMirrors,
    embedded,
    hold_out,
    only,
    read_all,
)
from kflow_sci.images.folder import open_folder
from kflow_sci.images.hub import open_hub
from kflow_sci.images.latents import Advance, Autoencoder, cached_latents, load_autoencoder
from kflow_sci.images.model import ImageBatch, ImageModel
from kflow_sci.images.shells import ImageShells, fit_shells, shell_variance, shell_widths
from kflow_sci.images.start import begin_from
from kflow_sci.settings import setting
from kflow_sci.training.adapters import add_lora, merged_weights, trained_share
from kflow_sci.training.config import FitConfig
from kflow_sci.training.module import FitResult, fit
from kflow_sci.training.order import part_size, seeds_of_step
from kflow_sci.transforms.pca import PCATransform

# Images that shells and their energies are found from: at most so many, and so many numbers.
_MEASURED, _NUMBERS = 4096, 2**27


@dataclass(frozen=True, kw_only=True)
class ImageTrainConfig(FitConfig):
    """What `kflow image train` needs; overlap 1 is plain flow matching.

    Raises:
        ConfigError: A value of the wrong type, out of range, or at odds with another.
    """

    data: Literal["digits", "faces", "folder", "hub"] = setting(
        "an embedded set, a folder, or a set of the hub"
    )
    source: str | None = setting("the folder, or the name on the hub; null for embedded sets")
    select: str | None = setting("only images of this class; null for all")
    size: int | None = setting("rows and columns all images are brought to; null: as they are", low=2)
    channels: Literal[1, 3] = setting("1 greyscale, 3 colour")
    other_modes: Literal["refuse", "convert"] = setting("images with alpha, 16 bits, other channels, frames")
    mirrors: bool = setting("train on mirror images too")
    conditions: tuple[str, ...] = setting("what the net is told, columns of the data; empty: nothing")
    held_out: float = setting("share of the images that is never trained on", above=0.0, high=0.9)
    split_seed: int = setting("seed of the held-out images; equal for runs to be compared", low=0)
    vae: str | None = setting("folder or hub name of an AutoencoderKL; null: pixels")
    vae_scale: float = setting("factor that brings its latents to unit variance", above=0.0)
    latents: str | None = setting("folder where latents are kept; null for pixels")

    transform: Literal["fourier", "wavelet", "pca"] = setting("where the shells come from")
    shells: int | tuple[float, ...] | Literal["unit"] = setting(
        "a number; unit rings; or where shells begin (|k|, or first modes)", above=0.0
    )
    cut: Literal["even", "energy"] = setting("how a number of shells is shared out")
    rank: int | None = setting("modes of pca to keep; null: all", low=1)
    wavelet: str = setting("name of an orthogonal wavelet: haar, db6, …")
    widths: tuple[float, ...] | Literal["equal", "energy", "amplitude", "dimension"] = setting(
        "flow time of each shell, or a rule", above=0.0
    )
    overlap: float = setting("of the shells' windows: 0 strict, 1 plain flow matching", low=0.0, high=1.0)
    mu: Literal["linear", "smoothstep", "cosine"] = setting("ramp of a shell inside its window")
    prediction: Literal["endpoint", "velocity", "residual"] = setting("what the net is asked for")
    weighting: Literal["uniform", "open", "balanced"] = setting("weight of each shell's error over flow time")
    condition_drop: float = setting("how often a condition is not told in training", low=0.0, high=1.0)

    net: Literal["dit", "unet", "conv", "mlp"] = setting("the network")
    patch: int = setting("rows and columns of a patch of a dit or conv; 1 for other nets", low=1)
    hidden: int = setting("features of the net", low=4)
    layers: int = setting("blocks of the net; levels of a unet", low=1)
    heads: int = setting("attention heads; 1 for conv and mlp", low=1)
    compiled: bool = setting("torch.compile the net for training")

    sample_steps: int = setting("solver steps, all shells together", low=1)
    step_shares: tuple[float, ...] | Literal["equal", "widths"] = setting(
        "how steps are shared among shells", low=0.0
    )
    method: Literal["shell", "shell_midpoint", "euler", "midpoint", "heun", "rk4"] = setting("solver")
    validate_samples: int = setting("held-out images, and samples, per validation", low=2)

    packing: str | None = setting(
        "wavelet whose coefficients the net works on, at half the resolution; null: pixels", default=None
    )
    start_from: str | None = setting(
        "weights to begin with, e.g. of plain flow matching; null: new ones", default=None
    )
    lora_rank: int | None = setting(
        "rank of what is trained beside the weights of start_from; null: all weights are trained",
        low=1,
        default=None,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.source is None) != (self.data in EMBEDDED):
            what = "give the folder or name" if self.source is None else "an embedded set has none, set null"
            raise ConfigError(f"source = {self.source!r} does not fit data = '{self.data}': {what}")
        if self.channels != 1 and self.data in EMBEDDED:
            raise ConfigError(f"channels = {self.channels}, but {self.data} are greyscale: set channels: 1")
        if (self.vae is None) != (self.latents is None):
            raise ConfigError("vae and latents belong together: give both, or null for both")
        if self.lora_rank is not None and self.start_from is None:
            raise ConfigError(
                f"lora_rank = {self.lora_rank}, but start_from is null: give the weights that are adapted"
            )


def open_images(config: ImageTrainConfig) -> ImageSet:
    """The images that a config names, before anything is held out.

    Raises:
        ImageError: See ``images.data``, ``images.folder`` and ``images.hub``.
    """
    images: ImageSet
    if config.data == "folder":
        images = open_folder(
            config.source or "", config.channels, config.size, other_modes=config.other_modes
        )
    elif config.data == "hub":
        images = open_hub(config.source or "", config.channels, config.size, other_modes=config.other_modes)
    else:
        images = embedded(config.data, config.size)
    if config.select is not None:
        images = only(images, "class", config.select)
    return Conditioned(images, config.conditions)


def divide(config: ImageTrainConfig) -> tuple[ImageSet, ImageSet]:
    """The images to train on (with their mirror images, if asked for) and those held out, as pixels.

    Raises:
        ImageError: As ``open_images``; too few images to hold some out.
    """
    train, held = hold_out(open_images(config), config.held_out, config.split_seed)
    return (WithMirrors(train) if config.mirrors else train), held


def ready(
    config: ImageTrainConfig, *, device: str = "auto", advance: Advance = lambda done, total: None
) -> tuple[ImageSet, ImageSet]:
    """Both parts as what flows: the pixels themselves, or latents, encoded where that is not done yet.

    One of several processes (``torchrun``) encodes nothing, since all would do the same.

    Args:
        config: Of the training.
        device: Where images are encoded; ``auto`` is the first CUDA device, if there is one.
        advance: Told how many images have latents.

    Raises:
        ImageError: As ``divide`` and ``images.latents``.
    """
    train, held = divide(config)
    if config.vae is None or config.latents is None:
        return train, held
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    alone = int(os.environ.get("WORLD_SIZE", "1")) == 1
    vae = load_autoencoder(config.vae, config.vae_scale, device if alone else "cpu")
    n, m = len(train.ids), len(held.ids)
    places = Path(config.latents)
    return (
        cached_latents(
            train, vae, places / "train", make=alone, advance=lambda done, _: advance(done, n + m)
        ),
        cached_latents(
            held, vae, places / "held-out", make=alone, advance=lambda done, _: advance(n + done, n + m)
        ),
    )


def autoencoder_of(
    settings: Mapping[str, object], device: str = "cpu", vae: str | None = None
) -> Autoencoder | None:
    """The autoencoder that a trained model needs; None where it works on pixels.

    Args:
        settings: Of its training, from the header of the weights.
        device: Where it is to work.
        vae: Where it lies now, if elsewhere than in training.

    Raises:
        ImageError: It cannot be loaded, or one was named for a model of pixels.
    """
    if settings.get("vae") is None:
        if vae is not None:
            raise ImageError("this model works on pixels: leave the autoencoder out")
        return None
    return load_autoencoder(vae or str(settings["vae"]), float(str(settings["vae_scale"])), device)


def new_image_model(config: ImageTrainConfig, train: ImageSet) -> ImageModel:
    """An untrained model: shells and windows follow from the training images, the first weights from the seed.

    Raises:
        ConfigError, TransformError, ScheduleError: Settings that do not fit the images or each other.
    """
    most = max(2, min(_MEASURED, _NUMBERS // math.prod(train.shape)))
    chosen = np.random.default_rng(config.split_seed).permutation(len(train.ids))[:most]
    images = read_all(train, chosen.tolist())
    wanted = ImageShells(config.transform, config.shells, config.wavelet)
    shells, transform = fit_shells(wanted, images, config.cut, config.rank)
    energy, variance = shell_variance(transform, images)
    widths = shell_widths(config.widths, transform, energy)
    shares = config.step_shares
    if isinstance(shares, str):
        shares = widths if shares == "widths" else ()
    about = ImageConfig(
        shape=train.shape,
        conditions=dict(train.conditions),
        transform=shells.transform,
        shells=shells.shells,
        wavelet=shells.wavelet,
        widths=widths,
        overlap=config.overlap,
        mu=config.mu,
        prediction=config.prediction,
        weighting=config.weighting,
        variance=variance,
        drop=config.condition_drop,
        net=config.net,
        patch=config.patch,
        hidden=config.hidden,
        layers=config.layers,
        heads=config.heads,
        steps=config.sample_steps,
        step_shares=shares,
        method=config.method,
        packing=config.packing,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return ImageModel(about, transform if isinstance(transform, PCATransform) else None)


def train_images(
    config: ImageTrainConfig,
    data: tuple[ImageSet, ImageSet] | None = None,
    *,
    device: str = "auto",
    start: Literal["auto", "resume", "fresh"] = "auto",
    show: bool = True,
) -> FitResult:
    """Train an image model as a config says, in the folder ``config.out``; see ``module.fit``.

    Args:
        config: What is trained and how.
        data: What ``ready`` gave for this config; found if None.
        device: See ``module.fit``.
        start: See ``module.fit``.
        show: See ``module.fit``.

    Raises:
        KFlowError: See ``ready``, ``new_image_model``, ``begin_from``, ``add_lora`` and ``module.fit``.
    """
    train, held = ready(config, device=device) if data is None else data
    model = new_image_model(config, train)
    if config.start_from is not None:
        begin_from(model, config.start_from)
    if config.lora_rank is not None:
        add_lora(model.net, config.lora_rank, config.seed)
    if config.compiled:
        model.net.compile()
    measured = Measured(held, config)
    n, names = len(train.ids), train.ids
    labels = train.labels

    def batches(step: int, rank: int, world_size: int) -> ImageBatch:
        first = step * config.batch_size + rank
        count = part_size(config.batch_size, rank, world_size)
        index = [
            _image(config.seed, place, n) for place in range(first, first + count * world_size, world_size)
        ]
        generator = torch.Generator().manual_seed(seeds_of_step(config.seed, step, rank)[0])
        return ImageBatch(tuple(names[i] for i in index), train.read(index, generator), labels[index])

    header = {
        "image_model": model.config_dict(),
        "data_hash": hashlib.sha256(f"{train.digest()} {held.digest()}".encode()).hexdigest(),
        "data": {"train": n, "held_out": len(held.ids)},
    }
    if config.start_from is not None:
        trained, of = trained_share(model.net)
        digest = hashlib.sha256(Path(config.start_from).read_bytes()).hexdigest()
        header["started_from"] = {"sha256": digest, "trained": trained, "of": of}
    ship = torch.nn.Module.state_dict if config.lora_rank is None else merged_weights
    return fit(config, model, batches, measured, config.out, header=header, device=device, start=start,
               unit="images", show=show, ship=ship)  # fmt: skip


class Measured:
    """Scores on held-out images: the training loss with fixed noise, and how far the spectrum of samples is off.

    ``spectrum`` is the mean over shells of ``|ln E(samples) / E(held out)|``.

    Args:
        held: The images held out.
        config: Of the training.
    """

    def __init__(self, held: ImageSet, config: ImageTrainConfig) -> None:
        index = range(min(len(held.ids), config.validate_samples))
        ids = held.ids
        self.batch = ImageBatch(tuple(ids[i] for i in index), held.read(index), held.labels[list(index)])
        self.seed, self.at_once = config.split_seed, config.batch_size

    @torch.no_grad()
    def __call__(self, model: ImageModel, step: int) -> dict[str, float]:
        # A copy, because the net of the running mean may be compiled for other sizes.
        model = copy.deepcopy(model).eval()
        generator = torch.Generator().manual_seed(self.seed)
        total, n = 0.0, len(self.batch.ids)
        energy = torch.zeros(2, model.schedule.n_shells)
        transform = model.path().transform
        for first in range(0, n, self.at_once):
            part = slice(first, min(n, first + self.at_once))
            x, condition = self.batch.x[part].to(model.device), self.batch.condition[part].to(model.device)
            total += float(
                model.loss(ImageBatch(self.batch.ids[part], x, condition), generator)["loss"]
            ) * len(x)
            told = dict(zip(model.config.conditions, condition.unbind(1), strict=True))
            drawn = model.sample(len(x), generator, plan=[(0.0, told)]).x
            energy += torch.stack([transform.energy(one).sum(0).cpu() for one in (drawn, x)])
        off = energy.clamp(min=torch.finfo(energy.dtype).tiny).log()
        return {"loss": total / n, "spectrum": float((off[0] - off[1]).abs().mean())}


def _image(seed: int, place: int, n: int) -> int:
    """The image at a place of the endless row of epochs."""
    return int(_epoch(seed, place // n, n)[place % n])


@lru_cache(maxsize=4)
def _epoch(seed: int, epoch: int, n: int) -> np.ndarray:
    return np.random.default_rng((seed, epoch)).permutation(n)
