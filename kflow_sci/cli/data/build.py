"""``kflow data build``: turn a folder of crystals into a data set of clusters."""

from __future__ import annotations

from pathlib import Path

import click

from kflow_sci.cli.common import progress_bar
from kflow_sci.cli.data.common import counts, of_many_workers, ready_to_make, tell_store
from kflow_sci.cli.voice import give


@click.command("build")
@click.argument("cif_folder", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--copies",
    type=int,
    default=32,
    show_default=True,
    help="Molecules per cluster; the first n of them are the n nearest, so a large number serves all smaller ones.",
)
@click.option(
    "--centres",
    type=click.Choice(["first", "all"]),
    default="first",
    show_default=True,
    help="One cluster per crystal, or one around each symmetry-independent molecule.",
)
@of_many_workers
def command(
    cif_folder: Path,
    out: Path,
    copies: int,
    centres: str,
    workers: int | None,
    scheduler: str | None,
    force: bool,
) -> None:
    """Read the CIFs of a folder and write the clusters around their central molecules to OUT (a .kfc file).

    Folders in the folder are read too. Each cluster holds the molecules nearest to the central one. Crystals that
    cannot be used are listed with a reason in skipped.csv beside OUT. A run that was killed continues when it is
    called again.
    """
    from kflow_sci.assembly.data.build import build_store

    machines = ready_to_make(out, workers, scheduler, force)
    with progress_bar("reading crystals") as advance:
        report = build_store(cif_folder, out, copies, centres=centres, progress=advance, **machines)
    give(store=out, copies=copies, **vars(report))
    what = f"{report.clusters} clusters of {copies} molecules from {report.crystals} crystals"
    tell_store(out, what, report.clusters, report.reused)
    if report.skipped:
        click.echo(
            f"{report.skipped.total()} crystals skipped ({counts(report.skipped)}): {report.skipped_csv}"
        )
