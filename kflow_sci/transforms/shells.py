"""Cutting ordered modes into shells.

The one idea: a shell must be a thing of the data, not of the eigenvectors that a solver happened to return. Modes of
equal value span one space in which any basis is as good as another, so such a space is never split: it joins the shell
of its first mode whole. Then projectors, and all that is made of them, follow any relabelling of the nodes.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from kflow_sci.errors import TransformError

CUTS = ("count", "gap")

# Eigenvalues closer than this share of the largest count as one space. Rounding turns a projector by about the machine
# precision over the gap at its edge, so the bound also limits that error: 1e-9 in double precision.
RESOLUTION = {torch.float64: 1e-6, torch.float32: 1e-5}


def cut_shells(
    values: Float[Tensor, "batch modes"],
    valid: Int[Tensor, " batch"],
    n_shells: int,
    cut: str | Sequence[float] = "count",
    *,
    tolerance: float = 1e-6,
) -> Int[Tensor, "batch modes"]:
    """Shells of ordered modes by the rule that ``cut`` names, or by given edges.

    Args:
        values: As in ``shells_by_count``.
        valid: As in ``shells_by_count``.
        n_shells: Number of shells K >= 1.
        cut: ``count``, ``gap``, or the K−1 inner edges for ``shells_by_edges``.
        tolerance: As in ``shells_by_count``.

    Raises:
        TransformError: unknown rule, or a number of edges that is not K−1.

    Example:
        >>> values = torch.tensor([[0.0, 1.0, 5.0, 6.0]])
        >>> cut_shells(values, torch.tensor([4]), 2, "gap").tolist()
        [[0, 0, 1, 1]]
    """
    if isinstance(cut, str):
        if cut not in CUTS:
            raise TransformError(
                f"shell rule '{cut}' is unknown: choose {', '.join(CUTS)}, or give the inner edges"
            )
        by = shells_by_count if cut == "count" else shells_by_gap
        return by(values, valid, n_shells, tolerance=tolerance)
    edges = check_edges(cut)
    if len(edges) + 1 != n_shells:
        raise TransformError(
            f"{len(edges)} inner edges make {len(edges) + 1} shells, not {n_shells}: make them fit"
        )
    return shells_by_edges(values, valid, edges, tolerance=tolerance)


def shells_by_count(
    values: Float[Tensor, "batch modes"],
    valid: Int[Tensor, " batch"],
    n_shells: int,
    *,
    tolerance: float = 1e-6,
) -> Int[Tensor, "batch modes"]:
    """Shells of nearly equal count.

    Mode m of v belongs to shell ``⌊m K / v⌋``; modes whose values differ by less than ``tolerance`` times the largest
    value form one degenerate space, and the whole space joins the shell of its first mode.

    Args:
        values: The quantity the modes are ordered by, sorted along the last axis (either direction).
        valid: Number of real (not padding) modes of each sample; they come first.
        n_shells: Number of shells K >= 1.
        tolerance: Relative width under which two values count as equal.

    Returns:
        The shell of each mode; padding gets shell 0.

    Raises:
        TransformError: ``n_shells`` below 1.

    Example:
        >>> values = torch.tensor([[0.0, 1.0, 2.0, 2.0, 2.0, 5.0]])
        >>> shells_by_count(values, torch.tensor([6]), 3).tolist()  # the space of three 2.0 stays whole
        [[0, 0, 1, 1, 1, 2]]
    """
    _check_number(n_shells)
    modes = torch.arange(values.shape[1], device=values.device).expand(values.shape)
    real = modes < valid[:, None]
    by_count = (modes * n_shells) // valid[:, None].clamp(min=1)
    first = torch.where(_opens(values, real, tolerance), modes, torch.zeros_like(modes)).cummax(dim=1).values
    return by_count.gather(1, first).masked_fill(~real, 0)


def shells_by_edges(
    values: Float[Tensor, "batch modes"],
    valid: Int[Tensor, " batch"],
    edges: Sequence[float],
    *,
    tolerance: float = 1e-6,
) -> Int[Tensor, "batch modes"]:
    """Shell j holds the values in ``[edges[j−1], edges[j])``; a space that lies across an edge goes by its first value.

    Args:
        values: Rising values of the modes.
        valid: Number of real modes of each sample; they come first.
        edges: The K−1 inner edges, rising.
        tolerance: Relative width under which two values count as equal.

    Raises:
        TransformError: edges that do not rise.

    Example:
        >>> values = torch.tensor([[0.0, 1.0, 2.0, 3.0]])
        >>> shells_by_edges(values, torch.tensor([4]), [0.5, 2.0]).tolist()
        [[0, 1, 2, 2]]
    """
    at = torch.tensor(check_edges(edges), dtype=values.dtype, device=values.device)
    modes = torch.arange(values.shape[1], device=values.device).expand(values.shape)
    real = modes < valid[:, None]
    first = torch.where(_opens(values, real, tolerance), modes, torch.zeros_like(modes)).cummax(dim=1).values
    # A value that rounding has put just below an edge counts as on it.
    slack = tolerance * values.masked_fill(~real, 0.0).abs().amax(dim=1, keepdim=True)
    shell = torch.searchsorted(at, (values + slack).contiguous(), right=True)
    return shell.gather(1, first).masked_fill(~real, 0)


def shells_by_gap(
    values: Float[Tensor, "batch modes"],
    valid: Int[Tensor, " batch"],
    n_shells: int,
    *,
    tolerance: float = 1e-6,
) -> Int[Tensor, "batch modes"]:
    """Shells end at the K−1 widest gaps between neighbouring values of each sample.

    Gaps narrower than ``tolerance`` times the largest value are inside a degenerate space and never cut; of equal gaps
    the lower one is cut. A sample with fewer gaps leaves its last shells empty.

    Args:
        values: Sorted values of the modes.
        valid: Number of real modes of each sample; they come first.
        n_shells: Number of shells K >= 1.
        tolerance: Relative width under which two values count as equal.

    Raises:
        TransformError: ``n_shells`` below 1.

    Example:
        >>> values = torch.tensor([[0.0, 3.0, 3.1, 3.2, 9.0]])
        >>> shells_by_gap(values, torch.tensor([5]), 3).tolist()
        [[0, 1, 1, 1, 2]]
    """
    _check_number(n_shells)
    modes = torch.arange(values.shape[1], device=values.device).expand(values.shape)
    real = modes < valid[:, None]
    opens = _opens(values, real, tolerance) & real
    opens[:, :1] = False
    gap = torch.zeros_like(values)
    gap[:, 1:] = (values[:, 1:] - values[:, :-1]).abs()
    # Gaps that are equal but for rounding are put in the order of the modes.
    scale = (
        values.masked_fill(~real, 0.0)
        .abs()
        .amax(dim=1, keepdim=True)
        .clamp(min=torch.finfo(values.dtype).tiny)
    )
    rank = torch.where(opens, (gap / (tolerance * scale)).round(), torch.full_like(gap, -1.0))
    widest = rank.argsort(dim=1, descending=True, stable=True)[:, : n_shells - 1]
    cuts = torch.zeros_like(opens).scatter(1, widest, True) & opens
    return cuts.long().cumsum(1).masked_fill(~real, 0)


def shells_by_energy(energy: Float[Tensor, " units"], n_shells: int) -> Int[Tensor, " units"]:
    """Cut ordered units (thin shells, or modes) so that shells hold energies as equal as whole units permit.

    Shell j ends with the first unit at which the cumulated energy reaches ``(j+1)/K`` of the total; every shell keeps
    at least one unit, so a unit with most of the energy is a shell of its own and the others share the rest.

    Args:
        energy: Energy of each unit, coarse to fine, >= 0.
        n_shells: Number of shells K, at most the number of units.

    Raises:
        TransformError: energies that are negative, not finite or all zero; more shells than units.

    Example:
        >>> shells_by_energy(torch.tensor([4.0, 1.0, 1.0, 1.0, 1.0]), 2).tolist()
        [0, 1, 1, 1, 1]
        >>> shells_by_energy(torch.tensor([9.0, 0.5, 0.25, 0.25]), 3).tolist()
        [0, 1, 2, 2]
    """
    _check_number(n_shells)
    units = len(energy)
    if (
        energy.ndim != 1
        or not bool(torch.isfinite(energy).all())
        or bool((energy < 0).any())
        or not energy.sum() > 0
    ):
        raise TransformError(f"energies of shape {tuple(energy.shape)} must be finite, >= 0 and not all zero")
    if n_shells > units:
        raise TransformError(
            f"{n_shells} shells asked for, but there are only {units} units to share: ask for fewer"
        )
    share = (energy.double().cumsum(0) / energy.double().sum()).tolist()
    ends: list[int] = []
    for j in range(n_shells - 1):
        # The unit itself belongs to the shell that it completes; rounding must not push it into the next.
        end = next(i for i, done in enumerate(share) if done >= (j + 1) / n_shells - 1e-9) + 1
        end = max(end, (ends[-1] if ends else 0) + 1)
        ends.append(min(end, units - (n_shells - 1 - j)))
    shell = torch.zeros(units, dtype=torch.long)
    for end in ends:
        shell[end:] += 1
    return shell.to(energy.device)


def check_edges(edges: Sequence[float]) -> tuple[float, ...]:
    """Inner edges of shells as a tuple.

    Raises:
        TransformError: edges that are not finite or do not rise.

    Example:
        >>> check_edges([1, 2.5])
        (1.0, 2.5)
    """
    plain = tuple(float(e) for e in edges)
    rising = all(a < b for a, b in itertools.pairwise(plain))
    if not rising or not all(math.isfinite(e) for e in plain):
        raise TransformError(f"shell edges {plain} must be finite and rise strictly: sort them, drop repeats")
    return plain


def _check_number(n_shells: int) -> None:
    if n_shells < 1:
        raise TransformError(f"n_shells is {n_shells}, but at least 1 is needed")


def _opens(
    values: Float[Tensor, "batch modes"], real: Bool[Tensor, "batch modes"], tolerance: float
) -> Bool[Tensor, "batch modes"]:
    """Where a new degenerate space begins."""
    scale = values.masked_fill(~real, 0.0).abs().amax(dim=1, keepdim=True)
    step = torch.zeros_like(values)
    step[:, 1:] = (values[:, 1:] - values[:, :-1]).abs()
    opens = step > tolerance * scale
    opens[:, 0] = True
    return opens
