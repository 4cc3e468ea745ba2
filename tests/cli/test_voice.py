"""The switches that every command has: values for programs, nothing at all, or more."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import numpy as np
import pytest

from kflow_sci.cli.common import command_line, progress_bar
from kflow_sci.cli.main import kflow, main
from kflow_sci.cli.voice import give, plain, resumable, voice
from kflow_sci.errors import MoleculeError

Install = Callable[[Callable[..., object]], None]
Captured = pytest.CaptureFixture[str]


def talks(copies: int | None) -> int:
    click.echo("a table")
    print("a library that prints")
    click.echo("a warning", err=True)
    give(energy=-12.5, copies=copies)
    give(folder=Path("out"), missing=float("nan"), counts=np.arange(3))
    return 3


def test_json_is_the_only_thing_on_standard_output(command: Install, capsys: Captured) -> None:
    command(talks)
    assert main(["score", "--copies", "4", "--json"]) == 3
    shown = capsys.readouterr()
    assert json.loads(shown.out) == {
        "command": "kflow score --copies 4 --json",
        "energy": -12.5,
        "copies": 4,
        "folder": "out",
        "missing": None,
        "counts": [0, 1, 2],
    }
    assert shown.err == "a warning\n"


def test_a_command_that_gives_no_values_gives_its_words(command: Install, capsys: Captured) -> None:
    command(lambda copies: click.echo("64 images:\nsamples.png"))
    assert main(["score", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["said"] == ["64 images:", "samples.png"]


def test_quiet_says_nothing_but_errors(command: Install, capsys: Captured) -> None:
    def works(copies: int | None) -> None:
        click.echo("a table")
        with progress_bar("work", 2) as advance:
            advance(2)
        if copies == 0:
            raise MoleculeError("copies is 0: give more")

    command(works)
    assert main(["score", "-q"]) == 0
    assert capsys.readouterr() == ("", "")
    assert main(["score", "--quiet", "--copies", "0"]) == 2
    assert capsys.readouterr() == ("", "kflow: error: copies is 0: give more\n")


@pytest.mark.parametrize(
    ("words", "error", "code", "says"),
    [
        ([], MoleculeError("cannot read 'C('"), 2, "cannot read 'C('"),
        ([], KeyboardInterrupt(), 130, "interrupted: the same command goes on from there"),
        (["--nonsense"], None, 2, "No such option"),
    ],
)
def test_a_failure_is_one_object_too(
    command: Install,
    capsys: Captured,
    words: list[str],
    error: BaseException | None,
    code: int,
    says: str,
) -> None:
    def fails(copies: int | None) -> None:
        resumable()
        give(done=3)
        if error is not None:
            raise error

    command(fails)
    assert main(["score", "--json", *words]) == code
    shown = capsys.readouterr()
    document = json.loads(shown.out)
    assert document["exit_code"] == code and says in document["error"]
    assert says in shown.err and shown.err.strip().count("\n") == 0


def test_verbose_tells_stages_and_where_an_error_arose(command: Install, capsys: Captured) -> None:
    def works(copies: int | None) -> None:
        with progress_bar("folding", 7) as advance:
            advance(7)
        raise MoleculeError("too large")

    command(works)
    assert main(["score"]) == 2
    assert capsys.readouterr().err == "kflow: error: too large\n"
    assert main(["score", "-v"]) == 2
    told = capsys.readouterr().err
    assert "kflow: folding: 7 in " in told and "kflow: exit code 2 after " in told
    assert "Traceback" in told and "in works" in told and "kflow: error: too large\n" in told


def test_the_command_is_told_as_it_was_typed(command: Install) -> None:
    told = []
    command(lambda copies: told.append((command_line(), command_line(without="--quiet"))))
    main(["score", "--copies", "3", "--quiet"])
    assert told == [("kflow score --copies 3 --quiet", "kflow score --copies 3")]


def test_outside_a_command_nothing_is_switched_on() -> None:
    give(lost=1)
    assert not (voice().as_json or voice().quiet or voice().verbose or voice().values)


def test_plain_values_are_what_json_knows() -> None:
    given = {1: np.float64("inf"), "a": (Path("x"), True, None), "b": {"c": np.int64(2)}}
    assert plain(given) == {"1": None, "a": ["x", True, None], "b": {"c": 2}}


def commands(group: click.Group, path: str) -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        found = group.get_command(context, name)
        assert found is not None
        if isinstance(found, click.Group):
            yield from commands(found, f"{path} {name}")
        else:
            yield f"{path} {name}", found


def test_every_command_has_each_switch_once_and_no_flag_twice() -> None:
    listed = dict(commands(kflow, "kflow"))
    assert {"kflow assemble", "kflow bench cluster17", "kflow data build", "kflow image sample"} <= set(
        listed
    )
    for name, one in listed.items():
        flags = [flag for option in one.params for flag in (*option.opts, *option.secondary_opts)]
        assert len(flags) == len(set(flags)), name
        assert {"--json", "--quiet", "-q", "--verbose", "-v"} <= set(flags), name
