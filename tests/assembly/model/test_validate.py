"""Judging a model by its samples, and the room that they need."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from kflow_sci.assembly.model.generate import propose
from kflow_sci.assembly.model.request import Request
from kflow_sci.assembly.model.validate import room
from kflow_sci.assembly.scoring.frame import Frame
from kflow_sci.assembly.scoring.packing import gyration_volume, voronoi_volume
from tests.assembly.model.test_generate import CHIRAL, small_model


def test_room_is_the_volume_of_samples_over_that_of_their_starts() -> None:
    request = Request(copies=17, samples=2)
    model, roomy = small_model(), small_model()
    roomy.config = replace(roomy.config, room=1.2)
    for one, other in zip(propose(model, CHIRAL, request), propose(roomy, CHIRAL, request), strict=True):
        assert gyration_volume(other.centroid) / gyration_volume(one.centroid) == pytest.approx(1.2, rel=1e-3)


def test_samples_with_the_room_found_have_the_cell_of_the_true_centre() -> None:
    model = small_model()
    (truth,) = propose(model, CHIRAL, Request(copies=17, samples=1, seed=9))
    truth = replace(truth, centroid=1.05 * truth.centroid)
    found = room(model, [truth], copies=17, samples=6)
    assert model.config.room == 1.0
    model.config = replace(model.config, room=found)
    cells = []
    for cluster in (truth, *propose(model, CHIRAL, Request(copies=17, samples=6))):
        frame = Frame.of(cluster)
        cells.append(voronoi_volume(frame.positions, frame.molecule, frame.centre))
    assert np.log(cells[1:]).mean() == pytest.approx(np.log(cells[0]), abs=0.03)
