"""What an image model is, but for its weights.

The one idea: plain values that can be written as json beside the weights, so that a model is made again without code or
data.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any

from kflow_sci.errors import ConfigError
from kflow_sci.flow.solve import METHODS

PREDICTIONS = ("endpoint", "velocity", "residual")


@dataclass(frozen=True)
class ImageConfig:
    """All that defines an image model but its weights; plain, so that it can be written as json.

    Attributes:
        shape: Channels, rows, columns of what flows.
        conditions: Name of each condition and the names of its values.
        transform: See ``images.shells``.
        shells: See ``images.shells``.
        wavelet: Name of the wavelet.
        widths: Flow time of each shell.
        overlap: 0 strict … 1 plain flow matching.
        mu: Ramp inside a window.
        prediction: ``endpoint``, ``velocity`` (the net answers the displacement x₁ − x₀, whose size does not depend on
            the windows; the velocity is ``S(α′)`` of it) or ``residual`` (``flow.residual``).
        weighting: See ``flow.objective.shell_weights``.
        variance: Mean square of a coefficient of the data in each shell; for ``residual``.
        drop: How often a condition is not told in training, each for itself.
        net: ``dit``, ``unet`` or ``mlp``; see ``images.networks``.
        patch: Of a ``dit``; 1 for the others.
        hidden: Features of the net; of a ``unet``, of its finest level.
        layers: Blocks of the net; of a ``unet``, its levels.
        heads: Attention heads of a ``dit`` or ``unet``.
        steps: Default steps of the sampler, all shells together.
        step_shares: How the steps are shared among the shells; empty for equal shares.
        method: Default solver, see ``flow.solve``.
        packing: Wavelet on whose coefficients the net works, see ``nets.packed``; None for pixels.
    """

    shape: tuple[int, int, int]
    conditions: dict[str, tuple[str, ...]]
    transform: str
    shells: str | int | tuple[float, ...]
    wavelet: str
    widths: tuple[float, ...]
    overlap: float
    mu: str
    prediction: str
    weighting: str
    variance: tuple[float, ...]
    drop: float
    net: str
    patch: int
    hidden: int
    layers: int
    heads: int
    steps: int
    step_shares: tuple[float, ...]
    method: str
    packing: str | None = None

    def __post_init__(self) -> None:
        if self.prediction not in PREDICTIONS:
            raise ConfigError(f"prediction '{self.prediction}' is unknown: choose {', '.join(PREDICTIONS)}")
        if self.method not in METHODS:
            raise ConfigError(f"method '{self.method}' is unknown: choose {', '.join(METHODS)}")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ImageConfig:
        """Back from json.

        Raises:
            ConfigError: Settings that are missing or unknown.
        """
        # What is younger than the first weights has a default: what was done before it existed.
        younger = {f.name for f in fields(cls) if f.default is not MISSING}
        odd = sorted((set(values) ^ {f.name for f in fields(cls)}) - (younger - set(values)))
        if odd:
            raise ConfigError(
                f"model settings {odd} do not fit: these weights need another version of kflow_sci"
            )
        plain: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        plain["conditions"] = {name: tuple(known) for name, known in values["conditions"].items()}
        return cls(**plain)
