"""Terminals, pipes, locales and places: whatever a shell brings, the result is whole and readable."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from kflow_sci.cli.common import refuse_overwrite, show_ranked, write_settings
from kflow_sci.errors import OutputError
from kflow_sci.report.tables import Column

COLUMNS = (
    Column("rank", "rank"),
    Column("energy", "energy kJ/mol", 1),
    Column("space_group", "group"),
    Column("density", "g/cm³", 3),
    Column("volume", "Å³/molecule", 1),
)
ROWS = [
    {"rank": k, "energy": -85.7688 + k, "space_group": "P 21/c", "density": 1.37, "volume": 72.559}
    for k in range(1, 25)
]
TABLE = """
from pathlib import Path
from tests.cli.test_shell import COLUMNS, ROWS
from kflow_sci.cli.common import show_ranked
show_ranked("24 crystals", COLUMNS, ROWS, Path("crystals.csv"))
"""
ROOT = Path(__file__).parents[2]


def python(code: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    kept = {
        key: value for key, value in os.environ.items() if key not in ("COLUMNS", "NO_COLOR", "FORCE_COLOR")
    }
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=False, cwd=ROOT, env={**kept, **environment}
    )


@pytest.mark.parametrize("width", [40, 60, 100])
def test_a_table_is_as_wide_as_the_terminal_and_says_what_it_leaves_out(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    show_ranked("24 crystals", COLUMNS, ROWS, Path("crystals.csv"))
    *table, more = capsys.readouterr().out.splitlines()
    assert max(map(len, table)) <= width
    assert any("1" in line and "-84.8" in line for line in table), "a value stays in one piece"
    assert "4 more" in more and "crystals.csv" in more
    left_out = [column.title for column in COLUMNS if column.title in more]
    assert bool(left_out) == (width == 40)
    assert any("-84.8 │ P 21/c" in line for line in table) == ("group" not in left_out)


def test_a_pipe_gets_every_column_and_no_colour() -> None:
    done = python(TABLE, TERM="xterm-256color")
    text = done.stdout.decode()
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in text
    assert "Å³/molecule" in text and "72.6" in text and "more in crystals.csv" in text


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
@pytest.mark.parametrize(
    ("environment", "forbidden"),
    [({"TERM": "dumb"}, rb"\x1b"), ({"TERM": "xterm-256color", "NO_COLOR": "1"}, rb"\x1b\[[0-9;]*[34][0-8]")],
)
def test_colour_is_for_terminals_that_want_it(environment: dict[str, str], forbidden: bytes) -> None:
    import pty

    ours, theirs = pty.openpty()
    kept = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "FORCE_COLOR")}
    with subprocess.Popen(
        [sys.executable, "-c", TABLE], stdout=theirs, cwd=ROOT, env={**kept, "COLUMNS": "90", **environment}
    ) as process:
        os.close(theirs)
        text = b""
        try:
            while piece := os.read(ours, 4096):
                text += piece
        except OSError:  # the other end is closed
            pass
        os.close(ours)
    assert process.returncode == 0
    assert b"-84.8" in text and not re.search(forbidden, text)


def test_letters_that_the_locale_does_not_know_are_no_fault() -> None:
    done = python(
        f"import sys\nfrom kflow_sci.cli.main import main\nmain(['completion', 'bash'])\n{TABLE}",
        LC_ALL="C",
        PYTHONUTF8="0",
        PYTHONCOERCECLOCALE="0",
        PYTHONIOENCODING="ascii",
    )
    assert done.returncode == 0, done.stderr
    assert b"?" in done.stdout and b"72.6" in done.stdout


def test_results_are_not_overwritten_unasked(tmp_path: Path) -> None:
    place = tmp_path / "an Ordner with 空 spaces"
    place.mkdir()
    assert write_settings(place, {"input": "Å"})["input"] == "Å"
    with pytest.raises(OutputError, match=r"already holds settings\.json: .* or --force"):
        refuse_overwrite(place, ["settings.json"], force=False)
    refuse_overwrite(place, ["settings.json"], force=True)
    refuse_overwrite(tmp_path / "new", ["settings.json"], force=False)
