"""``kflow score``: any program's clusters against reference clusters, the same code for everyone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from kflow_sci.cli.common import INTERRUPTED, out_dir, progress_bar, refuse_overwrite
from kflow_sci.cli.voice import give

if TYPE_CHECKING:
    from rich.table import Table

    from kflow_sci.assembly.scoring.results import Report

WIDE = 130  # columns of a terminal that has room for explanations
SHORT = {"molecules": "mol.", "pairs/molecule": "per mol."}  # units that would not fit
ARROWS = {"lower": "↓", "higher": "↑", "target 1": "1"}


@click.command(name="score")
@click.argument("pred", type=click.Path(path_type=Path))
@click.argument("ref", type=click.Path(path_type=Path), required=False)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder for scores.json, scores.csv (a row per sample) and crystals.csv (a row per reference).",
)
@click.option("--force", is_flag=True, help="Overwrite results that are there.")
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the bootstrap intervals."
)
@click.option("--measures", metavar="A,B", help="Only these measures; the published ones are always there.")
@click.option(
    "--energy",
    metavar="NAME",
    help="Also energies: mmff or uff (fast), gfn2, gfn1, gfnff (slow), ase:MODULE.CLASS.",
)
@click.option(
    "--size",
    type=click.IntRange(min=1),
    default=15,
    show_default=True,
    help="Molecules compared by the overlay.",
)
@click.option(
    "--distance",
    type=float,
    default=0.2,
    show_default=True,
    help="Relative distance tolerance of the overlay.",
)
@click.option(
    "--angle", type=float, default=20.0, show_default=True, help="Angle tolerance of the overlay, degrees."
)
@click.option("--mirror", is_flag=True, help="The overlay may invert a prediction.")
def command(
    pred: Path,
    ref: Path | None,
    out: Path | None,
    force: bool,
    seed: int,
    measures: str | None,
    energy: str | None,
    size: int,
    distance: float,
    angle: float,
    mirror: bool,
) -> int:
    """Compare predicted clusters PRED with reference clusters REF.

    Both are xyz or extended xyz files, one frame per cluster, atoms in the same order. Frames with the same id
    in their info belong together, so there may be several samples per reference; without ids frames are matched by
    order, and a single reference takes them all. Molecules are told by the column `molecule`, else by bonds.

    PRED may also be the folder of batch_*.pt files that AssembleFlow's own code writes. They hold their truths; with
    a REF each is found there by its elements and distances.

    Ctrl-C ends the work and reports the references that were done.

    \b
    Example:  kflow score clusters.extxyz crystal.extxyz --out scores
    """
    from kflow_sci.assembly.scoring.measures import Settings
    from kflow_sci.assembly.scoring.reading import read_groups
    from kflow_sci.assembly.scoring.report import choose, score_groups
    from kflow_sci.assembly.scoring.results import FILES, write_report

    settings = Settings(size, distance, angle, mirror)
    settings.check()
    names = tuple(filter(None, map(str.strip, (measures or "").split(","))))
    choose(names)
    function = None
    if energy is not None:
        from kflow_sci.assembly.energy.calculators import energy_function

        function = energy_function(energy)
    groups, data = read_groups(pred, ref)
    if energy is not None:
        data["energy"] = energy
    if out is not None:
        refuse_overwrite(out, FILES, force)
        out_dir(out)
    with progress_bar("scoring", sum(len(samples) for _, samples in groups)) as advance:
        report = score_groups(
            groups,
            names,
            seed=seed,
            settings=settings,
            energy=function,
            data=data,
            progress=advance,
            partial=True,
        )
    if out is not None:
        write_report(report, out)
    give(**report.to_json(), **({} if out is None else {"folder": out, "files": list(FILES)}))
    _show(report)
    if out is not None:
        click.echo(f"Wrote {', '.join(FILES)} to {out}.")
    if left := report.meta.get("stopped"):
        click.echo(f"kflow: interrupted: {left} of {len(groups)} references are not scored", err=True)
        return INTERRUPTED
    return 0


def _show(report: Report) -> None:
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    from kflow_sci.assembly.scoring.floors import FLOORS, FLOORS_OF

    meta = report.meta
    console = Console(markup=False, highlight=False)
    table = Table(
        title=f"Scores, {meta['samples']} samples of {meta['references']} references",
        title_justify="left",
        box=SIMPLE,
        padding=(0, 1, 0, 0),
    )
    table.add_column("measure", no_wrap=True)
    for head in ("mean", "95 %", "best", "failed", "floor"):
        table.add_column(head, justify="right", no_wrap=True)
    wide = console.width >= WIDE
    if wide:
        table.add_column("n", justify="right")
        table.add_column("what it is")
    chance = next(iter(FLOORS.values()))
    for line in report.summary:
        measure = line.measure
        unit = SHORT.get(measure.unit, measure.unit)
        name = f"{ARROWS[measure.better]} {measure.name}" + (f", {unit}" if unit else "")
        cells = [
            name,
            _number(line.mean.mean),
            _interval(line.mean.low, line.mean.high),
            _number(line.best.mean),
            str(line.failed),
            _number(chance.get(measure.name, float("nan"))),
        ]
        table.add_row(*cells, *([str(line.mean.n), measure.text] if wide else []))
    console.print(table)
    console.print(_published_table(report))
    console.print(
        "↓ lower is better, ↑ higher is better, 1 should be 1; best: of the samples of each reference"
        + ("; n: references behind the mean." if wide else ".")
    )
    console.print(
        f"floor: {next(iter(FLOORS))}; truth: {list(FLOORS)[-1]}; {FLOORS_OF}. More floors are in the json."
    )
    console.print(
        "Published means take the best repeat of each cluster; the second drops PM above 100 Å or not a number. "
        "PM by index scores a renumbered perfect crystal like a random heap."
    )
    if meta["failed_samples"]:
        console.print(
            f"{meta['failed_samples']} sample(s) failed: not made, or coordinates not finite or beyond 1e6 Å."
        )
    if meta["noted_samples"]:
        first = next(row for row in report.rows if row["note"])
        console.print(
            f"{meta['noted_samples']} sample(s) lack some measure; sample {first['sample']} of {first['id']}: "
            f"{first['note']}"
        )
    if report.missing:
        shown = ", ".join(report.missing[:5]) + (" …" if len(report.missing) > 5 else "")
        console.print(
            f"{len(report.missing)} reference(s) have no sample ({shown}): they count as failed in the shares and in "
            "overlay_n, and are in no other mean."
        )


def _published_table(report: Report) -> Table:
    from rich.box import SIMPLE
    from rich.table import Table

    from kflow_sci.assembly.scoring.floors import FLOORS

    table = Table(
        title="Published protocol (AssembleFlow's definitions)",
        title_justify="left",
        box=SIMPLE,
        padding=(0, 1, 0, 0),
    )
    for head in ("measure", "first", "95 %", "second", "kept", "floor", "truth"):
        table.add_column(head, justify="left" if head == "measure" else "right", no_wrap=True)
    ends = (next(iter(FLOORS.values())), list(FLOORS.values())[-1])
    for name, entry in report.published.items():
        interval = _interval(entry["low"], entry["high"]) if "low" in entry else ""
        second = (_number(entry["second"]), _number(entry["kept"])) if "second" in entry else ("", "")
        floors = [_number(values[name]) for values in ends]
        title = f"{ARROWS[entry['better']]} {name}, {entry['unit']}"
        table.add_row(title, _number(entry["first"]), interval, *second, *floors)
    return table


def _interval(low: float, high: float) -> str:
    return f"[{_number(low)}, {_number(high)}]"


def _number(value: float) -> str:
    """Four digits or so."""
    from kflow_sci.report.tables import show

    decimals = 3 if abs(value) < 10 else 2 if abs(value) < 100 else 1
    return show(0.0 if abs(value) < 5e-4 else value, decimals)
