"""The molecules around one of a packing, and molecules on symmetry elements."""

from __future__ import annotations

import numpy as np
import pytest

from kflow_sci.assembly.lattice.cutting import cluster_from_packing, nearest_images
from kflow_sci.assembly.lattice.objects import to_ase
from kflow_sci.assembly.lattice.reading import packing_from_cif
from kflow_sci.assembly.reading.crystal import cluster_from_crystal, read_crystal
from kflow_sci.errors import ClusterError, PackingError
from tests.assembly.lattice.test_packing import packing
from tests.crystals_by_hand import chfclbr_p21c


def test_the_cluster_is_the_one_the_reader_of_cifs_cuts_ties_included() -> None:
    expected = cluster_from_crystal(read_crystal(chfclbr_p21c()), 17)
    found = cluster_from_packing(packing_from_cif(chfclbr_p21c()), 17)
    np.testing.assert_allclose(found.positions, expected.positions, atol=1e-6)
    assert (found.parity == expected.parity).all()
    assert found.info["volume"] == pytest.approx(expected.info["volume"], rel=1e-6)


def test_info_of_the_packing_travels_with_the_cluster() -> None:
    crystal = packing(info={"id": "ice", "energy": -50.0})
    info = cluster_from_packing(crystal, 5).info
    assert (info["id"], info["energy"], info["space_group"]) == ("ice", -50.0, "P 1 21/c 1")


def test_too_few_copies_are_refused() -> None:
    with pytest.raises(ClusterError, match="at least 1"):
        cluster_from_packing(packing(), 0)


def test_nearest_images_by_hand() -> None:
    # P1 has lattice vectors of 6, 7 and 8 Å; in P-1 a molecule at 1/10 along a is 1.2 Å from its own inverse.
    assert nearest_images(packing("P1", place=np.array([[0.4, 0.3, 0.2]]))) == pytest.approx(6.0)
    near = packing("P-1", place=np.array([[0.1, 0.0, 0.0]]))
    assert nearest_images(near) == pytest.approx(1.2)


def test_a_molecule_on_an_inversion_centre_is_refused_with_the_mend() -> None:
    with pytest.raises(PackingError, match="subgroup") as error:
        cluster_from_packing(packing("P-1", place=np.array([[0.5, 0.0, 0.5]])), 5)
    assert "P -1" in str(error.value) and "\n" not in str(error.value)


def test_ase_sees_all_atoms_of_the_cell_with_molecules_whole() -> None:
    atoms = to_ase(packing())
    assert len(atoms) == 12 and atoms.pbc.all()
    for molecule in range(4):
        chosen = atoms[atoms.arrays["molecule"] == molecule]
        # O-H 0.9572 Å and H-H 1.5139 Å, as in the free molecule
        np.testing.assert_allclose(chosen.get_distances(0, [1, 2]), 0.9572, atol=1e-9)
    assert atoms.get_volume() == pytest.approx(336.0)
