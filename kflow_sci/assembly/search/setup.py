"""From what a user gives to what a search needs: conformers, space groups, force field, proposal.

The one idea: a ``Problem`` is what every proposal is made from, and ``PROPOSALS`` the table of those there are; a new
one is a function of a problem and a line there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kflow_sci.assembly.lattice.packing import SpaceGroup
from kflow_sci.assembly.molecule import Molecule
from kflow_sci.assembly.search.starts import Proposal, RandomProposal, check_start, choose_groups
from kflow_sci.assembly.search.suitable import check_field, check_molecule
from kflow_sci.errors import PackingError

if TYPE_CHECKING:
    from kflow_sci.assembly.forcefield.parameters import ForceField


@dataclass(frozen=True, eq=False)
class Problem:
    """What a search is about.

    Attributes:
        conformers: One molecule in one or more rigid shapes, lowest energy first.
        strain: Energy of each above the lowest, kJ/mol; empty for a single one.
        groups: Space groups to try.
        weights: How often, one per group.
        z_prime: Independent molecules.
        seed: Of the starts.
    """

    conformers: tuple[Molecule, ...]
    strain: tuple[float, ...]
    groups: tuple[SpaceGroup, ...]
    weights: tuple[float, ...]
    z_prime: int
    seed: int


def _random(problem: Problem) -> Proposal:
    return RandomProposal(
        problem.conformers, problem.groups, problem.weights, problem.z_prime, problem.seed, problem.strain
    )


PROPOSALS: dict[str, Callable[[Problem], Proposal]] = {"random": _random}


def read_conformers(
    source: str | Path, count: int = 1, seed: int = 0
) -> tuple[tuple[Molecule, ...], tuple[float, ...]]:
    """The rigid shapes of a molecule that a search tries.

    Args:
        source: A SMILES, or a file; a file states its conformer, and that alone is tried.
        count: Conformers of a SMILES, lowest first; there may be fewer.
        seed: Of the embedding.

    Returns:
        Molecules and their energies above the lowest, kJ/mol; no energies where there is one molecule.

    Raises:
        PackingError: ``count`` is below 1, or several conformers of a file are asked for.
        MoleculeError: the molecule is refused, see ``read_molecule`` and ``check_molecule``.
        CrystalError: a CIF is refused.
    """
    from kflow_sci.assembly.reading.formats import read_molecule

    if count < 1:
        raise PackingError(f"conformers is {count}, but at least 1 is tried: give a larger number")
    molecule = read_molecule(source, seed=seed)
    guessed = molecule.smiles is not None
    if count > 1 and not guessed:
        raise PackingError(
            f"{source} states its conformer, so --conformers {count} does not apply: leave it out, or give a SMILES"
        )
    check_molecule(molecule, guessed=guessed, conformers=count)
    if count == 1:
        return (molecule,), ()
    from kflow_sci.assembly.reading.embed import distinct_conformers

    found = distinct_conformers(str(molecule.smiles), seed=seed, count=count, tried=10 * count)
    if len(found) == 1:
        return (found[0][0],), ()
    return tuple(m for m, _ in found), tuple(round(strain, 4) for _, strain in found)


def make_problem(
    conformers: tuple[Molecule, ...],
    strain: tuple[float, ...] = (),
    groups: str = "common",
    z_prime: int = 1,
    seed: int = 0,
) -> Problem:
    """Check what can be checked before the first trial.

    Raises:
        PackingError: an unknown group, one that does not fit, or an option out of range.
        MoleculeError: an element without a known volume.
    """
    if seed < 0:
        raise PackingError(f"seed is {seed}, but must be 0 or more")
    chosen, weights = choose_groups(groups, conformers[0])
    check_start(conformers[0], chosen, z_prime)
    return Problem(conformers, strain, chosen, weights, z_prime, seed)


def make_proposal(problem: Problem, name: str = "random") -> Proposal:
    """Where the trials of a problem start.

    Args:
        problem: What the search is about.
        name: One of ``PROPOSALS``.

    Raises:
        PackingError: there is no such proposal.
    """
    if name not in PROPOSALS:
        raise PackingError(f"there are no proposals {name!r}: choose one of {', '.join(PROPOSALS)}")
    return PROPOSALS[name](problem)


def make_field(conformers: tuple[Molecule, ...], charges: str = "auto") -> ForceField:
    """The force field of a search.

    Args:
        conformers: The very tuple that the proposal has.
        charges: See ``force_field``.

    Raises:
        ConfigError: an unknown word for ``charges``.
        MoleculeError: no charges were found and they were not declined.
    """
    from kflow_sci.assembly.forcefield.parameters import force_field

    field = force_field(conformers, charges)
    if charges != "none":
        check_field(field, conformers[0])
    return field
