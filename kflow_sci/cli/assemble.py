"""``kflow assemble``: a molecule in, ranked candidate clusters out.

The one idea: everything is computed before anything is written, and each file appears whole or not at all.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kflow_sci.cli.common import (
    INTERRUPTED,
    Advance,
    command_line,
    files_too,
    out_dir,
    output_options,
    progress_bar,
    refuse_overwrite,
    show_ranked,
    write_settings,
)
from kflow_sci.cli.types import INDEX, SIDES, STEPS
from kflow_sci.cli.voice import give, voice

if TYPE_CHECKING:
    from kflow_sci.assembly.cluster import Cluster
    from kflow_sci.assembly.model.cluster_model import ClusterModel
    from kflow_sci.assembly.model.walk import Walk
    from kflow_sci.cli.assembling import Plan

FILES = ("clusters.extxyz", "summary.csv", "best.png", "report.html", "settings.json")


@click.command(name="assemble")
@click.argument("inputs", nargs=-1, metavar="INPUT...", shell_complete=files_too)
@click.option(
    "--copies", type=int, help="Molecules per cluster.  [default: 17, as in the published benchmark]"
)
@click.option("--samples", type=int, help="Candidate clusters.  [default: 10]")
@click.option("--seed", type=int, default=0, show_default=True, help="The same seed gives the same clusters.")
@click.option(
    "--steps-per-shell",
    type=STEPS,
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
@click.option("--conformers", type=int, default=1, show_default=True, help="Of a SMILES; all are ranked.")
@click.option("--sphere", type=float, metavar="R", help="Keep all atoms within R Å.")
@click.option("--box", type=SIDES, help="Keep all atoms in a box, Å.")
@click.option("--around", type=click.Path(path_type=Path), help="Hold this cluster, fill shells around it.")
@click.option("--start", type=click.Path(path_type=Path), help="Begin the flow from the poses of this file.")
@click.option("--edit", type=click.Path(path_type=Path), help="Make the cluster of this file anew in part:")
@click.option("--above", type=float, metavar="K", help="  above scale K: its contacts vary, coarse stays;")
@click.option("--below", type=float, metavar="K", help="  below scale K: coarse varies, contacts stay.")
@click.option("--keep", type=INDEX, default=(), help="Molecules of --start or --edit to hold, from 0.")
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
    "--energy",
    default="mmff",
    show_default=True,
    help="What ranks: mmff, uff, xtb, gfn1, gfnff or ase:MODULE.CLASS.",
)
@click.option(
    "--relax",
    type=click.Choice(["none", "rigid", "full"]),
    default="none",
    show_default=True,
    help="Relax in that energy, as rigid molecules or all atoms; saved beside the unrelaxed.",
)
@click.option("--pairs", is_flag=True, help="Write the energy of each pair of molecules to pairs.csv.")
@click.option("--format", "formats", metavar="NAME[,…]", help="Also write xyz, sdf, pdb, cif, parquet.")
@output_options("kflow-out")
@click.option(
    "--weights", type=click.Path(path_type=Path), help="A checkpoint; the one in the package if not given."
)
@click.option("--device", default="cpu", show_default=True, help="A torch device, such as cuda.")
def command(
    inputs: tuple[str, ...],
    samples: int | None,
    seed: int,
    steps_per_shell: tuple[int, ...] | None,
    density: float | None,
    hands: str,
    contacts: bool,
    resolve: bool,
    energy: str,
    relax: str,
    pairs: bool,
    formats: str | None,
    out: Path,
    force: bool,
    weights: Path | None,
    device: str,
    **wishes: Any,
) -> int:
    """Make candidate clusters of rigid molecules, as they pack in a crystal.

    INPUT is a SMILES, an InChI or a file (xyz, extxyz, sdf, mol, mol2, pdb, cif); each of several gets a folder
    of its own. With a number after each, they make one mixed cluster. The weights in the package were trained on
    clusters of one kind of molecule each: for mixtures, cores and regions nothing is measured. Ctrl-C ends the work and
    writes what was made.

    \b
    Examples:  kflow assemble "CC(=O)Oc1ccccc1C(=O)O" --samples 10 --out aspirin
               kflow assemble "CCO" 12 "O" 5 --format sdf --out mixture
               kflow assemble "O" 60 --around aspirin.xyz --out solvated
               kflow assemble --edit aspirin/clusters.extxyz --above 2 --out contacts
    """
    from kflow_sci.cli.assembling import (
        Wish,
        check_wish,
        distinct_names,
        make_plans,
        rank_and_relax,
        read_molecules,
    )  # fmt: skip

    wish = Wish(inputs, samples=samples, **wishes)
    check_wish(wish)
    # A bad molecule is refused before torch is loaded, which takes seconds.
    read = read_molecules(wish)

    from kflow_sci.assembly.energy.calculators import energy_function
    from kflow_sci.assembly.energy.candidates import crowding
    from kflow_sci.assembly.exchange.formats import check_format
    from kflow_sci.assembly.model.generate import default_weights, load_model
    from kflow_sci.assembly.model.settle import RELAX_ITERATIONS, without_clashes
    from kflow_sci.assembly.scoring.reading import sha256
    from kflow_sci.flow.steer import above, below

    kinds = [check_format(word) for word in formats.split(",")] if formats else []
    energy_function(energy)
    if relax != "none":
        from kflow_sci.assembly.energy.surfaces import surface

        surface(energy)
    shared = {
        "seed": seed, "steps": steps_per_shell, "density": density, "hands": hands, "contacts": contacts,
    }  # fmt: skip
    plans = make_plans(wish, read, shared)
    folders = [out] if len(plans) == 1 else [out / name for name in distinct_names(plans)]
    model, header = load_model(weights, device)
    shells = model.schedule.n_shells
    frozen = None
    if wish.edit is not None:
        frozen = (
            below(shells, wish.above) if wish.above is not None else above(shells, float(wish.below or 0.0))
        )
    if steps_per_shell is not None:
        model.schedule.grid(steps_per_shell)
    stems = ["clusters", *(["relaxed"] if relax != "none" else [])]
    more = [f"{stem}.{kind}" for stem in stems for kind in ("extxyz", *kinds)]
    for folder in folders:
        refuse_overwrite(folder, (*FILES, *more, *(["pairs.csv"] if pairs else [])), force)
        out_dir(folder)
    results: list[dict[str, Any]] = []
    stopped = False
    for plan, folder in zip(plans, folders, strict=True):
        each = plan.request.samples
        with progress_bar(plan.title, each * len(plan.variants)) as advance:
            made, walks, stopped = _generate(model, plan, frozen, advance)
        still = [_mask(len(cluster), plan.held) for cluster in made]
        parted = without_clashes(made, RELAX_ITERATIONS if resolve else 0, still, plan.region)
        work = "ranking" if relax == "none" else "relaxing"
        with progress_bar(f"{work} {plan.title}", len(parted)) as advance:
            clusters, relaxed, broken = rank_and_relax(
                parted, energy, "none" if stopped else relax, plan.held, advance
            )
        stopped = stopped or broken
        settings = {
            "command": command_line(),
            **plan.settings,
            **shared,
            "samples": each,
            "steps": list(steps_per_shell or model.config.steps),
            "resolve": resolve,
            "energy": energy,
            "relax": relax,
            "device": device,
            "weights": {"sha256": sha256(weights or default_weights()), "step": header.get("step")},
            **({"stopped": "interrupted", "samples_done": len(made)} if stopped else {}),
        }
        written = _write(
            folder, plan.title, clusters, relaxed, walks, settings, kinds, energy if pairs else None
        )
        _show(plan.title, clusters, folder)
        if resolve and (crowded := crowding(clusters)):
            voice().remark(crowded)
        results.append(
            {
                "folder": folder,
                "files": written,
                "settings": settings,
                "candidates": [_scores(c) for c in clusters],
            }
        )
        give(results=results, stopped="interrupted" if stopped else "")
        if stopped:
            asked = f"{len(made)} of {each * len(plan.variants)} samples of {plan.title}"
            click.echo(f"kflow: interrupted: {asked} are written to {folder}", err=True)
            return INTERRUPTED
    return 0


def _generate(
    model: ClusterModel, plan: Plan, frozen: tuple[float, ...] | None, advance: Advance
) -> tuple[list[Cluster], dict[int, Walk], bool]:
    """The samples of all variants of a plan, numbered on; how each came about; and whether a user stopped it.

    Raises:
        KeyboardInterrupt: Before there was anything.
    """
    from kflow_sci.assembly.model import generate

    made: list[Cluster] = []
    walks: dict[int, Walk] = {}
    for scene, says in plan.variants:
        begun = len(made)

        def watch(i: int, walk: Walk, begun: int = begun) -> None:
            walks[begun + i] = walk

        def progress(done: int, begun: int = begun) -> None:
            advance(begun + done)

        finished: list[Cluster] = []
        stopped = False
        try:
            generate.propose(model, scene, plan.request, progress, watch, frozen, finished)
        except KeyboardInterrupt:
            stopped = True
        for cluster in finished:
            cluster.info.update(says, sample=begun + cluster.info["sample"])
            made.append(cluster)
        if stopped:
            if not made:
                raise KeyboardInterrupt
            return made, walks, True
    return made, walks, False


def _scores(cluster: Cluster) -> dict[str, Any]:
    """What is known of a cluster, as one row."""
    return {key: value for key, value in cluster.info.items() if not isinstance(value, dict | list)}


def _mask(copies: int, held: tuple[int, ...]) -> Any:
    import numpy as np

    return np.isin(np.arange(copies), held)


def _write(
    folder: Path,
    title: str,
    clusters: list[Cluster],
    relaxed: list[Cluster] | None,
    walks: dict[int, Walk],
    settings: dict[str, object],
    formats: list[str],
    pairs: str | None,
) -> list[str]:
    """Write the files of a folder; returns their names."""
    from kflow_sci.assembly.exchange.formats import write_as
    from kflow_sci.report.page.document import write_page
    from kflow_sci.report.page.payload import Candidate
    from kflow_sci.report.plots import draw_clusters
    from kflow_sci.report.tables import write_csv

    written = []
    for kind in ["extxyz", *(kind for kind in formats if kind != "extxyz")]:
        for stem, some in (("clusters", clusters), ("relaxed", relaxed)):
            if some is not None:
                write_as(folder / f"{stem}.{kind}", some)
                written.append(f"{stem}.{kind}")
    write_csv(folder / "summary.csv", [_scores(c) for c in clusters])
    if pairs is not None:
        from kflow_sci.assembly.energy.candidates import pair_energies

        rows = [
            {"rank": c.info["rank"], "sample": c.info["sample"], **row}
            for c in clusters
            for row in pair_energies(c, pairs)
        ]
        write_csv(folder / "pairs.csv", rows)
        written.append("pairs.csv")
    draw_clusters(clusters, folder / "best.png")
    record = write_settings(folder, settings)
    write_page(
        folder / "report.html",
        [Candidate(cluster, walks.get(cluster.info["sample"])) for cluster in clusters],
        title=title if len(title) < 80 else title[:79] + "…",
        command=str(settings["command"]),
        made={key: value for key, value in record.items() if key != "command"},
    )
    return [*written, *FILES[1:]]


def _show(formula: str, clusters: list[Cluster], folder: Path) -> None:
    from kflow_sci.report.tables import Column

    columns = (
        Column("rank", "rank"),
        Column("energy", "energy kJ/mol", 1),
        Column("energy_relaxed", "relaxed kJ/mol", 1),
        Column("clashing_pairs", "clashing pairs"),
        Column("clashing_pairs_start", "before"),
        Column("density", "g/cm³", 3),
        Column("sample", "sample"),
        Column("conformer", "conformer"),
        Column("strain", "strain kJ/mol", 1),
    )
    show_ranked(
        f"{len(clusters)} clusters of {len(clusters[0])} molecules, {formula}, best first",
        columns,
        [cluster.info for cluster in clusters],
        folder / "summary.csv",
    )
    click.echo(
        f"Look at {folder / 'report.html'} in a browser, or best.png; all poses are in {folder / 'clusters.extxyz'}."
    )
