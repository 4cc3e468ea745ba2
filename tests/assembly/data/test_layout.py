"""The published csv layout, file by file; what goes wrong is told in ``test_cluster17``."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from kflow_sci.assembly.data.layout import list_ids, read_state, write_state
from kflow_sci.assembly.reading.crystal import cluster_from_crystal, read_crystal
from tests.crystals_by_hand import UREA


def test_a_file_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("molecule,atom,x,y,z\n7,O,0,0,1e-1\n7,H,1,2,3\n3,O,-1.5,0,0\n3,D,4,5,6\n")
    state = read_state(path, 2)
    assert state.index == (7, 3)  # in order of appearance
    assert state.numbers.tolist() == [[8, 1], [8, 1]]
    assert state.positions.tolist() == [[[0, 0, 0.1], [1, 2, 3]], [[-1.5, 0, 0], [4, 5, 6]]]
    assert state.isotopes and not state.strict  # the published reader knows no deuterium


def test_ids_of_a_folder(tmp_path: Path) -> None:
    for name in (
        "FinalPositions/10_cluster16.csv", "FinalPositions/9_cluster16.csv", "FinalPositions/_cluster16.csv",
        "FinalPositions/8_cluster16_noised.csv", "FinalPositions/notes.txt", "InitialPositions/9_cluster16_noised.csv",
        "InitialPositions/7_cluster16_noised.csv", "InitialPositions/9_cluster16.CSV",
    ):  # fmt: skip
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    names, alone, odd = list_ids(tmp_path)
    assert names == ["10", "9"] and alone == ["7"]
    assert odd == [
        "FinalPositions/8_cluster16_noised.csv", "FinalPositions/_cluster16.csv", "InitialPositions/9_cluster16.CSV",
    ]  # fmt: skip


def test_what_is_written_is_read(tmp_path: Path) -> None:
    cluster = cluster_from_crystal(read_crystal(UREA), 5)
    write_state(tmp_path / "u.csv", cluster)
    lines = (tmp_path / "u.csv").read_text().splitlines()
    assert lines[0] == "molecule,element,x,y,z" and len(lines) == 1 + 5 * 8
    assert [line.split(",")[:2] for line in lines[1:9]] == [["0", s] for s in "CONNHHHH"]
    state = read_state(tmp_path / "u.csv", 5)
    assert state.strict and np.abs(state.positions.reshape(-1, 3) - cluster.positions).max() < 1e-6
