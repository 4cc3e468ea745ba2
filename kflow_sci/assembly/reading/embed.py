"""SMILES to a rigid molecule.

The one idea: several conformers by distance geometry, each relaxed in a force field, the lowest kept; the seed fixes
them all. RDKit is imported here at the top, so this module is to be imported where it is used.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Float
from rdkit import Chem, rdBase
from rdkit.Chem import rdDistGeom, rdForceFieldHelpers

from kflow_sci.assembly.molecule import Molecule, check_composition
from kflow_sci.assembly.reading.advice import refuse_parts
from kflow_sci.assembly.reading.perceive import has_handed_centre, molecule_from_rdkit
from kflow_sci.assembly.reading.rare_bonds import rare_bonds, relax_holding
from kflow_sci.errors import MoleculeError

KJ_PER_KCAL = 4.184
SAME_SHAPE = 0.15  # Å
_ATTEMPTS = 100  # per conformer; a structure that cannot exist is given up after seconds
_RELAXATION = 2000  # iterations of the force field, enough for 200 atoms to converge
_TETRAHEDRAL = (Chem.ChiralType.CHI_TETRAHEDRAL_CW, Chem.ChiralType.CHI_TETRAHEDRAL_CCW)


def from_smiles(smiles: str, seed: int = 0, conformers: int = 10) -> Molecule:
    """The lowest of several conformers of a SMILES, with all hydrogens.

    Args:
        smiles: One molecule. Stereocentres that it leaves open are chosen by the embedding.
        seed: >= 0; the same seed gives the same molecule.
        conformers: How many are tried, >= 1.

    Returns:
        A molecule whose ``handed`` is True where the SMILES specifies a tetrahedral centre and the molecule differs
        from its mirror image. MMFF94 chooses the conformer; UFF where it lacks parameters; the first conformer as
        embedded where both do.

    Raises:
        MoleculeError: an empty or invalid SMILES, several fragments, a single atom, more than ``MAX_ATOMS`` atoms,
            an element that is not supported, or no 3-D structure found.

    Source:
        Embedding: ETKDGv3, Wang et al., J. Chem. Inf. Model. 60 (2020) 2044. MMFF94: Halgren, J. Comput. Chem. 17
        (1996) 490. UFF: Rappé et al., J. Am. Chem. Soc. 114 (1992) 10024.
    """
    mol, ids, energy, handed = _conformers_of(smiles, seed, conformers)
    return _molecule(mol, ids[int(np.argmin(energy))], smiles.strip(), handed)


def distinct_conformers(
    smiles: str, seed: int = 0, count: int = 5, tried: int = 50, window: float = 25.0
) -> list[tuple[Molecule, float]]:
    """Conformers of a SMILES that differ in shape, lowest energy first.

    Args:
        smiles: As in ``from_smiles``.
        seed: >= 0.
        count: How many are wanted, >= 1; there may be fewer.
        tried: How many are embedded.
        window: Conformers this far above the lowest are left out, kJ/mol.

    Returns:
        Each with its energy above the lowest, kJ/mol per molecule, in the force field that ``from_smiles`` names. Two
        of one shape, or mirror images, have equal distances between atoms of like elements, within 0.15 Å, in order.

    Raises:
        MoleculeError: see ``from_smiles``.
    """
    mol, ids, energy, handed = _conformers_of(smiles, seed, max(tried, count))
    if not np.isfinite(energy.min()):
        energy = np.zeros(len(ids))
    kept: list[tuple[Molecule, float]] = []
    shapes: list[np.ndarray] = []
    for k in np.argsort(energy, kind="stable"):
        above = float(energy[k] - energy.min()) * KJ_PER_KCAL
        if len(kept) == count or not above <= window:
            break
        molecule = _molecule(mol, ids[int(k)], smiles.strip(), handed)
        shape = _shape(molecule)
        if all(np.abs(shape - other).max() > SAME_SHAPE for other in shapes):
            kept.append((molecule, above))
            shapes.append(shape)
    return kept


def _shape(molecule: Molecule) -> Float[np.ndarray, " p"]:
    """Distances between atoms, in rising order for each pair of elements."""
    i, j = np.triu_indices(len(molecule), 1)
    low, high = np.sort(np.stack([molecule.numbers[i], molecule.numbers[j]]), axis=0)
    distance = np.linalg.norm(molecule.positions[i] - molecule.positions[j], axis=1)
    return distance[np.lexsort((distance, high, low))]


def _conformers_of(
    smiles: str, seed: int, conformers: int
) -> tuple[Chem.Mol, list[int], Float[np.ndarray, " c"], bool]:
    """Embedded and relaxed conformers: the molecule, their ids and energies (kcal/mol), and whether a hand is fixed."""
    if conformers < 1 or seed < 0:
        raise MoleculeError(
            f"seed {seed} and conformers {conformers}: give a seed >= 0 and at least 1 conformer"
        )
    smiles = smiles.strip()
    mol = parse_smiles(smiles)
    label = f"SMILES '{_short(smiles)}'"
    refuse_parts(mol, label)
    specified = any(atom.GetChiralTag() in _TETRAHEDRAL for atom in mol.GetAtoms())
    mol = Chem.AddHs(mol)
    check_composition(np.array([atom.GetAtomicNum() for atom in mol.GetAtoms()]), label)
    with rdBase.BlockLogs():
        ids = _embed(mol, seed, conformers)
        if not ids:
            raise MoleculeError(
                f"no 3-D structure was found for {label}: check its rings and stereocentres, or give a file with"
                " coordinates"
            )
        return mol, ids, _relax(mol, len(ids)), specified


def _molecule(mol: Chem.Mol, conformer: int, smiles: str, specified: bool) -> Molecule:
    single = Chem.Mol(mol, confId=conformer)
    molecule = molecule_from_rdkit(
        single,
        f"SMILES '{_short(smiles)}'",
        smiles=smiles,
        handed=specified and has_handed_centre(single),
    )
    return replace(molecule, name=molecule.formula)


def parse_smiles(smiles: str) -> Chem.Mol:
    """A sanitised RDKit molecule; RDKit prints nothing.

    Raises:
        MoleculeError: the SMILES is empty or invalid; the message says where, as far as RDKit knows.
    """
    if not smiles:
        raise MoleculeError("the SMILES is empty: give one, for example 'CC(=O)Oc1ccccc1C(=O)O'")
    if any(c.isspace() for c in smiles):
        raise MoleculeError(f"SMILES '{_short(smiles)}' holds a blank: give the SMILES alone, without a name")
    # Older RDKit cannot capture what it logs; then the message goes without the cause.
    with rdBase.BlockLogs(), getattr(rdBase, "CaptureErrorLog", rdBase.BlockLogs)() as log:
        mol = Chem.MolFromSmiles(smiles)
    if mol is None:
        raise MoleculeError(
            f"SMILES '{_short(smiles)}' is not valid{_cause(getattr(log, 'messages', ''))}: mend it"
        )
    if mol.GetNumAtoms() == 0:
        raise MoleculeError(f"SMILES '{_short(smiles)}' holds no atoms: give one molecule")
    return mol


def smiles_of_inchi(inchi: str) -> str:
    """The SMILES of an InChI; RDKit prints nothing.

    Raises:
        MoleculeError: the InChI is not valid.
    """
    with rdBase.BlockLogs():
        mol = Chem.MolFromInchi(inchi.strip())
    if mol is None or mol.GetNumAtoms() == 0:
        raise MoleculeError(f"'{_short(inchi)}' is not a valid InChI: mend it, or give a SMILES")
    return str(Chem.MolToSmiles(mol))


def _cause(log: str) -> str:
    """`` (what, where)`` from RDKit's log of one failure."""
    lines = [re.sub(r"^\[[\d:]+\]\s*", "", line).strip() for line in log.splitlines()]
    reason = re.sub(r"^SMILES Parse Error: ", "", lines[0]) if lines else ""
    reason = re.split(r" while parsing:| for input:", reason)[0].strip().rstrip(".")
    position = re.search(r"around position (\d+)", log)
    parts = [" ".join(reason.split())] if reason else []
    parts += [f"near position {position.group(1)}"] if position else []
    return f" ({', '.join(parts)})" if parts else ""


def _embed(mol: Chem.Mol, seed: int, conformers: int) -> list[int]:
    """Conformers by ETKDGv3; where it fails from random coordinates; then without the flat-ring terms, for cages."""
    # RDKit multiplies its seed with the conformer number, so 0 would give equal conformers; hashing avoids it.
    number = 1 + int(np.random.SeedSequence(seed).generate_state(1)[0]) % (2**31 - 2)
    for method, random in ((rdDistGeom.ETKDGv3, False), (rdDistGeom.ETKDGv3, True), (rdDistGeom.ETDG, False)):
        options: Any = method()  # RDKit's stubs give its fields a wrong type
        options.randomSeed = number
        options.maxIterations = _ATTEMPTS
        options.useRandomCoords = random
        options.numThreads = 0  # all cores; the result does not depend on their number
        # A structure that cannot exist fails once, not once per conformer.
        if rdDistGeom.EmbedMolecule(mol, options) >= 0:
            return list(rdDistGeom.EmbedMultipleConfs(mol, conformers, options))
    return []


def _relax(mol: Chem.Mol, conformers: int) -> Float[np.ndarray, " c"]:
    """Relax all conformers in place; their energies, kcal/mol, infinite where the force field failed."""
    if rdForceFieldHelpers.MMFFHasAllMoleculeParams(mol):
        held = rare_bonds(mol)
        if held:
            results = relax_holding(mol, held, _RELAXATION)
        else:
            results = rdForceFieldHelpers.MMFFOptimizeMoleculeConfs(mol, maxIters=_RELAXATION, numThreads=0)
    elif rdForceFieldHelpers.UFFHasAllMoleculeParams(mol):
        results = rdForceFieldHelpers.UFFOptimizeMoleculeConfs(mol, maxIters=_RELAXATION, numThreads=0)
    else:
        return np.zeros(conformers)
    energy = np.array([e if status >= 0 else np.inf for status, e in results])
    return np.where(np.isfinite(energy), energy, np.inf)


def _short(text: str, limit: int = 60) -> str:
    shown = "".join(c if c.isprintable() else "?" for c in text)
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"
