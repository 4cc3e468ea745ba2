"""``kflow bench``: every method under one budget, in one table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from kflow_sci.cli.common import Advance, command_line, cores, out_dir, progress_bar
from kflow_sci.cli.voice import give, resumable, speaks, voice


class SeedsCommand(click.Command):
    """Takes ``--seeds 0 42 123`` as people write it: click gives an option one word, so the option is repeated."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Repeat the option before each number."""
        words: list[str] = []
        inside = False
        for word in args:
            number = word.isdecimal()
            if inside and number and words[-1] != "--seeds":
                words.append("--seeds")
            inside = word == "--seeds" or (inside and number)
            words.append(word)
        return super().parse_args(ctx, words)


@click.group("bench")
def command() -> None:
    """Compare methods under one budget, beside the floors."""


@speaks
@command.command("cluster17", cls=SeedsCommand)
@click.option(
    "--data", "stores", type=click.Path(path_type=Path), multiple=True, required=True, metavar="STORE",
    help="Clusters, from kflow data; may be given several times.",
)  # fmt: skip
@click.option(
    "--split", type=click.Path(path_type=Path), help="Csv with id and split.  [default: by molecule, seed 0]"
)
@click.option(
    "--methods", default="all", show_default=True, metavar="A,B", help="all, names, or NAME=CONFIG.yaml."
)
@click.option("--budget", metavar="B", help="cpu-5m, cpu-1h, gpu-1h, full, or minutes.  [default: cpu-5m]")
@click.option("--steps", type=int, help="A number of training steps instead of a budget in time.")
@click.option(
    "--seeds",
    type=click.IntRange(min=0),
    multiple=True,
    default=(0,),
    metavar="N …",
    help="0 42 123, say.  [default: 0]",
)
@click.option(
    "--samples", type=click.IntRange(min=1), default=5, show_default=True, help="Per test crystal and seed."
)
@click.option("--test-limit", type=int, metavar="N", help="No more test crystals than this.")
@click.option("--copies", type=int, help="Molecules per cluster.  [default: that of the published set]")
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("runs/bench"), show_default=True, help="All cells."
)
@click.option(
    "--table",
    type=click.Path(path_type=Path),
    metavar="STEM",
    help="Where the tables go.  [default: OUT/cluster17]",
)
@click.option(
    "--configs",
    type=click.Path(path_type=Path),
    default=Path("configs"),
    show_default=True,
    help="Folder of the configs.",
)
@click.option("--device", help="auto, cpu, cuda, cuda:N.  [default: that of the budget]")
@click.option("--threads", type=click.IntRange(min=1), help="Of each process.  [default: all cores]")
@click.option("--force", is_flag=True, help="Do again what is done.")
def cluster17(
    stores: tuple[Path, ...],
    split: Path | None,
    methods: str,
    budget: str | None,
    steps: int | None,
    seeds: tuple[int, ...],
    samples: int,
    test_limit: int | None,
    copies: int | None,
    out: Path,
    table: Path | None,
    configs: Path,
    device: str | None,
    threads: int | None,
    force: bool,
) -> None:
    """Train, sample and score methods on the clusters of STORE, and write one table.

    Every learned method trains as long as the others, on the same clusters; floors stand beside them. Each cell
    (method, seed, stage) is kept in OUT and taken from there as long as config, data, code and budget are the same, so
    the same command continues a run that was stopped. A method that fails is shown with its reason.

    \b
    Example:  kflow bench cluster17 --data experimental.kfc --methods kflow,packmol --budget cpu-5m --seeds 0 42
    """
    from kflow_sci.assembly import DEFAULT_COPIES
    from kflow_sci.bench.budget import read_budget
    from kflow_sci.bench.document import Document, summary, write_document
    from kflow_sci.bench.gather import gather
    from kflow_sci.bench.methods import choose_methods
    from kflow_sci.bench.plot import draw
    from kflow_sci.bench.run import Plan, run_bench
    from kflow_sci.bench.task import make_task

    chosen, added = choose_methods(methods)
    limit = read_budget(budget, steps)
    numbers = _distinct(seeds)
    out_dir(out)
    task = make_task(stores, split, out, copies or DEFAULT_COPIES, test_limit)
    plan = Plan(
        root=out, task=task, methods=chosen, seeds=numbers, samples=samples, budget=limit,
        device=device or limit.device, threads=threads or cores(), configs=configs,
    )  # fmt: skip
    resumable("what was done is kept, and the same command without --force goes on from there")
    if added and not voice().quiet:
        click.echo(f"{', '.join(added)} is added: K-Flow is shown beside plain flow matching.", err=True)
    with progress_bar("methods and seeds", len(chosen) * len(numbers)) as advance:
        outcomes = run_bench(plan, force=force, tell=_Teller(advance))
    lines = gather(outcomes)
    stem = table or out / "cluster17"
    written = write_document(Document(plan, lines, command_line(without="--force"), added), stem)
    picture = stem.with_name(f"{stem.name}.png")
    if draw(lines, picture):
        written.append(picture)
    give(files=written, folder=out, methods=[{"method": line.method.name, **line.row} for line in lines])
    for line in lines:
        click.echo(summary(line))
    click.echo(f"Wrote {', '.join(map(str, written))}.")


class _Teller:
    """Says on standard error how each cell went, and moves the bar."""

    def __init__(self, advance: Advance) -> None:
        self.advance = advance
        self.done = 0

    def __call__(self, line: str) -> None:
        self.done += 1
        if not voice().quiet:
            click.echo(line, err=True)
        self.advance(self.done)


def _distinct(seeds: Sequence[int]) -> list[int]:
    from kflow_sci.errors import ConfigError

    if len(set(seeds)) < len(seeds):
        raise ConfigError(f"--seeds {' '.join(map(str, seeds))}: one is given twice: remove it")
    return list(seeds)
