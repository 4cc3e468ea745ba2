"""Computed crystals to learn from: each in a common setting, with all its descriptions, weighed by its energy.

The one idea: what a search wants are crystals of low energy, so within a molecule they count by a Boltzmann factor, and
every molecule counts the same, however many crystals it has.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float, Int

from kflow_sci.assembly.cluster import Cluster
from kflow_sci.assembly.lattice.packing import Packing, SpaceGroup
from kflow_sci.assembly.lattice.record import packing_from_cluster
from kflow_sci.assembly.molecule import Molecule
from kflow_sci.assembly.proposals.chart import shape_of
from kflow_sci.assembly.proposals.equivalents import Equivalents, equivalents, in_setting
from kflow_sci.assembly.search.starts import COMMON
from kflow_sci.errors import PackingError

GROUPS = tuple(SpaceGroup.named(name).name for name in COMMON)
TEMPERATURE = 4.0  # kJ/mol; how far above the lowest crystal of a molecule others still count
CLASSES = ("centred", "mirrored", "chiral", "handed")


def class_of(molecule: Molecule) -> str:
    """Which space groups suit a molecule depends on it: inversion centre, other improper operation, none, one hand."""
    if molecule.handed:
        return "handed"
    improper = molecule.symmetry.improper
    if any(np.trace(q) < -2.9 for q in improper):
        return "centred"
    return "mirrored" if len(improper) else "chiral"


@lru_cache(maxsize=256)
def _settings(number: int) -> tuple[SpaceGroup, ...]:
    groups = [SpaceGroup.named(name) for name in GROUPS]
    return tuple(group for group in groups if group.number == number)


def in_common_setting(packing: Packing) -> Packing | None:
    """The packing in one of the settings that a search tries, the one with the shortest axes; None if there is none."""
    if packing.group.name in GROUPS and packing.group.is_tabulated:
        return packing if len(packing) == 1 else None
    found = [in_setting(packing, group) for group in _settings(packing.group.number)]
    return min(
        (p for p in found if p is not None), key=lambda p: round(float((p.cell**2).sum()), 4), default=None
    )


@dataclass(frozen=True, eq=False)
class Entry:
    """One crystal.

    Attributes:
        molecule: Index of its molecule.
        packing: In a setting of ``GROUPS``.
        ways: Its descriptions.
        shape: Of their cells, see ``chart.shape_of``, ``(n, 5)``.
        group: Index in ``GROUPS``.
        above: Energy above the lowest of its molecule, kJ/mol.
    """

    molecule: int
    packing: Packing
    ways: Equivalents
    shape: Float[np.ndarray, "n 5"]
    group: int
    above: float


@dataclass(frozen=True, eq=False)
class Library:
    """Crystals of many molecules.

    Attributes:
        molecules: The molecules.
        entries: All crystals, molecule after molecule.
        first: Where the crystals of each molecule begin, and the end, ``(molecules + 1,)``.
        share: Probability of each crystal within its molecule, ``(entries,)``.
        left_out: Crystals of other groups, with several independent molecules, or of the other hand.
    """

    molecules: tuple[Molecule, ...]
    entries: tuple[Entry, ...]
    first: Int[np.ndarray, " m"]
    share: Float[np.ndarray, " n"]
    left_out: int

    @classmethod
    def of(cls, clusters: Iterable[Cluster], temperature: float = TEMPERATURE) -> Library:
        """From clusters of ``kflow data make-crystals``, whose info holds ``crystal``, ``energy`` and ``packing``.

        Raises:
            PackingError: none can be used, or a cluster does not tell its crystal.
        """
        by_name: dict[str, list[Cluster]] = {}
        for cluster in clusters:
            by_name.setdefault(str(cluster.info.get("crystal")), []).append(cluster)
        molecules: list[Molecule] = []
        entries: list[Entry] = []
        first, left_out = [0], 0
        for members in by_name.values():
            lowest = min(float(cluster.info["energy"]) for cluster in members)
            mine = []
            for cluster in members:
                entry = _entry(
                    packing_from_cluster(cluster), len(molecules), float(cluster.info["energy"]) - lowest
                )
                if entry is None:
                    left_out += 1
                else:
                    mine.append(entry)
            if mine:
                molecules.append(mine[0].packing.molecules[0])
                entries += mine
                first.append(len(entries))
        if not entries:
            raise PackingError(f"none of {left_out} crystals can be learned from: make others")
        weight = np.exp(-np.array([entry.above for entry in entries]) / temperature)
        starts = np.array(first)
        total = np.add.reduceat(weight, starts[:-1])
        share = weight / np.repeat(total, np.diff(starts))
        return cls(tuple(molecules), tuple(entries), starts, share, left_out)

    def group_shares(self) -> dict[str, Float[np.ndarray, " groups"]]:
        """How often low-energy crystals of each class of molecules are in each of ``GROUPS``; sums are molecules."""
        counts = {name: np.zeros(len(GROUPS)) for name in CLASSES}
        for entry, share in zip(self.entries, self.share, strict=True):
            counts[class_of(self.molecules[entry.molecule])][entry.group] += share
        return counts

    def draw(self, count: int, rng: np.random.Generator) -> list[Entry]:
        """Entries: a molecule at random, then one of its crystals by weight."""
        chosen = []
        for m in rng.integers(len(self.molecules), size=count):
            low, high = self.first[m], self.first[m + 1]
            share = self.share[low:high]
            chosen.append(self.entries[low + int(rng.choice(high - low, p=share / share.sum()))])
        return chosen


def _entry(packing: Packing, molecule: int, above: float) -> Entry | None:
    if len(packing) != 1:
        return None
    usual = in_common_setting(packing)
    if usual is None:
        return None
    try:
        ways = equivalents(usual)
    except PackingError:
        return None
    shape = shape_of(torch.from_numpy(ways.cell))[1].numpy()
    return Entry(molecule, usual, ways, shape, GROUPS.index(usual.group.name), above)


def group_weights(
    molecule: Molecule,
    groups: Sequence[SpaceGroup],
    usual: Sequence[float],
    counts: dict[str, Sequence[float]],
) -> tuple[float, ...]:
    """How often each group is tried for a molecule.

    Args:
        molecule: Its class decides.
        groups: To choose among.
        usual: Their weights in a search that knows nothing.
        counts: Molecules of each class found in each of ``GROUPS``.

    Returns:
        Counts, with the usual weights as if ten more molecules had shown them. Groups that were never learned keep
        their usual share.
    """
    mine = dict(zip(GROUPS, counts[class_of(molecule)], strict=True))
    prior = np.array(usual, dtype=np.float64) / sum(usual)
    seen = np.array([mine.get(group.name, 0.0) for group in groups])
    return tuple((seen + 10.0 * prior).tolist())
