"""The command ``kflow``: finds the subcommand, and turns every foreseeable failure into one line.

The one idea: subcommands are a table of names, whose modules are imported when called (``cli.lazy``). A subcommand is a
module of ``kflow_sci.cli`` with a click command named ``command``; it raises ``KFlowError`` for bad input and catches
nothing.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click
from click.exceptions import NoArgsIsHelpError

from kflow_sci import __version__
from kflow_sci.cli.lazy import LazyGroup
from kflow_sci.errors import KFlowError

COMMANDS = {
    "assemble": "Make candidate clusters of a molecule, given as a SMILES or a file.",
    "view": "Look at clusters in the browser.",
    "crystal": "Search for the crystals of a molecule, ranked by lattice energy.",
    "data": "Get crystals, and turn them into data sets of clusters.",
    "train": "Train a model as a config says.",
    "score": "Compare predicted clusters with reference clusters.",
    "image": "Images: train, sample, edit, restore, and look at spectra.",
    "bench": "Compare methods under one budget, beside the floors.",
}

BAD_INPUT = 2
BROKEN_PIPE = 1
INTERRUPTED = 130


@click.group(
    cls=LazyGroup,
    table=COMMANDS,
    package="kflow_sci.cli",
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="kflow")
def kflow() -> None:
    """K-Flow: generation along the scales of a structure, from coarse to fine.

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
    try:
        result = kflow.main(args, prog_name="kflow", standalone_mode=False)
        sys.stdout.flush()
    except KFlowError as error:
        return _refuse(str(error))
    except click.UsageError as error:
        return _refuse_usage(error)
    except click.ClickException as error:
        return _refuse(error.format_message())
    except (click.Abort, KeyboardInterrupt) as error:
        if isinstance(error.__cause__, EOFError):  # click reads the end of any file as a user who gave up
            raise error.__cause__ from None
        return _interrupted()
    except BrokenPipeError:
        return _quiet()
    except OSError as error:
        if error.filename is None:
            raise
        return _refuse(f"{os.fsdecode(error.filename)}: {error.strerror}")
    return result if isinstance(result, int) else 0


def _refuse(message: str) -> int:
    click.echo(f"kflow: error: {' '.join(message.split())}", err=True)
    return BAD_INPUT


def _refuse_usage(error: click.UsageError) -> int:
    # A bare "kflow" or "kflow data" is a question, and its answer is the help text, which has many lines.
    if isinstance(error, NoArgsIsHelpError):
        error.show()
        return BAD_INPUT
    if error.ctx is None:
        return _refuse(error.format_message())
    return _refuse(f"{error.format_message()} Try: {error.ctx.command_path} --help")


def _interrupted() -> int:
    click.echo("kflow: interrupted", err=True)
    return INTERRUPTED


def _quiet() -> int:
    # What is still buffered would fail again, loudly, when the interpreter closes its streams.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    return BROKEN_PIPE
