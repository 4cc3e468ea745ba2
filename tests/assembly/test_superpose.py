"""Points laid on points."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from kflow_sci.assembly.superpose import best_rotation, superpose, superpose_either_hand


def test_rotation_and_gain_agree_with_scipy() -> None:
    rng = np.random.default_rng(0)
    source, target = rng.normal(size=(2, 7, 3))
    expected, norm = Rotation.align_vectors(target, source)
    rotation, gain = best_rotation(target.T @ source)
    assert rotation == pytest.approx(expected.as_matrix(), abs=1e-9)
    assert np.square(source).sum() + np.square(target).sum() - 2 * gain == pytest.approx(norm**2)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_turned_or_mirrored_body_is_laid_on_its_original(sign: int) -> None:
    rng = np.random.default_rng(1)
    source = rng.normal(size=(5, 6, 3))
    turn = sign * Rotation.random(5, random_state=2).as_matrix()
    found = superpose(source, source @ turn.transpose(0, 2, 1), sign)
    assert found == pytest.approx(turn, abs=1e-9)
    other = superpose(source, source @ turn.transpose(0, 2, 1), -sign)
    assert np.linalg.det(other) == pytest.approx(np.full(5, -sign))


def test_a_batch_gives_what_its_members_give() -> None:
    cross = np.random.default_rng(3).normal(size=(2, 4, 3, 3))
    rotation, gain = best_rotation(cross)
    assert rotation.shape == (2, 4, 3, 3) and gain.shape == (2, 4)
    single = best_rotation(cross[1, 2])
    np.testing.assert_array_equal(rotation[1, 2], single[0])
    assert gain[1, 2] == single[1]


def test_a_rounded_rotation_becomes_a_rotation() -> None:
    rotation = Rotation.random(random_state=4).as_matrix()
    mended = best_rotation(rotation.astype(np.float32).astype(np.float64))[0]
    assert mended == pytest.approx(rotation, abs=1e-6)
    assert mended @ mended.T == pytest.approx(np.eye(3), abs=1e-15)


def test_a_body_that_is_its_own_mirror_image_moves_properly() -> None:
    flat = np.array([[1.0, 0, 0], [-0.5, 0.8, 0], [-0.5, -0.8, 0]])
    parity, rotation, left = superpose_either_hand(flat, -flat)
    assert parity == 1 and np.linalg.det(rotation) == pytest.approx(1) and left.max() < 1e-9
