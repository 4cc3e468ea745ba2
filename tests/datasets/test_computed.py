"""The computed crystals that come with the project: whole, of our own list, and none of a held-out molecule."""

from __future__ import annotations

import csv
import hashlib
from pathlib import Path

import numpy as np
import pytest

from kflow_sci.assembly.data.store import open_store
from kflow_sci.assembly.lattice.record import packing_from_cluster
from kflow_sci.assembly.reading.identity import inchikey

FOLDER = Path(__file__).parents[2] / "datasets"


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def clusters():
    return open_store(FOLDER / "computed" / "crystals.kfc")


def test_the_card_names_the_bytes() -> None:
    digest = hashlib.sha256((FOLDER / "computed" / "crystals.kfc").read_bytes()).hexdigest()
    assert digest in (FOLDER / "computed" / "card.md").read_text(encoding="utf-8")
    assert (FOLDER / "computed" / "crystals.kfc").stat().st_size < 12e6


def test_no_held_out_molecule_is_in_it(clusters) -> None:
    held = {row["inchikey"].split("-")[0] for row in rows(FOLDER / "molecules" / "held_out.csv")}
    # By the names of the store, and by those found anew from the coordinates of every twentieth molecule.
    named = [str(clusters[i].info["crystal"]) for i in range(len(clusters))]
    assert held and not held & {name.split("-")[0] for name in named}
    first = {name: i for i, name in reversed(list(enumerate(named)))}
    for name, i in list(first.items())[::20]:
        found = inchikey(clusters[i].molecules[0])
        assert found is not None and found.split("-")[0] == name.split("-")[0]
        assert found.split("-")[0] not in held


def test_a_cluster_is_cut_from_the_packing_it_names(clusters) -> None:
    for i in range(0, len(clusters), 997):
        cluster = clusters[i]
        packing = packing_from_cluster(cluster)
        molecules_per_cell = len(packing.kind) * len(packing.group.rotations)
        assert np.linalg.det(packing.cell) / molecules_per_cell == pytest.approx(
            cluster.info["volume"], rel=1e-3
        )
        assert len(cluster) == 32 and np.isfinite(cluster.centroid).all()
