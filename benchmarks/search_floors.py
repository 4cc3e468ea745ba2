"""Starts of a search that know less than the package's own: floors of ``crystal_search.py``.

``apart`` draws, after the manner of PyXtal, until the atoms of different molecules are 1.2 times the sum of their
covalent radii apart (at most 30 draws a trial). ``loose`` does not know the volume: 1 to 4 times the expected one.

Source of the rule of ``apart``: Fredericks, Parrish, Sayre & Zhu, Comput. Phys. Commun. 261 (2021) 107810.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from scipy.spatial.distance import cdist

from kflow_sci.assembly.elements import COVALENT_RADIUS
from kflow_sci.assembly.lattice.cutting import SPECIAL, cluster_from_packing, nearest_images
from kflow_sci.assembly.lattice.packing import Packing
from kflow_sci.assembly.molecule import Molecule
from kflow_sci.assembly.search.setup import Problem
from kflow_sci.assembly.search.starts import Proposal, RandomProposal

FLOORS = ("apart", "loose")
LOOSE = {"densest": 1.0, "loosest": 4.0}


def floor_proposal(problem: Problem, method: str) -> Proposal:
    """One of ``FLOORS`` for a problem."""
    volume = LOOSE if method == "loose" else {}
    plain = RandomProposal(
        problem.conformers,
        problem.groups,
        problem.weights,
        problem.z_prime,
        problem.seed,
        problem.strain,
        **volume,
    )
    return plain if method == "loose" else Apart(plain)


class Apart:
    """Random starts that are drawn again while molecules overlap; the last of ``draws`` is taken as it is."""

    def __init__(self, plain: RandomProposal, draws: int = 30) -> None:
        self.plain, self.draws = plain, draws

    @property
    def molecules(self) -> tuple[Molecule, ...]:
        """Those of the plain proposal."""
        return self.plain.molecules

    @property
    def settings(self) -> list[Any]:
        """Those of the plain proposal and the number of draws."""
        return ["apart", self.draws, *self.plain.settings]

    def __call__(self, trial: int) -> Packing:
        """The first draw of the trial that does not overlap."""
        for draw in range(self.draws):
            start = self.plain(trial * self.draws + draw)
            if not overlaps(start):
                break
        return replace(start, info={**start.info, "trial": trial})


def overlaps(packing: Packing) -> bool:
    """Whether atoms of two molecules are closer than 1.2 times the sum of their covalent radii."""
    if nearest_images(packing) < SPECIAL:
        return True
    cluster = cluster_from_packing(packing, 13)
    atoms = len(cluster.molecules[cluster.kind[0]])
    radius = COVALENT_RADIUS[cluster.numbers]
    distance = cdist(cluster.positions[:atoms], cluster.positions[atoms:])
    return bool((distance < 1.2 * (radius[:atoms, None] + radius[None, atoms:])).any())
