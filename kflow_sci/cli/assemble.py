"""``kflow assemble``: a molecule in, ranked candidate clusters out.

The one idea: everything is computed before anything is written, and each file appears whole or not at all.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from kflow_sci.cli.common import RecordedCommand, command_line

if TYPE_CHECKING:
    from kflow_sci.assembly.cluster import Cluster
    from kflow_sci.assembly.model.walk import Walk
    from kflow_sci.assembly.molecule import Molecule

FILES = ("clusters.extxyz", "summary.csv", "best.png", "report.html", "settings.json")


class StepsType(click.ParamType):
    """``5`` or ``6,5,5``: whole numbers above zero."""

    name = "N[,N…]"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        """Read the numbers, or refuse with what was expected."""
        if isinstance(value, tuple):
            return value
        try:
            steps = tuple(int(word) for word in str(value).split(","))
        except ValueError:
            self.fail(f"'{value}' is not a whole number or a list like 6,5,5.", param, ctx)
        if min(steps) < 1:
            self.fail(f"'{value}' has a number below 1.", param, ctx)
        return steps


@click.command(name="assemble", cls=RecordedCommand)
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@click.option(
    "--copies", type=int, help="Molecules per cluster.  [default: 17, as in the published benchmark]"
)
@click.option("--samples", type=int, default=10, show_default=True, help="Candidate clusters.")
@click.option("--seed", type=int, default=0, show_default=True, help="The same seed gives the same clusters.")
@click.option(
    "--steps-per-shell",
    type=StepsType(),
    help="Network calls per shell; the weights say how many if not given.",
)
@click.option("--density", type=float, help="g/cm³; estimated from the atoms if not given.")
@click.option(
    "--hands",
    type=click.Choice(["auto", "same", "both"]),
    default="auto",
    show_default=True,
    help="Mirror images: none (same), half of the copies (both), or by the molecule (auto).",
)
@click.option(
    "--contacts/--no-contacts",
    default=True,
    show_default=True,
    help="Let overlapping molecules step apart during the last two thirds of the flow.",
)
@click.option(
    "--resolve/--no-resolve",
    default=True,
    show_default=True,
    help="Move clashing molecules apart at the end.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("kflow-out"),
    show_default=True,
    help="Output folder.",
)
@click.option("--force", is_flag=True, help="Overwrite results that are there.")
@click.option(
    "--weights", type=click.Path(path_type=Path), help="A checkpoint; the one in the package if not given."
)
@click.option("--device", default="cpu", show_default=True, help="A torch device, such as cuda.")
def command(
    inputs: tuple[str, ...],
    copies: int | None,
    samples: int,
    seed: int,
    steps_per_shell: tuple[int, ...] | None,
    density: float | None,
    hands: str,
    contacts: bool,
    resolve: bool,
    out: Path,
    force: bool,
    weights: Path | None,
    device: str,
) -> None:
    """Make candidate clusters of a rigid molecule, as it packs in a crystal.

    INPUT is a SMILES or a file (xyz, extxyz, sdf, mol, mol2, pdb, cif); each of several gets a folder of its
    own.

    \b
    Example:  kflow assemble "CC(=O)Oc1ccccc1C(=O)O" --samples 10 --out aspirin
    """
    from kflow_sci.assembly import DEFAULT_COPIES
    from kflow_sci.assembly.reading.formats import read_molecule

    # A bad molecule is refused before torch is loaded, which takes seconds.
    molecules = [read_molecule(source) for source in inputs]

    from kflow_sci.assembly.model.generate import Request, default_weights, finish, load_model, propose
    from kflow_sci.assembly.scoring.reading import sha256
    from kflow_sci.cli.common import out_dir, progress_bar, refuse_overwrite

    count = DEFAULT_COPIES if copies is None else copies
    request = Request(count, samples, seed, steps_per_shell, density, hands, contacts)
    folders = [out] if len(inputs) == 1 else [out / name for name in _distinct(molecules)]
    model, header = load_model(weights, device)
    if steps_per_shell is not None:
        model.schedule.grid(steps_per_shell)
    for folder in folders:
        refuse_overwrite(folder, FILES, force)
        out_dir(folder)
    for source, molecule, folder in zip(inputs, molecules, folders, strict=True):
        walks: dict[int, Walk] = {}
        with progress_bar(f"{molecule.formula}", samples) as advance:
            clusters = propose(model, molecule, request, progress=advance, watch=walks.__setitem__)
        clusters = finish(clusters, resolve)
        settings = {
            "command": command_line(),
            "input": source,
            "copies": request.copies,
            "samples": samples,
            "seed": seed,
            "steps_per_shell": list(steps_per_shell or model.config.steps),
            "density": density,
            "hands": hands,
            "contacts": contacts,
            "resolve": resolve,
            "device": device,
            "weights": {"sha256": sha256(weights or default_weights()), "step": header.get("step")},
        }
        _write(folder, molecule, clusters, walks, settings)
        _show(molecule, clusters, folder)


def _distinct(molecules: list[Molecule]) -> list[str]:
    """One folder name per molecule: its name, made safe, numbered where two are equal."""
    names: list[str] = []
    for molecule in molecules:
        safe = (
            "".join(c if c.isalnum() or c in "-_." else "_" for c in molecule.name).strip(".")
            or molecule.formula
        )
        safe = safe if len(safe) <= 40 else molecule.formula
        name, number = safe, 2
        while name in names:
            name, number = f"{safe}-{number}", number + 1
        names.append(name)
    return names


def _write(
    folder: Path,
    molecule: Molecule,
    clusters: list[Cluster],
    walks: dict[int, Walk],
    settings: dict[str, object],
) -> None:
    import json

    from kflow_sci import __version__
    from kflow_sci.assembly.writing import write_clusters
    from kflow_sci.files import atomic_write
    from kflow_sci.report.page.document import write_page
    from kflow_sci.report.page.payload import Candidate
    from kflow_sci.report.plots import draw_clusters
    from kflow_sci.report.tables import write_csv

    write_clusters(folder / "clusters.extxyz", clusters)
    write_csv(
        folder / "summary.csv",
        [{k: v for k, v in c.info.items() if not isinstance(v, dict | list)} for c in clusters],
    )
    draw_clusters(clusters, folder / "best.png")
    record = {
        "kflow_sci": __version__,
        "formula": molecule.formula,
        "smiles": molecule.smiles,
        **settings,
    }
    write_page(
        folder / "report.html",
        [Candidate(cluster, walks.get(cluster.info["sample"])) for cluster in clusters],
        title=molecule.name,
        command=str(settings["command"]),
        made={key: value for key, value in record.items() if key != "command"},
    )
    with atomic_write(folder / "settings.json") as path:
        path.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _show(molecule: Molecule, clusters: list[Cluster], folder: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    from kflow_sci.report.tables import Column, show

    columns = (
        Column("rank", "rank"),
        Column("sample", "sample"),
        Column("energy", "energy kJ/mol", 1),
        Column("clashing_pairs", "clashing pairs"),
        Column("clashing_pairs_start", "before"),
        Column("density", "g/cm³", 3),
    )
    table = Table(
        title=f"{len(clusters)} clusters of {len(clusters[0])} × {molecule.formula}, best first",
        title_justify="left",
    )
    shown = [column for column in columns if column.key in clusters[0].info]
    for column in shown:
        table.add_column(column.title, justify="right")
    for cluster in clusters[:20]:
        table.add_row(*(show(cluster.info[column.key], column.decimals) for column in shown))
    console = Console()
    console.print(table)
    if len(clusters) > 20:
        console.print(f"… and {len(clusters) - 20} more in {folder / 'summary.csv'}")
    console.print(
        f"Look at {folder / 'report.html'} in a browser, or best.png; all poses are in {folder / 'clusters.extxyz'}."
    )
