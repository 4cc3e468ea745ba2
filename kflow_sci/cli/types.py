"""What the words of options mean: a reader for each kind of value, and one way to refuse what cannot be read."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import click

SECONDS = {"s": 1.0, "sec": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


class Word(click.ParamType):
    """The type of an option whose word is read by a function.

    Args:
        name: Shown in the help.
        read: Gives the value of a word, or raises ``ValueError`` that ends the sentence *'word' …*.
    """

    def __init__(self, name: str, read: Callable[[str], Any]) -> None:
        self.name = name
        self.read = read

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read the word, or refuse it with what was expected; a default is taken as it is."""
        if not isinstance(value, str):
            return value
        try:
            return self.read(value)
        except ValueError as error:
            self.fail(f"'{value}' {error}", param, ctx)


def read_steps(text: str) -> tuple[int, ...]:
    """``5`` or ``6,5,5``: whole numbers above zero."""
    words = [word.strip() for word in text.split(",")]
    if not all(re.fullmatch(r"[+-]?\d+", word) for word in words):
        raise ValueError("is not a whole number or a list like 6,5,5.")
    steps = tuple(map(int, words))
    if min(steps) < 1:
        raise ValueError("has a number below 1.")
    return steps


def read_sides(text: str) -> tuple[float, float, float]:
    """``20,20,30``: three lengths; one number makes a cube."""
    expected = "is not three lengths like 20,20,30, nor one for a cube."
    try:
        sides = [float(word) for word in text.split(",")]
    except ValueError:
        raise ValueError(expected) from None
    if len(sides) not in (1, 3):
        raise ValueError(expected)
    return sides[0], sides[len(sides) // 2], sides[-1]


def read_index(text: str) -> tuple[int, ...]:
    """``0,1,2``: molecules, counted from 0."""
    words = text.split(",")
    if not all(word.strip().isdecimal() for word in words):
        raise ValueError("is not a list of molecules like 0,1,2.")
    return tuple(map(int, words))


def read_time(text: str) -> float:
    """``300s``, ``5min``, ``1.5h``: seconds."""
    found = re.fullmatch(r"(\d+\.?\d*|\.\d+)\s*([a-z]+)", text.strip())
    if found is None or found[2] not in SECONDS or not float(found[1]) > 0:
        raise ValueError("is no time: give a positive number and a unit, as 300s, 5min or 1h.")
    return float(found[1]) * SECONDS[found[2]]


STEPS = Word("N[,N…]", read_steps)
SIDES = Word("A,B,C", read_sides)
INDEX = Word("I[,J…]", read_index)
TIME = Word("TIME", read_time)
