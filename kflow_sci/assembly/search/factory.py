"""A data set of computed crystals from a list of molecules.

The one idea: a molecule is embedded, searched and stored on its own, with a seed of its own that follows from its
SMILES, so the data set depends neither on the number of workers nor on the order of the list; what is refused is listed
with the reason. Each stored cluster tells the crystal it was cut from (``lattice.record.packing_from_cluster``).
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from kflow_sci import __version__
from kflow_sci.assembly.cluster import Cluster
from kflow_sci.assembly.data.fanout import fan_out
from kflow_sci.assembly.data.parts import clear_parts, cut, parts_folder
from kflow_sci.assembly.data.store import VERSION, merge_stores, open_store, write_store
from kflow_sci.assembly.lattice.cutting import cluster_from_packing
from kflow_sci.assembly.lattice.record import record_of
from kflow_sci.assembly.search.excluded import Excluded
from kflow_sci.assembly.search.listing import Recipe, read_smiles, write_card, write_table
from kflow_sci.assembly.search.run import check_options, fingerprint_of, search
from kflow_sci.assembly.search.starts import RandomProposal, choose_groups, named_groups
from kflow_sci.assembly.search.suitable import check_field, check_molecule
from kflow_sci.errors import KFlowError, MoleculeError, OutputError, PackingError

PART = 4  # molecules; what a kill can lose
_DECIMALS = 5
_EVERY_KIND = "NC(=O)c1sc(F)c(Cl)c1C#N"


@dataclass(frozen=True)
class FactoryReport:
    """What came of a run.

    Attributes:
        molecules: Molecules with crystals.
        crystals: Stored crystals.
        skipped: Molecules without, by reason.
        table: The csv that lists all molecules.
        card: The description beside it.
    """

    molecules: int
    crystals: int
    skipped: Counter[str]
    table: Path
    card: Path


def make_crystals(
    smiles_file: str | Path,
    out: str | Path,
    recipe: Recipe,
    *,
    molecules: int | None = None,
    exclude: str | Path | None = None,
    workers: int = 1,
    scheduler: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> FactoryReport:
    """Search crystals of many molecules and store the best of each.

    Args:
        smiles_file: One SMILES per line (a name may follow after a blank), or a csv with a column ``smiles``.
        out: The store to write, by convention ``*.kfc``; beside it appear ``*.csv`` (every molecule, what was made or
            why not) and ``*.md`` (the data card).
        recipe: What to do with each.
        molecules: Use only so many from the top of the list.
        exclude: A csv of molecules that must not be used, see ``excluded.Excluded``.
        workers: Processes on this machine.
        scheduler: Address of a dask scheduler instead.
        progress: Called with the number of molecules done and of all.

    Raises:
        MoleculeError: the list is missing or empty, or none of it gave crystals.
        PackingError: an option is out of range.
        WorkError: a worker was killed; what was made is kept.
        OutputError: the output cannot be written.
    """
    check_options(recipe.trials, recipe.keep, None, workers)
    check_recipe(recipe)
    listed = read_smiles(smiles_file)
    if molecules is not None:
        if molecules < 1:
            raise MoleculeError(f"molecules is {molecules}, but at least 1 is needed: give a larger number")
        listed = listed[:molecules]
    excluded = Excluded() if exclude is None else Excluded.read(exclude)
    out = Path(out)
    if out.is_dir():
        raise OutputError(f"cannot write {out}: it is a folder: name a file")
    folder = parts_folder(out)
    digest = hashlib.sha256(repr((sorted(excluded.inchikeys), sorted(excluded.graphs))).encode()).hexdigest()
    parts = cut(listed, folder, [VERSION, asdict(recipe), digest, *_parameters()], size=PART)
    names: list[Path] = []
    rows: list[dict[str, Any]] = []
    work = partial(make_part, recipe=recipe, excluded=excluded)
    for part in fan_out(work, parts, workers=workers, scheduler=scheduler):
        names.append(part.path)
        rows += open_store(part.path).info["rows"]
        if progress:
            progress(len(rows), len(listed))
    made = [row for row in rows if row["made"]]
    skipped = Counter(str(row["reason"]) for row in rows if not row["made"])
    if not made:
        clear_parts(folder)
        reasons = ", ".join(f"{reason} {count}" for reason, count in skipped.most_common(3))
        raise MoleculeError(
            f"none of the {len(rows)} molecules of {smiles_file} gave crystals ({reasons}): {rows[0]['message']}"
        )
    info = {
        "recipe": asdict(recipe),
        "molecules": len(made),
        "skipped": dict(sorted(skipped.items())),
        "made_by": f"kflow data make-crystals {__version__}",
    }
    count = merge_stores(out, names, info)
    table, card = out.with_suffix(".csv"), out.with_suffix(".md")
    write_table(table, rows)
    write_card(card, out, recipe, made, skipped, count, len(excluded.inchikeys))
    clear_parts(folder)
    return FactoryReport(len(made), count, skipped, table, card)


def _parameters() -> list[Any]:
    """What parts of an earlier run must agree in: the force field, told by a molecule of many kinds of atoms."""
    from kflow_sci.assembly.forcefield.parameters import force_field
    from kflow_sci.assembly.reading.embed import from_smiles

    return fingerprint_of(force_field((from_smiles(_EVERY_KIND, conformers=1),)))


def check_recipe(recipe: Recipe) -> None:
    """Refuse what no molecule of a list could be made with.

    Raises:
        PackingError: an unknown group, or an option out of range.
    """
    named_groups(recipe.groups)
    for name, value, least in (
        ("copies", recipe.copies, 2),
        ("window", recipe.window, 0),
        ("seed", recipe.seed, 0),
    ):
        if not value >= least:
            raise PackingError(f"{name} is {value:g}, but must be {least} or more: choose another number")


def make_part(path: Path, smiles: Iterable[str], recipe: Recipe, excluded: Excluded) -> None:
    """Write the store of a few molecules; runs in a worker.

    Args:
        path: The store to write; its ``info["rows"]`` holds one row per molecule.
        smiles: The molecules.
        recipe: What to do with each.
        excluded: Molecules that must not be used.

    Raises:
        OutputError: the part cannot be written. Any other error is a fault of the program.
    """
    clusters: list[Cluster] = []
    rows: list[dict[str, Any]] = []
    for one in smiles:
        try:
            made, row = crystals_of_smiles(one, recipe, excluded)
        except KFlowError as error:
            made, row = [], {"reason": _reason(error), "message": str(error)}
        clusters += made
        rows.append({"smiles": one, "made": len(made), **row})
    write_store(path, clusters, {"rows": rows})


def _reason(error: KFlowError) -> str:
    text = str(error)
    for word, mark in (
        ("excluded", "exclusion list"),
        ("charges", "no charges"),
        ("no crystal", "trials gave"),
    ):
        if mark in text:
            return word
    return "molecule"


def crystals_of_smiles(
    smiles: str, recipe: Recipe, excluded: Excluded
) -> tuple[list[Cluster], dict[str, Any]]:
    """The clusters around the central molecule of the best crystals of one molecule.

    Args:
        smiles: The molecule.
        recipe: What to do.
        excluded: Of ``excluded.Excluded``.

    Returns:
        Clusters, lowest energy first, with ``energy`` (kJ/mol per molecule), ``rank``, ``space_group``, ``density`` and
        ``packing`` in their ``info``; and the facts for the table.

    Raises:
        MoleculeError: the molecule is refused or excluded.
        PackingError: no trial gave a crystal.
    """
    from kflow_sci.assembly.forcefield.parameters import force_field
    from kflow_sci.assembly.reading.embed import from_smiles
    from kflow_sci.assembly.reading.identity import inchikey

    seed = int.from_bytes(hashlib.sha256(f"{recipe.seed} {smiles}".encode()).digest()[:6], "big")
    molecule = from_smiles(smiles, seed=seed)
    check_molecule(molecule, guessed=True)
    if molecule in excluded:
        raise MoleculeError(f"{smiles} is on the exclusion list: it is left out")
    key = inchikey(molecule)
    name = key or hashlib.sha256(smiles.encode()).hexdigest()[:14].upper()
    molecule = replace(molecule, name=name)
    field = force_field((molecule,))
    check_field(field, molecule)
    groups, weights = choose_groups(recipe.groups, molecule)
    proposal = RandomProposal((molecule,), groups, weights, seed=seed)
    found = search(proposal, field, trials=recipe.trials, keep=recipe.keep)
    lowest = found.packings[0].info["energy"]
    clusters = []
    for packing in found.packings:
        if packing.info["energy"] - lowest > recipe.window:
            continue
        info = {
            **{k: v for k, v in packing.info.items() if k != "trial"},
            "id": f"{name}-{packing.info['rank']}",
            "packing": record_of(packing, _DECIMALS),
        }
        cluster = cluster_from_packing(replace(packing, info={**info, "id": info["id"]}), recipe.copies)
        clusters.append(replace(cluster, info={**cluster.info, "crystal": name}))
    best = found.packings[0].info
    row = {
        "id": name, "reason": "", "message": "", "atoms": len(molecule), "energy": best["energy"],
        "density": best["density"], "space_group": best["space_group"], "trials": found.trials,
        "distinct": len(found.packings),
    }  # fmt: skip
    return clusters, row
