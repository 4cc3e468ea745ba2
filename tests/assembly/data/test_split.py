"""Splits: by molecule, stable, and as published for comparison."""

from __future__ import annotations

import csv
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from kflow_sci.assembly.data.published import published_split
from kflow_sci.assembly.data.split import part_of, split_store
from kflow_sci.assembly.data.store import write_store
from kflow_sci.assembly.reading.crystal import cluster_from_crystal, read_crystal
from kflow_sci.errors import ClusterError, OutputError
from kflow_sci.training.clusters import read_split
from tests.crystals_by_hand import UREA

PUBLISHED = ["kept"] * 4 + ["flat"] + ["kept"] * 3 + ["tie"]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """300 crystals of 100 molecules, three in a row of each."""
    urea = cluster_from_crystal(read_crystal(UREA), 2)
    made = (
        replace(urea, info={"id": f"c{k:03d}", "mol_hash": f"m{k // 3}", "flags": ["mirror"] * (k % 2),
                            "published": PUBLISHED[k % len(PUBLISHED)]})
        for k in range(300)
    )  # fmt: skip
    write_store(tmp_path / "x.kfc", made)
    return tmp_path / "x.kfc"


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as stream:
        return list(csv.DictReader(stream))


def test_no_molecule_is_on_two_sides_and_training_reads_the_table(store: Path, tmp_path: Path) -> None:
    report = split_store(store, tmp_path / "s.csv", 0)
    table = read_split(tmp_path / "s.csv")  # refuses a molecule in two parts
    assert len(table) == 300 and report.leaked == 0
    assert Counter(part for part, _ in table.values()) == report.crystals
    assert report.molecules.total() == 100
    assert {row["formula"] for row in rows(tmp_path / "s.csv")} == {"CH4N2O"}
    assert Counter(row["flags"] for row in rows(tmp_path / "s.csv")) == {"mirror": 150, "": 150}


def test_shares_are_as_asked_for() -> None:
    # Standard deviation of a share of 0.1 over 20,000 molecules: 0.002.
    parts = Counter(part_of(f"m{k}", 0) for k in range(20_000))
    assert parts["train"] / 20_000 == pytest.approx(0.8, abs=0.012)
    assert parts["val"] / 20_000 == pytest.approx(0.1, abs=0.009)
    parts = Counter(part_of(f"m{k}", 0, val=0.0, test=0.5) for k in range(20_000))
    assert parts["val"] == 0 and parts["test"] / 20_000 == pytest.approx(0.5, abs=0.015)


def test_a_subset_has_the_split_of_the_whole(store: Path, tmp_path: Path) -> None:
    from kflow_sci.assembly.data.export import export_store

    split_store(store, tmp_path / "all.csv", 3)
    whole = {row["id"]: row["split"] for row in rows(tmp_path / "all.csv")}
    some = [f"c{k:03d}" for k in range(0, 300, 7)]
    export_store(store, tmp_path / "some.kfc", layout="store", ids=some)
    split_store(tmp_path / "some.kfc", tmp_path / "some.csv", 3)
    assert {row["id"]: row["split"] for row in rows(tmp_path / "some.csv")} == {
        name: whole[name] for name in some
    }


def test_the_seed_alone_changes_the_split(store: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        split_store(store, tmp_path / name, seed)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() != (tmp_path / "c").read_bytes()


def test_the_published_split_shuffles_what_its_code_keeps_and_counts_what_leaks(
    store: Path, tmp_path: Path
) -> None:
    report = split_store(store, tmp_path / "s.csv", 42, as_published=True)
    table = rows(tmp_path / "s.csv")
    kept = [row for k, row in enumerate(table) if PUBLISHED[k % 9] == "kept"]
    assert len(kept) == 234  # 33 · 7 of 297, and 3 more
    names = ["train", "val", "test"]
    assert [row["split"] for row in kept] == [names[part] for part in published_split(234, 42)]
    assert report.crystals == {"train": 187, "val": 23, "test": 24, "none": 66}
    trained = {row["same_as"] for row in table if row["split"] == "train"}
    assert report.leaked == sum(row["split"] == "test" and row["same_as"] in trained for row in table) > 0
    assert (
        len(read_split(tmp_path / "s.csv")) == 300
    )  # training takes it, although molecules are on two sides


def test_several_clusters_of_a_crystal_are_one_line(tmp_path: Path) -> None:
    urea = cluster_from_crystal(read_crystal(UREA), 2)
    write_store(tmp_path / "x.kfc", [replace(urea, info={"id": f"u{k}", "crystal": "u"}) for k in range(3)])
    split_store(tmp_path / "x.kfc", tmp_path / "s.csv", 0)
    assert [row["id"] for row in rows(tmp_path / "s.csv")] == ["u"]


def test_bad_options_are_refused_in_one_line(store: Path, tmp_path: Path) -> None:
    for val, test in ((-0.1, 0.1), (0.5, 0.5), (float("nan"), 0.1)):
        with pytest.raises(ClusterError, match="shares"):
            split_store(store, tmp_path / "s.csv", 0, val=val, test=test)
    write_store(tmp_path / "empty.kfc", [])
    with pytest.raises(ClusterError, match="no cluster"):
        split_store(tmp_path / "empty.kfc", tmp_path / "s.csv", 0)
    with pytest.raises(ClusterError, match="No such file"):
        split_store(tmp_path / "none.kfc", tmp_path / "s.csv", 0)
    with pytest.raises(OutputError):
        split_store(store, tmp_path, 0)
    assert not (tmp_path / "s.csv").exists()
