"""What a user asks for, and the scene that it makes: molecules, copies, volumes, regions, parts that are there already.

The one idea: whatever can be refused is refused here, before anything is computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kflow_sci.assembly import DEFAULT_COPIES
from kflow_sci.assembly.cluster import Cluster
from kflow_sci.assembly.model.batch import likely_volume
from kflow_sci.assembly.model.region import Region
from kflow_sci.assembly.model.scene import HANDS, Around, Mixture, choose_hands
from kflow_sci.assembly.molecule import Molecule
from kflow_sci.assembly.reading.advice import refuse_charged
from kflow_sci.errors import ClusterError

MAX_COPIES = 1000
_GRAM_PER_CM3 = 1.66053906660  # one dalton per Å^3 in g/cm^3 (CODATA 2018)


def volume_per_molecule(molecule: Molecule, density: float | None = None) -> float:
    """Å^3 per molecule at a density in g/cm^3, or the expected volume in a crystal if None.

    Raises:
        ClusterError: the density is not a positive number below 30 g/cm^3.
        MoleculeError: no density given and an element without a known crystal volume.
    """
    if density is None:
        return molecule.crystal_volume
    if not 0.0 < density < 30.0:
        raise ClusterError(
            f"density is {density:g} g/cm^3, outside (0, 30): organic crystals have about 0.8 to 2.5"
        )
    return molecule.mass * _GRAM_PER_CM3 / density


def mixed_volume(molecules: Sequence[Molecule], counts: Sequence[int], density: float | None = None) -> float:
    """Mean Å^3 per molecule of a mixture: by the sum of masses or of volumes; see ``volume_per_molecule``."""
    each = [volume_per_molecule(molecule, density) for molecule in molecules]
    return sum(volume * count for volume, count in zip(each, counts, strict=True)) / sum(counts)


@dataclass(frozen=True)
class Request:
    """What is to be assembled: all that decides the answer, together with the weights.

    Attributes:
        copies: Molecules per cluster; of several kinds the number of each.
        samples: Clusters.
        seed: Of start positions, orientations and hands.
        steps: Steps per shell; the model's own if None.
        density: g/cm^3; the expected density in a crystal if None.
        hands: See ``choose_hands``.
        contacts: Let overlapping molecules step apart while the flow sets the detail; see ``StepApart``.
        there: Molecules that are there already, about which the others are placed.

    Raises:
        ClusterError: a number out of range.
    """

    copies: int | tuple[int, ...] = DEFAULT_COPIES
    samples: int = 10
    seed: int = 0
    steps: tuple[int, ...] | None = None
    density: float | None = None
    hands: str = "auto"
    contacts: bool = True
    there: int = 0

    def __post_init__(self) -> None:
        if min((self.copies,) if isinstance(self.copies, int) else self.copies, default=0) < 1:
            raise ClusterError(
                f"copies is {self.copies}, but there must be at least 1 of each molecule, and 2 in all"
            )
        if not 2 <= self.total <= MAX_COPIES:
            why = "a cluster needs at least two molecules" if self.total < 2 else "give fewer"
            raise ClusterError(f"copies is {self.total}, outside 2 … {MAX_COPIES}: {why}")
        if self.samples < 1:
            raise ClusterError(f"samples is {self.samples}, but at least 1 is needed")
        if self.seed < 0:
            raise ClusterError(f"seed is {self.seed}, but must be >= 0")

    @property
    def total(self) -> int:
        """Molecules per cluster, with those that are there."""
        return self.there + (self.copies if isinstance(self.copies, int) else sum(self.copies))


def mixture(
    molecules: Molecule | Sequence[Molecule], request: Request, region: Region | None = None
) -> Mixture:
    """The scene of a request: its copies of these molecules, started at random.

    In a region that a density is not given for, the molecules share out the whole region.

    Raises:
        ClusterError: a density or hands out of range, numbers of copies that do not fit the molecules, or more
            molecules than the region holds.
        MoleculeError: a charged molecule, or an element without a known volume and no density.
    """
    molecules = (molecules,) if isinstance(molecules, Molecule) else tuple(molecules)
    counts = _checked(molecules, request)
    volume = mixed_volume(molecules, counts, request.density)
    if region is not None:
        volume = _shared(region, 0.0, sum(counts), volume, request.density is None)
    return Mixture(molecules, counts, volume, request.hands, request.seed, region)


def surroundings(
    core: Cluster, molecules: Molecule | Sequence[Molecule], request: Request, region: Region | None = None
) -> Around:
    """The scene of molecules in shells around a core that is held.

    Args:
        core: Held; its poses are the frame of the result.
        molecules: What goes around it.
        request: Copies of each, and the density of the surroundings.
        region: About the middle of the core's atoms.

    Raises:
        ClusterError, MoleculeError: as ``mixture``; a core of charged molecules is taken.
    """
    molecules = (molecules,) if isinstance(molecules, Molecule) else tuple(molecules)
    counts = _checked(molecules, request)
    volume = mixed_volume(molecules, counts, request.density)
    if region is not None:
        own = sum(likely_volume(core.molecules[k]) for k in core.kind)
        volume = _shared(region, own, sum(counts), volume, request.density is None)
    return Around(core, molecules, counts, volume, request.hands, request.seed, region)


def _checked(molecules: tuple[Molecule, ...], request: Request) -> tuple[int, ...]:
    counts = (request.copies,) if isinstance(request.copies, int) else request.copies
    if len(counts) != len(molecules):
        raise ClusterError(
            f"there are {len(counts)} numbers of copies for {len(molecules)} molecules: give one for each"
        )
    for molecule in molecules:
        refuse_charged(molecule)
    if request.hands not in HANDS:
        choose_hands(molecules[0], 1, request.hands, np.random.default_rng(0))
    return counts


def _shared(region: Region, core: float, count: int, volume: float, share: bool) -> float:
    """Å^3 per molecule in a region: what is given, or an equal share of all of it."""
    room = region.volume - core
    if volume * count > room * (1.0 + 1e-6):
        raise ClusterError(
            f"{count} molecules need {volume * count:.0f} Å^3, but the {region} has {max(room, 0.0):.0f} Å^3 for them: "
            "give fewer, a larger region or a higher density"
        )
    return room / count if share else volume
