"""What is told over which scales: several conditions, each on shells of its own.

The one idea: a condition with a range of scales is a *telling*; any number of them make one plan for ``ByScale``, in
which the conditions change at the ends of the ranges and nowhere else.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from kflow_sci.errors import ImageError


class Telling(NamedTuple):
    """A condition told from one scale to another.

    Attributes:
        name: Of the condition.
        value: Its value, by name.
        first: Scale k from which on it is told.
        last: Scale k up to which it is told; None for to the end.
    """

    name: str
    value: str
    first: float = 0.0
    last: float | None = None


def read_telling(text: str) -> Telling:
    """A telling from ``name=value``, ``name=value@k`` (from scale k on) or ``name=value@k-l`` (from k to l).

    Raises:
        ImageError: Another form.

    Example:
        >>> read_telling("class=7@0-2"), read_telling("ink=thin@2").last
        (Telling(name='class', value='7', first=0.0, last=2.0), None)
    """
    number = r"\d+\.?\d*|\.\d+"
    found = re.fullmatch(rf"([^=@]+)=([^@]+)(?:@({number})(?:-({number}))?)?", text.strip())
    if found is None:
        raise ImageError(f"'{text}' tells nothing: write name=value, or name=value@k-l for scales k to l")
    name, value, first, last = found.groups()
    return Telling(name.strip(), value.strip(), float(first or 0.0), None if last is None else float(last))


def plan_of(tellings: Sequence[Telling], n_shells: int) -> list[tuple[float, dict[str, str]]]:
    """The plan of several tellings, for ``ImageModel.sample``.

    Args:
        tellings: In any order; where two tell the same condition, the ranges must not overlap.
        n_shells: Number of shells K.

    Raises:
        ImageError: a range outside [0, K] or empty, or a condition told twice at one scale.

    Example:
        >>> plan_of([Telling("class", "7", 0, 2), Telling("ink", "thin", 1)], 4)
        [(0.0, {'class': '7'}), (1.0, {'class': '7', 'ink': 'thin'}), (2.0, {'ink': 'thin'})]
    """
    ranges = [(t, t.first, float(n_shells) if t.last is None else t.last) for t in tellings]
    for telling, first, last in ranges:
        if not 0.0 <= first < last <= n_shells:
            raise ImageError(
                f"{telling.name} is told from scale {first:g} to {last:g}, but scales are 0 … {n_shells} and must rise"
            )
    changes = sorted({0.0, *(e for _, first, last in ranges for e in (first, last) if e < n_shells)})
    plan = []
    for k in changes:
        told: dict[str, str] = {}
        for telling, first, last in ranges:
            if first <= k < last:
                if telling.name in told:
                    raise ImageError(
                        f"{telling.name} is told twice at scale {k:g}: let the ranges not overlap"
                    )
                told[telling.name] = telling.value
        plan.append((float(k), told))
    return plan
