"""Relaxing and ranking by an energy of one's choice."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.distance import pdist
from scipy.spatial.transform import Rotation

from kflow_sci.assembly.cluster import Cluster
from kflow_sci.assembly.energy.candidates import pair_energies, rank_by
from kflow_sci.assembly.energy.interaction import interaction_energy
from kflow_sci.assembly.energy.minimise import chart_gradient, relax_full, relax_rigid
from kflow_sci.assembly.molecule import Molecule
from kflow_sci.assembly.reading.embed import from_smiles
from kflow_sci.errors import ConfigError, ScoreError


@pytest.fixture(scope="module")
def water() -> Molecule:
    return from_smiles("O", conformers=1)


def row(molecule: Molecule, copies: int, apart: float) -> Cluster:
    turns = Rotation.random(copies, rng=np.random.default_rng(3)).as_matrix()
    place = np.outer(np.arange(copies), [apart, 0.3, 0.1])
    return Cluster(
        (molecule,), np.zeros(copies, dtype=int), place, turns, np.ones(copies, dtype=int), {"sample": 0}
    )


@pytest.mark.parametrize("name", ["mmff", "uff", "ase:ase.calculators.lj.LennardJones"])
def test_rigid_relaxation_keeps_molecules_and_lowers_the_energy(name: str, water: Molecule) -> None:
    cluster = row(water, 3, 3.4)
    relaxed = relax_rigid(cluster, name, held=np.array([True, False, False]))
    for i in range(3):
        assert np.abs(pdist(relaxed.positions_of(i)) - pdist(water.positions)).max() < 1e-9
    assert np.abs(relaxed.positions_of(0) - cluster.positions_of(0)).max() < 1e-12
    before, after = (rank_by([c], name)[0].info["energy"] for c in (cluster, relaxed))
    assert after < before - 0.01 and relaxed.info["relax_rms"] > 0.01


def test_the_water_dimer_of_mmff_is_bound_by_one_hydrogen_bond(water: Molecule) -> None:
    start = Cluster(
        (water,), np.zeros(2, dtype=int), np.array([[0, 0, 0], [3.0, 0, 0]]),
        np.stack([np.eye(3), Rotation.from_euler("y", 90, degrees=True).as_matrix()]), np.ones(2, dtype=int),
    )  # fmt: skip
    end = relax_rigid(start)
    # Ab initio: 5.0 kcal/mol, that is 10.5 kJ/mol per molecule; MMFF94 binds dimers of water more strongly.
    assert -20.0 < interaction_energy(end).total < -9.0
    oxygens = end.positions[end.numbers == 8]
    assert 2.5 < np.linalg.norm(oxygens[0] - oxygens[1]) < 3.1


def test_the_gradient_by_rotation_vectors_is_that_of_finite_differences() -> None:
    rng = np.random.default_rng(0)
    turn, target = rng.normal(size=(5, 3)), rng.normal(size=(5, 3, 3))

    def value(x: np.ndarray) -> np.ndarray:
        return np.einsum("nij,nij->n", target, Rotation.from_rotvec(x).as_matrix())

    here = Rotation.from_rotvec(turn)

    def nudged(step: np.ndarray) -> np.ndarray:
        return (Rotation.from_rotvec(step) * here).as_rotvec()

    steps = 1e-6 * np.eye(3)
    by_turn = np.stack([(value(nudged(e)) - value(nudged(-e))) / 2e-6 for e in steps], 1)
    numeric = np.stack([(value(turn + e) - value(turn - e)) / 2e-6 for e in steps], 1)
    assert np.abs(chart_gradient(turn, by_turn) - numeric).max() < 1e-4


def test_all_atoms_relax_further_than_rigid_molecules(water: Molecule) -> None:
    cluster = row(water, 3, 3.2)
    full = relax_full(cluster, "mmff", held=np.array([True, False, False]))
    rigid = relax_rigid(cluster, "mmff")
    assert len(full.molecules) == 3 and full.info["relax_steps"] > 0
    assert np.abs(full.positions[:3] - cluster.positions[:3]).max() < 1e-12
    free = relax_full(rigid, "mmff")
    assert free.info["energy"] < relax_full(rigid, "mmff", steps=0).info["energy"]
    assert np.abs(pdist(free.positions_of(1)) - pdist(water.positions)).max() > 1e-4


def test_pairs_add_up_to_the_energy_of_the_cluster(water: Molecule) -> None:
    cluster = row(water, 4, 3.0)
    rows = pair_energies(cluster)
    assert [(r["first"], r["second"]) for r in rows] == [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
    assert rows[0]["distance"] == pytest.approx(np.linalg.norm([3.0, 0.3, 0.1]), abs=1e-4)
    assert sum(r["energy"] for r in rows) / 4 == pytest.approx(interaction_energy(cluster).total, abs=2e-3)


def test_strain_counts_in_the_order_and_failures_come_last(
    water: Molecule, monkeypatch: pytest.MonkeyPatch
) -> None:
    near, far = row(water, 2, 3.0), row(water, 2, 30.0)
    assert [c.info["rank"] for c in rank_by([near, far])] == [1, 2]
    strained = replace(near, info={"sample": 7, "strain": 500.0})
    assert [c.info.get("sample") for c in rank_by([strained, far], "uff")] == [0, 7]

    def failing(name: str) -> object:
        def energy(sites: object) -> float:
            if np.ptp(sites.positions[:, 0]) > 20:  # type: ignore[attr-defined]
                raise ScoreError("too far")
            return 1.0

        return energy

    monkeypatch.setattr("kflow_sci.assembly.energy.candidates.energy_function", failing)
    ranked = rank_by([far, near], "gfn2")
    assert [c.info["energy"] for c in ranked] == [1.0, None] and ranked[1].info["energy_failed"] == "too far"
    with pytest.raises(ScoreError, match="any of 1 clusters: too far"):
        rank_by([far], "gfn2")


def test_what_cannot_relax_says_so(water: Molecule) -> None:
    for name, words in (
        ("gfnff", "no forces"),
        ("nonsense", "no energy nonsense"),
        ("ase:no_such.X", "pip install"),
    ):
        with pytest.raises(ConfigError, match=words):
            relax_rigid(row(water, 2, 3.0), name)
