"""Descriptions of one crystal are descriptions of one crystal: the atoms lie where they lay."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from kflow_sci.assembly.forcefield.energy import lattice_energy
from kflow_sci.assembly.forcefield.parameters import force_field
from kflow_sci.assembly.lattice.packing import Packing, SpaceGroup
from kflow_sci.assembly.lattice.reduction import changed
from kflow_sci.assembly.molecule import Molecule
from kflow_sci.assembly.proposals.equivalents import changes, equivalents, in_setting, origins
from kflow_sci.assembly.search.starts import COMMON
from kflow_sci.errors import PackingError
from tests.assembly.proposals.conftest import chiral, random_packing, water


def distances(packing: Packing, reach: float = 9.0) -> np.ndarray:
    """All distances from the first atom of the first molecule, sorted: the same for every description."""
    index, place, turn = packing.images()
    atoms = [packing.molecules[packing.kind[i]].positions @ o.T for i, o in zip(index, turn, strict=True)]
    steps = np.stack(np.meshgrid(*[np.arange(-5, 6)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    every = np.concatenate([(f + steps) @ packing.cell + x[0] for f, x in zip(place, atoms, strict=True)])
    far = np.linalg.norm(every - (place[0] @ packing.cell + atoms[0][0]), axis=1)
    return np.sort(far[far < reach])


@pytest.mark.parametrize("molecule", [chiral(), water()], ids=["chiral", "mirrored"])
@pytest.mark.parametrize("group", COMMON)
def test_every_description_is_the_same_crystal(group: str, molecule: Molecule) -> None:
    packing = random_packing(molecule, group)
    ways = equivalents(packing)
    shifts, free = origins(packing.group)
    rng = np.random.default_rng(0)
    for k in rng.choice(len(ways.cell), size=min(3, len(ways.cell)), replace=False):
        shift = shifts[rng.integers(len(shifts))] + free * rng.uniform(size=3)
        other = replace(
            packing, cell=ways.cell[k], rotation=ways.rotation[k][None], place=ways.place[k][None] + shift
        )
        assert np.linalg.det(other.rotation[0]) == pytest.approx(1.0)
        np.testing.assert_allclose(distances(other), distances(packing), atol=1e-6)


def test_the_energy_does_not_depend_on_the_description() -> None:
    packing = random_packing(chiral(), "P-1")
    field = force_field(packing.molecules, "none")
    ways = equivalents(packing)
    other = replace(packing, cell=ways.cell[-1], rotation=ways.rotation[-1][None], place=ways.place[-1][None])
    assert lattice_energy(other, field).total == pytest.approx(lattice_energy(packing, field).total, abs=1e-8)


def test_origins_are_those_of_the_tables() -> None:
    # International Tables A: the Euclidean normaliser of P21/c has origins at all halves, P1 is free, P21 along b.
    shifts, free = origins(SpaceGroup.named("P21/c"))
    assert len(shifts) == 8 and not free.any()
    assert origins(SpaceGroup.named("P1"))[1].all()
    shifts, free = origins(SpaceGroup.named("P21"))
    assert len(shifts) == 4 and free.tolist() == [False, True, False]


def test_axes_of_p212121_may_be_exchanged_and_those_of_pbca_only_turned_round() -> None:
    # 48 signed permutations normalise P212121; Pbca allows the 24 of even permutations.
    assert len(changes(SpaceGroup.named("P212121"), SpaceGroup.named("P212121")).axes) == 48
    assert len(changes(SpaceGroup.named("Pbca"), SpaceGroup.named("Pbca")).axes) == 24


def test_p21a_is_p21c_with_a_and_c_exchanged() -> None:
    packing = random_packing(chiral(), "P21/c")
    exchanged = changed(packing, np.array([[0, 0, 1], [0, -1, 0], [1, 0, 0]]))
    assert exchanged.group.name == "P 1 21/a 1"
    back = in_setting(exchanged, SpaceGroup.named("P21/c"))
    assert back is not None and back.group.name == "P 1 21/c 1"
    np.testing.assert_allclose(distances(back), distances(packing), atol=1e-6)


def test_groups_of_another_kind_are_not_reached() -> None:
    assert in_setting(random_packing(water(), "P21"), SpaceGroup.named("Pc")) is None


def test_two_independent_molecules_are_refused() -> None:
    one = random_packing(water(), "P21")
    two = Packing(
        one.molecules, one.group, one.cell, np.zeros(2, dtype=int), np.zeros((2, 3)),
        np.tile(np.eye(3), (2, 1, 1)), np.ones(2, dtype=int),
    )  # fmt: skip
    with pytest.raises(PackingError, match="1 independent molecule, not 2"):
        equivalents(two)
