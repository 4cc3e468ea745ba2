"""``kflow crystal``: a molecule in, its crystals of lowest lattice energy out.

The one idea: finished trials are kept beside the results until all are done, so a search that was stopped shows what it
found and goes on when it is called again.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kflow_sci.cli.common import (
    INTERRUPTED,
    command_line,
    cores,
    files_too,
    out_dir,
    output_options,
    progress_bar,
    refuse_overwrite,
    show_ranked,
    write_settings,
)
from kflow_sci.cli.types import TIME
from kflow_sci.cli.voice import give, resumable
from kflow_sci.errors import PackingError

if TYPE_CHECKING:
    from kflow_sci.assembly.lattice.packing import Packing
    from kflow_sci.assembly.search.run import SearchResult
    from kflow_sci.assembly.search.setup import Problem

FILES = ("crystals.csv", "clusters.extxyz", "best.png", "report.html", "settings.json")
UNKNOWN = (
    "What this does not know: temperature, disorder, flexible molecules (each conformer is rigid), molecules on "
    "symmetry elements (found in a group of lower symmetry), and which polymorph grows."
)


@click.command(name="crystal")
@click.argument("source", metavar="INPUT", shell_complete=files_too)
@click.option("--groups", default="common", show_default=True, help="Space groups: common, or P21/c,P-1,…")
@click.option("--trials", type=int, default=1000, show_default=True, help="Starts.")
@click.option("--time", "seconds", type=TIME, help="Start no more trials after this time: 60s, 5min.")
@click.option("--keep", type=int, default=30, show_default=True, help="Crystals to keep.")
@click.option(
    "--proposals",
    default="random",
    show_default=True,
    help="Where trials start: random, flow (learned), or mixed (every second one learned).",
)
@click.option(
    "--weights",
    type=click.Path(path_type=Path),
    help="For flow and mixed: what `kflow train configs/proposals/kflow.yaml` made.",
)
@click.option(
    "--conformers",
    type=int,
    default=1,
    show_default=True,
    help="Conformers of a SMILES to try, lowest first.",
)
@click.option("--z-prime", type=int, default=1, show_default=True, help="Independent molecules, 1 or 2.")
@click.option(
    "--charges", default="auto", show_default=True, help="auto, none, or a model the force field has."
)
@click.option("--rerank", metavar="MODULE:NAME", help="Sort by an ASE calculator, such as tblite.ase:TBLite.")
@click.option("--copies", type=int, help="Molecules per cluster in clusters.extxyz.  [default: 17]")
@click.option(
    "--workers", type=int, help="Processes; they do not change the answer.  [default: one per core]"
)
@click.option("--seed", type=int, default=0, show_default=True, help="The same seed gives the same crystals.")
@output_options("kflow-crystals")
def command(
    source: str,
    groups: str,
    trials: int,
    seconds: float | None,
    keep: int,
    proposals: str,
    weights: Path | None,
    conformers: int,
    z_prime: int,
    charges: str,
    rerank: str | None,
    copies: int | None,
    workers: int | None,
    seed: int,
    out: Path,
    force: bool,
) -> int:
    """Search for the crystals of a rigid molecule: random starts, relaxed in a force field, ranked by lattice energy.

    INPUT is a SMILES or a file (xyz, extxyz, sdf, mol, mol2, pdb, cif). Ctrl-C ends the search and shows what it found;
    called again, it goes on.

    \b
    Example:  kflow crystal "O=C1NC(=O)c2ccccc12" --time 60s --out phthalimide
    """
    from kflow_sci.assembly import DEFAULT_COPIES
    from kflow_sci.assembly.data.parts import clear_parts, parts_folder
    from kflow_sci.assembly.proposals.named import make_proposal
    from kflow_sci.assembly.search.run import check_options, search
    from kflow_sci.assembly.search.setup import make_field, make_problem, read_conformers

    check_options(trials, keep, seconds, 1 if workers is None else workers)
    count = DEFAULT_COPIES if copies is None else copies
    if count < 1:
        raise PackingError(f"copies is {count}, but a cluster has at least 1 molecule: give a larger number")
    calculator = _calculator(rerank)
    shapes, strain = read_conformers(source, conformers, seed)
    problem = make_problem(shapes, strain, groups, z_prime, seed)
    proposal = make_proposal(problem, proposals, weights)
    field = make_field(shapes, charges)
    parts = out / ".trials.parts"
    refuse_overwrite(out, FILES, force or parts.is_dir())
    out_dir(out)
    folder = parts_folder(out / "trials")
    resumable()
    with progress_bar(shapes[0].formula, trials) as advance:
        result = search(
            proposal,
            field,
            trials=trials,
            keep=keep,
            seconds=seconds,
            workers=cores() if workers is None else workers,
            folder=folder,
            progress=lambda done, total, lowest: advance(
                done, total, None if lowest is None else f"best {lowest:.1f} kJ/mol"
            ),
            polish_progress=lambda done, total: advance(done, total, "polishing"),
        )
    packings = result.packings
    if calculator is not None:
        from kflow_sci.assembly.search.rerank import rerank as sort_again

        with progress_bar(str(rerank), len(packings)) as advance:
            packings = sort_again(packings, calculator(), progress=advance)
    settings = {
        "command": command_line(), "input": source,
        "groups": [group.name for group in problem.groups], "trials": trials, "time": seconds,
        "keep": keep, "proposals": proposals, "conformers": len(shapes), "z_prime": z_prime, "seed": seed,
        "contacts": field.name, "charges": field.charge_name, "rerank": rerank,
        "trials_done": result.trials, "failures": dict(result.failures), "stopped": result.stopped,
        "seconds": round(result.seconds, 1),
    }  # fmt: skip
    rows = _write(out, problem, packings, count, settings)
    if not result.stopped:
        clear_parts(folder)
    give(folder=out, files=[*FILES, "crystals"], settings=settings, crystals=rows)
    _show(problem, result, packings, out)
    return INTERRUPTED if result.stopped == "interrupted" else 0


def _calculator(name: str | None) -> Callable[[], Any] | None:
    if name is None:
        return None
    from kflow_sci.assembly.search.rerank import find_calculator

    return find_calculator(name)


def _write(
    folder: Path, problem: Problem, packings: list[Packing], copies: int, settings: dict[str, object]
) -> list[dict[str, Any]]:
    """Write the files; returns the rows of the table."""
    from dataclasses import replace

    from kflow_sci.assembly.lattice.cif import write_cif
    from kflow_sci.assembly.lattice.cutting import cluster_from_packing
    from kflow_sci.assembly.writing import write_clusters
    from kflow_sci.files import output_folder
    from kflow_sci.report.page.document import write_page
    from kflow_sci.report.page.payload import Candidate
    from kflow_sci.report.plots import draw_clusters
    from kflow_sci.report.tables import write_csv

    molecule = problem.conformers[0]
    named = [
        replace(packing, info={**packing.info, "id": f"{molecule.formula}-{packing.info['rank']:03d}"})
        for packing in packings
    ]
    clusters = [cluster_from_packing(packing, copies) for packing in named]
    place = output_folder(folder / "crystals")
    names = [f"{packing.info['rank']:03d}.cif" for packing in named]
    for name, packing in zip(names, named, strict=True):
        write_cif(place / name, packing)
    for old in place.glob("*.cif"):  # of an earlier search that kept more
        if re.fullmatch(r"\d{3,}\.cif", old.name) and old.name not in names:
            old.unlink()
    write_clusters(folder / "clusters.extxyz", clusters)
    rows = [{**_row(packing), "file": f"crystals/{name}"} for name, packing in zip(names, named, strict=True)]
    write_csv(folder / "crystals.csv", rows)
    draw_clusters(clusters, folder / "best.png")
    record = write_settings(folder, {"formula": molecule.formula, "smiles": molecule.smiles, **settings})
    write_page(
        folder / "report.html",
        [Candidate(cluster) for cluster in clusters],
        title=f"Crystals of {molecule.name or molecule.formula}",
        command=str(settings["command"]),
        made={key: value for key, value in record.items() if key != "command"},
    )
    return rows


def _row(packing: Packing) -> dict[str, Any]:
    info = packing.info
    cell = zip(("a", "b", "c", "alpha", "beta", "gamma"), packing.parameters, strict=True)
    return {
        **{
            key: info[key]
            for key in ("rank", "energy", "above", "strain", "density", "space_group")
            if key in info
        },
        **{key: round(value, 4) for key, value in cell},
        **{key: info[key] for key in ("volume", "found", "trial", "rank_before") if key in info},
    }


def _show(problem: Problem, result: SearchResult, packings: list[Packing], folder: Path) -> None:
    from kflow_sci.report.tables import Column

    columns = (
        Column("rank", "rank"),
        Column("above", "above lowest kJ/mol", 2),
        Column("energy", "energy kJ/mol", 2),
        Column("space_group", "group"),
        Column("density", "g/cm³", 3),
        Column("volume", "Å³/molecule", 1),
        Column("found", "found"),
    )
    show_ranked(
        f"{len(packings)} crystals of {problem.conformers[0].formula} from {result.trials} trials, best first",
        columns,
        [packing.info for packing in packings],
        folder / "crystals.csv",
    )
    if result.failures:
        reasons = ", ".join(f"{reason} {count}" for reason, count in result.failures.most_common(3))
        click.echo(f"{result.failures.total()} trials gave no crystal ({reasons})")
    if result.stopped:
        click.echo(f"Stopped ({result.stopped}): the same command goes on from here.")
    click.echo(
        f"Look at {folder / 'report.html'} in a browser, or best.png; crystals are in {folder / 'crystals'}, "
        "clusters in clusters.extxyz."
    )
    click.echo(UNKNOWN)
