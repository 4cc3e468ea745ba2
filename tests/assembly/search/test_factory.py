"""The factory: same molecules, same crystals; what is left out is listed; what is held out is refused."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from kflow_sci.assembly.data.store import open_store
from kflow_sci.assembly.lattice.cutting import cluster_from_packing
from kflow_sci.assembly.lattice.record import packing_from_cluster
from kflow_sci.assembly.reading.embed import from_smiles
from kflow_sci.assembly.reading.identity import inchikey
from kflow_sci.assembly.search import factory
from kflow_sci.assembly.search.excluded import Excluded
from kflow_sci.assembly.search.factory import make_crystals
from kflow_sci.assembly.search.listing import Recipe, read_smiles
from kflow_sci.errors import MoleculeError, PackingError

RECIPE = Recipe(trials=8, keep=3, window=50.0, copies=6, groups="P21/c,P-1,P212121", seed=3)
LIST = "# small ones\nNC(N)=O urea\nO=C=O\n\nC[Si](C)(C)C\nN#CC#N\n"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("factory")
    (folder / "list.smi").write_text(LIST)
    report = make_crystals(folder / "list.smi", folder / "out.kfc", RECIPE)
    assert (report.molecules, report.skipped) == (3, {"molecule": 1})
    assert report.crystals == len(open_store(folder / "out.kfc"))
    return folder


def test_every_molecule_is_in_the_table_with_what_was_made_or_why_not(made: Path) -> None:
    with open(made / "out.csv", newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["smiles"] for row in rows] == ["NC(N)=O", "O=C=O", "C[Si](C)(C)C", "N#CC#N"]
    assert rows[2]["made"] == "0" and "Si" in rows[2]["message"]
    # The InChIKey of urea, as in PubChem.
    assert rows[0]["id"] == "XSQUKJJJFZCRTK-UHFFFAOYSA-N"
    assert sum(int(row["made"]) for row in rows) == len(open_store(made / "out.kfc"))
    card = (made / "out.md").read_text()
    assert "8 random starts" in card and "sha256" in card


def test_clusters_are_ranked_and_tell_the_crystal_they_were_cut_from(made: Path) -> None:
    clusters = [c for c in open_store(made / "out.kfc") if c.info["crystal"].startswith("XSQUKJJJ")]
    assert [c.info["rank"] for c in clusters] == list(range(1, len(clusters) + 1))
    energies = [c.info["energy"] for c in clusters]
    assert energies == sorted(energies) and energies[-1] - energies[0] <= 50.0
    for cluster in clusters:
        assert len(cluster) == 6 and cluster.info["formula"] == "CH4N2O"
        crystal = packing_from_cluster(cluster)
        assert crystal.group.name == cluster.info["space_group"]
        assert crystal.volume == pytest.approx(cluster.info["volume"], rel=1e-3)
        again = cluster_from_packing(crystal, 6)
        np.testing.assert_allclose(again.positions, cluster.positions, atol=5e-3)


def test_two_workers_and_another_order_make_the_same_crystals(made: Path, tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("name,smiles\nc,N#CC#N\na,NC(N)=O\nb,O=C=O\n")
    make_crystals(tmp_path / "list.csv", tmp_path / "out.kfc", RECIPE, workers=2)
    first = {c.info["id"]: c for c in open_store(made / "out.kfc")}
    second = {c.info["id"]: c for c in open_store(tmp_path / "out.kfc")}
    assert first.keys() == second.keys()
    for name, cluster in first.items():
        np.testing.assert_array_equal(cluster.positions, second[name].positions)
    assert not list(tmp_path.glob(".*parts"))


def test_a_run_that_was_stopped_goes_on(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "list.smi").write_text(LIST)
    monkeypatch.setattr(factory, "PART", 1)

    def stop(done: int, total: int) -> None:
        assert total == 4
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_crystals(tmp_path / "list.smi", tmp_path / "out.kfc", RECIPE, progress=stop)
    assert not (tmp_path / "out.kfc").exists()
    assert len(list((tmp_path / ".out.kfc.parts").glob("*.part"))) == 2
    make_crystals(tmp_path / "list.smi", tmp_path / "out.kfc", RECIPE)
    assert (tmp_path / "out.kfc").read_bytes() == (made / "out.kfc").read_bytes()


def test_excluded_molecules_are_refused_by_inchikey_and_by_graph(tmp_path: Path) -> None:
    (tmp_path / "list.smi").write_text("NC(N)=O\nO=C=O\n")
    # Another stereo block of the key does not matter; nor do bond orders for the graph.
    (tmp_path / "held.csv").write_text("id,inchikey\nx,XSQUKJJJFZCRTK-ABCDEFGHIJ-N\n")
    report = make_crystals(tmp_path / "list.smi", tmp_path / "out.kfc", RECIPE, exclude=tmp_path / "held.csv")
    assert report.skipped == {"excluded": 1} and report.molecules == 1
    urea = from_smiles("NC(N)=O")
    assert urea not in Excluded()
    assert urea in Excluded(inchikeys=frozenset([str(inchikey(urea))[:14]]))


def test_only_as_many_molecules_as_asked_for_are_used(tmp_path: Path) -> None:
    (tmp_path / "list.smi").write_text(LIST)
    report = make_crystals(tmp_path / "list.smi", tmp_path / "out.kfc", RECIPE, molecules=1)
    assert report.molecules == 1 and not report.skipped


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("missing.smi", None, "cannot be read"),
        ("empty.smi", "# nothing\n\n", "no SMILES"),
        ("wrong.csv", "name\nurea\n", "column smiles"),
    ],
)
def test_lists_that_cannot_be_read_are_refused(
    tmp_path: Path, name: str, text: str | None, message: str
) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(MoleculeError, match=message):
        read_smiles(tmp_path / name)


def test_a_list_that_gives_nothing_says_why(tmp_path: Path) -> None:
    (tmp_path / "list.smi").write_text("C[Si](C)(C)C\n")
    with pytest.raises(MoleculeError, match="none of the 1 molecules"):
        make_crystals(tmp_path / "list.smi", tmp_path / "out.kfc", RECIPE)
    assert not (tmp_path / "out.kfc").exists()


def test_bad_options_and_exclusion_lists_are_refused(tmp_path: Path) -> None:
    (tmp_path / "list.smi").write_text("O=C=O\n")
    with pytest.raises(PackingError, match="trials is 0"):
        make_crystals(tmp_path / "list.smi", tmp_path / "out.kfc", Recipe(trials=0))
    with pytest.raises(MoleculeError, match="molecules is 0"):
        make_crystals(tmp_path / "list.smi", tmp_path / "out.kfc", RECIPE, molecules=0)
    with pytest.raises(PackingError, match="P99"):
        make_crystals(tmp_path / "list.smi", tmp_path / "out.kfc", Recipe(groups="P99"))
    (tmp_path / "held.csv").write_text("name\nx\n")
    with pytest.raises(MoleculeError, match="no column inchikey"):
        make_crystals(tmp_path / "list.smi", tmp_path / "out.kfc", RECIPE, exclude=tmp_path / "held.csv")
    with pytest.raises(MoleculeError, match="cannot be read"):
        make_crystals(tmp_path / "list.smi", tmp_path / "out.kfc", RECIPE, exclude=tmp_path / "no.csv")
