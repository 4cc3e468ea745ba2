"""Packings from CIFs: the same crystal as the reader of CIFs sees, whatever symmetry the molecule has in it."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from kflow_sci.assembly.lattice.cutting import cluster_from_packing, crystal_from_packing
from kflow_sci.assembly.lattice.packing import SpaceGroup, triplets_of
from kflow_sci.assembly.lattice.reading import packing_from_cif
from kflow_sci.assembly.lattice.reduction import reduced
from kflow_sci.assembly.reading.crystal import cluster_from_crystal, read_crystal
from tests.crystals_by_hand import BENZENE, CARBON_DIOXIDE, CHFCLBR_SYMBOLS, UREA, chfclbr_p21c, cif


def same_surroundings(text: str, copies: int = 15, tolerance: float = 1e-3) -> None:
    """The molecules around one, as sets of (element, distance from the central atom), agree with the reader's."""
    expected = cluster_from_crystal(read_crystal(text), copies)
    found = cluster_from_packing(packing_from_cif(text), copies)
    distance = [np.sort(np.linalg.norm(c.centroid, axis=1)) for c in (expected, found)]
    np.testing.assert_allclose(distance[0], distance[1], atol=tolerance)
    atoms = [np.sort(np.linalg.norm(c.positions, axis=1)) for c in (expected, found)]
    inner = int((distance[0] < distance[0][-1] - 0.01).sum()) * len(expected.molecules[0]) // 2
    np.testing.assert_allclose(atoms[0][:inner], atoms[1][:inner], atol=10 * tolerance)


def test_a_molecule_in_general_position_keeps_the_group_of_the_file() -> None:
    packing = packing_from_cif(chfclbr_p21c())
    assert set(triplets_of(packing.group)) == set(triplets_of(SpaceGroup.named("P21/c")))
    assert len(packing) == 1
    np.testing.assert_allclose(packing.place[0], [0.27, 0.13, 0.31], atol=0.05)
    same_surroundings(chfclbr_p21c())


@pytest.mark.parametrize(
    ("text", "group", "operations"),
    [
        # Urea lies on 2mm of P-42_1m: two molecules, so a group of two operations moves them.
        (UREA, "P -4 21 m", 2),
        # Benzene lies on -1 of Pbca: four molecules; carbon dioxide on -3 of Pa-3: four.
        (BENZENE, "P b c a", 4),
        (CARBON_DIOXIDE, "P a -3", 4),
    ],
)
def test_a_molecule_on_a_symmetry_element_is_described_in_the_group_that_moves_it(
    text: str, group: str, operations: int
) -> None:
    packing = packing_from_cif(text)
    assert packing.info["space_group"] == group
    assert len(packing) == 1 and len(packing.group) == operations
    assert packing.copies == len(read_crystal(text))
    same_surroundings(text)


def test_two_independent_molecules_stay_two() -> None:
    # Two molecules of ClF (1.63 Å) in P1, along z and along x: no operation joins them.
    sites = np.array([[0.1, 0.1, 0.1], [0.1, 0.1, 0.30375], [0.6, 0.6, 0.6], [0.80375, 0.6, 0.6]])
    packing = packing_from_cif(cif(("Cl", "F", "Cl", "F"), sites, (8, 8, 8, 90, 90, 90)))
    assert len(packing) == 2 and len(packing.group) == 1
    assert packing.volume == pytest.approx(256.0)


def test_real_crystals_are_read_as_the_reader_of_cifs_reads_them(crystals: Path) -> None:
    with open(crystals / "experimental.csv", newline="", encoding="utf-8") as stream:
        rows = [row for row in csv.DictReader(stream) if row["split"] == "train"]
    for row in rows[::20]:
        path = crystals / "experimental" / f"{row['id']}.cif"
        packing, crystal = packing_from_cif(path), read_crystal(path)
        assert packing.copies == len(crystal), row["id"]
        assert packing.volume == pytest.approx(crystal.volume, rel=1e-6), row["id"]
        shorter = reduced(packing)
        distances = [
            np.sort(np.linalg.norm(cluster.centroid, axis=1))
            for cluster in (cluster_from_crystal(crystal, 12), cluster_from_packing(shorter, 12))
        ]
        np.testing.assert_allclose(distances[0], distances[1], atol=0.01, err_msg=row["id"])


def test_the_crystal_of_a_packing_is_the_crystal_it_came_from() -> None:
    crystal = crystal_from_packing(packing_from_cif(chfclbr_p21c()))
    expected = read_crystal(chfclbr_p21c())
    assert (crystal.space_group, crystal.operations, len(crystal)) == ("P 1 21/c 1", 4, 4)
    assert crystal.density == pytest.approx(expected.density, rel=1e-4)
    assert sorted(crystal.parity) == sorted(expected.parity)
    assert [CHFCLBR_SYMBOLS.index(s) for s in crystal.molecules[0].symbols] == [0, 1, 2, 3, 4]
