"""One crystal is found to be one crystal, and two are two, as pymatgen's StructureMatcher says."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from kflow_sci.assembly.forcefield.parameters import ForceField
from kflow_sci.assembly.forcefield.relax import relax
from kflow_sci.assembly.lattice.cif import cif_text
from kflow_sci.assembly.lattice.packing import Packing, SpaceGroup
from kflow_sci.assembly.lattice.reading import packing_from_cif
from kflow_sci.assembly.lattice.reduction import changed
from kflow_sci.assembly.search.dedupe import distinct, fingerprint
from kflow_sci.assembly.search.setup import Problem, make_proposal
from tests.crystals_by_hand import UREA, chfclbr_p21c, cif


def with_energy(packing: Packing, energy: float) -> Packing:
    return replace(packing, info={"energy": energy})


def test_the_fingerprint_by_hand() -> None:
    # ClF, 1.6335 Å long along c, in P1: the own images at ± a are nearest, then the other element there.
    text = cif(("Cl", "F"), np.array([[0.1, 0.1, 0.1], [0.1, 0.1, 0.2815]]), (6, 7, 9, 90, 90, 90))
    found = fingerprint(packing_from_cif(text), 3)
    np.testing.assert_allclose(found, [[6, 6, np.hypot(6, 1.6335)]] * 2, atol=1e-6)


def test_the_fingerprint_knows_no_cell_no_origin_no_atom_order_and_no_hand() -> None:
    packing = packing_from_cif(chfclbr_p21c())
    expected = fingerprint(packing)
    same = [
        changed(packing, np.array([[1, 0, 2], [0, 1, 0], [0, 0, 1]])),
        replace(packing, place=packing.place + np.array([0.5, 0.5, 0.0])),  # another inversion centre
        replace(packing, place=-packing.place, parity=-packing.parity),  # the mirror image
    ]
    for other in same:
        np.testing.assert_allclose(fingerprint(other), expected, atol=1e-9)
    assert (
        np.abs(fingerprint(packing_from_cif(chfclbr_p21c((7.1, 8.1, 10.2, 90, 104, 90)))) - expected).max()
        > 0.05
    )


def test_a_crystal_in_a_subgroup_is_the_same_crystal() -> None:
    # Urea as read (two operations) and without any symmetry (P1 with both molecules independent).
    packing = packing_from_cif(UREA)
    index, place, orientation = packing.images()
    parity = np.where(np.linalg.det(orientation) > 0, 1, -1)
    group = SpaceGroup.named("P1")
    bare = Packing(
        packing.molecules,
        group,
        packing.cell,
        packing.kind[index],
        place,
        parity[:, None, None] * orientation,
        parity,
    )
    np.testing.assert_allclose(fingerprint(bare), fingerprint(packing), atol=1e-9)


def test_energy_and_volume_tell_most_apart_and_kinds_list_their_members() -> None:
    packing = packing_from_cif(chfclbr_p21c())
    longer = packing_from_cif(chfclbr_p21c((7.1, 8.1, 10.2, 90, 104, 90)))
    listed = [with_energy(packing, -50.0), with_energy(longer, -49.95), with_energy(packing, -49.9)]
    assert distinct(listed) == [[0, 2], [1]]
    assert distinct([*listed, with_energy(packing, -40.0)]) == [[0, 2], [1], [3]]
    assert distinct(listed, most=1) == [[0]]
    assert distinct([]) == []


@pytest.fixture(scope="module")
def relaxed(urea: Problem, urea_field: ForceField) -> list[Packing]:
    proposal = make_proposal(urea)
    results = relax([proposal(t) for t in range(60)], urea_field)
    found = [r.packing for r in results if not r.failure and r.converged]
    return sorted(found, key=lambda p: float(p.info["energy"]))


def test_what_counts_as_one_crystal_agrees_with_pymatgen(relaxed: list[Packing]) -> None:
    from pymatgen.analysis.structure_matcher import StructureMatcher
    from pymatgen.io.cif import CifParser

    kinds = distinct(relaxed, most=6)
    assert any(len(kind) > 1 for kind in kinds), "the seed should give a duplicate, or the test says nothing"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")

        def structure(k: int) -> Any:
            found = CifParser.from_str(cif_text(relaxed[k])).parse_structures(primitive=True)[0]
            found.remove_species(["H"])
            return found

        matcher = StructureMatcher(ltol=0.05, stol=0.08, angle_tol=2, primitive_cell=True)
        for kind in kinds:
            for other in kind[1:3]:
                assert matcher.fit(structure(kind[0]), structure(other))
        firsts = [kind[0] for kind in kinds]
        for i, k in enumerate(firsts):
            for other in firsts[:i]:
                assert not matcher.fit(structure(k), structure(other))
