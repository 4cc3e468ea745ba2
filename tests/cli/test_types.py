"""Words of options become values, or are refused with what was expected."""

from __future__ import annotations

import pytest

from kflow_sci.cli.types import read_index, read_sides, read_steps, read_time


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("300s", 300.0), ("60 sec", 60.0), ("5m", 300.0), ("5min", 300.0), ("1.5h", 5400.0), (".5h", 1800.0)],
)
def test_times_are_read_with_their_unit(text: str, seconds: float) -> None:
    assert read_time(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["300", "0s", "-5m", "5 days", "nan s", ""])
def test_a_time_without_sense_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="a positive number and a unit"):
        read_time(text)


def test_lists_are_read() -> None:
    assert read_steps("5") == (5,) and read_steps("6,5, 5") == (6, 5, 5)
    assert read_sides("20,25,30") == (20.0, 25.0, 30.0) and read_sides("9.5") == (9.5, 9.5, 9.5)
    assert read_index("0,2") == (0, 2)


@pytest.mark.parametrize("text", ["", "a", "1,", "1.5", "0", "-2"])
def test_what_is_no_list_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"whole number|below 1"):
        read_steps(text)
    if text not in ("0", "1.5", "-2"):
        with pytest.raises(ValueError, match="three lengths"):
            read_sides(text)
    if text != "0":
        with pytest.raises(ValueError, match="list of molecules"):
            read_index(text)
