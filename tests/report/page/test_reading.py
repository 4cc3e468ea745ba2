"""Files of kflow and of others, to be looked at."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kflow_sci.assembly.bonds import bonded_pairs
from kflow_sci.assembly.writing import write_clusters
from kflow_sci.errors import ClusterError, CrystalError, MoleculeError, ScoreError
from kflow_sci.report.page.reading import read_candidates, read_settings
from tests.crystals_by_hand import UREA
from tests.report.page.by_hand import cluster

DIMER = "6\n\nO 0 0 0\nH 0.96 0 0\nH -0.24 0.93 0\nO 3 0 0\nH 3.96 0 0\nH 2.76 0.93 0\n"


def test_frames_of_kflow_come_back_with_their_molecules_and_scores(tmp_path: Path) -> None:
    made = [cluster(seed=k, rank=k + 1, energy=-3.5, energy_model="UFF", volume=30.0) for k in range(2)]
    write_clusters(tmp_path / "c.extxyz", made)
    found = read_candidates(tmp_path / "c.extxyz")
    for candidate, before in zip(found, made, strict=True):
        assert len(candidate.cluster) == 4 and candidate.walk is None
        assert np.allclose(candidate.cluster.positions, before.positions, atol=1e-6)
        assert candidate.cluster.info == before.info
        assert type(candidate.cluster.info["rank"]) is int


def test_molecules_of_a_plain_xyz_are_told_apart_by_bonds(tmp_path: Path) -> None:
    (tmp_path / "dimer.xyz").write_text(DIMER)
    (found,) = read_candidates(tmp_path / "dimer.xyz")
    assert len(found.cluster) == 2
    assert [m.formula for m in found.cluster.molecules] == ["H2O", "H2O"]
    assert bonded_pairs(found.cluster.molecules[1]).tolist() == [[0, 1], [0, 2]]
    assert np.allclose(found.cluster.positions[3], [3, 0, 0])


def test_a_single_ion_and_a_metal_can_be_looked_at(tmp_path: Path) -> None:
    (tmp_path / "salt.xyz").write_text("3\n\nCl 0 0 0\nFe 4 0 0\nO 5.6 0 0\n")
    (found,) = read_candidates(tmp_path / "salt.xyz")
    assert [m.formula for m in found.cluster.molecules] == ["Cl", "FeO"]


def test_of_a_crystal_the_nearest_molecules_are_shown(tmp_path: Path) -> None:
    (tmp_path / "urea.cif").write_text(UREA)
    (found,) = read_candidates(tmp_path / "urea.cif")
    assert len(found.cluster) == 17
    assert found.cluster.molecules[0].formula == "CH4N2O"


@pytest.mark.parametrize(
    ("name", "content", "error", "expected"),
    [
        ("a.txt", DIMER, ClusterError, "suffix '.txt'"),
        ("a.xyz", DIMER.replace("3.96", "nan"), ClusterError, "frame 0 of a.xyz.*not finite"),
        ("a.xyz", DIMER[:40], ScoreError, "a.xyz"),
        ("a.xyz", "2\n\nFm 0 0 0\nO 0 0 2\n", ClusterError, "bonds of Fm"),
        ("a.cif", "hello", CrystalError, "a"),
        ("a.sdf", DIMER, MoleculeError, "a.sdf"),
    ],
)
def test_bad_files_are_refused(
    tmp_path: Path, name: str, content: str, error: type[Exception], expected: str
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(error, match=expected):
        read_candidates(tmp_path / name)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="does not exist"):
        read_candidates(tmp_path / "none.extxyz")


def test_settings_are_those_of_the_command_or_none(tmp_path: Path) -> None:
    assert read_settings(tmp_path) == {}
    (tmp_path / "settings.json").write_text('{"seed": 3}')
    assert read_settings(tmp_path) == {"seed": 3}
    for text, expected in (("{", "not json"), ("[1]", "no settings")):
        (tmp_path / "settings.json").write_text(text)
        with pytest.raises(ClusterError, match=expected):
            read_settings(tmp_path)
