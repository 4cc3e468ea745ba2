"""Clusters to files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kflow_sci.assembly.cluster import Cluster
from kflow_sci.assembly.molecule import Molecule
from kflow_sci.assembly.writing import write_clusters
from kflow_sci.errors import ClusterError, OutputError


def pair_of(molecule: Molecule, **info: object) -> Cluster:
    quarter = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    return Cluster(
        (molecule,), np.zeros(2, dtype=int), np.array([[0, 0, 0], [0, 0, 7.123456789]]), np.stack([np.eye(3), quarter]),
        np.array([1, -1]), dict(info),
    )  # fmt: skip


def test_clusters_come_back_from_their_file(aspirin: Molecule, tmp_path: Path) -> None:
    from ase.io import read

    path = tmp_path / "out" / "clusters.extxyz"
    info = {
        "id": "a b's \"c\"", "volume": 212.25, "rank": 1, "ok": True, "score": 1.5e-7, "list": [1, 2, 3],
        "smiles": "F/C=C\\F",
        "number": "12", "numbers": "1 2.5 3", "truth": "T", "lines": "two\nlines \\ \"x\"", "empty": "", "none": None,
        "nested": {"a": [1, None, 'x "y" \\']}, "table": [[1, 2], [3, 4]], "words": ["a", "C\\C"], "two words": 2,
        "unit": "Å", "last": "\\",
    }  # fmt: skip
    write_clusters(path, [pair_of(aspirin, **info), pair_of(aspirin)])
    frames = read(path, index=":")
    assert len(frames) == 2
    np.testing.assert_allclose(frames[0].positions, pair_of(aspirin).positions, atol=1e-7)
    np.testing.assert_array_equal(frames[0].numbers, np.tile(aspirin.numbers, 2))
    np.testing.assert_array_equal(frames[0].arrays["molecule"], np.repeat([0, 1], len(aspirin)))
    assert not frames[0].pbc.any() and not frames[0].cell.array.any()
    for key, value in info.items():
        found = frames[0].info[key]
        assert (found.tolist() if isinstance(found, np.ndarray) else found) == value
    assert frames[1].info == {}


def test_what_cannot_be_written_leaves_the_old_file(aspirin: Molecule, tmp_path: Path) -> None:
    path = tmp_path / "clusters.extxyz"
    write_clusters(path, [pair_of(aspirin)])
    before = path.read_bytes()
    far = pair_of(aspirin)
    far.centroid[0, 0] = np.nan
    for clusters, words in (
        ([], "no cluster"),
        ([far], "not finite"),
        ([pair_of(aspirin, pbc=1)], "key 'pbc'"),
        ([pair_of(aspirin, forces=1.0)], "key 'forces'"),
    ):
        with pytest.raises(ClusterError, match=words):
            write_clusters(path, clusters)
    assert path.read_bytes() == before
    with pytest.raises(OutputError):
        write_clusters(path / "inside.extxyz", [pair_of(aspirin)])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["clusters.extxyz"]
