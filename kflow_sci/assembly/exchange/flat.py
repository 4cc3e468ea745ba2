"""A cluster as one list of atoms and bonds, which is all that files know.

The one idea: on the way out bonds are those of the templates, copy by copy; on the way in molecules are told apart by
the bonds and fitted with templates. Orders are written as single, double and triple bonds where the molecule has such
a formula, since that is what every program reads; aromatic rings come back as such.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int

from kflow_sci.assembly.bonds import bonded_pairs, find_bonds, fragments
from kflow_sci.assembly.cluster import Cluster
from kflow_sci.assembly.elements import BOND_RADIUS, SYMBOLS, look_up
from kflow_sci.assembly.molecule import Molecule
from kflow_sci.assembly.templates import Templates
from kflow_sci.errors import ClusterError

if TYPE_CHECKING:
    from rdkit.Chem import Mol

AROMATIC = 1.5


@dataclass(frozen=True, eq=False)
class Flat:
    """Atoms and bonds of one cluster.

    Attributes:
        numbers: Atomic numbers, ``(atoms,)``.
        positions: Å, ``(atoms, 3)``.
        owner: Molecule of each atom from 0, or None where bonds are to tell.
        bonds: Pairs of atoms, ``(m, 2)``, or None where distances are to tell.
        orders: 1, 2, 3 or 1.5, ``(m,)``; None where unknown.
        charges: Formal charges; None where unknown.
        info: What travels with the cluster.
    """

    numbers: Int[np.ndarray, " atoms"]
    positions: Float[np.ndarray, "atoms 3"]
    owner: Int[np.ndarray, " atoms"] | None = None
    bonds: Int[np.ndarray, "m 2"] | None = None
    orders: Float[np.ndarray, " m"] | None = None
    charges: Int[np.ndarray, " atoms"] | None = None
    info: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, cluster: Cluster) -> Flat:
        """Atoms copy by copy, in template order, as in ``Cluster.positions``.

        Raises:
            ClusterError: an empty cluster, or a position that is not finite.
        """
        if not len(cluster) or not np.isfinite(cluster.positions).all():
            raise ClusterError("a cluster is empty or has positions that are not finite: it is not written")
        parts = [kekule(cluster.molecules[k]) for k in cluster.kind]
        first = np.cumsum([0, *(len(cluster.molecules[k]) for k in cluster.kind)])
        return cls(
            cluster.numbers,
            cluster.positions,
            cluster.molecule_of,
            np.concatenate([bonds + at for (bonds, _, _), at in zip(parts, first, strict=False)]),
            np.concatenate([orders for _, orders, _ in parts]),
            np.concatenate([charges for _, _, charges in parts]),
            dict(cluster.info),
        )

    def cluster(self, label: str, templates: Templates | None = None) -> Cluster:
        """Rigid copies of templates at the poses of these atoms.

        Atoms of a molecule come to stand together, in their order here.

        Args:
            label: What to call the source in messages.
            templates: Those of other clusters, to be shared and added to.

        Raises:
            ClusterError: no atoms, coordinates that are not finite, or an element whose bonds are not known.
            MoleculeError: a molecule is refused as in ``reading``: single atoms, missing hydrogens.
        """
        if not len(self.numbers) or not np.isfinite(self.positions).all():
            raise ClusterError(f"{label} has no atoms, or coordinates that are not finite: mend it")
        bonds, owner = self.bonds, self.owner
        if bonds is None and owner is None:
            unknown = self.numbers[np.isnan(look_up(BOND_RADIUS, self.numbers))]
            if len(unknown):
                raise ClusterError(
                    f"{label}: bonds of {SYMBOLS[unknown[0]]} are not known here: remove these atoms"
                )
            bonds = find_bonds(self.numbers, self.positions)
        if owner is None:
            owner = fragments(len(self.numbers), np.zeros((0, 2), dtype=np.int64) if bonds is None else bonds)
        order = np.argsort(owner, kind="stable")
        members = np.split(order, np.cumsum(np.bincount(owner))[:-1])
        rows = None if bonds is None else np.split(*_by_owner(owner[bonds[:, 0]], int(owner.max()) + 1))
        place = np.empty(len(owner), dtype=np.int64)
        for atoms in members:
            place[atoms] = np.arange(len(atoms))

        def part(k: int) -> tuple[Any, Any, Any]:
            atoms = members[k]

            def make(numbers: np.ndarray, points: np.ndarray) -> Molecule:
                own = None if rows is None or bonds is None else place[bonds[rows[k]]]
                orders = None if rows is None or self.orders is None else self.orders[rows[k]]
                charges = None if self.charges is None else self.charges[atoms]
                return _molecule(numbers, points, own, orders, charges, f"molecule {k} of {label}")

            return self.numbers[atoms], self.positions[atoms], make

        return (Templates() if templates is None else templates).cluster(
            (part(k) for k in range(len(members))), self.info
        )


def _by_owner(owner: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    return np.argsort(owner, kind="stable"), np.cumsum(np.bincount(owner, minlength=count))[:-1]


def _molecule(
    numbers: np.ndarray,
    points: np.ndarray,
    bonds: np.ndarray | None,
    orders: np.ndarray | None,
    charges: np.ndarray | None,
    label: str,
) -> Molecule:
    from dataclasses import replace

    from kflow_sci.assembly.molecule import check_atoms
    from kflow_sci.assembly.reading.identity import with_orders
    from kflow_sci.assembly.reading.perceive import molecule_from_atoms, molecule_from_rdkit

    check_atoms(numbers, points, label)
    if bonds is None or orders is None:
        molecule = molecule_from_atoms(numbers, points, label, bonds=bonds)
    else:
        molecule = molecule_from_rdkit(with_orders(numbers, points, bonds, orders, charges), label)
    return replace(molecule, name=molecule.formula)


@lru_cache(maxsize=256)
def kekule(
    molecule: Molecule,
) -> tuple[Int[np.ndarray, "m 2"], Float[np.ndarray, " m"], Int[np.ndarray, " n"]]:
    """Bonds, their orders and the formal charges of a molecule, rings as alternating single and double bonds.

    Where RDKit finds no such formula, orders stand as the molecule has them, and are 1 where it has none.
    """
    from kflow_sci.assembly.reading.identity import to_rdkit

    bonds = bonded_pairs(molecule)
    charges = np.zeros(len(molecule), dtype=np.int64)
    if molecule.formal_charges is not None:
        charges = molecule.formal_charges.astype(np.int64)
    mol: Mol | None = to_rdkit(molecule)
    if mol is None:
        return bonds, molecule.bond_orders if len(molecule.bond_orders) else np.ones(len(bonds)), charges

    from rdkit import Chem

    Chem.Kekulize(mol, clearAromaticFlags=True)
    orders = [mol.GetBondBetweenAtoms(int(i), int(j)).GetBondTypeAsDouble() for i, j in bonds]
    return bonds, np.array(orders), charges
