"""``kflow data build``: turn a folder of crystals into a data set of clusters."""

from __future__ import annotations

from pathlib import Path

import click


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
@click.option("--workers", type=int, default=None, help="Processes.  [default: one per core]")
@click.option(
    "--scheduler",
    metavar="ADDRESS",
    help="Work on the machines of a dask scheduler, as tcp://host:8786; all must see both folders.",
)
def command(
    cif_folder: Path, out: Path, copies: int, centres: str, workers: int | None, scheduler: str | None
) -> None:
    """Read the CIFs of a folder and write the clusters around their central molecules to OUT (a .kfc file).

    Folders in the folder are read too. Each cluster holds the molecules nearest to the central one. Crystals that
    cannot be used are listed with a reason in skipped.csv beside OUT. A run that was killed continues when it is
    called again.
    """
    if scheduler is not None and workers is not None:
        raise click.UsageError(
            "--workers are processes of this machine, --scheduler has its own: give one of them"
        )
    from kflow_sci.assembly.data.build import build_store
    from kflow_sci.cli.common import cores, progress_bar

    with progress_bar("reading crystals") as advance:
        report = build_store(
            cif_folder,
            out,
            copies,
            centres=centres,
            workers=cores() if workers is None else workers,
            scheduler=scheduler,
            progress=advance,
        )
    size = out.stat().st_size
    click.echo(
        f"{report.clusters} clusters of {copies} molecules from {report.crystals} crystals: {out} "
        f"({size / 1000:.0f} kB, {size / report.clusters:.0f} bytes each)"
    )
    if report.reused:
        click.echo(f"{report.reused} part(s) of an earlier run were used again")
    if report.skipped:
        reasons = ", ".join(f"{reason} {count}" for reason, count in report.skipped.most_common())
        click.echo(f"{report.skipped.total()} crystals skipped ({reasons}): {report.skipped_csv}")
