"""``kflow data split``: a table that says which crystal trains and which is tested."""

from __future__ import annotations

from pathlib import Path

import click

from kflow_sci.cli.common import refuse_overwrite
from kflow_sci.cli.data.common import force_option
from kflow_sci.cli.voice import give


@click.command("split")
@click.argument("store", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The csv file to write.")
@click.option("--seed", type=int, default=0, show_default=True, help="Another seed gives another split.")
@click.option(
    "--val", type=float, default=0.1, show_default=True, help="Expected share of molecules for validation."
)
@click.option(
    "--test", type=float, default=0.1, show_default=True, help="Expected share of molecules for testing."
)
@click.option(
    "--as-published",
    is_flag=True,
    help="The random 80/10/10 split over clusters of the published code (its seeds: 0, 42, 123).",
)
@force_option
def command(
    store: Path, out: Path, seed: int, val: float, test: float, as_published: bool, force: bool
) -> None:
    """Divide the crystals of STORE (a .kfc file) by molecule: all packings of a molecule are in one part.

    The part follows from the molecule and the seed alone, so it is the same in every subset of a set.
    """
    from kflow_sci.assembly.data.split import split_store

    if out.is_file():
        refuse_overwrite(out.parent, (out.name,), force)
    report = split_store(store, out, seed, val=val, test=test, as_published=as_published)
    give(out=out, **vars(report))
    parts = ", ".join(
        f"{part} {report.crystals[part]} ({report.molecules[part]} molecules)"
        for part in ("train", "val", "test", "none")
        if report.crystals[part]
    )
    click.echo(f"{report.crystals.total()} crystals: {parts}: {out}")
    if as_published:
        click.echo(
            f"{report.leaked} crystals of the test part are packings of a molecule in the training part"
        )
