"""``kflow data export``: a store in the formats of others."""

from __future__ import annotations

from pathlib import Path

import click

from kflow_sci.cli.common import refuse_overwrite
from kflow_sci.cli.data.common import force_option
from kflow_sci.cli.voice import give


@click.command("export")
@click.argument("store", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--layout",
    type=click.Choice(["extxyz", "cluster17", "store"]),
    default="extxyz",
    show_default=True,
    help="extxyz: what kflow score reads. cluster17: the published csv files, in a new folder. store: a .kfc file.",
)
@click.option(
    "--start", is_flag=True, help="Write the initial states (extxyz only; the other layouts hold both)."
)
@click.option("--ids", type=click.Path(path_type=Path), help="Only the ids of this text file, one per line.")
@click.option(
    "--noise",
    type=int,
    metavar="SEED",
    help="Draw initial states: every molecule turned and moved at random.",
)
@click.option(
    "--spread",
    type=float,
    default=0.5,
    show_default=True,
    help="How far --noise moves them: standard deviation per axis, in mean distances of nearest neighbours.",
)
@force_option
def command(
    store: Path,
    out: Path,
    layout: str,
    start: bool,
    ids: Path | None,
    noise: int | None,
    spread: float,
    force: bool,
) -> None:
    """Write the clusters of STORE (a .kfc file) to OUT."""
    from kflow_sci.assembly.data.export import export_store
    from kflow_sci.assembly.data.layout import read_ids

    if out.is_file():
        refuse_overwrite(out.parent, (out.name,), force)
    chosen = None if ids is None else read_ids(ids)
    count = export_store(store, out, layout=layout, start=start, ids=chosen, noise=noise, spread=spread)
    give(clusters=count, out=out, layout=layout)
    click.echo(f"{count} clusters: {out}")
