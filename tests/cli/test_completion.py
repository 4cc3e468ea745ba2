"""Tab: what a shell is told to ask, and what it is answered."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kflow_sci.cli.main import main

HEAVY = {"torch", "numpy", "rdkit", "ase", "rich", "matplotlib"}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_for_each_shell(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert f"_KFLOW_COMPLETE={shell}_complete" in script and "kflow" in script


def test_an_unknown_shell_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "csh"]) == 2
    assert "bash" in capsys.readouterr().err


def answer(line: str) -> list[str]:
    """What bash is told when Tab is pressed at the end of a line, one answer per line: kind,word."""
    words = line.split(" ")
    code = "import sys; from kflow_sci.cli.main import main\ntry: main([])\nfinally: print('|'.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={
            **os.environ,
            "_KFLOW_COMPLETE": "bash_complete",
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(words) - 1),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    *answers, modules = done.stdout.splitlines()
    assert not HEAVY & set(modules.split("|")), "an answer after each press of Tab"
    return answers


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("kflow as", ["plain,assemble"]),
        ("kflow data make", ["plain,make-crystals"]),
        ("kflow bench c", ["plain,cluster17"]),
        ("kflow score --mea", ["plain,--measures"]),
        ("kflow assemble --hands ", ["plain,auto", "plain,same", "plain,both"]),
        ("kflow assemble asp", ["file,asp"]),
        ("kflow view asp", ["file,asp"]),
        ("kflow crystal --js", ["plain,--json"]),
    ],
)
def test_words_that_may_come_next(line: str, expected: list[str]) -> None:
    assert answer(line) == expected


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_a_real_bash_completes(tmp_path: Path) -> None:
    program = tmp_path / "kflow"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m kflow_sci "$@"\n')
    program.chmod(0o755)
    script = (
        'eval "$(kflow completion bash)"; COMP_WORDS=(kflow image re); COMP_CWORD=2; '
        '_kflow_completion kflow; echo "${COMPREPLY[*]}"'
    )
    done = subprocess.run(
        ["bash", "--norc", "-c", script],
        env={
            **os.environ,
            "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(Path(__file__).parents[2]),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == ["restore"], done.stderr
