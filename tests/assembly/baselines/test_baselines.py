"""Floors and rivals: what each knows, and that every copy stays rigid."""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from scipy.spatial.distance import cdist, pdist

from kflow_sci.assembly.baselines import lattice, packmol, random_ball, renumbered
from kflow_sci.assembly.cluster import Cluster
from kflow_sci.assembly.molecule import Molecule
from kflow_sci.assembly.scoring.frame import Frame
from kflow_sci.assembly.scoring.inside import Internal
from kflow_sci.assembly.scoring.matching import matched_pm
from kflow_sci.assembly.scoring.packing import gyration_volume
from kflow_sci.errors import ClusterError

RIVALS = [random_ball, lattice, packmol]


def molecule(handed: bool = False) -> Molecule:
    positions = np.array([[0, 0, 0], [1.35, 0, 0], [-0.5, 1.7, 0], [-0.6, -0.7, 1.7], [-0.4, -0.6, -0.8]])
    return Molecule.build(np.array([6, 9, 17, 35, 1]), positions, name="CHFClBr", handed=handed)[0]


def water() -> Molecule:
    positions = np.array([[0, 0, 0], [0.957, 0, 0], [-0.24, 0.927, 0]])
    return Molecule.build(np.array([8, 1, 1]), positions, name="water")[0]


def same(a: Cluster, b: Cluster) -> bool:
    return np.array_equal(a.positions, b.positions)


@pytest.mark.parametrize("rival", RIVALS)
def test_a_start_is_refused_by_those_that_draw_their_own(rival: ModuleType) -> None:
    start = random_ball.propose(molecule(), 3, 1, 0, 110.0)
    with pytest.raises(ClusterError, match="has no use for a start: leave it out"):
        rival.propose(molecule(), 3, 1, 0, 110.0, start=start)


@pytest.mark.parametrize("rival", RIVALS)
def test_a_seed_gives_the_same_clusters_and_more_samples_keep_the_first(rival: ModuleType) -> None:
    few = rival.propose(molecule(), 9, 2, 5, 110.0)
    many = rival.propose(molecule(), 9, 3, 5, 110.0)
    assert len(many) == 3
    assert all(same(a, b) for a, b in zip(few, many, strict=False))
    assert not same(many[0], many[1])
    assert not same(rival.propose(molecule(), 9, 1, 6, 110.0)[0], few[0])


@pytest.mark.parametrize("rival", RIVALS)
def test_copies_are_rigid_and_counted(rival: ModuleType) -> None:
    template = molecule()
    (cluster,) = rival.propose(template, 7, 1, 0, 120.0)
    assert len(cluster) == 7
    assert np.linalg.det(cluster.rotation) == pytest.approx(np.ones(7))
    for i in range(7):
        assert cdist(*[cluster.positions_of(i)] * 2) == pytest.approx(
            cdist(*[template.positions] * 2), abs=1e-6
        )


@pytest.mark.parametrize("rival", RIVALS)
def test_hands_are_mixed_only_where_the_molecule_allows_it(rival: ModuleType) -> None:
    assert set(rival.propose(molecule(), 12, 1, 0, 120.0)[0].parity) == {1, -1}
    assert set(rival.propose(molecule(handed=True), 12, 1, 0, 120.0)[0].parity) == {1}
    assert set(rival.propose(water(), 12, 1, 0, 30.0)[0].parity) == {1}, "water is its own mirror image"


@pytest.mark.parametrize("rival", RIVALS)
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 1, 0, 100.0), "copies is 0"),
        ((3, 0, 0, 100.0), "n is 0"),
        ((3, 1, -1, 100.0), "seed is -1"),
        ((3, 1, 0, 0.0), "volume is 0.0"),
        ((3, 1, 0, float("nan")), "volume is nan"),
    ],
)
def test_numbers_out_of_range_are_refused(
    rival: ModuleType, arguments: tuple[float, ...], message: str
) -> None:
    with pytest.raises(ClusterError, match=message):
        rival.propose(molecule(), *arguments)


def test_random_ball_fills_the_ball_of_the_given_volume_evenly() -> None:
    clusters = random_ball.propose(water(), 100, 20, 0, 30.0)
    radius = (3 * 100 * 30.0 / (4 * np.pi)) ** (1 / 3)
    share = np.linalg.norm(np.concatenate([c.centroid for c in clusters]), axis=1) / radius
    assert share.max() <= 1
    # In an even ball the cube of the radius is uniform.
    assert np.mean(share**3) == pytest.approx(0.5, abs=0.03)
    assert np.mean([gyration_volume(c.centroid) for c in clusters]) == pytest.approx(30.0, rel=0.06)


def test_orientations_are_uniform() -> None:
    rotation = np.concatenate([c.rotation for c in random_ball.propose(water(), 200, 20, 0, 30.0)])
    assert np.abs(rotation.mean(axis=0)).max() < 0.03
    trace = np.trace(rotation, axis1=1, axis2=2)
    # On SO(3) the mean of the trace is 0 and of its square 1.
    assert trace.mean() == pytest.approx(0, abs=0.06)
    assert (trace**2).mean() == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("stacking", ["fcc", "hcp"])
def test_lattice_has_twelve_neighbours_at_the_distance_of_its_density(stacking: lattice.Stacking) -> None:
    (cluster,) = lattice.propose(water(), 13, 1, 0, 32.0, stacking)
    spacing = (np.sqrt(2) * 32.0) ** (1 / 3)
    centre = np.argmin(np.linalg.norm(cluster.centroid - cluster.centroid.mean(axis=0), axis=1))
    distance = np.sort(np.linalg.norm(cluster.centroid - cluster.centroid[centre], axis=1))
    assert distance[1:] == pytest.approx(np.full(12, spacing))
    assert pdist(cluster.centroid).min() == pytest.approx(spacing)


def test_fcc_and_hcp_differ_as_known_and_both_are_drawn() -> None:
    # Distances in a full first shell: fcc has none of √(8/3) spacings, hcp has (Conway & Sloane, ch. 1).
    found = {}
    for stacking in ("fcc", "hcp"):
        (cluster,) = lattice.propose(water(), 13, 1, 0, 2**-0.5, stacking)
        found[stacking] = bool(np.isclose(pdist(cluster.centroid), np.sqrt(8 / 3)).any())
    assert found == {"fcc": False, "hcp": True}
    drawn = [
        np.isclose(pdist(c.centroid), np.sqrt(8 / 3)).any()
        for c in lattice.propose(water(), 13, 10, 0, 2**-0.5)
    ]
    assert len(set(drawn)) == 2


def test_large_lattices_have_the_given_density() -> None:
    (cluster,) = lattice.propose(water(), 200, 1, 0, 30.0)
    assert gyration_volume(cluster.centroid) == pytest.approx(30.0, rel=0.05)


def test_renumbered_truth_is_the_truth() -> None:
    (truth,) = random_ball.propose(molecule(), 17, 1, 0, 120.0)
    for sample in renumbered.propose(truth, 3, 1):
        assert not np.allclose(sample.centroid, truth.centroid, atol=1)
        assert matched_pm(sample.centroid, truth.centroid) < 1e-9
        assert np.sort(pdist(sample.positions)) == pytest.approx(np.sort(pdist(truth.positions)), abs=1e-9)
        assert Internal(Frame.of(truth)).compare(Frame.of(sample))["distortion"] < 1e-9
        assert sorted(sample.parity) == sorted(truth.parity)


def test_packmol_keeps_its_tolerance_and_its_sphere() -> None:
    for cluster in packmol.propose(molecule(), 10, 2, 0, 130.0):
        positions, owner = cluster.positions, cluster.molecule_of
        apart = cdist(positions, positions)[owner[:, None] != owner]
        assert apart.min() > packmol.TOLERANCE - 0.05
        assert np.linalg.norm(positions, axis=1).max() < cluster.info["sphere_radius"] + 0.05


def test_packmol_grows_its_sphere_in_the_stated_steps_when_it_must() -> None:
    (cluster,) = packmol.propose(molecule(), 8, 1, 0, 15.0)
    first = (3 * 8 * 15.0 / (4 * np.pi)) ** (1 / 3)
    assert cluster.info["sphere_grew"] > 0
    assert cluster.info["sphere_radius"] == pytest.approx(
        first * packmol.GROWTH ** cluster.info["sphere_grew"], abs=1e-3
    )


def test_packmol_gives_up_with_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packmol, "MAX_GROWTHS", 1)
    with pytest.raises(
        ClusterError, match=r"cannot pack 4 x CHFClBr even in a sphere of .* Å: give a larger volume"
    ):
        packmol.propose(molecule(), 4, 1, 0, 10.0)


def test_packmol_missing_or_too_slow_or_broken_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def slow(*words: object, **options: float) -> None:
        raise subprocess.TimeoutExpired("packmol", options["timeout"])

    with monkeypatch.context() as patch:
        patch.setattr(packmol.subprocess, "run", slow)
        with pytest.raises(ClusterError, match="did not finish 3 x CHFClBr in 7 s"):
            packmol.propose(molecule(), 3, 1, 0, 100.0, timeout=7)
    with monkeypatch.context() as patch:
        patch.setattr(packmol, "find_spec", lambda name: None)
        patch.setattr(packmol.shutil, "which", lambda *words, **options: None)
        with pytest.raises(ClusterError, match="packmol is not installed: pip install packmol"):
            packmol.propose(molecule(), 3, 1, 0, 100.0)
    broken = tmp_path / "packmol"
    broken.write_text("#!/bin/sh\nexit 3\n")
    broken.chmod(0o755)
    monkeypatch.setattr(packmol, "find_program", lambda: broken)
    with pytest.raises(ClusterError, match="stopped with code 3"):
        packmol.propose(molecule(), 3, 1, 0, 100.0)


def test_poses_are_refused_where_the_output_is_not_rigid() -> None:
    template = molecule()
    positions = np.stack([template.positions, template.positions + 5])
    positions[1, 2] += [0.01, 0, 0]
    with pytest.raises(ClusterError, match="distorted"):
        packmol.fit(template, np.ones(2, dtype=int), positions)
