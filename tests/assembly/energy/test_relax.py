"""A short rigid relaxation removes clashes and changes nothing else."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from kflow_sci.assembly.cluster import Cluster
from kflow_sci.assembly.contacts import clashing_pairs
from kflow_sci.assembly.energy.relax import clash_penalty, resolve_clashes
from kflow_sci.assembly.molecule import Molecule
from kflow_sci.errors import ClusterError, ConfigError

# Centroids are kept this share of the mean spacing apart, which gives 8 to 11 clashing pairs per molecule.
SMILES = {"c1ccccc1": 0.68, "NC(N)=O": 0.45, "CC(=O)Oc1ccccc1C(=O)O": 0.82}


@cache
def molecule(smiles: str) -> Molecule:
    from rdkit import Chem
    from rdkit.Chem import AllChem

    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    AllChem.EmbedMolecule(mol, randomSeed=1)
    bonds = np.array([[b.GetBeginAtomIdx(), b.GetEndAtomIdx()] for b in mol.GetBonds()])
    numbers = np.array([a.GetAtomicNum() for a in mol.GetAtoms()])
    return Molecule.build(numbers, mol.GetConformer().GetPositions(), bonds=bonds, name=smiles)[0]


def random_ball(template: Molecule, n: int, seed: int, spacing: float) -> Cluster:
    """Random poses at crystal density, centroids pushed apart a little."""
    rng = np.random.default_rng(seed)
    volume = template.crystal_volume
    radius = (3 * n * volume / 4 / np.pi) ** (1 / 3)
    centroid = rng.normal(size=(n, 3))
    centroid *= radius * rng.random((n, 1)) ** (1 / 3) / np.linalg.norm(centroid, axis=1, keepdims=True)
    least = spacing * (volume * 6 / np.pi) ** (1 / 3)
    for _ in range(200):
        apart = centroid[:, None] - centroid
        distance = np.linalg.norm(apart, axis=-1) + 1e9 * np.eye(n)
        centroid = centroid + 0.3 * (
            np.maximum(0, least - distance)[..., None] * apart / distance[..., None]
        ).sum(1)
        centroid *= np.minimum(1, radius / np.linalg.norm(centroid, axis=1, keepdims=True))
    rotation = Rotation.random(n, random_state=rng).as_matrix()
    return Cluster(
        (template,), np.zeros(n, int), centroid, rotation, rng.choice([-1, 1], n), {"volume": volume}
    )


def gyration(cluster: Cluster) -> float:
    return float(np.sqrt(((cluster.centroid - cluster.centroid.mean(0)) ** 2).sum(1).mean()))


@pytest.mark.parametrize("smiles", SMILES)
def test_clashes_of_random_balls_vanish_at_unchanged_density(smiles):
    starts = [random_ball(molecule(smiles), 17, seed, SMILES[smiles]) for seed in range(8)]
    relaxed = resolve_clashes(starts, iterations=20)
    assert clashing_pairs(starts).mean() > 6
    assert clashing_pairs(relaxed).mean() <= 0.1
    growth = [(gyration(b) / gyration(a)) ** 3 for a, b in zip(starts, relaxed, strict=True)]
    assert max(abs(np.log(growth))) < 0.03
    assert all(c.info["relax_shift"] < 1.5 for c in relaxed)


def test_info_tells_clashes_before_and_after():
    start = random_ball(molecule("c1ccccc1"), 17, 0, 0.68)
    relaxed = resolve_clashes([start])[0]
    assert relaxed.info["clashing_pairs_start"] == clashing_pairs([start])[0]
    assert relaxed.info["clashing_pairs"] == clashing_pairs([relaxed])[0]
    assert relaxed.info["volume"] == start.info["volume"]
    assert "clashing_pairs" not in start.info


def test_cluster_without_clashes_is_left_exactly_as_it_is():
    start = resolve_clashes([random_ball(molecule("NC(N)=O"), 12, 3, 0.9)])[0]
    again = resolve_clashes([start])[0]
    assert np.array_equal(again.centroid, start.centroid)
    assert np.array_equal(again.rotation, start.rotation)
    assert again.info["relax_shift"] == 0


def test_molecules_stay_exactly_rigid():
    start = random_ball(molecule("CC(=O)Oc1ccccc1C(=O)O"), 10, 0, 0.8)
    relaxed = resolve_clashes([start])[0]
    gram = np.einsum("nij,nkj->nik", relaxed.rotation, relaxed.rotation)
    assert np.abs(gram - np.eye(3)).max() < 1e-13
    assert np.all(np.linalg.det(relaxed.rotation) > 0)
    assert np.array_equal(relaxed.parity, start.parity)


def test_gradient_of_the_penalty_by_finite_differences():
    start = random_ball(molecule("NC(N)=O"), 6, 0, 0.3)
    penalty, by_centroid, by_turn = clash_penalty(start)
    assert penalty > 1

    def at(copy: int, move: np.ndarray, turn: np.ndarray) -> float:
        centroid, rotation = start.centroid.copy(), start.rotation.copy()
        centroid[copy] += move
        rotation[copy] = Rotation.from_rotvec(turn).as_matrix() @ rotation[copy]
        return clash_penalty(Cluster(start.molecules, start.kind, centroid, rotation, start.parity))[0]

    step, still = 1e-5, np.zeros(3)
    for copy in range(6):
        for axis in step * np.eye(3):
            moved = (at(copy, axis, still) - at(copy, -axis, still)) / (2 * step)
            turned = (at(copy, still, axis) - at(copy, still, -axis)) / (2 * step)
            assert moved == pytest.approx(by_centroid[copy] @ axis / step, abs=1e-6)
            assert turned == pytest.approx(by_turn[copy] @ axis / step, abs=1e-6)


def test_relaxation_commutes_with_motion_reflection_and_renumbering():
    start = random_ball(molecule("c1ccccc1"), 13, 1, 0.68)
    relaxed = resolve_clashes([start])[0]
    scale = np.abs(relaxed.centroid).max()
    order = np.random.default_rng(0).permutation(13)
    for sign in (1, -1):
        turn = Rotation.from_rotvec([0.4, -1.1, 2.0]).as_matrix()
        moved = Cluster(
            start.molecules,
            start.kind,
            (sign * start.centroid @ turn.T + [30.0, -7.0, 12.0])[order],
            (turn @ start.rotation)[order],
            sign * start.parity[order],
        )
        answer = resolve_clashes([moved])[0]
        expected = sign * relaxed.centroid @ turn.T + [30.0, -7.0, 12.0]
        assert np.abs(answer.centroid - expected[order]).max() < 1e-9 * scale
        assert np.abs(answer.rotation - (turn @ relaxed.rotation)[order]).max() < 1e-9


def test_batch_of_unequal_clusters_equals_its_singles():
    small, large = molecule("NC(N)=O"), molecule("CC(=O)Oc1ccccc1C(=O)O")
    mixed = random_ball(large, 9, 5, 0.7)
    mixed = Cluster((large, small), np.arange(9) % 2, mixed.centroid * 0.8, mixed.rotation, mixed.parity)
    starts = [
        random_ball(small, 17, 0, 0.4),
        mixed,
        random_ball(large, 2, 1, 0.5),
        random_ball(large, 30, 2, 0.8),
    ]
    for together, start in zip(resolve_clashes(starts), starts, strict=True):
        alone = resolve_clashes([start])[0]
        assert np.array_equal(together.centroid, alone.centroid)
        assert np.array_equal(together.rotation, alone.rotation)


def test_clashes_that_cannot_be_removed_are_reported():
    template = molecule("c1ccccc1")
    poses = (np.zeros((3, 3)), np.tile(np.eye(3), (3, 1, 1)), np.ones(3, int))
    answer = resolve_clashes([Cluster((template,), np.zeros(3, int), *poses)])[0]
    assert np.isfinite(answer.centroid).all()
    assert answer.info["clashing_pairs"] > 0


def test_switched_off_only_counts():
    start = random_ball(molecule("c1ccccc1"), 17, 0, 0.68)
    answer = resolve_clashes([start], iterations=0)[0]
    assert np.array_equal(answer.centroid, start.centroid)
    assert answer.info["clashing_pairs"] == answer.info["clashing_pairs_start"] > 0


def test_input_is_not_changed():
    start = random_ball(molecule("c1ccccc1"), 17, 0, 0.68)
    centroid, rotation = start.centroid.copy(), start.rotation.copy()
    resolve_clashes([start])
    assert np.array_equal(start.centroid, centroid)
    assert np.array_equal(start.rotation, rotation)


def test_bad_input_is_refused():
    start = random_ball(molecule("NC(N)=O"), 3, 0, 0.5)
    with pytest.raises(ConfigError, match="iterations is -1"):
        resolve_clashes([start], iterations=-1)
    lost = Cluster(start.molecules, start.kind, start.centroid * np.nan, start.rotation, start.parity)
    with pytest.raises(ClusterError, match="not finite"):
        resolve_clashes([lost])
    with pytest.raises(ClusterError, match="at least one"):
        resolve_clashes([start.take(slice(0, 0))])
    assert resolve_clashes([]) == []


def test_true_crystals_have_hardly_any_clashes_and_are_not_moved(crystals):
    from kflow_sci.assembly.reading.crystal import cluster_from_crystal, read_crystal

    files = sorted((crystals / "experimental").glob("COD70*.cif"))[:12]
    clusters = [cluster_from_crystal(read_crystal(file), 15) for file in files]
    relaxed = resolve_clashes(clusters)
    assert np.mean([c.info["clashing_pairs_start"] == 0 for c in relaxed]) > 0.9
    assert all(c.info["relax_shift"] == 0 for c in relaxed if c.info["clashing_pairs_start"] == 0)
