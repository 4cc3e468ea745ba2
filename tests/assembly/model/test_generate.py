"""From one molecule to candidate clusters."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from kflow_sci.assembly.contacts import clashing_pairs
from kflow_sci.assembly.model.cluster_model import ClusterModel, ModelConfig
from kflow_sci.assembly.model.generate import (
    assemble,
    clusters_at,
    default_weights,
    finish,
    load_model,
    propose,
)
from kflow_sci.assembly.model.request import Request, volume_per_molecule
from kflow_sci.assembly.model.scene import choose_hands
from kflow_sci.assembly.model.settle import StepApart
from kflow_sci.assembly.model.start import COMPACT
from kflow_sci.assembly.molecule import Molecule
from kflow_sci.checkpoint import save_checkpoint
from kflow_sci.errors import CheckpointError, ClusterError, MoleculeError
from kflow_sci.flow.rigid import Pose

WATER = Molecule.build(np.array([8, 1, 1]), np.array([[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0.0]]))[0]
CHIRAL = Molecule.build(
    np.array([6, 35, 17, 9, 1]),
    np.array([[0, 0, 0], [1.1, 1.1, 1.1], [-1.0, -1.0, 1.0], [-0.8, 0.8, -0.8], [0.63, -0.63, -0.63]]),
)[0]


def small_model(**changes: object) -> ClusterModel:
    torch.manual_seed(0)
    model = ClusterModel(ModelConfig(**{"hidden": 16, "layers": 1, "edge": 8, "steps": (2, 1, 1), **changes}))
    for parameter in model.net.readout.parameters():
        torch.nn.init.normal_(parameter, std=0.02)
    return model.eval()


def test_every_molecule_is_rigid_and_every_rotation_proper() -> None:
    for cluster in propose(small_model(), CHIRAL, Request(copies=30, samples=2)):
        assert np.allclose(np.linalg.det(cluster.rotation), 1.0, atol=1e-12)
        template = np.linalg.norm(CHIRAL.positions[:, None] - CHIRAL.positions, axis=-1)
        for i in range(30):
            x = cluster.positions_of(i)
            assert np.abs(np.linalg.norm(x[:, None] - x, axis=-1) - template).max() < 1e-10


def test_samples_are_the_same_in_any_batch_and_differ_from_each_other() -> None:
    model = small_model()
    many = propose(model, WATER, Request(copies=400, samples=4, seed=3))  # chunks of two
    one = propose(model, WATER, Request(copies=400, samples=1, seed=3))
    assert np.abs(many[0].centroid - one[0].centroid).max() < 1e-3
    assert np.abs(many[0].centroid - many[1].centroid).max() > 1.0


def test_progress_counts_samples() -> None:
    seen: list[int] = []
    propose(small_model(), WATER, Request(copies=600, samples=3), progress=seen.append)
    assert seen == [1, 2, 3]


def test_volume_of_water_at_one_gram_per_cubic_centimetre() -> None:
    # 18.015 g/mol / (0.60221 mol/Å^3-cm^3) = 29.915 Å^3.
    assert volume_per_molecule(WATER, 1.0) == pytest.approx(29.915, abs=0.002)
    # Hofmann's increments: 11.39 + 2 x 5.08.
    assert volume_per_molecule(WATER) == pytest.approx(21.55)


@pytest.mark.parametrize(
    ("molecule", "hands", "mirrored"),
    [(WATER, "auto", 0), (WATER, "both", 0), (CHIRAL, "auto", 8), (CHIRAL, "same", 0), (CHIRAL, "both", 8)],
)
def test_hands_by_molecule_and_wish(molecule: Molecule, hands: str, mirrored: int) -> None:
    parity = choose_hands(molecule, 17, hands, np.random.default_rng(0))
    assert int((parity < 0).sum()) == mirrored


def test_a_fixed_stereocentre_keeps_one_hand() -> None:
    import dataclasses

    handed = dataclasses.replace(CHIRAL, handed=True)
    assert (choose_hands(handed, 10, "auto", np.random.default_rng(0)) == 1).all()
    assert (choose_hands(handed, 10, "both", np.random.default_rng(0)) == -1).sum() == 5


def test_finish_ranks_by_clashes_then_energy_and_can_leave_poses_alone() -> None:
    raw = propose(small_model(), WATER, Request(copies=8, samples=4))
    left = finish(raw, resolve=False)
    assert [c.info["rank"] for c in left] == [1, 2, 3, 4]
    keys = [(c.info["clashing_pairs"], c.info["energy"]) for c in left]
    assert keys == sorted(keys)
    for cluster in left:
        assert np.array_equal(cluster.centroid, raw[cluster.info["sample"]].centroid)
    resolved = finish(raw, resolve=True)
    assert np.mean([c.info["clashing_pairs"] for c in resolved]) <= np.mean(
        [c.info["clashing_pairs"] for c in left]
    )


def test_assemble_gives_ase_atoms_from_a_molecule(tmp_path: Path) -> None:
    model = small_model()
    save_checkpoint(tmp_path / "w.safetensors", model.state_dict(), {"model": model.config_dict()})
    clusters = assemble(WATER, copies=5, samples=2, weights=tmp_path / "w.safetensors")
    atoms = clusters[0].to_ase()
    assert atoms.get_chemical_formula() == "H10O5"
    assert atoms.arrays["molecule"].tolist() == [i for i in range(5) for _ in range(3)]


def test_a_checkpoint_with_pca_bases_comes_back(tmp_path: Path) -> None:
    model = small_model(transform="pca")
    model.set_pca(torch.randn(50, 6, 3, generator=torch.Generator().manual_seed(0)))
    save_checkpoint(tmp_path / "w.safetensors", model.state_dict(), {"model": model.config_dict()})
    back, _ = load_model(tmp_path / "w.safetensors")
    a, b = (propose(m, WATER, Request(copies=6, samples=1))[0] for m in (model, back))
    assert np.array_equal(a.centroid, b.centroid)
    with pytest.raises(ClusterError, match=r"fitted for \[6\] copies, not 7"):
        propose(back, WATER, Request(copies=7, samples=1))


def test_the_weights_in_the_package_load_and_know_their_origin() -> None:
    _, header = load_model()
    assert {"model", "data_hash", "step", "settings"} <= set(header)
    assert default_weights().stat().st_size < 16e6


def test_the_volume_that_was_asked_for_is_kept() -> None:
    for density in (0.7, 1.4):
        for cluster in propose(small_model(), CHIRAL, Request(copies=20, samples=2, density=density)):
            # A ball of the wanted volume has the mean squared radius 3 R² / 5; samples are loose in the middle.
            radius = (3 * 20 * COMPACT * volume_per_molecule(CHIRAL, density) / (4 * np.pi)) ** (1 / 3)
            squared = ((cluster.centroid - cluster.centroid.mean(0)) ** 2).sum(1).mean()
            assert squared == pytest.approx(0.6 * radius**2, rel=1e-4)


def test_contact_steps_act_late_and_lessen_overlaps_of_rigid_copies() -> None:
    places = torch.tensor([[[0.0, 0, 0], [1.5, 0, 0], [0, 30.0, 0]]], dtype=torch.float64)
    close, hands = Pose(places, torch.eye(3, dtype=torch.float64).expand(1, 3, 3, 3)), np.array([[1, -1, 1]])
    settle = StepApart.of(clusters_at(close, WATER, hands))
    assert settle(close, torch.tensor([0.5])) is close
    moved = settle(close, torch.tensor([0.9]))
    before, after = (clashing_pairs(clusters_at(p, WATER, hands))[0] for p in (close, moved))
    assert after < before
    shift = (moved.centroid - close.centroid)[0].norm(dim=-1)
    assert shift[:2].min() > 0.1 and shift[2] < 0.1 * shift[0]
    unit = moved.rotation[0] @ moved.rotation[0].transpose(-1, -2)
    assert torch.allclose(unit, torch.eye(3, dtype=torch.float64).expand(3, 3, 3), atol=1e-12)


def test_samples_do_not_depend_on_how_they_are_shared_out() -> None:
    many = propose(small_model(), CHIRAL, Request(copies=20, samples=23))
    one = propose(small_model(), CHIRAL, Request(copies=20, samples=1))[0]
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = propose(small_model(), CHIRAL, Request(copies=20, samples=23))
    finally:
        torch.set_num_threads(threads)
    assert [c.info["sample"] for c in many] == list(range(23))
    for a, b in [(many[0], one), *zip(many, alone, strict=True)]:
        assert np.abs(a.centroid - b.centroid).max() < 1e-3
        assert np.array_equal(a.parity, b.parity)


def test_a_charged_molecule_is_refused_with_the_mend() -> None:
    import dataclasses

    ion = dataclasses.replace(WATER, formal_charges=np.array([1, 0, 0]))
    with pytest.raises(MoleculeError, match=r"charge \+1.*neutral form"):
        propose(small_model(), ion, Request(copies=3, samples=1))


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ClusterError, match="copies is 1"):
        Request(copies=1)
    with pytest.raises(ClusterError, match="samples is 0"):
        Request(samples=0)
    with pytest.raises(ClusterError, match="density is -1"):
        volume_per_molecule(WATER, -1.0)
    with pytest.raises(ClusterError, match="choose auto"):
        choose_hands(WATER, 3, "left", np.random.default_rng(0))
    with pytest.raises(CheckpointError):
        load_model("nothing.safetensors")
