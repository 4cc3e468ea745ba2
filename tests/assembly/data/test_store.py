"""The compact file: every atom back, small, whole or refused."""

from __future__ import annotations

import copy
import dataclasses
import json
import zipfile
from collections.abc import Iterator
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from kflow_sci.assembly.cluster import Cluster
from kflow_sci.assembly.data.store import VERSION, Store, merge_stores, open_store, write_store
from kflow_sci.assembly.molecule import Molecule
from kflow_sci.assembly.reading.crystal import cluster_from_crystal, read_crystal
from kflow_sci.errors import ClusterError, OutputError
from tests.crystals_by_hand import BENZENE, CARBON_DIOXIDE, UREA, chfclbr_p21c


@pytest.fixture(scope="module")
def clusters() -> list[Cluster]:
    texts = (UREA, BENZENE, CARBON_DIOXIDE, chfclbr_p21c())
    return [cluster_from_crystal(read_crystal(text), copies) for text in texts for copies in (2, 17, 60)]


def random_cluster(seed: int, copies: int, spread: float = 30.0) -> Cluster:
    """Two kinds of molecule with everything a molecule can carry, in random poses, half turns among them."""
    rng = np.random.default_rng(seed)
    rotation = Rotation.random(copies, random_state=seed).as_matrix()
    half_turns = [[1, 0, 0], [0, -1, 0], [1, -1, 0], [-1, -1, -1]]
    rotation[: len(half_turns)] = Rotation.from_rotvec(
        [np.pi * np.array(a) / np.linalg.norm(a) for a in half_turns][:copies]
    ).as_matrix()[:copies]
    one = Molecule(
        np.array([6, 8, 1, 1]),
        rng.normal(size=(4, 3)) * 3,
        bonds=np.array([[0, 1], [0, 2], [0, 3]]),
        bond_orders=np.array([1.5, 1.0, 1.0]),
        formal_charges=np.array([1, -1, 0, 0]),
        name="Å-name",
        smiles="C=O",
        handed=True,
    )
    two = Molecule(np.array([53, 53]), np.array([[-1.33, 0, 0], [1.33, 0, 0]]))
    return Cluster(
        (one, two), rng.integers(0, 2, copies), rng.normal(size=(copies, 3)) * spread, rotation,
        rng.choice([-1, 1], copies), {"id": f"random {seed}", "energy": -1.5, "tags": ["a", {"b": None}]},
    )  # fmt: skip


def same(a: Cluster, b: Cluster) -> None:
    assert np.abs(a.positions - b.positions).max() < 1e-4
    assert (a.numbers == b.numbers).all() and (a.kind == b.kind).all() and (a.parity == b.parity).all()
    assert a.info == b.info
    for one, two in zip(a.molecules, b.molecules, strict=True):
        assert (one.bonds == two.bonds).all() and (one.bond_orders == two.bond_orders).all()
        assert (one.name, one.smiles, one.handed) == (two.name, two.smiles, two.handed)
        assert (one.formal_charges is None) == (two.formal_charges is None)
        assert one.formal_charges is None or (one.formal_charges == two.formal_charges).all()


def test_every_atom_comes_back(tmp_path: Path, clusters: list[Cluster]) -> None:
    everything = [*clusters, *(random_cluster(k, 5 + 9 * k) for k in range(10))]
    assert write_store(tmp_path / "x.kfc", everything, {"note": "test"}) == len(everything)
    store = open_store(tmp_path / "x.kfc")
    assert len(store) == len(everything)
    assert store.ids == [c.info["id"] for c in everything]
    assert store.info == {"note": "test"}
    for k in range(len(everything)):
        same(everything[k], store[k])
    same(everything[-1], store[-1])
    assert [c.info["id"] for c in store] == store.ids
    with pytest.raises(IndexError):
        store[len(store)]


def test_many_blocks_are_read_at_random(tmp_path: Path) -> None:
    everything = [random_cluster(k, 3) for k in range(200)]
    write_store(tmp_path / "x.kfc", iter(everything))
    store = open_store(tmp_path / "x.kfc")
    for k in (199, 0, 64, 63, 128, 127, 5):
        same(everything[k], store[k])


def test_writing_again_what_was_read_changes_no_byte(tmp_path: Path, clusters: list[Cluster]) -> None:
    everything = [*clusters, *(random_cluster(k, 20) for k in range(80))]
    write_store(tmp_path / "a.kfc", everything)
    write_store(tmp_path / "b.kfc", open_store(tmp_path / "a.kfc"))
    assert (tmp_path / "a.kfc").read_bytes() == (tmp_path / "b.kfc").read_bytes()


def test_merged_parts_equal_one_file(tmp_path: Path, clusters: list[Cluster]) -> None:
    write_store(tmp_path / "whole.kfc", clusters, {"n": 1})
    for name, part in (("a", clusters[:5]), ("b", []), ("c", clusters[5:])):
        write_store(tmp_path / f"{name}.kfc", part)
    assert merge_stores(tmp_path / "merged.kfc", [tmp_path / f"{n}.kfc" for n in "abc"], {"n": 1}) == len(
        clusters
    )
    assert (tmp_path / "merged.kfc").read_bytes() == (tmp_path / "whole.kfc").read_bytes()


def published_size(cluster: Cluster) -> int:
    """Bytes of the two csv files of the published layout, with four decimals."""
    lines = ["molecule,element,x,y,z\n"]
    symbols = [s for k in cluster.kind for s in cluster.molecules[k].symbols]
    for molecule, symbol, (x, y, z) in zip(cluster.molecule_of, symbols, cluster.positions, strict=True):
        lines.append(f"{molecule},{symbol},{x:.4f},{y:.4f},{z:.4f}\n")
    return 2 * sum(map(len, lines))


@pytest.mark.parametrize("folder", ["experimental", "predicted"])
def test_a_store_takes_a_fiftieth_of_the_published_layout(
    tmp_path: Path, crystals: Path, folder: str
) -> None:
    found = [
        cluster_from_crystal(read_crystal(f), 17) for f in sorted((crystals / folder).glob("*.cif"))[:254]
    ]
    write_store(tmp_path / "x.kfc", found)
    ratio = sum(map(published_size, found)) / (tmp_path / "x.kfc").stat().st_size
    print(f"{folder}: 1/{ratio:.1f} of the published layout")
    assert ratio >= 50
    for before, after in zip(found, open_store(tmp_path / "x.kfc"), strict=True):
        assert np.abs(before.positions - after.positions).max() < 1e-4


def read_one(store: Store) -> str:
    return str(store[0].info["id"])


def test_a_store_serves_other_processes(tmp_path: Path, clusters: list[Cluster]) -> None:
    write_store(tmp_path / "x.kfc", clusters)
    store = open_store(tmp_path / "x.kfc")
    assert copy.deepcopy(store)[0].info["id"] == store[0].info["id"]
    with get_context("fork").Pool(2) as pool:
        assert pool.map(read_one, [store] * 4) == ["urea"] * 4


def started(clusters: list[Cluster]) -> list[Cluster]:
    """The same copies elsewhere."""
    return [
        dataclasses.replace(
            c,
            centroid=c.centroid[::-1] + 1.0,
            rotation=Rotation.random(len(c), random_state=len(c)).as_matrix(),
            parity=-c.parity,
        )
        for c in clusters
    ]


def test_clusters_may_have_a_second_pose_to_start_from(tmp_path: Path, clusters: list[Cluster]) -> None:
    everything = [*clusters, *(random_cluster(k, 5) for k in range(80))]  # two blocks
    starts = started(everything)
    assert write_store(tmp_path / "x.kfc", iter(everything), starts=iter(starts)) == len(everything)
    store = open_store(tmp_path / "x.kfc")
    assert store.has_starts
    for k in (0, 5, len(everything) - 1):
        same(everything[k], store[k])
        same(starts[k], store.start(k))
    assert [c.info["id"] for c in store.starts()] == store.ids
    again = open_store(tmp_path / "x.kfc")
    write_store(tmp_path / "y.kfc", again, starts=again.starts())
    assert (tmp_path / "x.kfc").read_bytes() == (tmp_path / "y.kfc").read_bytes()
    with pytest.raises(IndexError):
        store.start(len(store))


def test_a_file_without_starts_is_as_it_was_and_says_so(tmp_path: Path, clusters: list[Cluster]) -> None:
    write_store(tmp_path / "x.kfc", clusters)
    with zipfile.ZipFile(tmp_path / "x.kfc") as archive:
        assert archive.namelist() == ["blocks/000000", "ids.json", "header.json"]
        assert "starts" not in json.loads(archive.read("header.json"))
    store = open_store(tmp_path / "x.kfc")
    assert not store.has_starts
    for ask in (lambda: store.start(0), store.starts):
        with pytest.raises(ClusterError, match="holds no initial states"):
            ask()


def test_starts_are_merged_with_their_clusters_and_never_lost(
    tmp_path: Path, clusters: list[Cluster]
) -> None:
    starts = started(clusters)
    write_store(tmp_path / "whole.kfc", clusters, starts=starts)
    for name, part in (("a", slice(0, 5)), ("b", slice(0, 0)), ("c", slice(5, None))):
        write_store(tmp_path / f"{name}.kfc", clusters[part], starts=starts[part])
    merge_stores(tmp_path / "merged.kfc", [tmp_path / f"{n}.kfc" for n in "abc"])
    assert (tmp_path / "merged.kfc").read_bytes() == (tmp_path / "whole.kfc").read_bytes()
    write_store(tmp_path / "bare.kfc", clusters[:2])
    with pytest.raises(ClusterError, match="keep them apart"):
        merge_stores(tmp_path / "mixed.kfc", [tmp_path / "a.kfc", tmp_path / "bare.kfc"])
    assert not (tmp_path / "mixed.kfc").exists()


def test_starts_must_be_those_of_the_clusters(tmp_path: Path, clusters: list[Cluster]) -> None:
    starts = started(clusters)
    far = dataclasses.replace(starts[0], centroid=starts[0].centroid + 1e6)
    cases = [(starts[:-1], "as many"), ([*starts, starts[0]], "as many"), (starts[::-1], "other copies"),
             ([far, *starts[1:]], "beyond 60000")]  # fmt: skip
    for given, says in cases:
        with pytest.raises(ClusterError, match=says):
            write_store(tmp_path / "x.kfc", clusters, starts=given)
    assert list(tmp_path.iterdir()) == []


def test_molecules_without_bonds_are_stored_alone(tmp_path: Path) -> None:
    xenon = Cluster(
        (Molecule(np.array([54]), np.zeros((1, 3))),), np.zeros(2, dtype=int), np.eye(3)[:2] * 4,
        np.stack([np.eye(3)] * 2), np.ones(2, dtype=int), {"id": "xenon"},
    )  # fmt: skip
    write_store(tmp_path / "x.kfc", [xenon])
    same(xenon, open_store(tmp_path / "x.kfc")[0])


def damaged(path: Path) -> Iterator[tuple[str, bytes]]:
    whole = path.read_bytes()
    yield "cut in the middle", whole[: len(whole) // 2]
    yield "cut at the end", whole[:-10]
    yield "empty", b""
    yield "text", b"hello world\n" * 20
    yield "a byte changed", whole[:300] + bytes([whole[300] ^ 0xFF]) + whole[301:]


def test_damaged_files_are_refused_in_one_line(tmp_path: Path, clusters: list[Cluster]) -> None:
    write_store(tmp_path / "x.kfc", clusters)
    for what, content in damaged(tmp_path / "x.kfc"):
        (tmp_path / "bad.kfc").write_bytes(content)
        with pytest.raises(ClusterError, match=r"bad\.kfc") as caught:
            list(open_store(tmp_path / "bad.kfc"))
        assert "\n" not in str(caught.value), what


def test_foreign_archives_and_other_versions_are_refused(tmp_path: Path) -> None:
    for header, message in (
        (None, "not a file of clusters"),
        ({"format": "something"}, "not a file of clusters"),
        ([1], "not a file of clusters"),
        ({"format": "kflow clusters", "version": VERSION + 1}, f"version {VERSION + 1}"),
    ):
        with zipfile.ZipFile(tmp_path / "x.kfc", "w") as archive:
            archive.writestr("other", b"x")
            if header is not None:
                archive.writestr("header.json", json.dumps(header))
        with pytest.raises(ClusterError, match=message):
            open_store(tmp_path / "x.kfc")
    with zipfile.ZipFile(tmp_path / "x.kfc", "w") as archive:
        archive.writestr("header.json", b"{")
    with pytest.raises(ClusterError, match="damaged"):
        open_store(tmp_path / "x.kfc")


def test_missing_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="No such file"):
        open_store(tmp_path / "none.kfc")
    with pytest.raises(ClusterError):
        open_store(tmp_path)


def test_clusters_need_an_id_and_plain_values(tmp_path: Path, clusters: list[Cluster]) -> None:
    for info in ({}, {"id": 7}, {"id": "x", "y": np.zeros(2)}, {"id": "x", "y": float("nan")}):
        c = clusters[0]
        with pytest.raises(ClusterError):
            write_store(
                tmp_path / "x.kfc", [Cluster(c.molecules, c.kind, c.centroid, c.rotation, c.parity, info)]
            )
    far = Cluster(c.molecules, c.kind, c.centroid + 1e6, c.rotation, c.parity, {"id": "far"})
    with pytest.raises(ClusterError, match="far"):
        write_store(tmp_path / "x.kfc", [far])
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, clusters: list[Cluster]) -> None:
    write_store(tmp_path / "x.kfc", clusters)
    before = (tmp_path / "x.kfc").read_bytes()

    def stops() -> Iterator[Cluster]:
        yield clusters[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_store(tmp_path / "x.kfc", stops())
    assert (tmp_path / "x.kfc").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["x.kfc"]
    with pytest.raises(OutputError):
        write_store(tmp_path / "x.kfc" / "y.kfc", clusters)
