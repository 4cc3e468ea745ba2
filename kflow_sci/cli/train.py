"""``kflow train``: a config in, a run folder with weights out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from kflow_sci.cli.common import INTERRUPTED, command_line, out_dir
from kflow_sci.cli.types import TIME
from kflow_sci.cli.voice import give, voice

if TYPE_CHECKING:
    from kflow_sci.training.module import FitResult

Start = Literal["auto", "resume", "fresh"]


def of_a_run(command: Callable[..., Any]) -> Callable[..., Any]:
    """Argument and options of every command that trains; what they say is read by ``read_options``."""
    for add in (
        click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N or mps."),
        click.option(
            "--time",
            "seconds",
            type=TIME,
            help="Stop after this much time in training steps (300s, 5min, 1h), instead of `minutes` in the config.",
        ),
        click.option(
            "--resume/--fresh",
            default=None,
            help="Insist on continuing a run, or start over.  [default: continue what is there, else begin]",
        ),
        click.option(
            "--out", type=click.Path(path_type=Path), help="Run folder, instead of the one in the config."
        ),
        click.argument("config", type=click.Path(path_type=Path)),
    ):
        command = add(command)
    return command


def read_options(
    out: Path | None, resume: bool | None, seconds: float | None
) -> tuple[dict[str, Any], Start]:
    """Keys of the config that the command line replaces, and how to start."""
    replaced: dict[str, Any] = {} if out is None else {"out": str(out)}
    if seconds is not None:
        replaced["minutes"] = seconds / 60
    return replaced, "auto" if resume is None else "resume" if resume else "fresh"


@click.command("train")
@of_a_run
def command(config: Path, out: Path | None, resume: bool | None, seconds: float | None, device: str) -> int:
    """Train a model as CONFIG, a complete yaml file, says: K-Flow, or the rival that its key `method` names.

    A run that was interrupted, even killed, continues when the same command is given again. best.safetensors in the
    run folder is the model at its best validation.

    With a time limit the learning rate falls to zero at the limit, or at the last step if that comes first. How many
    steps fit depends on the machine, so such a run is not repeatable to the bit.

    Several processes:  torchrun --nproc-per-node 2 -m kflow_sci train CONFIG
    """
    from kflow_sci.training.methods import read_train_config

    replaced, start = read_options(out, resume, seconds)
    settings = read_train_config(config, **replaced)
    out_dir(settings.out)

    from kflow_sci.training.clusters import train_clusters
    from kflow_sci.training.packings import PackingConfig, train_packings

    show = not voice().quiet
    if isinstance(settings, PackingConfig):
        result = train_packings(settings, device=device, start=start, show=show)
    else:
        result = train_clusters(settings, device=device, start=start, show=show)
    if result.first:
        give(**values_of(result, settings.steps))
        click.echo(report(result, settings.steps, command_line(without="--fresh")))
    return 0 if result.finished else INTERRUPTED


def values_of(result: FitResult, steps: int) -> dict[str, Any]:
    """What a program wants to know of a run; ``steps`` is how far it was to come."""
    return {
        "folder": result.folder,
        "step": result.step,
        "steps": steps,
        "finished": result.finished,
        "best": None if result.best is None else {key: result.best[key] for key in ("step", "metrics")},
        "weights": None if result.best is None else result.folder / "best.safetensors",
    }


def report(result: FitResult, steps: int, again: str) -> str:
    """What is said at the end of a run.

    Args:
        result: How far it came.
        steps: How far it was to come.
        again: The command that continues it.
    """
    if not result.finished:
        return f"Stopped at step {result.step} of {steps}, saved in {result.folder}. Continue with:  {again}"
    if result.best is None:
        return f"{result.step} steps done, but no validation gave a finite score: see {result.folder}/validation.csv"
    scores = ", ".join(
        f"{name} {value:.4g}" for name, value in result.best["metrics"].items() if value is not None
    )
    best = result.folder / "best.safetensors"
    return f"{result.step} steps done. Best at step {result.best['step']} ({scores}): {best}"
