"""Bonds: found by distance, given orders by RDKit, and handed back to plain arrays.

The one idea: connectivity comes from distances and always succeeds; bond orders, charges and stereocentres are what
RDKit makes of that connectivity, and where it cannot make sense of it the molecule simply has no bond orders. Nothing
else in the package needs to know RDKit's molecules, except whoever reads or embeds them. RDKit is imported here at
the top, so this module is to be imported where it is used.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float, Int
from rdkit import Chem, rdBase
from rdkit.Chem import rdDetermineBonds

from kflow_sci.assembly.bonds import BOND_SLACK, find_bonds, fragments
from kflow_sci.assembly.elements import COVALENT_RADIUS, SYMBOLS
from kflow_sci.assembly.molecule import Molecule, check_atoms
from kflow_sci.assembly.reading.hydrogens import check_carbons, check_whole
from kflow_sci.errors import MoleculeError

_MAX_ITERATIONS = 500  # of RDKit's search for bond orders, which can otherwise run for hours on large cages
_ORDERS_TRIED = (
    12  # orders of the atoms; each finds a structure of pyridine N-oxides with a chance of about 2/3
)
_MAX_STRUCTURES = 64
_RESONANCE = Chem.KEKULE_ALL | Chem.ALLOW_CHARGE_SEPARATION
_STRETCH = 1.3  # a stated bond longer than this times the sum of covalent radii is no bond in Å
_ORDERS = {
    Chem.BondType.SINGLE: 1.0,
    Chem.BondType.DOUBLE: 2.0,
    Chem.BondType.TRIPLE: 3.0,
    Chem.BondType.AROMATIC: 1.5,
}


def find_orders(
    numbers: Int[np.ndarray, " n"], positions: Float[np.ndarray, "n 3"], bonds: Int[np.ndarray, "m 2"]
) -> Chem.Mol | None:
    """Bond orders and formal charges of a neutral molecule from its connectivity.

    Returns:
        A sanitised RDKit molecule with the same atoms and bonds, or None where no neutral valence structure is found
        within a bounded search (radicals, odd ions, metal complexes, large cages).

    Source:
        Kim & Kim, Bull. Korean Chem. Soc. 36 (2015) 1769, as implemented in RDKit.
    """
    return _search_orders(numbers, positions, bonds)[0]


def _search_orders(
    numbers: Int[np.ndarray, " n"], positions: Float[np.ndarray, "n 3"], bonds: Int[np.ndarray, "m 2"]
) -> tuple[Chem.Mol | None, bool]:
    """``find_orders``, and whether it found none because it gave up.

    RDKit's search stops at the first structure that has the valences, and which one that is, or whether there is any,
    depends on the order of the atoms. So where it fails or needs charges, other orders are tried, the same ones always.
    """
    rng = np.random.default_rng(0)
    given = skeleton(numbers, positions, bonds)
    found: list[Chem.Mol] = []
    gave_up = False
    for attempt in range(_ORDERS_TRIED):
        order = rng.permutation(len(numbers)) if attempt else np.arange(len(numbers))
        mol = Chem.RenumberAtoms(given, order.tolist())
        with rdBase.BlockLogs():
            try:
                rdDetermineBonds.DetermineBondOrders(
                    mol, charge=0, embedChiral=False, maxIterations=_MAX_ITERATIONS
                )
            except RuntimeError:
                gave_up = True
                break
            except ValueError:
                continue
            failed = Chem.SanitizeMol(mol, catchErrors=True)
        if failed or any(atom.GetNumRadicalElectrons() for atom in mol.GetAtoms()):
            continue
        found.append(Chem.RenumberAtoms(mol, np.argsort(order).tolist()))
        if not _charges(mol):
            return found[-1], False
    if not found:
        return None, gave_up
    return _best_by_length(min(found, key=_charges)), False


def _charges(mol: Chem.Mol) -> int:
    return sum(abs(atom.GetFormalCharge()) for atom in mol.GetAtoms())


def _best_by_length(mol: Chem.Mol) -> Chem.Mol:
    """Of the resonance structures of a molecule with formal charges, that of fewest charges and shortest double bonds.

    RDKit takes the first that has the valences: of isonicotinamide N-oxide one with N=O and a quinoid ring.
    """
    length = Chem.Get3DDistanceMatrix(mol)
    best: Chem.Mol = mol
    least: tuple[float, float, list[float]] = (np.inf, np.inf, [])
    single = Chem.Mol(mol)
    Chem.Kekulize(single, clearAromaticFlags=True)
    # RDKit's stubs do not know that some of them are None.
    structures: Any = Chem.ResonanceMolSupplier(single, _RESONANCE, _MAX_STRUCTURES)
    with rdBase.BlockLogs():
        for structure in structures:
            if structure is None:
                continue
            excess, orders = 0.0, {}
            for bond in structure.GetBonds():
                i, j = sorted((bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()))
                orders[i, j] = bond.GetBondTypeAsDouble()
                radii = COVALENT_RADIUS[bond.GetBeginAtom().GetAtomicNum()]
                radii += COVALENT_RADIUS[bond.GetEndAtom().GetAtomicNum()]
                excess += (bond.GetBondTypeAsDouble() - 1.0) * (length[i, j] / radii - 1.0)
            candidate = Chem.Mol(structure)
            # Where two are equal, as in nitro groups, the double bond goes to the first atoms.
            late = [-orders[pair] for pair in sorted(orders)]
            cost = (_charges(candidate), round(excess, 3), late)
            if cost < least and not Chem.SanitizeMol(candidate, catchErrors=True):
                best, least = candidate, cost
    return best


def skeleton(
    numbers: Int[np.ndarray, " n"], positions: Float[np.ndarray, "n 3"], bonds: Int[np.ndarray, "m 2"]
) -> Chem.Mol:
    """An RDKit molecule with single bonds only, one conformer and no hidden hydrogens."""
    mol = Chem.RWMol()
    for z in numbers:
        atom = Chem.Atom(int(z))
        atom.SetNoImplicit(True)
        mol.AddAtom(atom)
    for i, j in bonds:
        mol.AddBond(int(i), int(j), Chem.BondType.SINGLE)
    conformer = Chem.Conformer(len(numbers))
    conformer.SetPositions(np.ascontiguousarray(positions, dtype=np.float64))
    conformer.Set3D(True)
    mol.AddConformer(conformer, assignId=True)
    return mol.GetMol()


def has_handed_centre(mol: Chem.Mol) -> bool:
    """Whether stereocentres tell a molecule with a conformer from its mirror image.

    False for meso compounds and for molecules whose only handedness is a twist of the conformer.
    """
    names = []
    with rdBase.BlockLogs():
        for mirror in (1.0, -1.0):
            image = Chem.Mol(mol)
            image.UpdatePropertyCache(strict=False)
            image.GetConformer().SetPositions(image.GetConformer().GetPositions() * [1.0, 1.0, mirror])
            Chem.AssignStereochemistryFrom3D(image)
            names.append(Chem.MolToSmiles(image))
    return names[0] != names[1]


def molecule_from_atoms(
    numbers: Int[np.ndarray, " n"],
    positions: Float[np.ndarray, "n 3"],
    name: str,
    *,
    bonds: Int[np.ndarray, "m 2"] | None = None,
    orders: Float[np.ndarray, " m"] | None = None,
    whole: bool = False,
) -> Molecule:
    """A molecule from bare atoms: bonds by distance unless they are given, orders by RDKit where it succeeds.

    Args:
        numbers: Atomic numbers, ``(n,)``.
        positions: Å, ``(n, 3)``, any frame.
        name: For messages and tables.
        bonds: Pairs of atoms, ``(m, 2)``.
        orders: ``(m,)``, with ``bonds``.
        whole: Nothing else vouches for the atoms being all of a neutral molecule, so that is checked too.

    Raises:
        MoleculeError: what ``Molecule.build`` refuses, several disconnected molecules, stated bonds that are no bonds
            in Å, carbons that lack hydrogens, or with ``whole`` what ``hydrogens.check_whole`` refuses.
    """
    numbers, positions = np.asarray(numbers, dtype=np.int64), np.asarray(positions, dtype=np.float64)
    check_atoms(numbers, positions, name)
    if bonds is None:
        bonds = find_bonds(numbers, positions)
    _check_connected(len(numbers), bonds, name)
    _check_lengths(numbers, positions, bonds, name)
    check_carbons(numbers, positions, bonds, name)
    mol, gave_up = _search_orders(numbers, positions, bonds)
    if whole:
        check_whole(numbers, positions, bonds, mol, gave_up, name)
    charges = None
    if mol is not None:
        charges = np.array([atom.GetFormalCharge() for atom in mol.GetAtoms()])
        if orders is None:
            bonds, orders = bond_table(mol)
    else:
        mol = skeleton(numbers, positions, bonds)
    return Molecule.build(
        numbers,
        positions,
        bonds=bonds,
        bond_orders=np.zeros(0) if orders is None else orders,
        formal_charges=charges,
        name=name,
        handed=has_handed_centre(mol),
    )[0]


def molecule_from_rdkit(
    mol: Chem.Mol, name: str, *, smiles: str | None = None, handed: bool | None = None, conformer: int = -1
) -> Molecule:
    """The conformer of an RDKit molecule as a rigid molecule; rings come out aromatic (order 1.5).

    Args:
        mol: With explicit hydrogens and a 3-D conformer.
        name: For messages and tables.
        smiles: Kept with the molecule.
        handed: As in ``Molecule``; None looks for stereocentres in the coordinates.
        conformer: RDKit's id of the conformer; -1 is the first.

    Raises:
        MoleculeError: no 3-D conformer, hydrogens missing, several disconnected molecules, or what
            ``Molecule.build`` refuses.
    """
    mol = Chem.Mol(mol)
    with rdBase.BlockLogs():
        # Coordinates and bonds are what counts: valences that RDKit does not accept are kept as they are.
        accepted = not Chem.SanitizeMol(Chem.Mol(mol), catchErrors=True)
        if accepted:
            Chem.SanitizeMol(mol)
        else:
            mol.UpdatePropertyCache(strict=False)
    if mol.GetNumConformers() == 0:
        raise MoleculeError(f"{name} has no coordinates: embed it first, or give its SMILES")
    chosen = mol.GetConformer(conformer)
    numbers = np.array([atom.GetAtomicNum() for atom in mol.GetAtoms()], dtype=np.int64)
    positions = np.array(chosen.GetPositions(), dtype=np.float64).reshape(-1, 3)
    hidden = [
        (atom.GetIdx(), atom.GetTotalNumHs()) for atom in mol.GetAtoms() if accepted and atom.GetTotalNumHs()
    ]
    if hidden:
        first = f"atom {hidden[0][0]}, {SYMBOLS[numbers[hidden[0][0]]]}"
        raise MoleculeError(
            f"{name} lacks {sum(h for _, h in hidden)} hydrogens (the first at {first}): add hydrogens with coordinates"
            " (for example Chem.AddHs(mol, addCoords=True), or obabel -h)"
        )
    if not chosen.Is3D() and len(numbers) > 3:
        raise MoleculeError(f"{name} is a 2-D drawing: give 3-D coordinates, or its SMILES")
    check_atoms(numbers, positions, name)
    bonds, orders = bond_table(mol)
    _check_connected(len(numbers), bonds, name)
    _check_lengths(numbers, positions, bonds, name)
    if not accepted:
        check_carbons(numbers, positions, bonds, name)
    if handed is None:
        single = Chem.Mol(mol)
        single.RemoveAllConformers()
        single.AddConformer(chosen, assignId=True)
        handed = has_handed_centre(single)
    return Molecule.build(
        numbers,
        positions,
        bonds=bonds,
        bond_orders=orders,
        formal_charges=np.array([atom.GetFormalCharge() for atom in mol.GetAtoms()]),
        name=name,
        smiles=smiles,
        handed=handed,
    )[0]


def bond_table(mol: Chem.Mol) -> tuple[Int[np.ndarray, "m 2"], Float[np.ndarray, " m"]]:
    """Bonds i < j in lexical order with their orders; dative and other rare kinds count as single."""
    rows = sorted(
        (*sorted((bond.GetBeginAtomIdx(), bond.GetEndAtomIdx())), _ORDERS.get(bond.GetBondType(), 1.0))
        for bond in mol.GetBonds()
        if bond.GetBondType() not in (Chem.BondType.ZERO, Chem.BondType.HYDROGEN)
    )
    table = np.array(rows, dtype=np.float64).reshape(-1, 3)
    return table[:, :2].astype(np.int64), table[:, 2]


def _check_connected(n: int, bonds: Int[np.ndarray, "m 2"], name: str) -> None:
    sizes = np.bincount(fragments(n, bonds))
    if len(sizes) > 1:
        listed = ", ".join(str(s) for s in sizes[:5]) + (", …" if len(sizes) > 5 else "")
        raise MoleculeError(
            f"{name} holds {len(sizes)} separate molecules (of {listed} atoms): give one molecule with"
            " coordinates in Å, or the crystal as cif"
        )


def _check_lengths(
    numbers: Int[np.ndarray, " n"],
    positions: Float[np.ndarray, "n 3"],
    bonds: Int[np.ndarray, "m 2"],
    name: str,
) -> None:
    i, j = bonds.T
    length = np.linalg.norm(positions[i] - positions[j], axis=1)
    expected = COVALENT_RADIUS[numbers[i]] + COVALENT_RADIUS[numbers[j]]
    # Found bonds reach 0.4 Å beyond the sum, which for hydrogen is more than the factor.
    worst = int(np.argmax(length - np.maximum(_STRETCH * expected, expected + BOND_SLACK)))
    if length[worst] > max(_STRETCH * expected[worst], expected[worst] + BOND_SLACK):
        a, b = SYMBOLS[numbers[i[worst]]], SYMBOLS[numbers[j[worst]]]
        raise MoleculeError(
            f"{name}: the bond {a}-{b} of atoms {i[worst]} and {j[worst]} is {length[worst]:.2f} Å long (about"
            f" {expected[worst]:.2f} Å expected): give 3-D coordinates in Å"
        )
