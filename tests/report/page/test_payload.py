"""What the page draws, unpacked as its script does."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from kflow_sci.assembly.cluster import Cluster
from kflow_sci.assembly.contacts import CLASH, HYDROGEN_BOND, SHORT, close_contacts
from kflow_sci.assembly.molecule import Molecule
from kflow_sci.errors import ClusterError
from kflow_sci.report.page.payload import Candidate, pack, script_json
from tests.report.page.by_hand import STOPS, cluster, walked, water


def array(text: str, kind: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), dtype=kind)


def atoms(data: dict[str, Any], number: int, stop: int) -> np.ndarray:
    """Positions at one stop: a centroid and the rows of a matrix for each copy."""
    entry = data["candidates"][number]
    poses = array(entry["poses"], "<f4").reshape(entry["stops"], -1, 12)[stop]
    parts = []
    for kind, pose in zip(entry["kind"], poses, strict=True):
        template = array(data["molecules"][kind]["positions"], "<f4").reshape(-1, 3)
        parts.append(pose[:3] + template @ pose[3:].reshape(3, 3).T)
    return np.concatenate(parts)


def handedness(x: np.ndarray) -> float:
    return float(np.linalg.det(x[[3, 6, 9]] - x[0]))


def test_unpacked_poses_are_the_cluster_turned_and_never_mirrored() -> None:
    made = cluster()
    data = json.loads(pack([Candidate(made)], 100_000).text)
    assert data["candidates"][0]["stops"] == 1
    x = atoms(data, 0, 0)
    assert np.allclose(pdist(x), pdist(made.positions), atol=1e-5)
    assert handedness(x) == pytest.approx(handedness(made.positions), abs=1e-4)
    assert np.allclose(x.mean(axis=0), 0.0, atol=1e-5)
    # Seen from the thinnest side: the row of molecules lies along x.
    assert x.std(axis=0).argmax() == 0 and x.std(axis=0).argmin() == 2
    assert np.abs(x).max() < data["radius"]


def test_every_stop_of_a_walk_is_there_and_the_result_is_the_last() -> None:
    candidate = walked(cluster())
    packed = pack([candidate], 100_000)
    data = json.loads(packed.text)
    entry, walk = data["candidates"][0], candidate.walk
    assert (packed.shown, packed.walks, entry["stops"]) == (1, 1, STOPS + 1)
    made = candidate.cluster
    for stop in range(STOPS):
        then = Cluster(made.molecules, made.kind, walk.centroid[stop], walk.rotation[stop], made.parity)
        assert np.allclose(pdist(atoms(data, 0, stop)), pdist(then.positions), atol=1e-4)
    assert np.allclose(pdist(atoms(data, 0, STOPS)), pdist(made.positions), atol=1e-5)
    assert entry["walk"]["scale"] == [0.0, 0.5, 1.0, 1.5, 2.0]
    assert entry["walk"]["moved"][-1] == [1.5, 1.5]


def test_contacts_are_those_of_the_rooms_that_know_them() -> None:
    rng = np.random.default_rng(1)
    dense = Cluster(
        (water(),), np.zeros(6, int), 1.6 * rng.normal(size=(6, 3)), cluster(6).rotation, np.ones(6, int)
    )
    entry = json.loads(pack([walked(dense)], 100_000).text)["candidates"][0]
    expected = close_contacts([dense])[0]
    found = entry["contacts"][-1]
    for kind in (CLASH, HYDROGEN_BOND, SHORT):
        pairs = array(found[kind], "<u2").reshape(-1, 2)
        assert sorted(map(tuple, pairs)) == sorted(map(tuple, expected.pairs[expected.kind == kind]))
    assert len(array(found[CLASH], "<u2")) > 0
    assert [len(stop) for stop in entry["contacts"]] == [2] * STOPS + [3]


def test_templates_are_packed_once_with_their_own_bonds() -> None:
    molecule = water()
    both = [Candidate(cluster(seed=k, molecule=molecule)) for k in range(3)]
    data = json.loads(pack(both, 100_000).text)
    assert len(data["molecules"]) == 1
    assert data["molecules"][0]["bonds"] == [0, 1, 0, 2]
    assert {entry["symbol"] for entry in data["elements"].values()} == {"H", "O"}


def test_walks_are_left_out_first_then_candidates() -> None:
    candidates = [walked(cluster(12, seed=k, molecule=water())) for k in range(6)]
    whole = pack(candidates, 10**6)
    assert (whole.shown, whole.walks) == (6, 6)
    tight = pack(candidates, len(whole.text) // 2)
    assert tight.shown == 6 and 0 < tight.walks < 6
    tighter = pack(candidates, 6000)
    assert 0 < tighter.shown < 6 and tighter.walks == 0
    for packed, room in ((whole, 10**6), (tight, len(whole.text) // 2), (tighter, 6000)):
        assert len(packed.text) <= room
    with pytest.raises(ClusterError, match="36 atoms does not fit"):
        pack(candidates, 2500)


def test_elements_without_a_radius_have_no_contacts_and_are_told() -> None:
    iron = Molecule(np.array([26, 6]), np.array([[0.0, 0, 0], [1.8, 0, 0]]), bonds=np.array([[0, 1]]))
    packed = pack([Candidate(cluster(3, molecule=iron))], 100_000)
    assert packed.unknown == ("Fe",)


def test_what_cannot_be_shown_is_refused() -> None:
    with pytest.raises(ClusterError, match="no candidate"):
        pack([], 1000)
    lost = cluster()
    lost.centroid[1] = np.nan
    with pytest.raises(ClusterError, match="not finite"):
        pack([Candidate(cluster()), Candidate(lost)], 100_000)


def test_no_text_can_end_the_script_element_it_stands_in() -> None:
    name = "</script><script>alert(1)</script><!-- & \u2028 'Å'"
    text = script_json({"name": name})
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text)["name"] == name
