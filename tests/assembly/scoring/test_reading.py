"""Files of any program in; whatever does not fit is refused in one line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kflow_sci.assembly.scoring.frame import Frame
from kflow_sci.assembly.scoring.reading import UNKNOWN, group, read_frames
from kflow_sci.errors import ScoreError

WATERS = """6
{info}
O 0.0 0.0 0.0
H 0.957 0.0 0.0
H -0.24 0.927 0.0
O 3.0 0.0 0.0
H 3.957 0.0 0.0
H 2.76 0.927 0.0
"""


def write(folder: Path, text: str, name: str = "a.xyz") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def frames(folder: Path, *infos: str) -> list[Frame]:
    return read_frames(write(folder, "".join(WATERS.format(info=info) for info in infos)))


def one_line(error: pytest.ExceptionInfo[ScoreError]) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


def test_a_plain_xyz_of_a_rival_is_read(tmp_path: Path) -> None:
    (frame,) = frames(tmp_path, "made by some program, energy -1.0")
    assert frame.numbers.tolist() == [8, 1, 1, 8, 1, 1]
    assert frame.positions[4].tolist() == [3.957, 0, 0]
    assert (frame.molecule == UNKNOWN).all()


def test_molecules_of_a_file_without_them_come_from_the_bonds_of_the_reference(tmp_path: Path) -> None:
    pred, ref = frames(tmp_path, "", "")
    collapsed = replace(pred, positions=pred.positions * 0.4)
    ((whole, (sample,)),) = group([collapsed], [ref])
    assert whole.molecule.tolist() == [0, 0, 0, 1, 1, 1]
    assert sample.molecule.tolist() == [0, 0, 0, 1, 1, 1], "not from the collapsed prediction"


def test_the_column_molecule_is_used_where_one_file_has_it(tmp_path: Path) -> None:
    text = "3\nProperties=species:S:1:pos:R:3:molecule:I:1 id=7\nO 0 0 0 5\nH 1 0 0 2\nO 1 1 1 5\n"
    (marked,) = read_frames(write(tmp_path, text, "b.extxyz"))
    assert marked.molecule.tolist() == [0, 1, 0]
    assert marked.id == "7"
    plain = replace(marked, molecule=np.full(3, UNKNOWN))
    for pred, ref in ((marked, plain), (plain, marked)):
        ((whole, (sample,)),) = group([pred], [ref])
        assert whole.molecule.tolist() == sample.molecule.tolist() == [0, 1, 0]


def test_frames_with_ids_are_grouped_by_them_in_any_order(tmp_path: Path) -> None:
    pred = frames(tmp_path, "id=b", "id=a", "id=b")
    groups = group(pred, frames(tmp_path, "id=a", "id=b", "id=c"))
    assert [(ref.id, len(samples)) for ref, samples in groups] == [("a", 1), ("b", 2), ("c", 0)]


def test_without_ids_a_single_reference_takes_all_else_order_decides(tmp_path: Path) -> None:
    many = frames(tmp_path, "", "", "")
    (whole, samples), *rest = group(many, many[:1])
    assert (whole.id, len(samples), rest) == ("0", 3, [])
    assert [len(samples) for _, samples in group(many, many)] == [1, 1, 1]
    with pytest.raises(ScoreError, match="3 frames and REF has 2") as error:
        group(many, many[:2])
    one_line(error)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.xyz", b"", "holds no frame"),
        ("a.xyz", b"\n\n", "no frame|breaks off"),
        ("a.xyz", b"3\n\nO 0 0 0\nH 1 0 0\n", "breaks off"),
        ("a.xyz", b"2\n\nO 0 0 0\nH 1 0\n", "breaks off"),
        ("a.xyz", b"2\n\nO 0 0 0\nQq 1 0 0\n", "breaks off|unknown element"),
        ("a.xyz", b"2\n\nO 0 0 zero\nH 1 0 0\n", "breaks off"),
        ("a.xyz", b"data_urea\n_cell_length_a 5.6\n", "breaks off"),
        ("a.xyz", bytes(range(256)) * 8, "not text|breaks off"),
        ("a.extxyz", b"0\n\n", "no atom|no frame"),
        ("a.cif", b"data_x", "not an xyz file"),
        ("a.xyz", b"1\nProperties=species:S:1:pos:R:3:molecule:R:1\nO 0 0 0 1.5\n", "whole number"),
    ],
)
def test_a_bad_file_is_refused_in_one_line(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ScoreError, match=message) as error:
        read_frames(path)
    one_line(error)


def test_a_truncated_file_tells_how_many_frames_were_whole(tmp_path: Path) -> None:
    text = WATERS.format(info="id=a") * 2
    with pytest.raises(ScoreError, match=r"after 1 frame\(s\)"):
        read_frames(write(tmp_path, text[:-60]))


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "nothing.xyz", tmp_path / "folder.xyz"):
        (tmp_path / "folder.xyz").mkdir(exist_ok=True)
        with pytest.raises(ScoreError, match="does not exist or is not a file"):
            read_frames(path)


def test_other_counts_elements_or_orders_are_refused_with_the_frame(tmp_path: Path) -> None:
    good, bad = frames(tmp_path, "id=a", "id=a")
    ref = replace(good, molecule=np.array([0, 0, 0, 1, 1, 1]))
    shorter = replace(bad, numbers=bad.numbers[:5], positions=bad.positions[:5], molecule=bad.molecule[:5])
    reordered = replace(bad, numbers=bad.numbers[[1, 0, 2, 3, 4, 5]])
    other = replace(bad, numbers=np.array([16, 1, 1, 8, 1, 1]))
    divided = replace(bad, molecule=np.array([0, 0, 0, 0, 1, 1]))
    for wrong, message in (
        (shorter, r"frame 1 of PRED has 5 atoms, but frame 0 of REF \(id a\) has 6 atoms in 2 molecules"),
        (reordered, "frame 1 of PRED: atom 0 is H, but .* it is O: write the atoms in the order"),
        (other, "atom 0 is S, .* different elements"),
        (divided, "column `molecule` divides the atoms in another way"),
    ):
        with pytest.raises(ScoreError, match=message) as error:
            group([good, wrong], [ref])
        one_line(error)


def test_ids_that_occur_twice_or_nowhere_are_refused(tmp_path: Path) -> None:
    a, b = frames(tmp_path, "id=a", "id=b")
    with pytest.raises(ScoreError, match="frames 0 and 1 of REF have the same id a"):
        group([a], [a, a])
    with pytest.raises(ScoreError, match="frame 0 of PRED has id b, which REF does not have"):
        group([b], [a])


def test_a_reference_must_be_finite_and_hold_two_molecules(tmp_path: Path) -> None:
    (good,) = frames(tmp_path, "")
    broken = replace(good, positions=np.where(np.arange(6)[:, None] == 4, np.nan, good.positions))
    with pytest.raises(ScoreError, match="frame 0 of REF: atom 4 has a coordinate that is not finite"):
        group([good], [broken])
    with pytest.raises(ScoreError, match="holds 1 molecule: a cluster has at least 2"):
        group([good], [replace(good, molecule=np.zeros(6, dtype=int))])
