"""Mixtures, cores, regions and given clusters: what is fixed stays fixed, and what is asked for is there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from kflow_sci.assembly.cluster import Cluster
from kflow_sci.assembly.model.generate import finish, propose
from kflow_sci.assembly.model.region import Box, Sphere, even_points
from kflow_sci.assembly.model.request import Request, mixed_volume, mixture, surroundings
from kflow_sci.assembly.model.scene import Given
from kflow_sci.assembly.molecule import Molecule
from kflow_sci.errors import ClusterError, MoleculeError
from kflow_sci.flow.steer import above, below
from tests.assembly.model.test_generate import CHIRAL, WATER, small_model

CO2 = Molecule.build(np.array([6, 8, 8]), np.array([[0.0, 0, 0], [0, 0, 1.16], [0, 0, -1.16]]))[0]


def grid(copies: int, molecule: Molecule = CHIRAL, **info: object) -> Cluster:
    """Copies on a grid of 6 Å, turned by chance, the last one a mirror image."""
    rng = np.random.default_rng(5)
    q = np.linalg.qr(rng.normal(size=(copies, 3, 3))).Q
    q *= np.sign(np.linalg.det(q))[:, None, None]
    place = 6.0 * np.stack(np.unravel_index(np.arange(copies), (3, 3, 3)), axis=1)
    parity = np.where(np.arange(copies) == copies - 1, -1, 1)
    return Cluster(
        (molecule,), np.zeros(copies, dtype=int), place + np.array([5.0, 0, 0]), q, parity, dict(info)
    )


def test_a_mixture_has_the_molecules_asked_for_first_kind_first() -> None:
    request = Request(copies=(4, 3, 1), samples=2)
    for cluster in propose(small_model(), [CHIRAL, WATER, CO2], request):
        assert cluster.kind.tolist() == [0, 0, 0, 0, 1, 1, 1, 2]
        assert (cluster.parity[:4] == -1).sum() == 2 and (cluster.parity[4:] == 1).all()
        # Masses or volumes add up: water has 21.55 Å^3 by Hofmann's increments, CO2 13.87 + 2 x 11.39 = 36.65.
        expected = (4 * CHIRAL.crystal_volume + 3 * 21.55 + 36.65) / 8
        assert cluster.info["volume"] == pytest.approx(expected)


def test_which_place_a_kind_gets_is_left_to_chance() -> None:
    scene = mixture([CHIRAL, WATER], Request(copies=(10, 10)))
    radii = [scene.setup(i, torch.float64).start.centroid[0].norm(dim=1) for i in range(40)]
    inner = np.mean([float(r[:10].mean() - r[10:].mean()) for r in radii])
    assert abs(inner) < 0.25  # Å; of a ball of 8 Å


def test_volume_of_a_mixture_at_one_density_follows_the_masses() -> None:
    # Three waters and one CO2 at 1 g/cm^3: (3 x 18.015 + 44.009) / 0.602214 / 4 = 40.71 Å^3.
    assert mixed_volume([WATER, CO2], [3, 1], 1.0) == pytest.approx(40.71, abs=0.01)


def test_one_kind_in_a_list_is_the_molecule_alone() -> None:
    alone = propose(small_model(), WATER, Request(copies=5, samples=1))[0]
    listed = propose(small_model(), [WATER], Request(copies=(5,), samples=1))[0]
    assert np.array_equal(alone.centroid, listed.centroid)


def test_molecules_around_a_core_leave_it_where_it_is() -> None:
    core = grid(2)
    request = Request(copies=30, samples=2)
    scene = surroundings(core, WATER, request)
    raw = propose(small_model(), scene, request)
    for cluster in [*raw, *finish(raw, True, np.arange(32) < 2)]:
        assert len(cluster) == 32
        assert np.abs(cluster.positions[: 2 * 5] - core.positions).max() < 1e-5
        distance = np.linalg.norm(cluster.positions[10:, None] - core.positions, axis=-1).min(1)
        assert distance.min() > 0.5
    starts = scene.setup(0, torch.float64).start.centroid[0, 2:].numpy() + core.positions.mean(0)
    near = np.linalg.norm(starts[:, None] - core.positions, axis=-1).min(1)
    assert near.min() > 1.5 and near.max() < 8.0  # a layer or two of water


@pytest.mark.parametrize("region", [Sphere(9.0), Box((30.0, 12.0, 10.0))])
def test_atoms_stay_in_the_region(region: Sphere | Box) -> None:
    request = Request(copies=40, samples=1, density=0.6)
    scene = mixture(WATER, request, region)
    (cluster,) = finish(propose(small_model(), scene, request), True, None, region)
    assert cluster.info["outside"] == 0
    assert np.abs(region.clip(cluster.positions) - cluster.positions).max() < 0.011


def test_even_points_fill_a_box_to_its_corners() -> None:
    box = Box((20.0, 10.0, 5.0))
    points = even_points(box, 400, np.random.default_rng(0))
    assert (np.abs(points) <= [10.0, 5.0, 2.5]).all()
    octants = np.bincount((points > 0) @ [4, 2, 1], minlength=8)
    assert octants.min() > 30  # of 50
    # Uniform moments: a side squared over 12.
    assert np.allclose((points**2).mean(0), np.array([400, 100, 25]) / 12, rtol=0.15)


def test_without_a_density_the_region_is_shared_out() -> None:
    assert mixture(WATER, Request(copies=10), Box((10.0, 10.0, 10.0))).volume == pytest.approx(100.0)
    with pytest.raises(ClusterError, match="box of 5 × 5 × 5 Å has 125"):
        mixture(WATER, Request(copies=10), Box((5.0, 5.0, 5.0)))
    for bad in (lambda: Sphere(0.0), lambda: Sphere(float("nan")), lambda: Box((1.0, -1.0, 1.0))):
        with pytest.raises(ClusterError, match="positive"):
            bad()


def test_a_cluster_known_in_all_shells_comes_back_and_one_known_in_none_does_not() -> None:
    given = grid(8, volume=200.0)
    model, request = small_model(), Request(samples=2, contacts=False)
    scene = Given((given,), edit=True)
    for cluster in propose(model, scene, request, weights=below(3, 3)):
        assert np.abs(cluster.positions - given.positions).max() < 1e-4
        assert np.array_equal(cluster.parity, given.parity)
    a, b = propose(model, scene, request, weights=below(3, 0))
    assert np.abs(a.centroid - given.centroid).max() > 1.0
    assert np.abs(a.centroid - b.centroid).max() > 1.0


def test_what_is_frozen_of_a_given_cluster_is_nearer_to_it_than_what_is_varied() -> None:
    given = grid(27, volume=200.0)
    model, request = small_model(), Request(samples=3, contacts=False)
    scene = Given((given,), edit=True)

    def shift(weights: tuple[float, ...]) -> float:
        made = propose(model, scene, request, weights=weights)
        return float(np.mean([((c.centroid - given.centroid) ** 2).sum(1).mean() for c in made]))

    none, coarse, fine = shift(below(3, 0)), shift(below(3, 2)), shift(above(3, 2))
    assert coarse < none and fine < none


def test_given_poses_are_where_the_flow_starts_and_kept_molecules_stay() -> None:
    given = grid(6, volume=200.0)
    other = replace(given, centroid=given.centroid * 1.1)
    scene = Given((given, other), keep=(1, 4))
    pose = scene.setup(1, torch.float64)
    assert np.abs(pose.start.centroid[0].numpy() + pose.origin - other.centroid).max() < 1e-12
    made = propose(small_model(), scene, Request(samples=2))
    for cluster, before in zip(made, (given, other), strict=True):
        shift = np.linalg.norm(cluster.centroid - before.centroid, axis=1)
        assert shift[[1, 4]].max() < 1e-5 and shift[[0, 2, 3, 5]].min() > 1e-4


def test_bad_scenes_are_refused_in_one_line() -> None:
    for make, error, words in (
        (lambda: Given((grid(3),), keep=(3,)), ClusterError, "molecule 3 .* from 0 to 2"),
        (lambda: Given((grid(3).take(slice(0, 1)),)), ClusterError, "1 molecule"),
        (lambda: Request(copies=(3, 0)), ClusterError, "at least 1 of each"),
        (lambda: mixture([WATER, CO2], Request(copies=5)), ClusterError, "1 numbers of copies for 2"),
        (lambda: Request(copies=999, there=2), ClusterError, "copies is 1001"),
        (
            lambda: mixture(
                [WATER, replace(CO2, formal_charges=np.array([1, 0, 0]))], Request(copies=(2, 2))
            ),
            MoleculeError,
            "charge",
        ),
    ):
        with pytest.raises(error, match=words) as caught:
            make()
        assert "\n" not in str(caught.value)


def test_two_hundred_molecules_and_more() -> None:
    (cluster,) = propose(small_model(), [WATER, CO2], Request(copies=(200, 40), samples=1))
    assert len(cluster) == 240 and np.isfinite(cluster.positions).all()


def test_elements_without_a_volume_in_crystals_are_made_at_a_given_density() -> None:
    # Silane: Si-H 1.480 Å, Herzberg 1966; at 1 g/cm^3 (28.086 + 4 x 1.008) / 0.602214 = 53.33 Å^3.
    corners = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / np.sqrt(3)
    silane = Molecule.build(np.array([14, 1, 1, 1, 1]), np.vstack([np.zeros(3), 1.480 * corners]))[0]
    made = propose(small_model(), silane, Request(copies=4, samples=1, density=1.0))[0]
    assert made.info["volume"] == pytest.approx(53.33, abs=0.01)
    with pytest.raises(MoleculeError, match="no crystal volume is known for Si: give the density"):
        propose(small_model(), silane, Request(copies=4, samples=1))
    around = surroundings(made, [WATER], Request(copies=3, there=4))
    assert around.copies == 7 and np.isfinite(around.volume)
