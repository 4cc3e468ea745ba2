"""The overlay: full marks for the truth however written, and what each tolerance must and must not forgive."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from kflow_sci.assembly.baselines import random_ball, renumbered
from kflow_sci.assembly.cluster import Cluster
from kflow_sci.assembly.molecule import Molecule
from kflow_sci.assembly.reading.crystal import Crystal, cluster_from_crystal, read_crystal
from kflow_sci.assembly.scoring.frame import Frame
from kflow_sci.assembly.scoring.report import score_clusters
from kflow_sci.assembly.scoring.similarity import overlay
from kflow_sci.assembly.scoring.states import atom_orders
from kflow_sci.errors import ScoreError

# A molecule without any symmetry: four different atoms in no plane.
CHIRAL = (np.array([6, 9, 17, 35]), np.array([[0, 0, 0], [1.35, 0, 0], [-0.5, 1.7, 0], [-0.6, -0.7, 1.7]]))
CARBON_DIOXIDE = (np.array([6, 8, 8]), np.array([[0, 0, 0], [0, 0, 1.16], [0, 0, -1.16]]))
RING = np.arange(6) * np.pi / 3
BENZENE = (
    np.array([6] * 6 + [1] * 6),
    np.concatenate([r * np.stack([np.cos(RING), np.sin(RING), 0 * RING], axis=1) for r in (1.39, 2.47)]),
)


def crystal_like(template: tuple[np.ndarray, np.ndarray], seed: int = 0, count: int = 17) -> Cluster:
    """Molecules near the points of a lattice, oriented at random."""
    rng = np.random.default_rng(seed)
    molecule = Molecule.build(*template)[0]
    points = np.array(np.meshgrid(*[np.arange(-3, 4)] * 3), dtype=float).reshape(3, -1).T
    points = points @ np.array([[5.6, 0, 0], [0.7, 6.3, 0], [1.1, -0.4, 7.1]])
    points = points[np.argsort(np.linalg.norm(points, axis=1))[:count]]
    rotation = Rotation.from_quat(rng.normal(size=(count, 4))).as_matrix()
    kind = np.zeros(count, dtype=int)
    return Cluster(
        (molecule,), kind, points + 0.2 * rng.normal(size=(count, 3)), rotation, np.ones(count, dtype=int)
    )


def shifted(cluster: Cluster, distance: float, angle: float, seed: int = 1) -> Cluster:
    """Every molecule moved and turned by exactly these amounts, in random directions."""
    rng = np.random.default_rng(seed)
    step, axis = rng.normal(size=(2, len(cluster), 3))
    step *= distance / np.linalg.norm(step, axis=1, keepdims=True)
    axis *= np.radians(angle) / np.linalg.norm(axis, axis=1, keepdims=True)
    turn = Rotation.from_rotvec(axis).as_matrix()
    return replace(cluster, centroid=cluster.centroid + step, rotation=turn @ cluster.rotation)


@pytest.mark.parametrize("template", [CHIRAL, CARBON_DIOXIDE, BENZENE], ids=["chiral", "linear", "planar"])
def test_a_renumbered_turned_truth_matches_fully(template: tuple[np.ndarray, np.ndarray]) -> None:
    truth = crystal_like(template)
    for sample in renumbered.propose(truth, 3, 0):
        match = overlay(Frame.of(sample), Frame.of(truth))
        assert (match.n_matched, match.size) == (15, 15)
        assert match.rmsd < 1e-5
        assert match.packed
        assert match.solved


@pytest.mark.parametrize("template", [CARBON_DIOXIDE, BENZENE], ids=["linear", "planar"])
def test_atoms_that_symmetry_makes_equal_may_be_exchanged(template: tuple[np.ndarray, np.ndarray]) -> None:
    truth = crystal_like(template)
    molecule = truth.molecules[0]
    operations = np.concatenate([molecule.symmetry.proper, molecule.symmetry.improper])
    chosen = operations[np.random.default_rng(0).integers(len(operations), size=len(truth))]
    parity = np.sign(np.linalg.det(chosen)).astype(int)
    same = replace(truth, rotation=truth.rotation @ (parity[:, None, None] * chosen), parity=parity)
    assert np.abs(same.positions - truth.positions).max() > 0.5
    match = overlay(Frame.of(same), Frame.of(truth))
    assert match.n_matched == 15
    assert match.rmsd < 1e-5


def test_rmsd_is_that_of_the_matched_atoms_by_hand() -> None:
    truth = crystal_like(CHIRAL)
    sample = shifted(truth, 0.3, 0.0)
    match = overlay(Frame.of(sample), Frame.of(truth))
    assert match.n_matched == 15
    mine, theirs = np.array(match.pairs).T
    assert np.array_equal(mine, theirs)
    a = np.concatenate([truth.positions_of(i) for i in mine])
    b = np.concatenate([sample.positions_of(i) for i in mine])
    _, norm = Rotation.align_vectors(b - b.mean(0), a - a.mean(0))
    assert match.rmsd == pytest.approx(norm / np.sqrt(len(a)), rel=1e-6)
    assert match.rmsd == pytest.approx(0.3, abs=0.05)


def test_hydrogens_count_only_on_request() -> None:
    truth = crystal_like((np.array([6, 9, 17, 1]), CHIRAL[1]))
    moved = replace(Frame.of(truth), positions=Frame.of(truth).positions + 0.0)
    moved.positions[moved.numbers == 1] += [0.2, 0, 0]
    assert overlay(moved, Frame.of(truth)).rmsd < 1e-5
    assert overlay(moved, Frame.of(truth), hydrogens=True).rmsd > 0.05


def test_orientation_beyond_the_tolerance_does_not_match() -> None:
    truth = crystal_like(CHIRAL)
    turned = truth.rotation.copy()
    turned[1] = Rotation.from_euler("x", 90, degrees=True).as_matrix() @ turned[1]
    match = overlay(Frame.of(replace(truth, rotation=turned)), Frame.of(truth))
    assert match.n_matched == 14
    assert 1 not in [i for i, _ in match.pairs]


def test_distance_beyond_the_tolerance_does_not_match() -> None:
    truth = crystal_like(CHIRAL)
    frame = Frame.of(truth)
    far = truth.centroid.copy()
    away = far[1] - far[frame.centre]
    for factor, expected in ((1.15, 15), (1.25, 14)):
        far[1] = far[frame.centre] + factor * away
        assert overlay(Frame.of(replace(truth, centroid=far)), frame).n_matched == expected


def test_small_errors_keep_the_match_and_large_ones_lose_it() -> None:
    truth = crystal_like(CHIRAL)
    small = overlay(Frame.of(shifted(truth, 0.3, 8)), Frame.of(truth))
    large = overlay(Frame.of(shifted(truth, 2.5, 60)), Frame.of(truth))
    assert small.n_matched == 15
    assert small.solved
    assert large.n_matched <= 5
    assert not large.packed
    assert not large.solved


def test_solved_looks_for_some_matching_not_the_largest() -> None:
    truth = crystal_like(CHIRAL)
    centroid = truth.centroid.copy()
    far = np.argsort(np.linalg.norm(centroid - centroid[Frame.of(truth).centre], axis=1))[9:15]
    centroid[far] *= 1.1
    match = overlay(Frame.of(replace(truth, centroid=centroid)), Frame.of(truth))
    assert match.n_matched == 15
    assert match.rmsd_packed < match.rmsd


def test_the_mirror_image_matches_only_on_request() -> None:
    truth = crystal_like(CHIRAL)
    mirrored = replace(Frame.of(truth), positions=-Frame.of(truth).positions)
    assert overlay(mirrored, Frame.of(truth)).n_matched == 0, "even the centre has the other hand"
    match = overlay(mirrored, Frame.of(truth), mirror=True)
    assert (match.n_matched, match.mirrored) == (15, True)


def test_smaller_clusters_are_compared_as_they_are() -> None:
    truth = crystal_like(CHIRAL, count=6)
    match = overlay(Frame.of(renumbered.propose(truth, 1, 0)[0]), Frame.of(truth))
    assert (match.n_matched, match.size) == (6, 6)


def test_random_packings_match_hardly_anything() -> None:
    truth = crystal_like(CHIRAL)
    samples = random_ball.propose(truth.molecules[0], 17, 10, 0, 250.0)
    counts = [overlay(Frame.of(sample), Frame.of(truth)).n_matched for sample in samples]
    assert np.mean(counts) < 3
    assert max(counts) < 8


def test_two_kinds_of_molecules_are_never_exchanged() -> None:
    first, second = crystal_like(CHIRAL), Molecule.build(*CARBON_DIOXIDE)[0]
    kind = np.arange(17) % 2
    truth = replace(first, molecules=(first.molecules[0], second), kind=kind)
    match = overlay(Frame.of(renumbered.propose(truth, 1, 3)[0]), Frame.of(truth))
    assert match.n_matched == 15
    assert match.rmsd < 1e-5


def test_tolerances_out_of_range_and_foreign_molecules_are_refused() -> None:
    truth = Frame.of(crystal_like(CHIRAL))
    for values in (
        {"size": 0},
        {"distance": 0.0},
        {"distance": 1.0},
        {"angle": 90.0},
        {"angle": float("nan")},
    ):
        with pytest.raises(ScoreError, match="out of range"):
            overlay(truth, truth, **values)
    with pytest.raises(ScoreError, match="molecule 0 of the prediction"):
        overlay(Frame.of(crystal_like(CARBON_DIOXIDE)), truth)


def test_atom_orders_of_benzene_are_the_twelve_of_its_ring() -> None:
    orders = atom_orders(*BENZENE, np.arange(12))
    assert len(orders) == 12
    assert orders[0].tolist() == list(range(12))
    assert len(atom_orders(*CHIRAL, np.arange(4))) == 1


def test_every_true_crystal_matches_itself(crystals: Path) -> None:
    for name in sorted((crystals / "experimental").glob("*.cif"))[::4]:
        truth = cluster_from_crystal(read_crystal(name), 17)
        match = overlay(Frame.of(renumbered.propose(truth, 1, 0)[0]), Frame.of(truth))
        assert (match.n_matched, match.rmsd < 0.01) == (15, True), name.stem


def inverted(cluster: Cluster) -> Frame:
    frame = Frame.of(renumbered.propose(cluster, 1, 0)[0])
    return replace(frame, positions=-frame.positions)


def by_handedness(folder: Path, sohncke: bool, step: int) -> list[Crystal]:
    """Every so many crystals whose space group has no improper operations, or some."""
    import gemmi

    table = sorted((folder / "experimental").glob("*.cif"))[::step]
    found = [read_crystal(name) for name in table]
    return [c for c in found if gemmi.SpaceGroup(c.space_group).is_sohncke() is sohncke]


def test_with_improper_operations_the_mirror_image_is_the_same_crystal(crystals: Path) -> None:
    chosen = by_handedness(crystals, False, 25)
    assert len(chosen) > 5
    for crystal in chosen:
        truth = Frame.of(cluster_from_crystal(crystal, 17))
        # A cut of 17 is not its own mirror image; a larger one holds the mirror image of the cut.
        match = overlay(inverted(cluster_from_crystal(crystal, 120)), truth)
        assert (match.n_matched, match.rmsd < 0.01) == (15, True), crystal.name


def test_without_improper_operations_the_mirror_image_is_another_crystal(crystals: Path) -> None:
    chosen = by_handedness(crystals, True, 8)
    assert len(chosen) > 2
    for crystal in chosen:
        cluster = cluster_from_crystal(crystal, 17)
        truth = Frame.of(cluster)
        assert overlay(inverted(cluster_from_crystal(crystal, 120)), truth).n_matched < 8, crystal.name
        match = overlay(inverted(cluster), truth, mirror=True)
        assert (match.n_matched, match.rmsd < 0.01) == (15, True), crystal.name


def test_an_inverted_cut_is_found_on_request_even_where_it_nearly_fits_as_it_is(crystals: Path) -> None:
    for crystal in by_handedness(crystals, False, 10):
        cluster = cluster_from_crystal(crystal, 17)
        match = overlay(inverted(cluster), Frame.of(cluster), mirror=True)
        assert (match.n_matched, match.rmsd < 0.01) == (15, True), crystal.name


def test_solved_with_and_without_the_clash_condition() -> None:
    truth = crystal_like(CHIRAL)
    centroid = truth.centroid.copy()
    outer = int(np.argmax(np.linalg.norm(centroid - centroid[Frame.of(truth).centre], axis=1)))
    near = np.argsort(np.linalg.norm(centroid - centroid[outer], axis=1))[1]
    centroid[outer] += 0.75 * (centroid[near] - centroid[outer])
    report = score_clusters([[replace(truth, centroid=centroid)]], [truth])
    row = report.rows[0]
    assert (row["solved"], row["clashing"], row["solved_clean"]) == (1, 1, 0)
