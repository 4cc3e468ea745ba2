"""``kflow data import-cluster17``: the published csv files become one store, and a table of what is left out."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import click


@click.command("import-cluster17")
@click.argument("raw", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--subset",
    type=click.Choice(["all", "5k", "10k"]),
    default="all",
    show_default=True,
    help="5k and 10k: the ids of processed_5000/valid_idx.txt or processed_10000/valid_idx.txt beside the raw folder.",
)
@click.option(
    "--ids", type=click.Path(path_type=Path), help="A text file with one id per line; its order is kept."
)
@click.option("--as-published", is_flag=True, help="Keep only the clusters that the published code keeps.")
@click.option("--workers", type=int, default=None, help="Processes.  [default: one per core]")
@click.option(
    "--scheduler",
    metavar="ADDRESS",
    help="Work on the machines of a dask scheduler, as tcp://host:8786; all must see both folders.",
)
def command(
    raw: Path,
    out: Path,
    subset: str,
    ids: Path | None,
    as_published: bool,
    workers: int | None,
    scheduler: str | None,
) -> None:
    """Read the csv files of COD-Cluster17 in RAW and write crystals and initial states to OUT (a .kfc file).

    RAW holds the folders FinalPositions and InitialPositions, or a folder raw with them. What the published code drops
    (flat molecules, inertial axes that are not unique) is kept and flagged. What cannot be used is listed with a reason
    in skipped.csv beside OUT. A run that was killed continues when it is called again.
    """
    if scheduler is not None and workers is not None:
        raise click.UsageError(
            "--workers are processes of this machine, --scheduler has its own: give one of them"
        )
    from kflow_sci.assembly.data.cluster17 import import_cluster17
    from kflow_sci.cli.common import cores, progress_bar

    with progress_bar("reading clusters") as advance:
        report = import_cluster17(
            raw,
            out,
            ids=ids,
            subset=subset,
            as_published=as_published,
            workers=cores() if workers is None else workers,
            scheduler=scheduler,
            progress=advance,
        )
    size = out.stat().st_size
    click.echo(
        f"{report.clusters} of {report.total} clusters: {out} "
        f"({size / 1000:.0f} kB, {size / report.clusters:.0f} bytes each)"
    )
    if report.reused:
        click.echo(f"{report.reused} part(s) of an earlier run were used again")
    click.echo(f"by the published code: {_counts(report.verdicts)}")
    if report.flags:
        click.echo(f"flagged: {_counts(report.flags)}")
    if report.skipped:
        click.echo(f"{report.skipped.total()} skipped ({_counts(report.skipped)}): {report.skipped_csv}")


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{word} {count}" for word, count in counter.most_common())
