"""A number measured on a finite set of images, with its standard error.

The one idea: every score here is a smooth function of averages over images, so each image has an *influence*: by how
much the number would move, times the number of images, had this one weighed a little more. The scatter of the
influences is the error of the number, in one pass and without resampling. It says how far the number would move with
other images, not by how much few images bias it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

WIDTH = 1.959963984540054  # standard errors to either side of a 95 % interval


@dataclass(frozen=True)
class Estimate:
    """A number and how far it would move with other images.

    Attributes:
        value: The number.
        error: Its standard error; NaN where there is none.
        least: What the number cannot be below.
        most: What it cannot be above.
    """

    value: float
    error: float = math.nan
    least: float = field(default=-math.inf, repr=False)
    most: float = field(default=math.inf, repr=False)

    @property
    def low(self) -> float:
        """Lower end of the 95 % interval."""
        return max(self.value - WIDTH * self.error, self.least) if math.isfinite(self.error) else math.nan

    @property
    def high(self) -> float:
        """Upper end."""
        return min(self.value + WIDTH * self.error, self.most) if math.isfinite(self.error) else math.nan


def standard_error(*influences: Float[np.ndarray, " images"]) -> float:
    """Standard error of a number from the influences of the images of each independent set behind it.

    Source:
        The infinitesimal jackknife; Efron and Stein, Ann. Statist. 9 (1981) 586.

    Example:
        >>> standard_error(np.array([-1.0, 1.0, -1.0, 1.0]))  # of a mean: √(4/3 / 4)
        0.5773502691896257
    """
    return math.sqrt(sum(float(np.var(part, ddof=1)) / len(part) for part in influences))


def share(hits: int, n: int) -> Estimate:
    """A share of n images, with the error of a binomial; at shares of 0 and 1 that of one hit or miss more.

    Example:
        >>> share(50, 100)
        Estimate(value=0.5, error=0.05)
    """
    inside = min(max(hits, 1), max(n - 1, 1)) / n
    return Estimate(hits / n, math.sqrt(inside * (1.0 - inside) / n), least=0.0, most=1.0)
