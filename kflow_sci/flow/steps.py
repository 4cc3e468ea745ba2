"""Where the steps of a solver fall.

The one idea: a step must never straddle an edge of a window, so the intervals between edges share the steps, each at
least one, in proportion to what the shells asked for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor


def deal(shares: Sequence[float], total: int) -> list[int]:
    """Whole numbers >= 1 near the shares, by largest remainder.

    Args:
        shares: What each place would get if steps could be cut.
        total: Sum of the result, or the number of shares, if that is more.

    Example:
        >>> deal([2.6, 0.2, 3.2], 6)
        [2, 1, 3]
    """
    counts = [max(1, math.floor(x + 1e-9)) for x in shares]
    # What rounding lost or the minimum of one added is settled where it hurts least.
    while sum(counts) < total:
        counts[max(range(len(counts)), key=lambda i: shares[i] - counts[i])] += 1
    while sum(counts) > total and max(counts) > 1:
        counts[
            max((i for i in range(len(counts)) if counts[i] > 1), key=lambda i: counts[i] - shares[i])
        ] -= 1
    return counts


def step_times(
    edges: Sequence[float], windows: Sequence[tuple[float, float]], steps: Sequence[int]
) -> Float[Tensor, " times"]:
    """Step times that contain every edge, in float64.

    Args:
        edges: Edges of all windows in rising order.
        windows: Window of each shell.
        steps: Steps of each shell, spread evenly over its window.

    Example:
        >>> step_times((0.0, 0.25, 1.0), ((0.0, 0.25), (0.25, 1.0)), [1, 3]).tolist()
        [0.0, 0.25, 0.5, 0.75, 1.0]
    """
    spans = list(pairwise(edges))
    shares = [
        sum(n * max(0.0, min(hi, b) - max(lo, a)) / (b - a) for n, (a, b) in zip(steps, windows, strict=True))
        for lo, hi in spans
    ]
    counts = deal(shares, sum(steps))
    times = [
        torch.linspace(lo, hi, n + 1, dtype=torch.float64)[:-1]
        for (lo, hi), n in zip(spans, counts, strict=True)
    ]
    return torch.cat([*times, torch.tensor([edges[-1]], dtype=torch.float64)])
