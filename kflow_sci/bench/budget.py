"""What every learned method may spend on training.

The one idea: the same for all, in time (the fair measure where nets differ in cost) or in steps (for smoke and for
runs that repeat to the bit).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from kflow_sci.errors import ConfigError

NAMED = {"cpu-5m": (5.0, "cpu"), "cpu-1h": (60.0, "cpu"), "gpu-1h": (60.0, "cuda"), "full": (None, "auto")}
ENDLESS = 10**9  # steps that no budget in time ever reaches


@dataclass(frozen=True)
class Budget:
    """A limit on training.

    Attributes:
        label: For the table.
        device: Where it is spent, unless the user says otherwise.
        minutes: Time in training steps; None for no such limit.
        steps: Optimizer steps; None for no such limit, or for those of the config if there is no other.
    """

    label: str
    device: str
    minutes: float | None = None
    steps: int | None = None

    def steps_of(self, config_steps: int) -> int:
        """The number of steps that training is told."""
        if self.steps is not None:
            return self.steps
        return config_steps if self.minutes is None else ENDLESS


def read_budget(text: str | None, steps: int | None = None) -> Budget:
    """The budget of a word, a number of minutes, or a number of steps.

    Args:
        text: One of ``NAMED`` or a number of minutes; None for ``cpu-5m``.
        steps: Steps instead of a time.

    Raises:
        ConfigError: Both are given, or neither a known word nor a positive number.
    """
    if steps is not None:
        if text is not None:
            raise ConfigError(f"--budget {text} and --steps {steps} are both given: choose one")
        if steps < 1:
            raise ConfigError(f"--steps is {steps}, but training needs at least 1")
        return Budget(f"{steps} steps", "auto", steps=steps)
    text = "cpu-5m" if text is None else text.strip()
    if text in NAMED:
        minutes, device = NAMED[text]
        return Budget(text, device, minutes)
    try:
        minutes = float(text)
    except ValueError:
        minutes = math.nan
    if not 0.0 < minutes < math.inf:
        raise ConfigError(
            f"--budget = '{text}' is no budget: give {', '.join(NAMED)}, or a positive number of minutes"
        )
    return Budget(f"{minutes:g} min", "auto", minutes)
