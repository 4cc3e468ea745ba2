"""Relaxing crystals: they reach a minimum, keep their symmetry, and bad starts end with a reason."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from kflow_sci.assembly.forcefield.energy import lattice_energy
from kflow_sci.assembly.forcefield.parameters import force_field
from kflow_sci.assembly.forcefield.relax import Stage, relax
from kflow_sci.assembly.lattice.packing import SpaceGroup
from kflow_sci.assembly.lattice.reading import packing_from_cif
from kflow_sci.errors import ConfigError
from tests.assembly.forcefield.crystals_at_hand import acetamide, packing
from tests.crystals_by_hand import BENZENE, UREA

LAST = (Stage(8.0, 0.0, 300),)


@pytest.mark.parametrize("group", ["P1", "P-1", "P21/c", "Pna21", "P212121", "P41"])
def test_a_start_reaches_a_minimum_of_its_own_symmetry(group):
    field = force_field((acetamide(),))
    start = packing(acetamide(), group, seed=2)
    result = relax([start], field)[0]
    assert not result.failure
    polished = relax([result.packing], field, stages=LAST, tolerance=1e-3)[0]
    assert polished.converged
    assert polished.energy <= result.energy + 1e-6 < lattice_energy(start, field).total
    end = lattice_energy(polished.packing, field, gradient=True)
    assert end.total == pytest.approx(polished.energy, abs=1e-9)
    free = np.einsum("kij,ij->k", polished.packing.group.cell_basis, end.by_cell)
    assert np.abs(free).max() < 2e-3
    assert np.abs(end.by_place @ np.linalg.inv(polished.packing.cell).T).max() < 2e-3
    assert np.abs(end.by_turn).max() < 5e-3
    cell = polished.packing.cell
    assert polished.packing.group.symmetric_cell(cell) == pytest.approx(cell, abs=1e-9)
    rotation = polished.packing.rotation[0]
    assert rotation @ rotation.T == pytest.approx(np.eye(3), abs=1e-12)
    assert np.linalg.det(rotation) == pytest.approx(1.0)


@pytest.mark.parametrize(("text", "volume"), [(BENZENE, 118.5), (UREA, 72.5)])
def test_crystals_of_the_literature_stay_near_where_they_are(text, volume):
    true = packing_from_cif(text)
    assert true.volume == pytest.approx(volume, abs=0.5)
    result = relax([true], force_field(true.molecules), stages=LAST)[0]
    assert result.converged
    assert result.volume == pytest.approx(true.volume, rel=0.1)
    assert np.abs(result.packing.cell - true.cell).max() < 0.8
    assert result.packing.info["energy"] == pytest.approx(result.energy, abs=1e-3)


def test_result_depends_on_the_start_alone():
    field = force_field((acetamide(),))
    starts = [packing(acetamide(), group, seed=k) for k, group in enumerate(["P21/c", "P-1", "P212121"])]
    together = relax(starts, field)
    for one, start in zip(together, reversed(starts), strict=True):
        assert not one.failure
        assert start is not None
    again = [relax([start], field)[0] for start in starts]
    for one, other in zip(together, again, strict=True):
        assert (one.energy, one.calls) == (other.energy, other.calls)
        assert np.array_equal(one.packing.cell, other.packing.cell)
        assert np.array_equal(one.packing.place, other.packing.place)


def test_the_mirror_image_of_a_start_ends_in_the_mirror_image():
    field = force_field((acetamide(),))
    start = relax([packing(acetamide(), "P21", seed=4)], field)[0].packing
    start = replace(start, cell=1.05 * start.cell)
    mirrored = replace(start, place=-start.place, parity=-start.parity)
    one, other = (relax([s], field, stages=(Stage(8.0, 0.0, 15),))[0] for s in (start, mirrored))
    assert np.isfinite(one.energy)
    assert other.energy == pytest.approx(one.energy, abs=1e-6)
    assert other.packing.cell == pytest.approx(one.packing.cell, abs=1e-6)


def test_two_independent_molecules_relax_too():
    field = force_field((acetamide(),))
    result = relax([packing(acetamide(), "P-1", independent=2, seed=3)], field)[0]
    assert not result.failure
    assert result.energy < -20


def test_pressure_closes_a_crystal():
    field = force_field((acetamide(),))
    start = relax([packing(acetamide(), "P21/c", seed=2)], field)[0].packing
    free, pressed = (relax([start], field, stages=(Stage(8.0, p, 100),))[0] for p in (0.0, 3.0))
    assert pressed.volume < 0.97 * free.volume
    assert pressed.energy > free.energy


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"place": np.full((1, 3), np.nan)}, "not finite"),
        ({"cell": 0.02 * np.diag([7.0, 8.0, 9.0])}, "collapsed"),
        ({"cell": 1e3 * np.diag([7.0, 8.0, 9.0])}, "flew apart"),
        ({"cell": -np.diag([7.0, 8.0, 9.0])}, "collapsed"),
        ({"rotation": np.full((1, 3, 3), np.inf)}, "not finite"),
    ],
)
def test_bad_starts_end_with_a_reason_and_never_with_an_exception(change, reason):
    field = force_field((acetamide(),))
    good = packing(acetamide(), "P1", seed=2)
    bad, other = relax([replace(good, **change), good], field)
    assert reason in bad.failure
    assert not bad.converged
    assert np.isnan(bad.energy)
    assert not other.failure


def test_molecules_on_top_of_each_other_come_apart():
    field = force_field((acetamide(),))
    start = packing(acetamide(), "P-1", seed=2)
    start = replace(start, place=np.full((1, 3), 0.02))
    result = relax([start], field)[0]
    assert not result.failure
    assert result.energy < -20


def test_bad_settings_are_refused_in_one_line():
    field = force_field((acetamide(),))
    with pytest.raises(ConfigError, match="0 stages"):
        relax([], field, stages=())
    with pytest.raises(ConfigError, match="tolerance 0"):
        relax([], field, tolerance=0.0)
    with pytest.raises(ConfigError, match="cutoff is 1 Å"):
        relax([packing(acetamide(), "P1")], field, stages=(Stage(1.0, 0.0, 5),))


@pytest.mark.parametrize("name", ["COD2100665", "COD2206832", "COD7056752", "OWN_alanine"])
def test_true_crystals_survive_relaxation(crystals, name):
    from kflow_sci.assembly.lattice.cutting import cluster_from_packing
    from kflow_sci.assembly.scoring.frame import Frame
    from kflow_sci.assembly.scoring.similarity import overlay

    true = packing_from_cif(crystals / "experimental" / f"{name}.cif")
    result = relax([true], force_field(true.molecules), stages=LAST)[0]
    here, there = (Frame.of(cluster_from_packing(p, 31)) for p in (result.packing, true))
    match = overlay(here, there)
    assert match.packed
    assert match.solved
    assert result.volume == pytest.approx(true.volume, rel=0.1)
    assert SpaceGroup.named(result.packing.group.number).number == true.group.number
