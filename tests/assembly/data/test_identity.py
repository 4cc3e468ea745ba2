"""Equal molecules have equal hashes."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kflow_sci.assembly.data.identity import graph_hash, molecule_hash
from kflow_sci.assembly.reading.crystal import cluster_from_crystal, read_crystal
from tests.crystals_by_hand import BENZENE, UREA, chfclbr_p21c

GRAPHS = {  # heavy atoms and bonds
    "butane": ([6, 6, 6, 6], [[0, 1], [1, 2], [2, 3]]),
    "isobutane": ([6, 6, 6, 6], [[0, 1], [0, 2], [0, 3]]),
    "cyclobutane": ([6, 6, 6, 6], [[0, 1], [1, 2], [2, 3], [3, 0]]),
    "dimethyl ether": ([6, 8, 6], [[0, 1], [1, 2]]),
    "ethanol": ([6, 6, 8], [[0, 1], [1, 2]]),
    "propane": ([6, 6, 6], [[0, 1], [1, 2]]),
    "ortho": ([6] * 6 + [9, 17], [[k, (k + 1) % 6] for k in range(6)] + [[0, 6], [1, 7]]),
    "meta": ([6] * 6 + [9, 17], [[k, (k + 1) % 6] for k in range(6)] + [[0, 6], [2, 7]]),
    "para": ([6] * 6 + [9, 17], [[k, (k + 1) % 6] for k in range(6)] + [[0, 6], [3, 7]]),
    "atom": ([54], np.zeros((0, 2), dtype=int)),
}


def test_different_molecules_have_different_hashes() -> None:
    found = {graph_hash(np.array(z), np.array(bonds)) for z, bonds in GRAPHS.values()}
    assert len(found) == len(GRAPHS)
    assert all(len(h) == 16 for h in found)


@pytest.mark.parametrize("name", GRAPHS)
def test_the_numbering_of_atoms_and_bonds_plays_no_part(name: str) -> None:
    numbers, bonds = (np.array(x) for x in GRAPHS[name])
    rng = np.random.default_rng(0)
    for _ in range(5):
        order = rng.permutation(len(numbers))
        turned = np.argsort(order)[bonds].reshape(-1, 2)
        shuffled = rng.permuted(turned[rng.permutation(len(bonds))], axis=1)
        assert graph_hash(numbers[order], shuffled) == graph_hash(numbers, bonds)


def test_clusters_of_one_molecule_share_a_hash_whatever_hands_and_packings_they_hold() -> None:
    one, other = (
        read_crystal(chfclbr_p21c(cell))
        for cell in ((6.9, 8.1, 10.2, 90, 104, 90), (7.3, 8.5, 10.7, 90, 104, 90))
    )
    few, many = cluster_from_crystal(one, 3), cluster_from_crystal(other, 9)
    assert molecule_hash(few) == molecule_hash(many)
    others = {molecule_hash(cluster_from_crystal(read_crystal(text), 3)) for text in (UREA, BENZENE)}
    assert len(others | {molecule_hash(few)}) == 3


def test_a_hash_that_the_cluster_knows_is_taken() -> None:
    cluster = cluster_from_crystal(read_crystal(UREA), 2)
    assert molecule_hash(replace(cluster, info={"mol_hash": "abc"})) == "abc"


def test_real_crystals_are_grouped_as_in_their_table(crystals: Path) -> None:
    with open(crystals / "experimental.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))[:60]
    folder = crystals / "experimental"
    pairs = {
        (row["mol_hash"], molecule_hash(cluster_from_crystal(read_crystal(folder / f"{row['id']}.cif"), 2)))
        for row in rows
    }
    assert len(pairs) == len({theirs for theirs, _ in pairs}) == len({ours for _, ours in pairs})
