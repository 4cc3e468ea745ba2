"""What is trained and how, as one yaml, complete and flat; see ``kflow_sci.settings``.

``FitConfig`` is what the training loop needs to know, ``ClusterConfig`` adds the clusters, ``TrainConfig`` K-Flow, and
``RivalConfig`` any learned rival, whose own settings are keys of the same file. The key ``method`` chooses one.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from kflow_sci.errors import ConfigError
from kflow_sci.settings import (
    Settings,
    make_config,
    nearest,
    plain,
    read_config,
    setting,
    write_config,
)

if TYPE_CHECKING:
    from kflow_sci.assembly.baselines.learned import Rival

__all__ = [
    "ClusterConfig",
    "FitConfig",
    "RivalConfig",
    "TrainConfig",
    "known_rival",
    "make_config",
    "nearest",
    "plain",
    "read_config",
    "setting",
    "write_config",
]


@dataclass(frozen=True, kw_only=True)
class FitConfig(Settings):
    """What the training loop needs, whatever is trained.

    Raises:
        ConfigError: A value of the wrong type, out of range, or at odds with another.
    """

    out: str = setting("run folder, relative to where the command is given")
    seed: int = setting("the one seed all random numbers follow from", low=0)
    batch_size: int = setting("training examples per step, over all processes together", low=1)
    steps: int = setting("optimizer steps", low=1)
    learning_rate: float = setting("peak of the learning rate", above=0.0)
    warmup_steps: int = setting("steps of linear warm-up; cosine to zero after them", low=0)
    weight_decay: float = setting("decoupled decay of matrices (biases and gains have none)", low=0.0)
    clip_norm: float = setting("largest norm of the gradient", above=0.0)
    ema_decay: float = setting("decay of the running mean of the weights", low=0.0, high=0.999999)
    precision: Literal["float32", "bfloat16"] = setting("bfloat16 is autocast; weights stay float32")
    log_every: int = setting("steps per row of metrics.csv", low=1)
    save_every: int = setting("steps between two saved states", low=1)
    validate_every: int = setting("steps between two validations", low=1)
    best_by: str = setting("the validation score that chooses best.safetensors")
    best_is: Literal["lowest", "highest"] = setting("whether a small or a large score is good")
    minutes: float | None = setting(
        "stop after this much time in training steps, if steps do not end first; null: no limit",
        above=0.0,
        default=None,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.warmup_steps > self.steps:
            raise ConfigError(
                f"warmup_steps = {self.warmup_steps} is more than steps = {self.steps}: lower it"
            )


@dataclass(frozen=True, kw_only=True)
class ClusterConfig(FitConfig):
    """What every model of clusters needs: its data, its split and its validation."""

    stores: tuple[str, ...] = setting("files that `kflow data build` wrote")
    split: str = setting("csv with the columns id and split (train, val, test, none)")
    computed: tuple[str, ...] = setting("files of `kflow data make-crystals`, all to train on", default=())
    computed_share: float = setting("share of the draws from them", low=0.0, high=1.0, default=0.0)
    copies_min: int = setting("molecules per training cluster, at least", low=2)
    copies_max: int = setting("molecules per training cluster, at most", low=2)
    validate_copies: int = setting("molecules per cluster in validation", low=2)
    validate_samples: int = setting("clusters sampled for each validation crystal", low=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.copies_min > self.copies_max:
            raise ConfigError(f"copies_min = {self.copies_min} is more than copies_max = {self.copies_max}")
        if not self.stores:
            raise ConfigError("stores is an empty list: give at least one entry")
        if bool(self.computed) != (self.computed_share > 0.0):
            raise ConfigError(
                f"computed_share = {self.computed_share:g} with {len(self.computed)} computed stores: "
                "give both, or neither"
            )


@dataclass(frozen=True, kw_only=True)
class TrainConfig(ClusterConfig):
    """What `kflow train` needs to train K-Flow; one shell is plain flow matching."""

    method: Literal["kflow"] = setting("what is trained", default="kflow")

    transform: Literal["graph", "pca"] = setting("where the shells come from")
    widths: tuple[float, ...] = setting(
        "flow time of each shell; one shell is plain flow matching", above=0.0
    )
    overlap: float = setting("of the shells' windows: 0 strict, 1 plain flow matching", low=0.0, high=1.0)
    mu: Literal["linear", "smoothstep", "cosine"] = setting("ramp of a shell inside its window")
    prediction: Literal["endpoint", "velocity"] = setting("what the net answers")
    weighting: Literal["uniform", "open", "balanced"] = setting("weight of each shell's error over flow time")
    rotation_weight: float = setting("weight of rotation errors against translation errors", low=0.0)

    hidden: int = setting("features of a molecule inside the net", low=1)
    layers: int = setting("rounds of messages", low=1)
    edge: int = setting("features of a message", low=1)
    neighbours: int = setting("molecules each molecule hears", low=1)
    contacts: int = setting("neighbours whose surfaces are looked at", low=1)

    steps_per_shell: tuple[int, ...] = setting("solver steps; one number per shell, or one for all", low=1)
    room_samples: int = setting(
        "samples per validation crystal that measure the room of the finished model; 0: it stays 1",
        low=0,
        default=0,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("widths", "steps_per_shell"):
            if not getattr(self, name):
                raise ConfigError(f"{name} is an empty list: give at least one entry")
        if len(self.steps_per_shell) not in (1, len(self.widths)):
            raise ConfigError(
                f"steps_per_shell has {len(self.steps_per_shell)} numbers for {len(self.widths)} shells (widths): "
                "give one per shell, or one for all"
            )


@dataclass(frozen=True, kw_only=True)
class RivalConfig(ClusterConfig):
    """What `kflow train` needs to train a learned rival; ``config_kind`` adds the settings of the rival itself."""

    method: str = setting("what is trained")
    starts: Literal["random", "data"] = setting("where clusters begin: drawn, or as the stores say")

    def __post_init__(self) -> None:
        super().__post_init__()
        known_rival(self.method)

    def rival_settings(self) -> Settings:
        """The part that belongs to the rival and stays with its weights."""
        kind = known_rival(self.method).settings_kind
        return kind(**{field.name: getattr(self, field.name) for field in dataclasses.fields(kind)})


def known_rival(method: str) -> type[Rival]:
    """The class of a rival.

    Raises:
        ConfigError: An unknown method.
    """
    from kflow_sci.assembly.baselines.learned import METHODS, rival_class

    if method not in METHODS:
        raise ConfigError(f"method = {method!r} is unknown: {nearest(str(method), [*METHODS])}")
    return rival_class(method)
