"""Tab: what a shell is told to ask, and what it is answered."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
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


Answer = Callable[[str, str], str]


def asked(shell: str, line: str) -> dict[str, str]:
    """What a shell sets when Tab is pressed at the end of a line."""
    words = line.split(" ")
    return {
        "_KFLOW_COMPLETE": f"{shell}_complete",
        "COMP_WORDS": line,
        # Bash and zsh give a number, fish the word itself.
        "COMP_CWORD": words[-1] if shell == "fish" else str(len(words) - 1),
    }


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Answer:
    def press(shell: str, line: str) -> str:
        for name, value in asked(shell, line).items():
            monkeypatch.setenv(name, value)
        with pytest.raises(SystemExit):
            main([])
        return capsys.readouterr().out

    return press


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
def test_words_that_may_come_next(answer: Answer, line: str, expected: list[str]) -> None:
    assert answer("bash", line).splitlines() == expected


def test_zsh_and_fish_are_also_told_what_each_word_means(answer: Answer) -> None:
    assert answer("zsh", "kflow sco").splitlines() == [
        "plain",
        "score",
        "Compare predicted clusters with reference clusters.",
    ]
    assert answer("fish", "kflow sco").replace("\t", " ").splitlines() == [
        "plain,score Compare predicted clusters with reference clusters."
    ]


def test_an_answer_loads_nothing_heavy() -> None:
    code = "import sys; from kflow_sci.cli.main import main\ntry: main([])\nfinally: print('|'.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **asked("bash", "kflow crystal --gro")},
        capture_output=True,
        text=True,
        check=False,
    )
    words, modules = done.stdout.splitlines()
    assert words == "plain,--groups"
    assert not HEAVY & set(modules.split("|"))


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
