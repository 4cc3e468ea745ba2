"""The command ``kflow``: what it answers, what it costs, and how it fails."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kflow_sci import __version__
from kflow_sci.cli import common
from kflow_sci.cli import main as cli
from kflow_sci.errors import MoleculeError, OutputError

HEAVY = {
    "torch",
    "numpy",
    "rdkit",
    "ase",
    "pymatgen",
    "gemmi",
    "lightning",
    "matplotlib",
    "rich",
    "pandas",
    "scipy",
}


def run_python(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)


def fails_with(error: BaseException) -> Callable[..., object]:
    def function(copies: int | None) -> None:
        raise error

    return function


def run_kflow(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    code = f"import sys; from kflow_sci.cli.main import main; main({list(words)!r}); print('|'.join(sys.modules))"
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": "80", **environment},
    )


def test_help_fits_a_screen_names_every_command_and_imports_nothing_heavy() -> None:
    done = run_kflow("--help")
    assert done.returncode == 0, done.stderr
    *text, modules = done.stdout.splitlines()
    assert len(text) < 24 and max(map(len, text)) <= 80, "a line is left for the prompt"
    first = text[text.index("Commands:") + 1 : text.index("More:") - 1]
    assert [line.split()[0] for line in first] == ["assemble", "view", "crystal", "score", "train"]
    more = " ".join(text[text.index("More:") :])
    assert all(f"{name} (" in more for name in ("data", "image", "bench", "completion"))
    for word in ("--json", "--quiet", "-v", "0 done", "2 bad input", "130 interrupted", "1 a fault"):
        assert word in more
    assert not HEAVY & set(modules.split("|"))


@pytest.mark.parametrize("name", [*cli.COMMANDS, *cli.MORE])
def test_each_command_has_a_help_and_a_module_light_enough_to_give_it_at_once(name: str) -> None:
    done = run_kflow(name, "--help")
    assert done.returncode == 0, done.stderr
    *text, modules = done.stdout.splitlines()
    assert text[0].startswith(f"Usage: kflow {name}")
    assert not HEAVY & set(modules.split("|"))


def test_version_is_that_of_the_package() -> None:
    done = run_python("-m", "kflow_sci", "--version")
    assert (done.returncode, done.stdout.strip()) == (0, f"kflow, version {__version__}")


def test_bad_input_is_one_line_on_standard_error_and_code_2(
    command: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    command(fails_with(MoleculeError("cannot read 'C(':\n  unclosed ring")))
    assert cli.main(["score"]) == 2
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", "kflow: error: cannot read 'C(': unclosed ring\n")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["scroe"], "scroe"),
        (["score", "--copies", "x"], "'x' is not a valid integer"),
        (["score", "--copes", "3"], "--copes"),
        (["score", "spare"], "spare"),
        (["--nonsense"], "--nonsense"),
    ],
)
def test_a_mistyped_line_is_refused_in_one_line_that_names_the_word(
    command: Callable[..., None], capsys: pytest.CaptureFixture[str], words: list[str], says: str
) -> None:
    command(lambda copies: None)
    assert cli.main(words) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("kflow: error: ")
    assert shown.err.count("\n") == 1
    assert says in shown.err
    assert "--help" in shown.err


def test_the_bare_command_shows_the_help() -> None:
    done = run_python("-m", "kflow_sci")
    assert done.returncode == 2
    assert "Commands:" in done.stderr


def test_a_file_the_system_refuses_is_one_line(
    command: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    command(fails_with(PermissionError(errno.EACCES, "Permission denied", "a.cif")))
    assert cli.main(["score"]) == 2
    assert capsys.readouterr().err == "kflow: error: a.cif: Permission denied\n"


def test_interruption_ends_without_a_traceback(
    command: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    command(fails_with(KeyboardInterrupt()))
    assert cli.main(["score"]) == 130
    assert capsys.readouterr().err.split() == ["kflow:", "interrupted"]


@pytest.mark.parametrize(
    "fault", [ZeroDivisionError("ours"), EOFError("short file"), OSError("no file named")]
)
def test_our_own_faults_keep_their_traceback(command: Callable[..., None], fault: Exception) -> None:
    command(fails_with(fault))
    with pytest.raises(type(fault)):
        cli.main(["score"])


def test_a_reader_that_goes_away_is_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "kflow_sci", "--help"],
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")


def test_a_reader_that_goes_away_before_the_last_flush_is_no_error() -> None:
    code = """
import sys, click
from kflow_sci.cli import main as cli
cli.LazyGroup.get_command = lambda self, ctx, name: click.Command("score", callback=lambda: print("row"))
sys.exit(cli.main(["score"]))
"""
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=writer, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")


def test_the_code_a_command_returns_is_the_exit_code(command: Callable[..., None]) -> None:
    for returned, code in ((None, 0), (3, 3), ("text", 0)):
        command(lambda copies, returned=returned: returned)
        assert cli.main(["score"]) == code


def test_a_failed_command_leaves_no_empty_folder(command: Callable[..., None], tmp_path: Path) -> None:
    def function(copies: int | None) -> None:
        assert common.out_dir(tmp_path / "new" / "deep").is_dir()
        raise MoleculeError("no")

    command(function)
    assert cli.main(["score"]) == 2
    assert os.listdir(tmp_path) == []


def test_a_folder_with_content_stays(command: Callable[..., None], tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()

    def function(copies: int | None) -> None:
        common.out_dir(tmp_path / "old")
        (common.out_dir(tmp_path / "new") / "a.txt").write_text("")

    command(function)
    assert cli.main(["score"]) == 0
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.txt", "new", "old"]


def test_an_output_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(OutputError, match="it is a file"):
        common.out_dir(tmp_path / "taken")
