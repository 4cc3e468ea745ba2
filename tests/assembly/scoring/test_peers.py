"""The overlay calls the same crystals the same as pymatgen's StructureMatcher and as AMD and PDD do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Lattice, Structure
from scipy.spatial.transform import Rotation

from kflow_sci.assembly.reading.crystal import Crystal, cluster_from_crystal, read_crystal
from kflow_sci.assembly.scoring.frame import Frame
from kflow_sci.assembly.scoring.similarity import Overlay, overlay

# Urea, P-42_1m: Sklar, Senko & Post, Acta Cryst. 14 (1961) 716; hydrogens at neutron-like distances.
UREA = """
data_urea
_cell_length_a 5.661
_cell_length_b 5.661
_cell_length_c 4.712
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_symmetry_space_group_name_H-M 'P -4 21 m'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
C1 C 0.0000 0.5000 0.3260
O1 O 0.0000 0.5000 0.5953
N1 N 0.1459 0.6459 0.1766
H1 H 0.2575 0.7575 0.2827
H2 H 0.1441 0.6441 -0.0380
"""


@pytest.fixture(scope="module")
def amd() -> ModuleType:
    return pytest.importorskip("amd")


@pytest.fixture(scope="module")
def urea() -> Crystal:
    return read_crystal(UREA)


def atoms(crystal: Crystal) -> tuple[np.ndarray, np.ndarray]:
    """Heavy atoms of the cell."""
    molecule = crystal.molecules[0]
    heavy = molecule.numbers > 1
    turned = np.einsum(
        "nij,aj->nai", crystal.parity[:, None, None] * crystal.rotation, molecule.positions[heavy]
    )
    return np.tile(molecule.numbers[heavy], len(crystal)), (crystal.centroid[:, None] + turned).reshape(-1, 3)


def described_anew(crystal: Crystal) -> Crystal:
    """Another cell of the same lattice, another orientation, other images, another order of the molecules."""
    turn = Rotation.from_euler("xyz", [0.3, 1.1, 2.0]).as_matrix()
    order = np.arange(len(crystal))[::-1]
    shift = np.arange(3 * len(crystal)).reshape(-1, 3) % 3 @ crystal.cell
    return replace(
        crystal,
        cell=np.array([[1, 1, 0], [0, 1, 0], [-1, 0, 1]]) @ crystal.cell @ turn.T,
        centroid=(crystal.centroid + shift)[order] @ turn.T,
        rotation=turn @ crystal.rotation[order],
        parity=crystal.parity[order],
    )


def off_by(crystal: Crystal, distance: float, angle: float) -> Crystal:
    rng = np.random.default_rng(1)
    step, axis = rng.normal(size=(2, len(crystal), 3))
    step *= distance / np.linalg.norm(step, axis=1, keepdims=True)
    axis *= np.radians(angle) / np.linalg.norm(axis, axis=1, keepdims=True)
    turn = Rotation.from_rotvec(axis).as_matrix()
    return replace(crystal, centroid=crystal.centroid + step, rotation=turn @ crystal.rotation)


def same_by_matcher(first: Crystal, second: Crystal) -> bool:
    structures = [Structure(Lattice(c.cell), *atoms(c), coords_are_cartesian=True) for c in (first, second)]
    return bool(StructureMatcher(scale=False).fit(*structures))


def distances(amd: ModuleType, first: Crystal, second: Crystal) -> tuple[float, float]:
    """AMD and PDD of a pair, Å."""
    sets = [amd.PeriodicSet(atoms(c)[1], c.cell, types=atoms(c)[0]) for c in (first, second)]
    vectors = [amd.AMD(one, 60) for one in sets]
    return float(np.abs(vectors[0] - vectors[1]).max()), float(amd.EMD(*(amd.PDD(one, 60) for one in sets)))


def match(first: Crystal, second: Crystal) -> Overlay:
    return overlay(Frame.of(cluster_from_crystal(second, 57)), Frame.of(cluster_from_crystal(first, 17)))


def test_a_crystal_described_anew_is_the_same_for_all(urea: Crystal, amd: ModuleType) -> None:
    other = described_anew(urea)
    found = match(urea, other)
    assert (found.n_matched, found.rmsd < 0.01) == (15, True)
    assert same_by_matcher(urea, other)
    assert max(distances(amd, urea, other)) < 1e-6


def test_small_disturbances_keep_it_the_same_and_grow_alike(urea: Crystal, amd: ModuleType) -> None:
    small, more = (off_by(described_anew(urea), *size) for size in ((0.05, 2.0), (0.2, 8.0)))
    near, far = match(urea, small), match(urea, more)
    assert near.n_matched == far.n_matched == 15
    assert 0.02 < near.rmsd < far.rmsd < 0.4
    assert same_by_matcher(urea, small)
    assert max(distances(amd, urea, small)) < max(distances(amd, urea, more)) < 0.4


def test_turned_molecules_make_another_crystal_for_all(urea: Crystal, amd: ModuleType) -> None:
    other = off_by(urea, 0.0, 90.0)
    assert not match(urea, other).packed
    assert not same_by_matcher(urea, other)
    assert min(distances(amd, urea, other)) > 0.2


def test_another_density_makes_another_crystal_for_all(urea: Crystal, amd: ModuleType) -> None:
    other = replace(urea, cell=1.3 * urea.cell, centroid=1.3 * urea.centroid)
    assert match(urea, other).n_matched == 1
    assert not same_by_matcher(urea, other)
    assert min(distances(amd, urea, other)) > 0.2


def test_verdicts_agree_on_real_crystals(crystals: Path, amd: ModuleType) -> None:
    found = 0
    for name in sorted((crystals / "experimental").glob("*.cif")):
        crystal = read_crystal(name)
        if len(atoms(crystal)[0]) > 40:
            continue
        for other, same in ((described_anew(crystal), True), (off_by(crystal, 1.0, 60.0), False)):
            assert (match(crystal, other).n_matched == 15) is same, name.stem
            assert same_by_matcher(crystal, other) is same, name.stem
            assert (max(distances(amd, crystal, other)) < 0.05) is same, name.stem
        found += 1
        if found == 3:
            return
    pytest.fail("fewer than three small crystals there")
