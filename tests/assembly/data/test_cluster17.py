"""The published set: every atom back, everything odd named, everything left out with a reason, and all adds up."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kflow_sci.assembly.data import cluster17
from kflow_sci.assembly.data.cluster17 import ImportReport, import_cluster17
from kflow_sci.assembly.data.cluster17_pair import FLAGS, REASONS
from kflow_sci.assembly.data.published import VERDICTS
from kflow_sci.assembly.data.store import open_store
from kflow_sci.errors import ClusterError, OutputError
from tests.cluster17_by_hand import COPIES, good, moved, pair, text, write
from tests.crystals_by_hand import CHFCLBR, CHFCLBR_SYMBOLS

F, I = "FinalPositions", "InitialPositions"  # noqa: E741
WATER = np.array([[0, 0, 0.5], [0.757, 0.586, 0.5], [-0.757, 0.586, 0.5]])
METHANE = np.array([[0, 0, 0], [1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) * 0.63


def skipped(out: Path) -> dict[str, str]:
    with open(out.with_name("skipped.csv"), newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert all(row["message"] and "\n" not in row["message"] for row in rows)
    return {row["id"]: row["reason"] for row in rows}


def adds_up(report: ImportReport, out: Path) -> None:
    assert report.total == report.clusters + report.skipped.total()
    assert report.clusters == len(open_store(out)) == report.verdicts.total()
    with open(report.skipped_csv, newline="") as stream:
        assert report.skipped == Counter(row["reason"] for row in csv.DictReader(stream))
    assert set(report.skipped) <= set(REASONS) and set(report.flags) <= set(FLAGS)
    assert set(report.verdicts) <= set(VERDICTS)


def test_every_atom_of_both_states_comes_back_in_its_order(tmp_path: Path) -> None:
    states = {f"{k}": good(tmp_path, f"{k}", k) for k in (10, 9, 2)}
    report = import_cluster17(tmp_path, tmp_path / "x.kfc")
    adds_up(report, tmp_path / "x.kfc")
    store = open_store(tmp_path / "x.kfc")
    assert store.ids == ["10", "2", "9"]  # sorted as text, as the published code does
    for k, name in enumerate(store.ids):
        final, start = states[name]
        centre = start.reshape(-1, 3).mean(axis=0)  # of the initial state, for both
        for cluster, positions in ((store[k], final), (store.start(k), start)):
            assert np.abs(cluster.positions - (positions - centre).reshape(-1, 3)).max() < 1e-4
            assert cluster.numbers.tolist() == [6, 1, 9, 17, 35] * COPIES
        assert store[k].info == {
            "id": name, "mol_hash": store[0].info["mol_hash"], "published": "kept", "flags": [],
        }  # fmt: skip
    assert report.verdicts == Counter(kept=3) and not report.flags and not report.skipped
    assert sorted(path.name for path in tmp_path.iterdir()) == [F, I, "skipped.csv", "x.kfc"]


def mirrored(raw: Path, name: str) -> None:
    final, start = pair(1)
    final[3::2], start[3::2] = -final[3::2], -start[3::2]
    write(raw, name, text(CHFCLBR_SYMBOLS, final), text(CHFCLBR_SYMBOLS, start))


def start_mirrored(raw: Path, name: str) -> None:
    final, start = pair(2)
    start[5] = -start[5]
    write(raw, name, text(CHFCLBR_SYMBOLS, final), text(CHFCLBR_SYMBOLS, start))


def conformers(raw: Path, name: str) -> None:
    final, start = pair(3)
    other = CHFCLBR.copy()
    other[4] *= 1.1
    final[4], start[4] = moved(other, 7)[0], moved(other, 8)[0]
    write(raw, name, text(CHFCLBR_SYMBOLS, final), text(CHFCLBR_SYMBOLS, start))


def flat(raw: Path, name: str) -> None:
    # Turned about z alone, so that single precision sees exact planes.
    angle = np.random.default_rng(0).uniform(0, 6, (2, COPIES))
    turn = np.zeros((2, COPIES, 3, 3))
    turn[..., 0, 0] = turn[..., 1, 1] = np.cos(angle)
    turn[..., 1, 0], turn[..., 0, 1], turn[..., 2, 2] = np.sin(angle), -np.sin(angle), 1
    shift = 6.0 * np.arange(COPIES)[:, None, None] * [1, 0, 0]
    final, start = WATER @ turn[0].swapaxes(1, 2) + shift, WATER @ turn[1].swapaxes(1, 2) + shift
    write(raw, name, text(("O", "H", "H"), final), text(("O", "H", "H"), start))


def tied(raw: Path, name: str) -> None:
    symbols = ("C", "H", "H", "H", "H")
    write(raw, name, text(symbols, moved(METHANE, 1)), text(symbols, moved(METHANE, 2)))


def atoms(raw: Path, name: str) -> None:
    write(raw, name, text(("Xe",), 5 * moved(np.zeros((1, 3)), 1)), text(("Xe",), moved(np.zeros((1, 3)), 2)))


def complexes(raw: Path, name: str) -> None:
    cisplatin = np.array(
        [[0, 0, 0], [1.64, 1.64, 0.1], [1.64, -1.64, 0], [-1.45, 1.45, 0], [-1.45, -1.45, 0]]
    )
    symbols = ("Pt", "Cl", "Cl", "N", "N")
    write(raw, name, text(symbols, moved(cisplatin, 3)), text(symbols, moved(cisplatin, 4)))


def two_species(raw: Path, name: str) -> None:
    final, start = (text(CHFCLBR_SYMBOLS, state) for state in pair(4))
    write(raw, name, final.replace("\n5,C,", "\n5,Si,"), start.replace("\n5,C,", "\n5,Si,"))


def atom_orders(raw: Path, name: str) -> None:
    final, start = (text(CHFCLBR_SYMBOLS, state).splitlines() for state in pair(5))
    for lines in (final, start):
        lines[1:3] = lines[2:0:-1]
    write(raw, name, "\n".join(final) + "\n", "\n".join(start) + "\n")


def loose(raw: Path, name: str) -> None:
    # 0.25 Å at one of 10 atoms: RMSD 0.08 Å (limit 0.032), but 6 Å out it is a small change of direction.
    chain = np.random.default_rng(5).normal(size=(10, 3)) * [5, 3, 1.5]
    bent = chain.copy()
    bent[np.abs(chain[:, 0]).argmax()] += [0, 0.25, 0]
    symbols = ("C", "N", "O", "F", "P", "S", "Cl", "Br", "B", "I")
    write(raw, name, text(symbols, moved(chain, 11)), text(symbols, moved(bent, 12)))


def isotopes(raw: Path, name: str) -> None:
    final, start = (text(CHFCLBR_SYMBOLS, state) for state in pair(6))
    write(raw, name, final.replace(",H,", ",D,"), start.replace(",H,", ",D,"))


ODD: list[tuple[Callable[[Path, str], None], set[str], set[str]]] = [
    (mirrored, {"mirror"}, {"kept"}),
    (start_mirrored, {"start_mirror"}, {"kept"}),  # signs of axes are chosen one by one there, so it passes
    (conformers, {"conformers"}, {"kept"}),
    (flat, {"flat"}, {"flat"}),
    (tied, {"tie"}, {"residue", "tie", "anchor"}),
    (atoms, {"flat", "tie", "unsupported"}, {"flat"}),
    (complexes, {"unsupported"}, {"kept"}),
    (two_species, {"species"}, {"kept"}),
    (atom_orders, {"reordered"}, {"kept"}),
    (loose, {"loose"}, {"kept"}),
    (isotopes, {"isotopes"}, {"text"}),
]


@pytest.mark.parametrize(("make", "flags", "verdicts"), ODD, ids=[make.__name__ for make, *_ in ODD])
def test_what_is_odd_is_stored_and_named(
    tmp_path: Path, make: Callable[[Path, str], None], flags: set[str], verdicts: set[str]
) -> None:
    make(tmp_path, "odd")
    report = import_cluster17(tmp_path, tmp_path / "x.kfc")
    adds_up(report, tmp_path / "x.kfc")
    cluster = open_store(tmp_path / "x.kfc")[0]
    assert set(cluster.info["flags"]) == flags == set(report.flags)
    assert cluster.info["published"] in verdicts
    lines = (tmp_path / F / "odd_cluster16.csv").read_text().splitlines()[1:]
    written = np.array([line.split(",")[2:] for line in lines], dtype=float)
    inner = np.linalg.norm(written[:, None] - written, axis=-1)
    stored = np.linalg.norm(cluster.positions[:, None] - cluster.positions, axis=-1)
    assert np.abs(inner - stored).max() < 1e-3
    assert cluster.numbers.tolist() == [
        {"H": 1, "D": 1, "B": 5, "C": 6, "N": 7, "O": 8, "F": 9, "Si": 14, "P": 15, "S": 16, "Cl": 17, "Br": 35,
         "I": 53, "Xe": 54, "Pt": 78}[line.split(",")[1]]
        for line in lines
    ]  # fmt: skip


def test_what_the_published_code_drops_can_be_dropped(tmp_path: Path) -> None:
    good(tmp_path, "good", 0)
    flat(tmp_path, "flat")
    isotopes(tmp_path, "isotopes")
    report = import_cluster17(tmp_path, tmp_path / "x.kfc", as_published=True)
    adds_up(report, tmp_path / "x.kfc")
    assert open_store(tmp_path / "x.kfc").ids == ["good"]
    assert skipped(tmp_path / "x.kfc") == {"flat": "unpublished", "isotopes": "unpublished"}


FINAL, START = (text(CHFCLBR_SYMBOLS, state) for state in pair(0))
LINES = FINAL.splitlines(keepends=True)
BENT = pair(0)[1] + np.where(np.arange(5)[:, None] == 4, 0.9, 0.0)
ONE_BENT = pair(0)[1]
ONE_BENT[9, 1] += [0.2, 0.0, 0.0]
MALFORMED: dict[str, tuple[str | None, str | None, str]] = {
    "no start": (FINAL, None, "no_start"),
    "no crystal": (None, START, "no_final"),
    "nothing in it": ("", START, "empty"),
    "blank": ("\n \n", START, "empty"),
    "header alone": (FINAL, "mol,atom,x,y,z\n", "empty"),
    "no header": ("".join(LINES[1:]), START, "header"),
    "four fields": (FINAL.replace("\n0,C,", "\n0 C,", 1), START, "row"),
    "six fields": (FINAL, START.replace("\n0,C,", "\n0,C,A,", 1), "row"),
    "words for numbers": (FINAL, START.replace("\n0,C,", "\n0,C,x", 1), "row"),
    "molecule 1.0": (FINAL.replace("\n0,C,", "\n0.0,C,", 1), START, "row"),
    "misspelt": (FINAL.replace(",Br,", ",Bx,"), START.replace(",Br,", ",Bx,"), "element"),
    "capitals": (FINAL.replace(",Br,", ",BR,"), START, "element"),
    "no symbol": (FINAL.replace("\n0,C,", "\n0,,", 1), START, "element"),
    "placeholder": (FINAL.replace(",Br,", ",X,"), START.replace(",Br,", ",X,"), "element"),
    "NaN": (FINAL.replace("\n0,C,", "\n0,C,nan,0,0\n0,H,", 1), START, "not_finite"),
    "infinite": (FINAL, START.replace("\n0,C,", "\n0,C,1e999,0,0\n0,H,", 1), "not_finite"),
    "16 molecules": ("".join(LINES[:-5]), START, "molecule_count"),
    "18 molecules": (
        FINAL,
        START + FINAL[FINAL.index("\n16,") + 1 :].replace("16,", "17,"),
        "molecule_count",
    ),
    "an atom lost": ("".join(LINES[:-1]), START, "atom_counts"),
    "smaller start": (
        FINAL,
        text(CHFCLBR_SYMBOLS[:4], pair(0)[1][:, :4]),
        "atoms_differ",
    ),
    "another element": (FINAL, START.replace("\n3,Br,", "\n3,I,"), "atoms_differ"),
    "other order": (FINAL, text(("H", "C", "F", "Cl", "Br"), pair(0)[1]), "reordered"),
    "not rigid": (FINAL, text(CHFCLBR_SYMBOLS, BENT), "not_rigid"),
    "one not rigid": (FINAL, text(CHFCLBR_SYMBOLS, ONE_BENT), "not_rigid"),
    "far away": (
        FINAL,
        text(CHFCLBR_SYMBOLS, pair(0)[1] + 1e6 * (np.arange(17) == 2)[:, None, None]),
        "too_large",
    ),
}


def test_every_malformed_file_is_left_out_with_its_reason_and_all_adds_up(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    for name, (final, start, _) in MALFORMED.items():
        write(raw, name, final, start)
    good(raw, "good", 1)
    (raw / F / "binary_cluster16.csv").write_bytes(bytes(range(256)))
    write(raw, "binary", None, START)
    (raw / F / "folder_cluster16.csv").mkdir()
    write(raw, "folder", None, START)
    (raw / F / "stray.csv").write_text("not of the set")
    (raw / F / "stray.txt").write_text("no csv at all")
    report = import_cluster17(tmp_path, tmp_path / "x.kfc")  # the folder above raw will do
    adds_up(report, tmp_path / "x.kfc")
    assert open_store(tmp_path / "x.kfc").ids == ["good"]
    expected = {name: reason for name, (_, _, reason) in MALFORMED.items()}
    expected |= {"binary": "row", "folder": "unreadable", f"{F}/stray.csv": "name"}
    assert skipped(tmp_path / "x.kfc") == expected
    assert report.total == len(expected) + 1
    assert open_store(tmp_path / "x.kfc").info["skipped"] == dict(Counter(expected.values()))


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        (lambda t: t.replace("\n", "\r\n"), "kept"),
        (lambda t: "\ufeff" + t, "kept"),
        (lambda t: t.rstrip("\n"), "kept"),
        (lambda t: t + "\n\n", "text"),
        (lambda t: t.replace(",Br,", ", Br ,"), "text"),
    ],
    ids=["CRLF", "byte order mark", "no last newline", "blank lines at the end", "spaces"],
)
def test_other_ways_to_write_the_same_are_read_the_same(
    tmp_path: Path, change: Callable[[str], str], verdict: str
) -> None:
    write(tmp_path, "a", FINAL, START)
    write(tmp_path, "b", change(FINAL), change(START))
    import_cluster17(tmp_path, tmp_path / "x.kfc")
    store = open_store(tmp_path / "x.kfc")
    assert (store[0].positions == store[1].positions).all()
    assert (store.start(0).positions == store.start(1).positions).all()
    assert store[1].info["published"] == verdict


def test_molecules_are_paired_by_their_index(tmp_path: Path) -> None:
    write(tmp_path, "a", FINAL, START)
    blocks = [START.splitlines(keepends=True)[1 + 5 * k : 6 + 5 * k] for k in range(COPIES)]
    turned = "h,e,a,d,er\n" + "".join("".join(block) for block in reversed(blocks))
    mixed = FINAL.splitlines(keepends=True)
    mixed = [mixed[0], *(mixed[1 + 5 * k + a] for a in range(5) for k in range(COPIES))]  # atom by atom
    write(tmp_path, "b", "".join(mixed), turned)
    import_cluster17(tmp_path, tmp_path / "x.kfc")
    store = open_store(tmp_path / "x.kfc")
    assert np.abs(store[0].positions - store[1].positions).max() < 1e-4
    assert np.abs(store.start(0).positions - store.start(1).positions).max() < 1e-4


def test_workers_and_interruptions_change_no_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster17, "PART", 2)
    raw = tmp_path / "raw"
    for k in range(5):
        good(raw, f"{k}", k)
    write(raw, "bad", "", START)
    report = import_cluster17(raw, tmp_path / "one" / "x.kfc")
    adds_up(report, tmp_path / "one" / "x.kfc")

    def stop(done: int, total: int) -> None:
        assert total == 6
        if done >= 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_cluster17(raw, tmp_path / "two" / "x.kfc", progress=stop)
    assert not (tmp_path / "two" / "x.kfc").exists()
    again = import_cluster17(raw, tmp_path / "two" / "x.kfc", workers=2)
    assert again.reused == 2 and again.flags == report.flags and again.verdicts == report.verdicts
    for name in ("x.kfc", "skipped.csv"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert sorted(path.name for path in (tmp_path / "two").iterdir()) == ["skipped.csv", "x.kfc"]


def test_lists_of_ids_choose_and_order(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    for k in range(4):
        good(raw, f"{k}", k)
    (tmp_path / "ids.txt").write_text("3\r\n1\r\n\r\n3\r\nabsent\r\n../raw/0\r\n")
    report = import_cluster17(raw, tmp_path / "x.kfc", ids=tmp_path / "ids.txt")
    adds_up(report, tmp_path / "x.kfc")
    assert open_store(tmp_path / "x.kfc").ids == ["3", "1"]
    assert skipped(tmp_path / "x.kfc") == {"3": "duplicate", "absent": "no_final", "../raw/0": "name"}
    assert report.total == 5
    for subset, folder, chosen in (("5k", "processed_5000", ["2", "0"]), ("10k", "processed_10000", ["1"])):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "valid_idx.txt").write_text("\n".join(chosen) + "\n")
        import_cluster17(tmp_path, tmp_path / "y.kfc", subset=subset)
        assert open_store(tmp_path / "y.kfc").ids == chosen


def test_wrong_options_and_folders_are_refused_in_one_line(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    good(raw, "a", 0)
    (tmp_path / "empty.txt").write_text("\n \n")
    (tmp_path / "nothing" / F).mkdir(parents=True)
    (tmp_path / "nothing" / I).mkdir()
    cases: list[tuple[Path, dict[str, object], str]] = [
        (tmp_path / "absent", {}, "does not exist"),
        (tmp_path / "empty.txt", {}, "is a file"),
        (raw / F, {}, "holds no folders"),
        (tmp_path / "nothing", {}, "holds no csv file"),
        (raw, {"subset": "5k"}, "processed_5000"),
        (raw, {"subset": "7k"}, "not one of all, 5k, 10k"),
        (raw, {"subset": "5k", "ids": tmp_path / "empty.txt"}, "choose one"),
        (raw, {"ids": tmp_path / "empty.txt"}, "holds no id"),
        (raw, {"ids": tmp_path / "none.txt"}, "cannot be read"),
        (raw, {"copies": 1}, "copies is 1"),
    ]
    for folder, options, says in cases:
        with pytest.raises(ClusterError, match=says) as caught:
            import_cluster17(folder, tmp_path / "out" / "x.kfc", **options)  # type: ignore[arg-type]
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()
    with pytest.raises(OutputError, match="it is a folder"):
        import_cluster17(raw, tmp_path)


def test_a_folder_without_one_valid_cluster_is_an_error_that_counts(tmp_path: Path) -> None:
    write(tmp_path, "a", "", START)
    write(tmp_path, "b", "", START)
    write(tmp_path, "c", FINAL, None)
    with pytest.raises(ClusterError, match=r"none of the 3 clusters .* \(empty 2, no_start 1\)"):
        import_cluster17(tmp_path, tmp_path / "out" / "x.kfc")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["skipped.csv"]
    assert skipped(tmp_path / "out" / "x.kfc") == {"a": "empty", "b": "empty", "c": "no_start"}


def test_another_number_of_molecules_may_be_asked_for(tmp_path: Path) -> None:
    final, start = (state[:6] for state in pair(0))
    write(tmp_path, "six", text(CHFCLBR_SYMBOLS, final), text(CHFCLBR_SYMBOLS, start))
    import_cluster17(tmp_path, tmp_path / "x.kfc", copies=6)
    assert len(open_store(tmp_path / "x.kfc")[0]) == 6
