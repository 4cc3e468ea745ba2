"""``kflow data import-cluster17``: the published csv files become one store, and a table of what is left out."""

from __future__ import annotations

from pathlib import Path

import click

from kflow_sci.cli.common import progress_bar
from kflow_sci.cli.data.common import counts, of_many_workers, ready_to_make, tell_store
from kflow_sci.cli.voice import give


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
@of_many_workers
def command(
    raw: Path,
    out: Path,
    subset: str,
    ids: Path | None,
    as_published: bool,
    workers: int | None,
    scheduler: str | None,
    force: bool,
) -> None:
    """Read the csv files of COD-Cluster17 in RAW and write crystals and initial states to OUT (a .kfc file).

    RAW holds the folders FinalPositions and InitialPositions, or a folder raw with them. What the published code drops
    (flat molecules, inertial axes that are not unique) is kept and flagged. What cannot be used is listed with a reason
    in skipped.csv beside OUT. A run that was killed continues when it is called again.
    """
    from kflow_sci.assembly.data.cluster17 import import_cluster17

    machines = ready_to_make(out, workers, scheduler, force)
    with progress_bar("reading clusters") as advance:
        report = import_cluster17(
            raw, out, ids=ids, subset=subset, as_published=as_published, progress=advance, **machines
        )
    give(store=out, **vars(report))
    tell_store(out, f"{report.clusters} of {report.total} clusters", report.clusters, report.reused)
    click.echo(f"by the published code: {counts(report.verdicts)}")
    if report.flags:
        click.echo(f"flagged: {counts(report.flags)}")
    if report.skipped:
        click.echo(f"{report.skipped.total()} skipped ({counts(report.skipped)}): {report.skipped_csv}")
