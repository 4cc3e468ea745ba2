"""One crystal of COD-Cluster17 from its two files, judged.

The one idea: a cluster is stored whenever every atom of both states can come back, and words say what is odd about it.

Both states are shifted so that the mean of all atoms of the *initial* state is the origin, as the published code does:
what lies between the two states is kept, where the files had them in space is not. Copies and atoms keep their order,
on which the published measures depend.

``info`` of a cluster: ``id``; ``mol_hash`` (equal for equal molecules, see ``identity``); ``published`` ("kept", or why
the published code drops it, see ``published.VERDICTS``); ``flags``, a list of words of ``FLAGS``.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from kflow_sci.assembly import DEFAULT_COPIES
from kflow_sci.assembly.cluster import Cluster
from kflow_sci.assembly.data.identity import molecule_hash
from kflow_sci.assembly.data.layout import State, final_file, read_state, start_file
from kflow_sci.assembly.data.published import KEPT, published_verdict
from kflow_sci.assembly.data.rigid_copies import as_rigid_copies, repose
from kflow_sci.assembly.molecule import Molecule, check_composition
from kflow_sci.errors import CrystalError, MoleculeError

RIGID = (
    1e-3**0.5
)  # Å, RMSD of an initial molecule from the final one; the published limit is 1e-3 of its square
FLAT = 0.01  # Å, root mean square distance of the atoms from their best plane
TIE = 1e-3  # Å^2 between mean principal moments; the published limit

REASONS = {
    "name": "the file is not named as an id of the set",
    "duplicate": "the id stands twice in the list",
    "no_final": "there is no file of final positions",
    "no_start": "there is no file of initial positions",
    "unreadable": "a file cannot be read",
    "empty": "a file holds no atom",
    "header": "a file has no header line",
    "row": "a row is not molecule, element, x, y, z",
    "element": "a symbol is no element",
    "not_finite": "a coordinate is not finite",
    "molecule_count": "another number of molecules than asked for",
    "atom_counts": "molecules of different numbers of atoms",
    "atoms_differ": "initial and final molecules are made of different atoms",
    "reordered": "initial and final molecules list the same atoms in different orders",
    "not_rigid": "an initial molecule is not a rigid copy of the final one",
    "too_large": "beyond what a store can hold",
    "unpublished": "the published code drops it (only where its selection is asked for)",
}
FLAGS = {
    "flat": "a molecule is flat (or linear, or one atom): no orientation by inertial axes with a hand",
    "tie": "two principal moments are equal: inertial axes are not unique",
    "mirror": "both hands of a molecule occur among the copies",
    "conformers": "the copies have more than one shape",
    "species": "the copies are made of different atoms",
    "reordered": "the copies list the same atoms in different orders",
    "start_mirror": "some initial molecules are mirror images of their final ones",
    "loose": "some initial molecules are rigid copies within the published limit only",
    "isotopes": "D or T, stored as hydrogen",
    "unsupported": "an element or a size that kflow stores and scores, but does not generate",
}


def read_cluster(folder: Path, name: str, copies: int = DEFAULT_COPIES) -> tuple[Cluster, Cluster]:
    """One crystal of the set and where it starts from.

    Args:
        folder: The folder of ``layout.raw_folder``.
        name: The id.
        copies: Molecules it must hold.

    Returns:
        The cluster and the same copies in the initial state, both with the mean of all initial atoms at the origin.

    Raises:
        CrystalError: with a reason of ``REASONS``.
    """
    for reason, what, path in (
        ("no_final", "final", final_file(folder, name)),
        ("no_start", "initial", start_file(folder, name)),
    ):
        if not path.exists():
            raise CrystalError(reason, f"there is no file {path.name} of {what} positions: add it")
    final, start = read_state(final_file(folder, name), copies), read_state(start_file(folder, name), copies)
    numbers, initial = _paired(name, final, start)
    verdict = _verdict(final, start)
    centre = initial.reshape(-1, 3).mean(axis=0)
    reach = max(np.abs(initial - centre).max(), np.abs(final.positions - centre).max())
    if not reach < 5e4:
        raise CrystalError(
            "too_large", f"{name} reaches {reach:g} Å from its centre (limit 50000 Å): leave it out"
        )
    cluster, _ = as_rigid_copies(numbers, final.positions - centre, name)
    moved, rmsd = repose(cluster, initial - centre)
    worst = int(rmsd.argmax())
    if rmsd[worst] > RIGID and verdict != KEPT:
        raise CrystalError(
            "not_rigid",
            f"{name}: initial molecule {start.index[worst]} differs from the final one by {rmsd[worst]:.3f} Å RMSD "
            f"(limit {RIGID:.3f} Å): it was not moved as a rigid body, leave it out",
        )
    flags = _flags(cluster, moved, rmsd)
    if final.isotopes or start.isotopes:
        flags.append("isotopes")
    info = {"id": name, "mol_hash": molecule_hash(cluster), "published": verdict, "flags": flags}
    cluster.info.update(info)
    moved.info.update(info)
    return cluster, moved


def _paired(
    name: str, final: State, start: State
) -> tuple[Int[np.ndarray, "m n"], Float[np.ndarray, "m n 3"]]:
    """Atomic numbers, and initial positions in the order of the final molecules."""
    order = list(range(len(final.index)))
    if set(final.index) == set(start.index):  # else by appearance, as the published code
        order = [start.index.index(k) for k in final.index]
    if final.numbers.shape != start.numbers.shape:
        raise CrystalError(
            "atoms_differ",
            f"{name} has {final.numbers.shape[1]} atoms per molecule in the final state and {start.numbers.shape[1]} "
            "in the initial: leave it out",
        )
    numbers = start.numbers[order]
    wrong = np.flatnonzero((numbers != final.numbers).any(axis=1))
    if len(wrong):
        k = int(wrong[0])
        same = np.array_equal(np.sort(numbers[k]), np.sort(final.numbers[k]))
        raise CrystalError(
            "reordered" if same else "atoms_differ",
            f"{name}: molecule {final.index[k]} "
            + ("lists its atoms in another order" if same else "is made of other atoms")
            + " in the initial state: write the same atoms in the same order",
        )
    return final.numbers, start.positions[order]


def _verdict(final: State, start: State) -> str:
    if not (final.strict and start.strict):
        return "text"
    if not np.array_equal(final.numbers, start.numbers):
        return "element"
    return published_verdict(start.positions, final.positions)


def _flags(cluster: Cluster, start: Cluster, rmsd: Float[np.ndarray, " m"]) -> list[str]:
    templates = cluster.molecules
    found = {
        "flat": any(_is_flat(molecule) for molecule in templates),
        "tie": any(_has_tie(molecule) for molecule in templates),
        "mirror": any(len(set(cluster.parity[cluster.kind == k])) > 1 for k in range(len(templates))),
        "conformers": len(templates) > len({molecule.numbers.tobytes() for molecule in templates}),
        "species": len({molecule.formula for molecule in templates}) > 1,
        "reordered": len({molecule.numbers.tobytes() for molecule in templates})
        > len({molecule.formula for molecule in templates}),
        "start_mirror": bool((cluster.parity != start.parity).any()),
        "loose": bool(rmsd.max() > RIGID),
        "unsupported": not all(_is_supported(molecule) for molecule in templates),
    }
    return [flag for flag, holds in found.items() if holds]


def _is_flat(molecule: Molecule) -> bool:
    return bool(np.linalg.eigvalsh(_second_moments(molecule))[0] <= FLAT**2)


def _has_tie(molecule: Molecule) -> bool:
    # A moment of inertia is the sum of the second moments less one of them, so both differ by the same.
    return bool((np.diff(np.linalg.eigvalsh(_second_moments(molecule))) <= TIE).any())


def _second_moments(molecule: Molecule) -> Float[np.ndarray, "3 3"]:
    return molecule.positions.T @ molecule.positions / len(molecule)


def _is_supported(molecule: Molecule) -> bool:
    try:
        check_composition(molecule.numbers, molecule.name)
    except MoleculeError:
        return False
    return True
