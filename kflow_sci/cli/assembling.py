"""From the words of ``kflow assemble`` to what is to be made, and from what was made to files.

The one idea: a plan per output folder, complete and checked before torch is loaded as far as that is possible; options
that contradict each other are refused by name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kflow_sci.errors import ConfigError

if TYPE_CHECKING:
    from kflow_sci.assembly.cluster import Cluster
    from kflow_sci.assembly.model.region import Region
    from kflow_sci.assembly.model.request import Request
    from kflow_sci.assembly.model.scene import Scene
    from kflow_sci.assembly.molecule import Molecule


@dataclass(frozen=True)
class Wish:
    """What was typed, apart from what every plan shares.

    Attributes:
        inputs: Words: sources, and numbers of copies after them.
        copies: ``--copies``.
        samples: ``--samples``.
        around: File of the part that is held.
        sphere: Radius, Å.
        box: Sides, Å.
        start: File of poses to begin with.
        edit: File of the cluster to edit.
        above: Scale above which it is made anew.
        below: Scale below which it is made anew.
        keep: Molecules that are held.
        conformers: How many to try.
    """

    inputs: tuple[str, ...]
    copies: int | None = None
    samples: int | None = None
    around: Path | None = None
    sphere: float | None = None
    box: tuple[float, float, float] | None = None
    start: Path | None = None
    edit: Path | None = None
    above: float | None = None
    below: float | None = None
    keep: tuple[int, ...] = ()
    conformers: int = 1


@dataclass(frozen=True, eq=False)
class Plan:
    """What goes into one folder.

    Attributes:
        title: For tables.
        name: For a folder.
        molecules: Those that are there, for the record.
        variants: Scenes, each with what its clusters are to say of themselves (``conformer``, ``strain``).
        request: Samples, seed, steps.
        held: How many of the first copies, or which copies, stay.
        region: Where atoms are kept.
        settings: For the record.
    """

    title: str
    name: str
    molecules: tuple[Molecule, ...]
    variants: list[tuple[Scene, dict[str, float | int]]]
    request: Request
    held: tuple[int, ...] = ()
    region: Region | None = None
    settings: dict[str, object] = field(default_factory=dict)


def read_inputs(words: Sequence[str]) -> list[list[tuple[str, int | None]]]:
    """Sources with their counts, one list per cluster: ``A 12 B 5`` is a mixture, ``A B`` are two clusters.

    Raises:
        ConfigError: a number without a source before it, or a source without a number beside others that have one.
    """
    if not any(word.isdecimal() for word in words):
        return [[(word, None)] for word in words]
    pairs: list[tuple[str, int | None]] = []
    for word in words:
        if not word.isdecimal():
            pairs.append((word, None))
        elif not pairs or pairs[-1][1] is not None:
            raise ConfigError(
                f"the number {word} follows no molecule: give molecules with counts, as A 12 B 5"
            )
        else:
            pairs[-1] = (pairs[-1][0], int(word))
    missing = [source for source, count in pairs if count is None]
    if missing:
        raise ConfigError(f"'{missing[0]}' has no count: give one for each molecule, as A 12 B 5")
    return [pairs]


def check_wish(wish: Wish) -> None:
    """Refuse options that contradict each other.

    Raises:
        ConfigError: which, and what to leave out.
    """
    given = [f"--{name}" for name in ("start", "edit") if getattr(wish, name) is not None]
    if len(given) == 2:
        raise ConfigError("--start and --edit cannot both be given: leave one out")
    if given:
        others = ("copies", "around", "sphere", "box", *(["samples"] if wish.start else []))
        clash = ["INPUT"] if wish.inputs else [f"--{n}" for n in others if getattr(wish, n) is not None]
        if clash or wish.conformers != 1:
            raise ConfigError(
                f"{given[0]} takes molecules and poses from its file: leave out {(clash or ['--conformers'])[0]}"
            )
    elif not wish.inputs:
        raise ConfigError("give a molecule: a SMILES or a file; or --start or --edit with a cluster file")
    if wish.edit is not None and (wish.above is None) == (wish.below is None):
        raise ConfigError("--edit needs one of --above K and --below K: where the cluster is made anew")
    if wish.edit is None and (wish.above is not None or wish.below is not None):
        raise ConfigError("--above and --below need --edit FILE: the cluster that is kept on the other side")
    if wish.keep and not given:
        raise ConfigError(
            "--keep needs --start or --edit; to hold a part and fill around it, use --around FILE"
        )
    if wish.sphere is not None and wish.box is not None:
        raise ConfigError("--sphere and --box cannot both be given: leave one out")
    if wish.conformers < 1:
        raise ConfigError(f"conformers is {wish.conformers}, but at least 1 is tried")


def read_molecules(wish: Wish) -> list[list[tuple[list[tuple[Molecule, float]], int | None, str]]]:
    """Molecules (their conformers with strain, kJ/mol), counts and sources, per cluster; nothing loads torch.

    What a SMILES leaves open is told on standard error.

    Raises:
        KFlowError: a molecule or the grammar is refused, or a molecule is an ion.
    """
    from kflow_sci.assembly.reading.advice import notes_on, refuse_charged
    from kflow_sci.assembly.reading.formats import read_molecule
    from kflow_sci.cli.voice import voice

    clusters = read_inputs(wish.inputs)
    if wish.copies is not None and any(count is not None for pairs in clusters for _, count in pairs):
        raise ConfigError("--copies and counts after molecules cannot both be given: leave one out")
    if wish.conformers > 1 and any(len(pairs) > 1 for pairs in clusters):
        raise ConfigError("--conformers is for clusters of one molecule: leave it out for mixtures")
    read: list[list[tuple[list[tuple[Molecule, float]], int | None, str]]] = []
    for pairs in clusters:
        parts: list[tuple[list[tuple[Molecule, float]], int | None, str]] = []
        for source, count in pairs:
            molecule = read_molecule(source)
            refuse_charged(molecule)
            for note in notes_on(molecule, tried=wish.conformers):
                voice().remark(note)
            shapes = [(molecule, 0.0)]
            if wish.conformers > 1:
                if molecule.smiles is None:
                    raise ConfigError(
                        f"{source} states its conformer, so --conformers does not apply: leave it out, or give a SMILES"
                    )
                from kflow_sci.assembly.reading.embed import distinct_conformers

                shapes = distinct_conformers(
                    molecule.smiles, count=wish.conformers, tried=10 * wish.conformers
                )
            parts.append((shapes, count, source))
        read.append(parts)
    return read


def make_plans(wish: Wish, read: list[Any], shared: dict[str, Any]) -> list[Plan]:
    """The plans of a wish.

    Args:
        wish: What was typed.
        read: Of ``read_molecules``.
        shared: Fields of ``Request`` that all plans have in common: seed, steps, density, hands, contacts.

    Raises:
        KFlowError: whatever is out of range or does not fit.
    """
    if wish.start is not None or wish.edit is not None:
        return [_of_given(wish, shared)]
    from kflow_sci.assembly.exchange.formats import read_clusters
    from kflow_sci.assembly.model.region import Box, Sphere

    region: Region | None = None
    if wish.sphere is not None:
        region = Sphere(wish.sphere)
    elif wish.box is not None:
        region = Box(wish.box)
    core = None if wish.around is None else read_clusters(wish.around)[0]
    return [_of_molecules(wish, parts, core, region, shared) for parts in read]


def _of_molecules(
    wish: Wish, parts: list[Any], core: Cluster | None, region: Region | None, shared: dict[str, Any]
) -> Plan:
    from kflow_sci.assembly import DEFAULT_COPIES
    from kflow_sci.assembly.model.batch import likely_volume
    from kflow_sci.assembly.model.request import Request, mixture, surroundings, volume_per_molecule

    molecules = tuple(shapes[0][0] for shapes, _, _ in parts)
    counts = [count for _, count, _ in parts]
    copies: int | tuple[int, ...]
    if None not in counts:
        copies = tuple(counts)
    elif wish.copies is not None:
        copies = wish.copies
    elif region is not None:
        own = 0.0 if core is None else sum(likely_volume(core.molecules[k]) for k in core.kind)
        copies = int((region.volume - own) / volume_per_molecule(molecules[0], shared["density"]))
    else:
        copies = DEFAULT_COPIES
    if single := len(parts) == 1:
        copies = copies if isinstance(copies, int) else copies[0]
    there = 0 if core is None else len(core)
    request = Request(copies, _samples(wish), there=there, **shared)
    variants: list[tuple[Scene, dict[str, float | int]]] = []
    for number, (shape, strain) in enumerate(parts[0][0]):
        chosen = (shape, *molecules[1:])
        scene: Scene = (
            mixture(chosen, request, region) if core is None else surroundings(core, chosen, request, region)
        )
        says = {"conformer": number, "strain": round(strain, 4)} if wish.conformers > 1 else {}
        variants.append((scene, says))
    formulas = [m.formula for m in molecules]
    return Plan(
        title=" + ".join(formulas),
        name=molecules[0].name if single else "_".join(formulas),
        molecules=molecules,
        variants=variants,
        request=request,
        held=() if core is None else tuple(range(len(core))),
        region=region,
        settings={
            "formula": formulas[0] if single else formulas,
            "smiles": molecules[0].smiles if single else [m.smiles for m in molecules],
            "input": parts[0][2] if single else [source for _, _, source in parts],
            "copies": copies if isinstance(copies, int) else list(copies),
            "around": None if wish.around is None else str(wish.around),
            "region": None if region is None else str(region),
            "conformers": len(variants),
        },
    )


def _samples(wish: Wish) -> int:
    return 10 if wish.samples is None else wish.samples


def _of_given(wish: Wish, shared: dict[str, Any]) -> Plan:
    from kflow_sci.assembly.exchange.formats import read_clusters
    from kflow_sci.assembly.model.request import Request
    from kflow_sci.assembly.model.scene import Given

    path = wish.start or wish.edit
    clusters = read_clusters(path)  # type: ignore[arg-type]
    edit = wish.edit is not None
    chosen = tuple(clusters[:1] if edit else clusters)
    if any(len(c) != len(chosen[0]) for c in chosen):
        raise ConfigError(
            f"the clusters of {path} differ in size: give a file of clusters of the same molecules"
        )
    scene = Given(chosen, wish.keep, edit, shared["seed"])
    request = Request(len(chosen[0]), _samples(wish) if edit else len(chosen), **shared)
    formulas = list(dict.fromkeys(m.formula for m in scene.molecules))
    return Plan(
        title=" + ".join(formulas),
        name=Path(str(path)).stem,
        molecules=scene.molecules,
        variants=[(scene, {})],
        request=request,
        held=wish.keep,
        settings={
            "formula": formulas[0] if len(formulas) == 1 else formulas,
            "input": str(path),
            "copies": len(chosen[0]),
            "edit": edit,
            "above": wish.above,
            "below": wish.below,
            "keep": list(wish.keep),
        },
    )


def distinct_names(plans: Sequence[Plan]) -> list[str]:
    """One folder name per plan: its name, made safe, numbered where two are equal."""
    names: list[str] = []
    for plan in plans:
        formula = plan.molecules[0].formula
        safe = "".join(c if c.isalnum() or c in "-_." else "_" for c in plan.name).strip(".") or formula
        safe = safe if len(safe) <= 40 else formula
        name, number = safe, 2
        while name in names:
            name, number = f"{safe}-{number}", number + 1
        names.append(name)
    return names


def rank_and_relax(
    clusters: list[Cluster], energy: str, relax: str, held: Sequence[int], advance: Any = None
) -> tuple[list[Cluster], list[Cluster] | None, bool]:
    """Candidates in order, and the same relaxed, in the same order, if asked for.

    Args:
        clusters: After their clashes were resolved.
        energy: See ``calculators.energy_function``.
        relax: ``none``, ``rigid`` or ``full``. Relaxed candidates decide the order.
        held: Copies that stay.
        advance: Called with the number done.

    Returns:
        The candidates, the relaxed ones, and whether a user stopped it. Stopped in a relaxation, those that were not
        reached are told like those that failed; stopped before, the order is that of ``mmff``.

    Raises:
        KFlowError: an energy that is not known, not installed, or fails for all.
    """
    from dataclasses import replace

    import numpy as np

    from kflow_sci.assembly.energy.candidates import rank_by
    from kflow_sci.assembly.energy.minimise import relax_full, relax_rigid
    from kflow_sci.errors import ScoreError

    try:
        ranked = rank_by(clusters, energy, progress=advance if relax == "none" else None)
    except KeyboardInterrupt:
        if energy == "mmff":
            raise
        return rank_by(clusters), None, True  # in no time, so that the samples are not lost
    if relax == "none":
        return ranked, None, False
    relaxed: list[Cluster] = []
    stopped = False

    def failed(cluster: Cluster, why: str) -> Cluster:
        return replace(cluster, info={**cluster.info, "relax_failed": why, "energy": None})

    for number, cluster in enumerate(ranked, 1):
        still = np.isin(np.arange(len(cluster)), held)
        try:
            relaxed.append((relax_full if relax == "full" else relax_rigid)(cluster, energy, held=still))
        except ScoreError as error:
            # One that fails is told and stays as it was; the others are what was asked for.
            relaxed.append(failed(cluster, str(error)))
        except KeyboardInterrupt:
            stopped = True
            relaxed += [failed(one, "interrupted") for one in ranked[len(relaxed) :]]
            break
        if advance is not None:
            advance(number)
    if all("relax_failed" in c.info for c in relaxed):
        if stopped:
            return ranked, None, True
        raise ScoreError(f"no cluster could be relaxed: {relaxed[0].info['relax_failed']}")
    again = rank_by(relaxed, energy, keep_energy=relax == "full")
    by_sample = {c.info["sample"]: c for c in ranked}
    ordered = [
        replace(
            by_sample[c.info["sample"]],
            info={
                **by_sample[c.info["sample"]].info,
                "rank": c.info["rank"],
                "energy_relaxed": c.info["energy"],
                **({"relax_failed": c.info["relax_failed"]} if "relax_failed" in c.info else {}),
            },
        )
        for c in again
    ]
    return ordered, again, stopped
