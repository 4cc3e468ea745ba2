"""The table of scores: a number without its meaning is not shown."""

from __future__ import annotations

from kflow_sci.report.page.scores import columns_for, show_value


def test_a_value_that_is_the_same_for_all_is_told_once() -> None:
    infos = [{"rank": k, "energy": -10.0 + k, "energy_model": "MMFF94", "volume": 211.0} for k in (1, 2)]
    columns, constants = columns_for(infos)
    assert [score.key for score in columns] == ["rank", "energy"]
    assert [(score.key, value) for score, value in constants] == [
        ("volume", 211.0),
        ("energy_model", "MMFF94"),
    ]


def test_that_none_clash_stays_in_the_table() -> None:
    columns, _ = columns_for([{"rank": k, "clashing_pairs": 0.0} for k in (1, 2)])
    assert [score.key for score in columns] == ["rank", "clashing_pairs"]


def test_of_one_candidate_all_is_in_the_table() -> None:
    columns, constants = columns_for(
        [{"energy": -1.0, "energy_model": "UFF", "tags": ["a"], "more": {"a": 1}}]
    )
    assert [score.key for score in columns] == ["energy", "energy_model"] and not constants


def test_energies_mean_what_their_maker_says() -> None:
    own = columns_for([{"energy": -1.0, "energy_model": "UFF"}])[0][0]
    lattice = columns_for([{"energy": -1.0, "above": 0.0, "space_group": "P21/c"}])[0]
    foreign = columns_for([{"energy": -76.4, "charge_of_box": 1}])[0]
    assert "Between the molecules" in own.meaning
    assert "in the crystal" in next(score for score in lattice if score.key == "energy").meaning
    assert all("does not know its meaning" in score.meaning for score in foreign)


def test_values_as_they_stand_in_the_table() -> None:
    assert show_value(-18.9014, 1) == "\N{MINUS SIGN}18.9"
    assert show_value(-0.04, 1) == "0.0"
    assert show_value(0, None) == "0" and show_value(-3, None) == "\N{MINUS SIGN}3"
    assert show_value(None, 2) == "–"
    assert show_value(float("nan"), 2) == "not a number"
    assert show_value("P21/c", None) == "P21/c"
    assert show_value(True, None) == "True"


def test_what_kflow_writes_beside_energies_has_a_meaning() -> None:
    keys = (
        "energy_relaxed",
        "relax_failed",
        "energy_failed",
        "conformer",
        "strain",
        "outside",
        "rank",
        "sample",
    )
    columns, _ = columns_for([dict.fromkeys(keys, 1.0)])
    assert {score.key for score in columns} == set(keys)
    assert all("does not know its meaning" not in score.meaning for score in columns)
