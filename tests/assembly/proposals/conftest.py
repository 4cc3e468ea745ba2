"""A handful of crystals to learn from, and a small model."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from kflow_sci.assembly.cluster import Cluster
from kflow_sci.assembly.lattice.cutting import cluster_from_packing
from kflow_sci.assembly.lattice.packing import Packing, SpaceGroup
from kflow_sci.assembly.lattice.record import record_of
from kflow_sci.assembly.molecule import Molecule
from kflow_sci.assembly.proposals.library import Library
from kflow_sci.assembly.proposals.model import ProposalConfig, ProposalModel
from kflow_sci.assembly.search.starts import random_cell, random_rotations


def chiral() -> Molecule:
    """CHFClBr: no symmetry at all; bond lengths in Å from covalent radii."""
    bonds = {1: 1.09, 9: 1.36, 17: 1.77, 35: 1.94}
    corners = np.array([[1, 1, 1], [-1, -1, 1], [-1, 1, -1], [1, -1, -1]]) / 3**0.5
    positions = np.vstack([np.zeros(3), corners * np.array([*bonds.values()])[:, None]])
    return Molecule.build(np.array([6, *bonds]), positions, name="CHFClBr")[0]


def water() -> Molecule:
    half = np.radians(104.52 / 2)
    hydrogens = 0.9572 * np.array([[np.sin(half), np.cos(half), 0], [-np.sin(half), np.cos(half), 0]])
    return Molecule.build(np.array([8, 1, 1]), np.vstack([np.zeros(3), hydrogens]), name="water")[0]


def random_packing(molecule: Molecule, group: str, seed: int = 0, **info: object) -> Packing:
    rng = np.random.default_rng(seed)
    found = SpaceGroup.named(group)
    cell = random_cell(found, 1.5 * molecule.crystal_volume * len(found), 0.2, rng)
    place = rng.uniform(0.1, 0.4, size=(1, 3))
    return Packing(
        (molecule,), found, cell, np.array([0]), place, random_rotations(1, rng), np.array([1]), dict(info)
    )


def computed(molecule: Molecule, group: str, energy: float, seed: int = 0) -> Cluster:
    packing = random_packing(molecule, group, seed)
    info = {"energy": energy, "crystal": molecule.name, "packing": record_of(packing)}
    named = Packing(
        packing.molecules, packing.group, packing.cell, packing.kind, packing.place, packing.rotation,
        packing.parity, {**info, "id": f"{molecule.name}-{seed}"},
    )  # fmt: skip
    cluster = cluster_from_packing(named, 2)
    return Cluster(
        cluster.molecules, cluster.kind, cluster.centroid, cluster.rotation, cluster.parity,
        {**cluster.info, "crystal": molecule.name},
    )  # fmt: skip


@pytest.fixture(scope="session")
def clusters() -> list[Cluster]:
    return [
        computed(chiral(), "P21/c", -50.0, 1), computed(chiral(), "P-1", -46.0, 2),
        computed(water(), "P212121", -60.0, 3), computed(water(), "Pna21", -10.0, 4),
    ]  # fmt: skip


@pytest.fixture(scope="session")
def library(clusters: list[Cluster]) -> Library:
    return Library.of(clusters, temperature=4.0)


@pytest.fixture(scope="session")
def model() -> ProposalModel:
    """Small, with weights that do something."""
    torch.manual_seed(0)
    model = ProposalModel(ProposalConfig(hidden=16, layers=1, images=6, steps=(1, 1, 1, 1)))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return model.eval()
