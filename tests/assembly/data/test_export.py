"""A store in the formats of others, and back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kflow_sci.assembly.cluster import Cluster
from kflow_sci.assembly.data.cluster17 import import_cluster17
from kflow_sci.assembly.data.export import export_store
from kflow_sci.assembly.data.starts import centred_on_start, noised_start
from kflow_sci.assembly.data.store import open_store, write_store
from kflow_sci.assembly.molecule import Molecule
from kflow_sci.assembly.reading.crystal import cluster_from_crystal, read_crystal
from kflow_sci.assembly.scoring.reading import read_frames
from kflow_sci.errors import ClusterError, OutputError
from tests.cluster17_by_hand import good
from tests.crystals_by_hand import BENZENE, UREA, chfclbr_p21c


@pytest.fixture
def crystals_by_hand(tmp_path: Path) -> Path:
    """Three crystals without starts."""
    found = {"urea": UREA, "benzene": BENZENE, "chfclbr": chfclbr_p21c()}
    clusters = [replace(cluster_from_crystal(read_crystal(t), 17), info={"id": n}) for n, t in found.items()]
    write_store(tmp_path / "crystals.kfc", clusters, {"from": "hand"})
    return tmp_path / "crystals.kfc"


@pytest.fixture
def imported(tmp_path: Path) -> Path:
    """Two clusters with starts; the id of one looks like a number."""
    for name, seed in (("4510243", 0), ("b", 1)):
        good(tmp_path / "raw", name, seed)
    import_cluster17(tmp_path / "raw", tmp_path / "imported.kfc")
    return tmp_path / "imported.kfc"


@pytest.mark.parametrize("start", [False, True])
def test_extxyz_is_what_scoring_reads(imported: Path, tmp_path: Path, start: bool) -> None:
    assert export_store(imported, tmp_path / "x.extxyz", start=start) == 2
    frames = read_frames(tmp_path / "x.extxyz")
    store = open_store(imported)
    for k, frame in enumerate(frames):
        cluster = store.start(k) if start else store[k]
        assert frame.id == cluster.info["id"]
        assert np.abs(frame.positions - cluster.positions).max() < 1e-6
        assert (frame.molecule == cluster.molecule_of).all()


def test_the_csv_layout_comes_back_through_the_import(imported: Path, tmp_path: Path) -> None:
    assert export_store(imported, tmp_path / "out" / "again", layout="cluster17") == 2
    assert len(list((tmp_path / "out" / "again").rglob("*.csv"))) == 4
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["again"]  # nothing else is left
    report = import_cluster17(tmp_path / "out" / "again", tmp_path / "again.kfc")
    assert report.clusters == 2 and not report.skipped
    before, after = open_store(imported), open_store(tmp_path / "again.kfc")
    for k in range(2):
        assert np.abs(before[k].positions - after[k].positions).max() < 1e-4
        assert np.abs(before.start(k).positions - after.start(k).positions).max() < 1e-4
        assert before[k].info == after[k].info


def test_a_stand_in_for_the_published_set_from_crystals(crystals_by_hand: Path, tmp_path: Path) -> None:
    export_store(crystals_by_hand, tmp_path / "raw", layout="cluster17", noise=7)
    import_cluster17(tmp_path / "raw", tmp_path / "stand_in.kfc")
    export_store(crystals_by_hand, tmp_path / "direct.kfc", layout="store", noise=7)
    crystals, csv, direct = map(
        open_store, (crystals_by_hand, tmp_path / "stand_in.kfc", tmp_path / "direct.kfc")
    )
    assert direct.info == {"from": "hand", "noise": 7, "spread": 0.5}
    for name in crystals.ids:
        cluster = crystals[crystals.ids.index(name)]
        final, start = centred_on_start(cluster, noised_start(cluster, 7))
        for store in (csv, direct):
            k = store.ids.index(name)
            assert np.abs(store[k].positions - final.positions).max() < 1e-4
            assert np.abs(store.start(k).positions - start.positions).max() < 1e-4


def test_some_ids_in_the_order_of_the_store(crystals_by_hand: Path, tmp_path: Path) -> None:
    assert export_store(crystals_by_hand, tmp_path / "x.kfc", layout="store", ids=["chfclbr", "urea"]) == 2
    assert open_store(tmp_path / "x.kfc").ids == ["urea", "chfclbr"]
    assert not open_store(tmp_path / "x.kfc").has_starts


def test_what_does_not_fit_is_refused_in_one_line_and_nothing_is_left(
    crystals_by_hand: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    cases: list[tuple[str, dict[str, object], str]] = [
        ("x.extxyz", {"layout": "pdb"}, "not one of extxyz"),
        ("x.kfc", {}, "does not end in .extxyz"),
        ("x.xyz", {"layout": "store"}, "does not end in .kfc"),
        ("x.extxyz", {"start": True}, "--noise"),
        ("raw", {"layout": "cluster17"}, "--noise"),
        ("raw", {"layout": "cluster17", "noise": 0, "start": True}, "leave out --start"),
        ("x.xyz", {"ids": ["urea", "nobody", "none"]}, "2 of the 3 ids are not in"),
        ("x.xyz", {"ids": []}, "nothing to export"),
        ("raw", {"layout": "cluster17", "noise": 0, "spread": -1.0}, "not negative"),
    ]
    for name, options, says in cases:
        with pytest.raises(ClusterError, match=says) as caught:
            export_store(crystals_by_hand, out / name, **options)  # type: ignore[arg-type]
        assert "\n" not in str(caught.value)
    assert not out.exists() or not list(out.iterdir())
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("")
    with pytest.raises(OutputError, match="not an empty folder"):
        export_store(crystals_by_hand, tmp_path / "full", layout="cluster17", noise=0)


def test_the_csv_layout_knows_one_number_of_atoms_only(tmp_path: Path) -> None:
    pair = Molecule(np.array([8, 8]), np.array([[0.6, 0, 0], [-0.6, 0, 0]]))
    three = Molecule(np.array([8, 8, 8]), np.array([[1.1, 0, 0], [-1.1, 0, 0], [0, 0.6, 0]]))
    turns = np.stack([np.eye(3)] * 2)
    mixed = Cluster(
        (pair, three), np.array([0, 1]), np.eye(3)[:2] * 5, turns, np.ones(2, dtype=int), {"id": "m"}
    )
    write_store(tmp_path / "m.kfc", [mixed])
    with pytest.raises(ClusterError, match="2, 3 atoms"):
        export_store(tmp_path / "m.kfc", tmp_path / "raw", layout="cluster17", noise=0)
    assert not (tmp_path / "raw").exists() and len(list(tmp_path.iterdir())) == 1
    write_store(tmp_path / "n.kfc", [replace(mixed, info={"id": "../n"}, kind=np.array([0, 0]))])
    with pytest.raises(ClusterError, match="cannot be the name"):
        export_store(tmp_path / "n.kfc", tmp_path / "raw", layout="cluster17", noise=0)
