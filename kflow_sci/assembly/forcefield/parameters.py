"""Parameters of the pair energy: van der Waals contacts and point charges of rigid molecules.

The one idea: every set of contacts is a table of distances and depths for pairs of types, and charges are chosen
apart from it: MMFF94's where RDKit can type every atom and they add up, else Gasteiger's, else none. Crystals use the
contacts that were fitted to crystals, finite clusters those of MMFF94, or UFF's, which has every element. Which ones
were used travels with the result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int

from kflow_sci.assembly.bonds import bonded_pairs
from kflow_sci.assembly.contacts import polar_hydrogens
from kflow_sci.assembly.elements import NUMBER_OF, SYMBOLS
from kflow_sci.assembly.forcefield.bond_orders import bond_orders
from kflow_sci.assembly.forcefield.fitted import fitted_contacts
from kflow_sci.assembly.molecule import Molecule
from kflow_sci.errors import ConfigError, MoleculeError

if TYPE_CHECKING:
    from rdkit.Chem import Mol

KJ_PER_KCAL = 4.184
# Energy of two unit charges 1 Å apart, kJ/mol (CODATA 2018: e² N_A / 4 π ε₀).
COULOMB = 1389.35458
CHARGES = ("auto", "mmff", "gasteiger", "none")
CONTACTS = ("fitted", "auto", "mmff", "uff")
FORMS = ("exp-6", "12-6", "9-6", "14-7")

# Distance of least energy (Å) and depth (kcal/mol) of two like atoms. Rappé, Casewit, Colwell, Goddard & Skiff,
# J. Am. Chem. Soc. 114 (1992) 10024, table 1.
_UFF = {
    "H": (2.886, 0.044), "Li": (2.451, 0.025), "Be": (2.745, 0.085), "B": (4.083, 0.180), "C": (3.851, 0.105),
    "N": (3.660, 0.069), "O": (3.500, 0.060), "F": (3.364, 0.050), "Na": (2.983, 0.030), "Mg": (3.021, 0.111),
    "Al": (4.499, 0.505), "Si": (4.295, 0.402), "P": (4.147, 0.305), "S": (4.035, 0.274), "Cl": (3.947, 0.227),
    "K": (3.812, 0.035), "Ca": (3.399, 0.238), "As": (4.230, 0.309), "Se": (4.205, 0.291), "Br": (4.189, 0.251),
    "Sn": (4.392, 0.567), "Te": (4.470, 0.398), "I": (4.500, 0.339),
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class ForceField:
    """What the pair energy needs to know of the atoms of a few molecules.

    Attributes:
        name: ``fitted`` or ``UFF`` (Lennard-Jones 12-6 contacts), or ``MMFF94`` (buffered 14-7 contacts).
        charge_name: ``MMFF94``, ``Gasteiger``, ``given`` or ``none``.
        types: Per molecule the type of each atom, ``(n,)``: a row of the two tables.
        charges: Per molecule the charge of each atom, ``(n,)``, in elementary charges.
        distance: Distance of least energy of each pair of types, Å, ``(t, t)``.
        depth: Depth of the well of each pair of types, kJ/mol, ``(t, t)``.
        form: The shape of the well, one of ``FORMS``.
        steepness: Of the repulsion of an ``exp-6`` well: it falls by e over 1/steepness of the distance.
    """

    name: str
    charge_name: str
    types: tuple[Int[np.ndarray, " n"], ...]
    charges: tuple[Float[np.ndarray, " n"], ...]
    distance: Float[np.ndarray, "t t"]
    depth: Float[np.ndarray, "t t"]
    form: str
    steepness: float = 0.0


def force_field(
    molecules: Sequence[Molecule],
    charges: str | Sequence[Float[np.ndarray, " n"]] = "auto",
    contacts: str = "fitted",
) -> ForceField:
    """Parameters for the contacts and charges between copies of these molecules.

    Args:
        molecules: The templates of a cluster.
        charges: ``auto`` takes MMFF94 charges, else Gasteiger's, else none; ``mmff``, ``gasteiger`` and ``none``
            insist; or the charges of the atoms of each molecule, in elementary charges.
        contacts: ``fitted`` takes those fitted to crystals (UFF's for elements they lack); ``auto`` MMFF94
            contacts where every atom has a type, else UFF's; ``mmff`` and ``uff`` insist.

    Raises:
        ConfigError: an unknown word for ``charges`` or ``contacts``, or charges that do not fit the atoms.
        MoleculeError: ``mmff`` or ``gasteiger`` is asked for and a molecule has none.
    """
    if contacts not in CONTACTS:
        raise ConfigError(f"contacts is {contacts!r}, but must be one of {', '.join(CONTACTS)}")
    if isinstance(charges, str):
        if charges not in CHARGES:
            raise ConfigError(
                f"charges is {charges!r}, but must be one of {', '.join(CHARGES)} or an array per molecule"
            )
        return _force_field(tuple(molecules), charges, contacts)
    given = tuple(np.asarray(q, dtype=np.float64) for q in charges)
    if [q.shape for q in given] != [(len(molecule),) for molecule in molecules]:
        shapes = ", ".join(str(len(molecule)) for molecule in molecules)
        raise ConfigError(f"charges must be one array per molecule with {shapes} values: one for each atom")
    return replace(_force_field(tuple(molecules), "none", contacts), charge_name="given", charges=given)


@lru_cache(maxsize=64)
def _force_field(molecules: tuple[Molecule, ...], charges: str, contacts: str) -> ForceField:
    mols = [_rdkit(molecule) for molecule in molecules]
    names = ", ".join(molecule.name for molecule in molecules)
    typed = _mmff(molecules, mols)
    if contacts == "mmff" and typed is None:
        raise MoleculeError(f"{names}: some atom has no MMFF94 type: use contacts='auto'")
    if contacts == "fitted":
        own = fitted_contacts(molecules, {k: (d, KJ_PER_KCAL * e) for k, (d, e) in _UFF.items()})
        bare = ForceField("fitted", "none", own[0], _no_charges(molecules), own[1], own[2], "12-6")
    elif typed and contacts != "uff":
        bare = ForceField("MMFF94", "none", typed[0], _no_charges(molecules), typed[1], typed[2], "14-7")
    else:
        bare = ForceField("UFF", "none", *_uff(molecules), form="12-6")
    if charges == "none":
        return bare
    # Charges that do not add up are the sign of a wrong type, and would outweigh everything else.
    if typed and charges != "gasteiger" and _balanced(typed[3], mols):
        return replace(bare, charge_name="MMFF94", charges=typed[3])
    gasteiger = _gasteiger(mols) if charges != "mmff" else None
    if gasteiger is not None:
        return replace(bare, charge_name="Gasteiger", charges=gasteiger)
    if charges != "auto":
        raise MoleculeError(
            f"{names}: no {charges} charges for these atoms: use charges='auto' or give your own"
        )
    return bare


def _no_charges(molecules: Sequence[Molecule]) -> tuple[Float[np.ndarray, " n"], ...]:
    return tuple(np.zeros(len(molecule)) for molecule in molecules)


def _rdkit(molecule: Molecule) -> Mol | None:
    """The molecule for RDKit, or None where its bonds make no chemical sense."""
    from kflow_sci.assembly.reading.identity import accepted, with_orders

    try:
        orders, formal = bond_orders(molecule)
    except MoleculeError:
        return None
    return accepted(with_orders(molecule.numbers, molecule.positions, bonded_pairs(molecule), orders, formal))


def _mmff(
    molecules: tuple[Molecule, ...], mols: Sequence[Mol | None]
) -> tuple[tuple[np.ndarray, ...], np.ndarray, np.ndarray, tuple[np.ndarray, ...]] | None:
    """Types, distances, depths and charges of MMFF94; None if an atom has no type."""
    from functools import reduce

    from rdkit import Chem, rdBase
    from rdkit.Chem import rdForceFieldHelpers

    known = [mol for mol in mols if mol is not None]
    if len(known) < len(mols):
        return None
    # Two copies of everything: the pair parameters of RDKit are for two atoms of one object.
    both = reduce(Chem.CombineMols, [*known, *known])
    with rdBase.BlockLogs():
        Chem.SanitizeMol(both)
        properties = rdForceFieldHelpers.MMFFGetMoleculeProperties(both)
    if properties is None:
        return None
    half = both.GetNumAtoms() // 2
    kinds, first, types = np.unique(
        [properties.GetMMFFAtomType(i) for i in range(half)], return_index=True, return_inverse=True
    )
    distance, depth = np.zeros((2, len(kinds), len(kinds)))
    for s, i in enumerate(first):
        for t, j in enumerate(first):
            _, _, distance[s, t], depth[s, t] = properties.GetMMFFVdWParams(int(i), int(half + j))
    cuts = np.cumsum([len(molecule) for molecule in molecules])[:-1]
    charges = np.array([properties.GetMMFFPartialCharge(i) for i in range(half)])
    return tuple(np.split(types, cuts)), distance, KJ_PER_KCAL * depth, tuple(np.split(charges, cuts))


def _uff(
    molecules: tuple[Molecule, ...],
) -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...], np.ndarray, np.ndarray]:
    """Types, charges (none), distances and depths of UFF.

    Polar hydrogens have no contacts of their own, as in OPLS and TIP3P: UFF knows no hydrogen bonds, and with its
    hydrogen of 2.9 Å a true one would cost more than it gains.
    """
    table = np.zeros((len(SYMBOLS) + 1, 2))
    for symbol, values in _UFF.items():
        table[NUMBER_OF[symbol]] = values
    table[-1] = table[NUMBER_OF["H"]] * [1.0, 0.0]
    atoms = [
        np.where(polar_hydrogens(m.numbers, bonded_pairs(m)), len(SYMBOLS), m.numbers) for m in molecules
    ]
    kinds = np.unique(np.concatenate(atoms))
    if (table[kinds, 0] == 0).any():
        missing = ", ".join(SYMBOLS[k] for k in kinds[table[kinds, 0] == 0])
        raise MoleculeError(
            f"no van der Waals energy is known for {missing}: such clusters can be scored, not ranked"
        )
    distance, depth = (np.sqrt(np.outer(column, column)) for column in table[kinds].T)
    types = tuple(np.searchsorted(kinds, a) for a in atoms)
    return types, _no_charges(molecules), distance, KJ_PER_KCAL * depth


def _gasteiger(mols: Sequence[Mol | None]) -> tuple[np.ndarray, ...] | None:
    """Gasteiger charges; None if an atom has no parameters."""
    from rdkit import rdBase
    from rdkit.Chem import rdPartialCharges

    charges = []
    for mol in mols:
        if mol is None:
            return None
        with rdBase.BlockLogs():
            rdPartialCharges.ComputeGasteigerCharges(mol, throwOnParamFailure=False)
        charges.append(np.array([atom.GetDoubleProp("_GasteigerCharge") for atom in mol.GetAtoms()]))
    return tuple(charges) if all(np.isfinite(q).all() for q in charges) else None


def _balanced(charges: Sequence[Float[np.ndarray, " n"]], mols: Sequence[Mol | None]) -> bool:
    """Whether the charges of each molecule add up to its formal charge."""
    totals = [sum(atom.GetFormalCharge() for atom in mol.GetAtoms()) for mol in mols if mol is not None]
    return all(abs(q.sum() - total) < 1e-3 for q, total in zip(charges, totals, strict=True))
