"""A list of small rigid molecules, made from scaffolds and substituents; and the molecules it must not hold.

    python datasets/molecules/make.py held-out CRYSTALS    # writes held_out.csv: val and test molecules, by two names
    python datasets/molecules/make.py list                 # writes molecules.csv, leaving those out

The one idea: a scaffold is a SMILES with numbered gaps on carbon ({0}, {1} …) and on nitrogen ({n}); filling the gaps
at random, scaffold after scaffold, gives as many molecules as wanted, of every kind of ring and of contact.
A fixed seed gives the same list. Nothing is taken from a collection of others.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rdkit import Chem, rdBase
from rdkit.Chem import rdForceFieldHelpers, rdMolDescriptors

if TYPE_CHECKING:
    from kflow_sci.assembly.search.excluded import Excluded

FOLDER = Path(__file__).parent
MOST_ATOMS = 28
FEWEST_ATOMS = 7
MOST_ROTATABLE = 1
MOST_CENTRES = 2
PER_SCAFFOLD = 29

# Scaffolds, one SMILES each. Gaps: {0}, {1}, {2} on carbon, {n} on nitrogen.
with open(FOLDER / "scaffolds.csv", newline="", encoding="utf-8") as _stream:
    SCAFFOLDS = {row["scaffold"]: row["smiles"] for row in csv.DictReader(_stream)}

ON_CARBON = {
    "[H]": 9, "C": 6, "F": 4, "Cl": 5, "Br": 3, "I": 1, "O": 5, "N": 5, "C#N": 4, "OC": 2, "C(=O)O": 2, "C(=O)N": 2,
    "[N+](=O)[O-]": 3, "C=O": 2, "C(C)=O": 1, "C(F)(F)F": 2, "S": 0.5, "SC": 1, "C#C": 1, "C=C": 0.7, "C(C)(C)C": 0.7,
    "C1CC1": 0.7, "N(C)C": 1, "S(N)(=O)=O": 0.7, "OC(F)F": 0.4, "CO": 1, "c1ccccc1": 0.8, "S(C)(=O)=O": 0.7,
}  # fmt: skip
ON_NITROGEN = {"[H]": 10, "C": 4, "CC": 0.5, "C(C)=O": 1, "C1CC1": 0.4, "C(C)(C)C": 0.4, "c1ccccc1": 0.4}
# Groups that no one would expect to last, or whose conformers and charges are not safe.
UNWANTED = [
    "[OX2][OX2]",
    "[NX3;H1,H2][NX3;H1,H2]",
    "[NX3;!$(N-C=O);!$(N-S)][Cl,Br,I,F]",
    "[CX4]([OX2H])[OX2H,NX3,F,Cl,Br,I]",
    "[CX4]([NX3])([NX3H2])",
    "[CX4]([F,Cl,Br,I])[NX3,OX2H]",
    "[CX3;!$(C(=O));!$(C(=N))]([OX2H])=[CX3]",
    "C(=O)[F,Cl,Br,I]",
    "[SX2H][CX3]=[CX3]",
    "[CX2]#[CX2][OH,NH2,SH,F,Cl,I]",
    "[N;!$(N-*=*);!$(N-[a])]-C=O-O",
    "C(=O)C=O[OH]",
    "[SX2]-[Cl,Br,I,F]",
    "[CX4](C(=O)[OH])C(=O)N",
    "[CX3](=O)[CX4][CX3](=O)[OH]",
    "[NX3H2][CX3]=[CX3;!$(C-C=O);!$(C-C#N)]",
    "[OX2H][CX2]",
    "[F,Cl,Br,I][CX3](=O)",
    "[NX2H]=C([F,Cl,Br,I])",
    "[#6]=[#6]=[#6]",
    "[SX2H]C#N",
    "[OX2H]C#N",
]


def main() -> None:
    """Run one of the two steps."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    steps = parser.add_subparsers(required=True)
    held = steps.add_parser("held-out", help="names of the val and test molecules of the crystals")
    held.add_argument("crystals", type=Path, help="folder with experimental.csv and experimental/")
    held.set_defaults(run=lambda options: write_held_out(options.crystals))
    table = steps.add_parser("list", help="the list of molecules")
    table.add_argument("--seed", type=int, default=1)
    table.set_defaults(run=lambda options: write_list(options.seed))
    options = parser.parse_args()
    options.run(options)


def write_held_out(crystals: Path) -> None:
    """``held_out.csv``: one row per val or test crystal."""
    from kflow_sci.assembly.bonds import bonded_pairs
    from kflow_sci.assembly.data.identity import graph_hash
    from kflow_sci.assembly.reading.crystal import molecule_from_crystal, read_crystal
    from kflow_sci.assembly.reading.identity import inchikey

    with open(crystals / "experimental.csv", newline="", encoding="utf-8") as stream:
        rows = [row for row in csv.DictReader(stream) if row["split"] != "train"]
    with open(FOLDER / "held_out.csv", "w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream, lineterminator="\n")
        table.writerow(["id", "split", "inchikey", "graph"])
        for row in sorted(rows, key=lambda row: row["id"]):
            molecule = molecule_from_crystal(read_crystal(crystals / "experimental" / f"{row['id']}.cif"))
            key = inchikey(molecule) or ""
            table.writerow(
                [row["id"], row["split"], key, graph_hash(molecule.numbers, bonded_pairs(molecule))]
            )


def write_list(seed: int) -> None:
    """``molecules.csv``: the list, in an order in which every beginning of it is as mixed as the whole."""
    from kflow_sci.assembly.search.excluded import Excluded

    excluded = Excluded.read(FOLDER / "held_out.csv")
    rng = random.Random(seed)
    rows: list[dict[str, object]] = []
    seen: set[str] = set()
    refused = 0
    for name in SCAFFOLDS:
        found = 0
        for smiles in candidates(name, rng):
            mol = accept(smiles)
            if mol is None:
                continue
            key = Chem.MolToInchiKey(mol, options="/SNon")
            if key in seen:
                continue
            if is_held_out(mol, key, excluded):
                refused += 1
                continue
            seen.add(key)
            rows.append(describe(mol, key, name))
            found += 1
            if found == PER_SCAFFOLD:
                break
    rng.shuffle(rows)
    path = FOLDER / "molecules.csv"
    with open(path, "w", newline="", encoding="utf-8") as stream:
        table = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    print(f"{len(rows)} molecules, {refused} held out: {path.stat().st_size} bytes, sha256 {digest}")


def candidates(name: str, rng: random.Random) -> Iterator[str]:
    """Fillings of one scaffold, simple ones as likely as the weights make them."""
    scaffold = SCAFFOLDS[name]
    gaps = re.findall(r"\{(\w)\}", scaffold)
    for _ in range(40 * PER_SCAFFOLD if gaps else 1):
        pieces = re.split(r"\{\w\}", scaffold)
        filled = [pieces[0]]
        for gap, piece in zip(gaps, pieces[1:], strict=True):
            table = ON_NITROGEN if gap == "n" else ON_CARBON
            filled += [rng.choices(list(table), list(table.values()))[0], piece]
        yield renumbered("".join(filled))


def renumbered(smiles: str) -> str:
    """Ring labels of substituents must differ from those of the scaffold: 1 in a cyclopropyl or phenyl becomes 9."""
    return smiles.replace("(c1ccccc1)", "(c9ccccc9)").replace("(C1CC1)", "(C9CC9)")


_UNWANTED = [Chem.MolFromSmarts(smarts) for smarts in UNWANTED]


def accept(smiles: str) -> Chem.Mol | None:
    """The molecule, or None where it is too large, too flexible, unstable, or without force field parameters."""
    with rdBase.BlockLogs():
        mol = Chem.MolFromSmiles(smiles)
        if mol is None:
            return None
        whole = Chem.AddHs(mol)
        centres = Chem.FindMolChiralCenters(mol, includeUnassigned=True, useLegacyImplementation=False)
        good = (
            FEWEST_ATOMS <= whole.GetNumAtoms() <= MOST_ATOMS
            and rdMolDescriptors.CalcNumRotatableBonds(mol) <= MOST_ROTATABLE
            and (len(centres) <= MOST_CENTRES or rdMolDescriptors.CalcNumBridgeheadAtoms(mol) > 0)
            and Chem.GetFormalCharge(mol) == 0
            and not any(atom.GetNumRadicalElectrons() for atom in mol.GetAtoms())
            and not any(mol.HasSubstructMatch(pattern) for pattern in _UNWANTED)
            and rdForceFieldHelpers.MMFFHasAllMoleculeParams(whole)
        )
    return mol if good else None


def is_held_out(mol: Chem.Mol, key: str, excluded: Excluded) -> bool:
    """Whether a val or test molecule of the crystals has one of its names."""
    from kflow_sci.assembly.data.identity import graph_hash

    whole = Chem.AddHs(mol)
    numbers = np.array([atom.GetAtomicNum() for atom in whole.GetAtoms()])
    bonds = np.array([[b.GetBeginAtomIdx(), b.GetEndAtomIdx()] for b in whole.GetBonds()]).reshape(-1, 2)
    return key[:14] in excluded.inchikeys or graph_hash(numbers, bonds) in excluded.graphs


def describe(mol: Chem.Mol, key: str, scaffold: str) -> dict[str, object]:
    """A row of the table."""
    return {
        "smiles": Chem.MolToSmiles(mol),
        "inchikey": key,
        "atoms": Chem.AddHs(mol).GetNumAtoms(),
        "rotatable": rdMolDescriptors.CalcNumRotatableBonds(mol),
        "donors": rdMolDescriptors.CalcNumHBD(mol),
        "acceptors": rdMolDescriptors.CalcNumHBA(mol),
        "scaffold": scaffold,
    }


if __name__ == "__main__":
    main()
