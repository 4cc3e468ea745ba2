"""How a sample came about."""

from __future__ import annotations

import numpy as np
import pytest

from kflow_sci.assembly.model.generate import Request, propose
from kflow_sci.assembly.model.walk import Walk
from tests.assembly.model.test_generate import WATER, small_model


@pytest.fixture(scope="module")
def walks() -> dict[int, Walk]:
    """Three samples of nine molecules under strict windows, two solver steps in each of three shells."""
    kept: dict[int, Walk] = {}
    request = Request(copies=9, samples=3, contacts=False, steps=(2,))
    propose(small_model(overlap=0.0), WATER, request, watch=kept.__setitem__)
    return kept


def test_a_walk_goes_from_start_to_end_over_all_shells(walks: dict[int, Walk]) -> None:
    assert sorted(walks) == [0, 1, 2]
    for walk in walks.values():
        assert np.allclose(walk.time, np.arange(7) / 6)
        assert np.allclose(walk.scale, np.arange(7) / 2)
        assert np.allclose(walk.progress[3], [1.0, 0.5, 0.0])
        assert walk.centroid.shape == (7, 9, 3) and walk.rotation.shape == (7, 9, 3, 3)
        assert np.allclose(np.linalg.det(walk.rotation), 1.0, atol=1e-5)


def test_the_energies_of_the_shells_add_up_to_the_mean_squared_displacement(walks: dict[int, Walk]) -> None:
    for walk in walks.values():
        displacement = np.square(walk.centroid - walk.centroid[0]).sum(axis=2).mean(axis=1)
        assert displacement[-1] > 1e-6
        assert np.allclose(walk.moved.sum(axis=1), displacement, rtol=1e-4, atol=1e-10)


def test_a_shell_does_not_move_before_its_window(walks: dict[int, Walk]) -> None:
    for walk in walks.values():
        for energy in (walk.moved, walk.turned):
            waiting = energy[walk.progress == 0.0]
            assert waiting.max() < 1e-4 * energy.max()


def test_the_result_is_the_end_of_the_walk_at_the_volume_of_its_start() -> None:
    kept: dict[int, Walk] = {}
    request = Request(copies=9, samples=2)
    watched = propose(small_model(), WATER, request, watch=kept.__setitem__)
    for cluster, plain in zip(watched, propose(small_model(), WATER, request), strict=True):
        assert np.allclose(cluster.centroid, plain.centroid, atol=1e-5)  # to be watched changes nothing
        walk = kept[cluster.info["sample"]]
        ends = [x - x.mean(axis=0) for x in (walk.centroid[-1], walk.centroid[0], cluster.centroid)]
        end, start, result = ends
        assert np.allclose(result, end * np.sqrt(np.square(start).sum() / np.square(end).sum()), atol=1e-4)
        assert np.allclose(walk.rotation[-1], cluster.rotation, atol=1e-4)
