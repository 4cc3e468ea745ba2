"""Packings as plain values."""

from __future__ import annotations

import json

import numpy as np
import pytest

from kflow_sci.assembly.lattice.cutting import cluster_from_packing
from kflow_sci.assembly.lattice.packing import Packing
from kflow_sci.assembly.lattice.reading import packing_from_cif
from kflow_sci.assembly.lattice.record import packing_from_cluster, packing_from_record, record_of
from kflow_sci.errors import PackingError
from tests.assembly.lattice.test_cif import shifted
from tests.assembly.lattice.test_packing import packing
from tests.crystals_by_hand import chfclbr_p21c


@pytest.mark.parametrize(
    "crystal",
    [
        packing_from_cif(chfclbr_p21c()),
        packing("R3", np.diag([9.0] * 3) @ np.array([[1, 0, 0], [-0.5, 0.75**0.5, 0], [0, 0, 1]])),
        shifted(),
    ],
)
def test_a_record_survives_json_and_gives_the_packing_back(crystal: Packing) -> None:
    again = packing_from_record(json.loads(json.dumps(record_of(crystal))), crystal.molecules)
    np.testing.assert_allclose(again.cell, crystal.cell, atol=1e-12)
    np.testing.assert_allclose(again.rotation, crystal.rotation, atol=1e-12)
    np.testing.assert_allclose(again.place, crystal.place % 1, atol=1e-12)
    assert (again.group.rotations == crystal.group.rotations).all()


def test_five_decimals_keep_every_atom_within_a_thousandth() -> None:
    crystal = packing_from_cif(chfclbr_p21c())
    again = packing_from_record(record_of(crystal, 5), crystal.molecules)
    first, second = (cluster_from_packing(p, 15).positions for p in (crystal, again))
    assert np.abs(first - second).max() < 1e-3


def test_a_cluster_tells_the_crystal_it_was_cut_from() -> None:
    crystal = packing_from_cif(chfclbr_p21c())
    crystal.info["packing"] = record_of(crystal)
    again = packing_from_cluster(cluster_from_packing(crystal, 3))
    assert again.volume == pytest.approx(crystal.volume)
    assert "packing" not in again.info


def test_a_cluster_of_unknown_origin_is_refused() -> None:
    with pytest.raises(PackingError, match="which crystal"):
        packing_from_cluster(cluster_from_packing(packing(), 3))


@pytest.mark.parametrize("change", [{"group": "P99"}, {"cell": [1.0]}, {"kind": [3]}, {"turn": "x"}])
def test_a_damaged_record_is_refused(change: dict[str, object]) -> None:
    crystal = packing()
    with pytest.raises(PackingError):
        packing_from_record(record_of(crystal) | change, crystal.molecules)
    with pytest.raises(PackingError, match="damaged"):
        packing_from_record({}, crystal.molecules)
