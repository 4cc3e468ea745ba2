"""The command ``kflow``: finds the subcommand, and turns every foreseeable failure into one line.

The one idea: subcommands are a table of names, whose modules are imported when called (``cli.lazy``). A subcommand is a
module of ``kflow_sci.cli`` with a click command named ``command``; it raises ``KFlowError`` for bad input and catches
nothing.
"""

from __future__ import annotations

import io
import os
import sys
import traceback
from collections.abc import Sequence

import click
from click.exceptions import NoArgsIsHelpError

from kflow_sci import __version__
from kflow_sci.cli.common import INTERRUPTED
from kflow_sci.cli.interrupts import wait_for_compiled_code
from kflow_sci.cli.lazy import LazyGroup
from kflow_sci.cli.voice import Voice
from kflow_sci.errors import KFlowError

COMMANDS = {
    "assemble": "Make candidate clusters of a molecule: a SMILES or a file.",
    "view": "Look at clusters in the browser.",
    "crystal": "Search for the crystals of a molecule, ranked by energy.",
    "score": "Compare predicted clusters with reference clusters.",
    "train": "Train a model as a config says.",
}
MORE = {
    "data": "data sets",
    "image": "the same flow on images",
    "bench": "methods under one budget",
    "completion": "words by Tab",
}

CLOSED_PIPE = 1
BAD_INPUT = 2


@click.group(
    cls=LazyGroup,
    table=COMMANDS,
    more=MORE,
    package="kflow_sci.cli",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Each command takes --json, --quiet and -v. Exit codes: 0 done, 2 bad input, 130 interrupted, 1 a fault of "
    "kflow.",
)
@click.version_option(__version__, prog_name="kflow")
def kflow() -> None:
    """K-Flow: structures made scale by scale, from coarse to fine.

    \b
    Start with:  kflow assemble "CC(=O)Oc1ccccc1C(=O)O" --samples 10
    """


def main(args: Sequence[str] | None = None) -> int:
    """Run ``kflow`` and say how it went.

    Args:
        args: The words after ``kflow``; those of this process when None.

    Returns:
        The exit code: 0 done, 1 the reader of the output went away, 2 bad input (after one line on standard error),
        130 interrupted. Errors that are our own fault are not caught: their traceback is what a bug report needs.
    """
    words = list(sys.argv[1:] if args is None else args)
    voice = Voice(words)
    _speak_any_language()
    wait_for_compiled_code()
    try:
        result = kflow.main(words, prog_name="kflow", standalone_mode=False, obj=voice)
        code = result if isinstance(result, int) else 0
        voice.finish(code)
        sys.stdout.flush()
    except KFlowError as error:
        return _refuse(str(error), voice)
    except click.UsageError as error:
        return _refuse_usage(error, voice)
    except click.ClickException as error:
        return _refuse(error.format_message(), voice)
    except (click.Abort, KeyboardInterrupt) as error:
        if isinstance(error.__cause__, EOFError):  # click reads the end of any file as a user who gave up
            raise error.__cause__ from None
        return _interrupted(voice)
    except BrokenPipeError:
        return _quiet()
    except OSError as error:
        if error.filename is None:
            raise
        return _refuse(f"{os.fsdecode(error.filename)}: {error.strerror}", voice)
    return code


def _speak_any_language() -> None:
    """Where the terminal does not know Å, a question mark is better than no result."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _refuse(message: str, voice: Voice) -> int:
    text = " ".join(message.split())
    if voice.verbose:
        traceback.print_exc()
    click.echo(f"kflow: error: {text}", err=True)
    return _end(BAD_INPUT, text, voice)


def _refuse_usage(error: click.UsageError, voice: Voice) -> int:
    # A bare "kflow" or "kflow data" is a question, and its answer is the help text, which has many lines.
    if isinstance(error, NoArgsIsHelpError):
        error.show()
        return BAD_INPUT
    if error.ctx is None:
        return _refuse(error.format_message(), voice)
    return _refuse(f"{error.format_message()} Try: {error.ctx.command_path} --help", voice)


def _interrupted(voice: Voice) -> int:
    text = "interrupted" + (f": {voice.hint}" if voice.hint else "")
    click.echo(f"kflow: {text}", err=True)
    return _end(INTERRUPTED, text, voice)


def _end(code: int, error: str, voice: Voice) -> int:
    try:
        # A word that cannot be read is refused before the switches are seen.
        voice.as_json = voice.as_json or "--json" in voice.words
        voice.finish(code, error)
        sys.stdout.flush()
    except BrokenPipeError:
        _quiet()
    return code


def _quiet() -> int:
    # What is still buffered would fail again, loudly, when the interpreter closes its streams.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    return CLOSED_PIPE
