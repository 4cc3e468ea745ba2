"""``kflow data make-crystals``: a list of molecules in, a data set of computed crystals out."""

from __future__ import annotations

from pathlib import Path

import click

from kflow_sci.cli.common import progress_bar
from kflow_sci.cli.data.common import counts, of_many_workers, ready_to_make, tell_store
from kflow_sci.cli.voice import give


@click.command("make-crystals")
@click.argument("smiles_file", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--molecules", type=int, help="Use so many from the top of the list.  [default: all]")
@click.option("--trials", type=int, default=100, show_default=True, help="Random starts per molecule.")
@click.option(
    "--keep", type=int, default=5, show_default=True, help="Distinct crystals per molecule, at most."
)
@click.option(
    "--window",
    type=float,
    default=10.0,
    show_default=True,
    help="Leave out crystals so much above the lowest of their molecule, kJ/mol.",
)
@click.option("--copies", type=int, default=32, show_default=True, help="Molecules per stored cluster.")
@click.option("--groups", default="common", show_default=True, help="Space groups: common, or P21/c,P-1,…")
@click.option(
    "--exclude",
    type=click.Path(path_type=Path),
    help="A csv with a column inchikey: molecules that must not be used.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="The same seed gives the same crystals.")
@of_many_workers
def command(
    smiles_file: Path,
    out: Path,
    molecules: int | None,
    trials: int,
    keep: int,
    window: float,
    copies: int,
    groups: str,
    exclude: Path | None,
    seed: int,
    workers: int | None,
    scheduler: str | None,
    force: bool,
) -> None:
    """Search crystals of the molecules of SMILES_FILE and write the best of each to OUT (a .kfc file).

    SMILES_FILE holds one SMILES per line, or is a csv with a column smiles. Beside OUT appear a csv, which says of
    every molecule what was made or why nothing was, and a card. A run that was stopped continues when it is called
    again.

    \b
    Example:  kflow data make-crystals datasets/molecules/molecules.csv crystals.kfc --molecules 2000
    """
    from kflow_sci.assembly.search.factory import make_crystals
    from kflow_sci.assembly.search.listing import Recipe

    recipe = Recipe(trials, keep, window, copies, groups, seed)
    beside = (out.with_suffix(".csv").name, out.with_suffix(".md").name)
    machines = ready_to_make(out, workers, scheduler, force, beside)
    with progress_bar("making crystals") as advance:
        report = make_crystals(
            smiles_file, out, recipe, molecules=molecules, exclude=exclude, progress=advance, **machines
        )
    give(store=out, **vars(report))
    tell_store(out, f"{report.crystals} crystals of {report.molecules} molecules", report.crystals)
    click.echo(f"{report.table} says what became of each molecule, {report.card} how all was made")
    if report.skipped:
        click.echo(f"{report.skipped.total()} molecules without crystals ({counts(report.skipped)})")
