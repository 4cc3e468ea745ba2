"""The list of molecules for the factory holds what its card says, and none that is held out."""

from __future__ import annotations

import csv
import hashlib
from pathlib import Path

import numpy as np
import pytest

from kflow_sci.assembly.data.identity import graph_hash
from kflow_sci.assembly.search.excluded import Excluded

FOLDER = Path(__file__).parents[2] / "datasets" / "molecules"


def rows(name: str = "molecules.csv") -> list[dict[str, str]]:
    with open(FOLDER / name, newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_the_card_states_the_checksum_and_the_number_of_molecules() -> None:
    card = (FOLDER / "card.md").read_text(encoding="utf-8")
    assert hashlib.sha256((FOLDER / "molecules.csv").read_bytes()).hexdigest() in card
    assert f"{len(rows())} molecules" in card
    assert f"{len(rows('scaffolds.csv'))} scaffolds" in card
    assert (FOLDER / "molecules.csv").stat().st_size <= 300_000


def test_no_molecule_is_held_out_by_either_name() -> None:
    from rdkit import Chem

    excluded = Excluded.read(FOLDER / "held_out.csv")
    assert len(excluded.inchikeys) > 50 and len(excluded.graphs) > 50
    for row in rows():
        assert row["inchikey"][:14] not in excluded.inchikeys
    for row in rows()[::10]:
        mol = Chem.AddHs(Chem.MolFromSmiles(row["smiles"]))
        numbers = np.array([atom.GetAtomicNum() for atom in mol.GetAtoms()])
        bonds = np.array([[b.GetBeginAtomIdx(), b.GetEndAtomIdx()] for b in mol.GetBonds()])
        assert graph_hash(numbers, bonds) not in excluded.graphs


def test_every_val_and_test_crystal_is_held_out() -> None:
    with open(FOLDER.parent / "crystals" / "ids.csv", newline="", encoding="utf-8") as stream:
        expected = {row["id"] for row in csv.DictReader(stream) if row["split"] in ("val", "test")}
    held = rows("held_out.csv")
    assert {row["id"] for row in held} == expected
    assert all(row["graph"] for row in held)


def test_molecules_are_small_rigid_neutral_and_listed_once() -> None:
    from rdkit import Chem
    from rdkit.Chem import rdMolDescriptors

    listed = rows()
    assert len({row["inchikey"] for row in listed}) == len(listed)
    assert max(int(row["atoms"]) for row in listed) <= 28
    with_donors = sum(int(row["donors"]) > 0 for row in listed)
    assert 0.3 < with_donors / len(listed) < 0.7
    for row in listed[::20]:
        mol = Chem.MolFromSmiles(row["smiles"])
        assert Chem.AddHs(mol).GetNumAtoms() == int(row["atoms"])
        assert rdMolDescriptors.CalcNumRotatableBonds(mol) <= 1
        assert Chem.GetFormalCharge(mol) == 0
        assert Chem.MolToInchiKey(mol, options="/SNon") == row["inchikey"]


def test_the_beginning_of_the_list_is_as_mixed_as_the_whole() -> None:
    listed = rows()
    share = [np.mean([int(row["donors"]) > 0 for row in part]) for part in (listed[:500], listed)]
    assert share[0] == pytest.approx(share[1], abs=0.08)
    assert len({row["scaffold"] for row in listed[:1000]}) > 100
