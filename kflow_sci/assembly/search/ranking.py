"""From relaxed trials to a short list: the distinct crystals of lowest energy.

The one idea: the trials stop at a cheap cut-off, so only the lowest of them, duplicates taken out, are relaxed on to a
large cut-off and a small gradient; what then coincides is one crystal, and its energy ranks it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from kflow_sci.assembly.lattice.packing import Packing
from kflow_sci.assembly.lattice.reduction import reduced
from kflow_sci.assembly.search.dedupe import distinct
from kflow_sci.errors import PackingError

if TYPE_CHECKING:
    from kflow_sci.assembly.forcefield.parameters import ForceField

POLISH_REACH = 12.0  # Å beyond the radii of two molecules
POLISH_ITERATIONS = 150
POLISH_GRADIENT = 0.01  # kJ/mol/Å
POLISHED_PER_KEPT = 3  # the order changes a little with the cut-off, so more than are kept are relaxed on
FEWEST_POLISHED = 20


def shortlist(
    packings: Sequence[Packing],
    field: ForceField,
    keep: int,
    *,
    polish: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> list[Packing]:
    """The distinct crystals of lowest energy, in reduced cells, lowest first.

    Args:
        packings: Relaxed, lowest energy first, ``info["energy"]`` in kJ/mol per molecule.
        field: For their molecules.
        keep: How many at most.
        polish: Relax the lowest further, at a reach of 12 Å; else they are taken as they are.
        progress: Called with the number polished and the number to polish.

    Returns:
        Packings whose ``info`` holds ``rank`` (from 1), ``energy``, ``volume`` (Å^3 per molecule), ``density``
        (g/cm^3), ``space_group``, ``found`` (trials that ended there) and what it held before.

    Raises:
        PackingError: ``keep`` is below 1.
    """
    if keep < 1:
        raise PackingError(f"keep is {keep}, but at least 1 crystal must be kept: give a larger number")
    if not polish:
        return _ranked(packings, [1] * len(packings), keep)
    kinds = distinct(packings, most=max(POLISHED_PER_KEPT * keep, FEWEST_POLISHED))
    relaxed: list[tuple[Packing, int]] = []
    for done, kind in enumerate(kinds, 1):
        packing = _polished(packings[kind[0]], field)
        if packing is not None:
            relaxed.append((packing, len(kind)))
        if progress:
            progress(done, len(kinds))
    relaxed.sort(key=lambda pair: float(pair[0].info["energy"]))
    return _ranked([packing for packing, _ in relaxed], [count for _, count in relaxed], keep)


def _polished(packing: Packing, field: ForceField) -> Packing | None:
    from kflow_sci.assembly.forcefield.relax import Stage, relax

    stage = Stage(POLISH_REACH, 0.0, POLISH_ITERATIONS)
    # Sheared cells have many images within the cut-off; the reduced one is the same crystal.
    result = relax([reduced(packing)], field, stages=[stage], tolerance=POLISH_GRADIENT)[0]
    if result.failure:
        return None
    energy = result.energy + packing.info.get("strain", 0.0)
    return replace(result.packing, info={**packing.info, "energy": energy, "volume": result.volume})


def _ranked(packings: Sequence[Packing], counts: Sequence[int], keep: int) -> list[Packing]:
    """The first ``keep`` kinds; the trials that ended in one kind add up."""
    kinds = distinct(packings, most=keep)
    return [
        _described(reduced(packings[kind[0]]), rank, sum(counts[k] for k in kind))
        for rank, kind in enumerate(kinds, 1)
    ]


def _described(packing: Packing, rank: int, found: int) -> Packing:
    info: dict[str, Any] = {
        **packing.info,
        "rank": rank,
        "energy": round(float(packing.info["energy"]), 4),
        "volume": round(packing.volume, 3),
        "density": round(packing.density, 4),
        "space_group": packing.group.name,
        "found": found,
    }
    return replace(packing, info=info)
