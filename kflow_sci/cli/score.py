"""``kflow score``: any program's clusters against reference clusters, the same code for everyone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.table import Table

    from kflow_sci.assembly.scoring.report import Report

WIDE = 130  # columns of a terminal that has room for explanations
ARROWS = {"lower": "↓", "higher": "↑", "target 1": "1"}


@click.command(name="score")
@click.argument("pred", type=click.Path(path_type=Path))
@click.argument("ref", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder for scores.json and scores.csv (one row per sample).",
)
@click.option("--force", is_flag=True, help="Overwrite results that are there.")
@click.option("--json", "as_json", is_flag=True, help="Print json instead of tables.")
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the bootstrap intervals."
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
    ref: Path,
    out: Path | None,
    force: bool,
    as_json: bool,
    seed: int,
    size: int,
    distance: float,
    angle: float,
    mirror: bool,
) -> None:
    """Compare predicted clusters PRED with reference clusters REF.

    Both are xyz or extended xyz files, one frame per cluster, atoms in the same order. Frames with the same id
    in their info belong together, so there may be several samples per reference; without ids frames are matched by
    order, and a single reference takes them all. Molecules are told by the column `molecule`, else by bonds.

    \b
    Example:  kflow score clusters.extxyz crystal.extxyz --out scores
    """
    from kflow_sci.assembly.scoring.measures import Settings
    from kflow_sci.assembly.scoring.reading import group, read_frames, sha256
    from kflow_sci.assembly.scoring.report import FILES, score_groups, write_report
    from kflow_sci.cli.common import out_dir, progress_bar, refuse_overwrite

    settings = Settings(size, distance, angle, mirror)
    settings.check()
    groups = group(read_frames(pred), read_frames(ref), (pred.name, ref.name))
    if out is not None:
        refuse_overwrite(out, FILES, force)
        out_dir(out)
    data = {"pred": pred.name, "pred_sha256": sha256(pred), "ref": ref.name, "ref_sha256": sha256(ref)}
    with progress_bar("scoring", sum(len(samples) for _, samples in groups)) as advance:
        report = score_groups(groups, seed=seed, settings=settings, data=data, progress=advance)
    if out is not None:
        write_report(report, out)
    if as_json:
        import json

        click.echo(json.dumps(report.to_json(), indent=2, allow_nan=False))
        return
    _show(report)
    if out is not None:
        click.echo(f"Wrote {out / FILES[0]} and {out / FILES[1]}.")


def _show(report: Report) -> None:
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    meta = report.meta
    console = Console(markup=False, highlight=False)
    table = Table(
        title=f"Scores, {meta['samples']} samples of {meta['references']} references",
        title_justify="left",
        box=SIMPLE,
    )
    table.add_column("measure", no_wrap=True)
    for head in ("mean", "95 %", "best", "failed"):
        table.add_column(head, justify="right", no_wrap=True)
    wide = console.width >= WIDE
    if wide:
        table.add_column("what it is")
    for line in report.summary:
        measure = line.measure
        name = f"{ARROWS[measure.better]} {measure.name}" + (f", {measure.unit}" if measure.unit else "")
        interval = f"[{_number(line.mean.low)}, {_number(line.mean.high)}]"
        cells = [
            name,
            _number(line.mean.mean),
            interval,
            _number(line.best.mean),
            str(line.failed),
        ]
        table.add_row(*cells, *([measure.text] if wide else []))
    console.print(table)
    console.print(_published_table(report))
    console.print(
        "↓ lower is better, ↑ higher is better, 1 should be 1; best: of the samples of each reference."
    )
    console.print(
        "Published means take the best repeat of each cluster. "
        "PM by index scores a renumbered perfect crystal like a random heap."
    )
    if meta["failed_samples"]:
        console.print(f"{meta['failed_samples']} sample(s) failed: coordinates not finite or beyond 1e6 Å.")
    if report.missing:
        shown = ", ".join(report.missing[:5]) + (" …" if len(report.missing) > 5 else "")
        console.print(
            f"{len(report.missing)} reference(s) have no sample ({shown}): they count as failed in the shares and in "
            "overlay_n, and are in no other mean."
        )


def _published_table(report: Report) -> Table:
    from rich.box import SIMPLE
    from rich.table import Table

    table = Table(title="Published protocol (AssembleFlow's definitions)", title_justify="left", box=SIMPLE)
    for head in ("measure", "first line", "95 %", "second line", "kept"):
        table.add_column(head, justify="left" if head == "measure" else "right")
    for name, entry in report.published.items():
        interval = f"[{_number(entry['low'])}, {_number(entry['high'])}]" if "low" in entry else ""
        second = (_number(entry["second"]), _number(entry["kept"])) if "second" in entry else ("", "")
        title = f"{ARROWS[entry['better']]} {name}, {entry['unit']}"
        table.add_row(title, _number(entry["first"]), interval, *second)
    return table


def _number(value: float) -> str:
    from kflow_sci.report.tables import show

    return show(value, 3)
