"""Balls and sticks cover what geometry says they cover."""

from __future__ import annotations

import numpy as np
import pytest

from kflow_sci.report.render import Scene, render


def scene(position, radius=1.0, color=(0.2, 0.2, 0.9), sticks=(), thickness=0.2) -> Scene:
    n = len(position)
    return Scene(
        np.array(position, dtype=float),
        np.broadcast_to(np.asarray(radius, dtype=float), n),
        np.broadcast_to(np.asarray(color, dtype=float), (n, 3)),
        np.array(sticks, dtype=int).reshape(-1, 2),
        np.full(len(sticks), thickness),
    )


def painted(image: np.ndarray) -> np.ndarray:
    return (image < 0.999).any(axis=2)


def test_ball_covers_its_disc():
    image = render(scene([[0, 0, 0]], radius=1.5), 6.0, 4.0, 50.0)
    assert image.shape == (200, 300, 3)
    assert painted(image).sum() / 50.0**2 == pytest.approx(np.pi * 1.5**2, rel=0.03)
    assert painted(image)[100, 150]


def test_right_is_right_and_up_is_up():
    image = painted(render(scene([[2.0, 1.0, 0]], radius=0.5), 8.0, 8.0, 20.0))
    rows, columns = np.nonzero(image)
    assert columns.mean() == pytest.approx((4.0 + 2.0) * 20, abs=1)
    assert rows.mean() == pytest.approx((4.0 - 1.0) * 20, abs=1)


def test_near_ball_hides_the_far_one():
    color = [[0.9, 0.1, 0.1], [0.1, 0.1, 0.9]]
    for z in (3.0, -3.0):
        middle = render(scene([[0, 0, 0], [0, 0, z]], color=color), 4.0, 4.0, 20.0)[40, 40]
        assert (middle[2] > middle[0]) == (z > 0)


def test_stick_has_its_thickness_and_the_colours_of_its_ends():
    balls = scene([[-2.0, 0, 0], [2.0, 0, 0]], 0.3, [[0.9, 0.1, 0.1], [0.1, 0.1, 0.9]], [[0, 1]], 0.25)
    image = render(balls, 6.0, 2.0, 40.0)
    left, right = image[:, 90], image[:, 150]
    assert painted(image)[:, 90].sum() / 40.0 == pytest.approx(0.5, abs=0.06)
    assert left[40, 0] > left[40, 2]
    assert right[40, 2] > right[40, 0]


def test_tilted_stick_keeps_its_silhouette():
    # Along (1, 0, 1): from the front it is as thick as ever and its length shrinks to 1/√2.
    balls = scene([[-1.5, 0, -1.5], [1.5, 0, 1.5]], 0.25, sticks=[[0, 1]], thickness=0.25)
    image = painted(render(balls, 6.0, 2.0, 40.0))
    assert image[:, 120].sum() / 40.0 == pytest.approx(0.5, abs=0.06)
    assert image[40].sum() / 40.0 == pytest.approx(3.5, abs=0.1)


def test_far_things_are_paler():
    image = render(scene([[-1.5, 0, 0], [1.5, 0, -8.0]]), 6.0, 3.0, 20.0)
    near, far = image[30, 30], image[30, 90]
    assert far.min() > near.min() + 0.2


def test_what_lies_outside_is_cut_off():
    image = render(scene([[9.0, 0, 0], [0, -9.0, 0]], sticks=[[0, 1]]), 4.0, 4.0, 20.0)
    assert image.shape == (80, 80, 3)
    assert not painted(image)[:20, :20].any()
