"""Candidates in order, by an energy of one's choice; and the energy of each pair of molecules.

The one idea: clashes first, as no energy of a clash means anything, then the energy between the molecules plus the
strain of their conformer, kJ/mol per molecule. A candidate whose energy fails comes last and says so.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from kflow_sci.assembly.cluster import Cluster
from kflow_sci.assembly.contacts import clashing_pairs
from kflow_sci.assembly.energy.calculators import Energy, energy_function
from kflow_sci.assembly.energy.interaction import with_energies
from kflow_sci.errors import ScoreError


class AtomsOf(NamedTuple):
    """The atoms of a cluster, as an energy wants them."""

    numbers: Int[np.ndarray, " atoms"]
    positions: Float[np.ndarray, "atoms 3"]
    molecule: Int[np.ndarray, " atoms"]


def _atoms(cluster: Cluster) -> AtomsOf:
    return AtomsOf(cluster.numbers, cluster.positions, cluster.molecule_of)


def rank_by(
    clusters: Sequence[Cluster],
    name: str = "mmff",
    keep_energy: bool = False,
    progress: Callable[[int], None] | None = None,
) -> list[Cluster]:
    """The clusters, the best first, with ``energy``, ``clashing_pairs`` and ``rank`` in their ``info``.

    Args:
        clusters: Where ``info`` has a ``strain`` (kJ/mol per molecule), it is added to the energy for the order.
        name: See ``calculators.energy_function``.
        keep_energy: The energies in ``info`` stand, those of a relaxation of all atoms.
        progress: Called with the number of energies computed, where each takes long.

    Returns:
        New clusters. ``energy`` is None where it failed, and ``energy_failed`` says why.

    Raises:
        ConfigError: see ``calculators.energy_function``.
        ScoreError: every energy failed.
    """
    if keep_energy:
        clashes = clashing_pairs(clusters)
        known = [
            replace(c, info={**c.info, "clashing_pairs": float(x), "energy_model": name})
            for c, x in zip(clusters, clashes, strict=True)
        ]
    elif name == "mmff":
        known = with_energies(clusters)
    else:
        known = _with(energy_function(name), name, clusters, progress)

    def key(cluster: Cluster) -> tuple[bool, float, float]:
        info = cluster.info
        energy = math.inf if info["energy"] is None else info["energy"] + float(info.get("strain", 0.0))
        return info["energy"] is None, info["clashing_pairs"], energy

    return [replace(c, info={**c.info, "rank": place}) for place, c in enumerate(sorted(known, key=key), 1)]


def crowding(clusters: Sequence[Cluster]) -> str | None:
    """One line if even the best candidate has clashes that were not resolved; None if it has none.

    Args:
        clusters: As ``rank_by`` gives them.
    """
    left = float(clusters[0].info.get("clashing_pairs", 0.0)) if clusters else 0.0
    if round(left, 2) == 0.0:
        return None
    return (
        f"even the best candidate has {left:.2f} clashing pairs per molecule: rigid molecules of this shape do not fit"
        " at this density; lower it with --density, or try other --conformers or --relax full"
    )


def _with(
    energy: Energy, name: str, clusters: Sequence[Cluster], progress: Callable[[int], None] | None
) -> list[Cluster]:
    made = []
    why = ""
    for cluster, clashes in zip(clusters, clashing_pairs(clusters), strict=True):
        info: dict[str, Any] = {k: v for k, v in cluster.info.items() if not k.startswith("energy")}
        info |= {"energy": None, "energy_model": name, "clashing_pairs": float(clashes)}
        try:
            info["energy"] = round(energy(_atoms(cluster)), 4)
        except ScoreError as error:
            why = info["energy_failed"] = str(error)
        made.append(replace(cluster, info=info))
        if progress is not None:
            progress(len(made))
    if all(c.info["energy"] is None for c in made):
        raise ScoreError(f"{name} gives no energy for any of {len(made)} clusters: {why}")
    return made


def pair_energies(cluster: Cluster, name: str = "mmff") -> list[dict[str, float | int]]:
    """The energy of each pair of molecules, by itself, as the pair stands in the cluster.

    Pairs add up to the energy of the cluster in a force field of pairs (``mmff``, ``uff``), not in quantum chemistry.

    Returns:
        One row per pair: ``first``, ``second`` (copies from 0), ``distance`` of the centroids, Å, and ``energy``,
        kJ/mol of the pair. The energy per molecule of the cluster is their sum over the number of molecules.

    Raises:
        ConfigError, ScoreError: see ``calculators.energy_function``.
    """
    energy = energy_function(name)
    rows: list[dict[str, float | int]] = []
    for i in range(len(cluster)):
        for j in range(i + 1, len(cluster)):
            pair = cluster.take(np.array([i, j]))
            apart = float(np.linalg.norm(pair.centroid[1] - pair.centroid[0]))
            value = 2.0 * energy(_atoms(pair))
            rows.append({"first": i, "second": j, "distance": round(apart, 4), "energy": round(value, 4)})
    return rows
