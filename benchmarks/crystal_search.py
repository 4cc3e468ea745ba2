"""How often does a search find the crystal? The yardstick of ``kflow crystal`` on val and test crystals.

    python benchmarks/crystal_search.py --crystals FOLDER                     # conformer of the crystal
    python benchmarks/crystal_search.py --crystals FOLDER --conformers 5      # from SMILES alone

Writes ``crystal_search.md``, ``crystal_search.csv`` and ``crystal_search_rows.csv`` (one row per molecule and method)
beside this script, or with another ``--name``. A run that was stopped goes on: rows that are there are not made again.

What counts: crystals with one independent molecule, at most 32 atoms, at most one rotatable bond and supported
elements. A molecule is found if one of the crystals kept overlays at least 8 of the 15 molecules around a central one
with an RMSD below 2 Å; the same with 13 of 15 stands beside it, because layer polytypes reach 8. A crystal is stable if
it still overlays itself so after relaxing in the force field: what is not can hardly be found. Shares have Wilson's
95 % intervals; a molecule that the search refuses counts as not found.

Methods: ``random`` is the search of the package: uniform poses at 1.15 to 1.7 times the expected volume; those of
``search_floors.py`` have the same budget and the same force field.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import math
import os
import shutil
import tempfile
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from search_floors import FLOORS, floor_proposal

from kflow_sci import __version__
from kflow_sci.assembly.forcefield.bond_orders import bond_orders
from kflow_sci.assembly.lattice.cutting import cluster_from_packing
from kflow_sci.assembly.lattice.packing import Packing
from kflow_sci.assembly.lattice.reading import packing_from_cif
from kflow_sci.assembly.molecule import Molecule
from kflow_sci.assembly.reading.identity import rotatable_bonds, smiles_of
from kflow_sci.assembly.reading.match import match_conformers
from kflow_sci.assembly.scoring.frame import Frame
from kflow_sci.assembly.scoring.similarity import Overlay, overlay
from kflow_sci.assembly.scoring.statistics import wilson
from kflow_sci.assembly.search.run import search
from kflow_sci.assembly.search.setup import (
    PROPOSALS,
    make_field,
    make_problem,
    make_proposal,
    read_conformers,
)
from kflow_sci.assembly.search.suitable import check_molecule
from kflow_sci.errors import KFlowError
from kflow_sci.report.tables import Column, Estimate, Provenance, Row, write_csv, write_markdown

HERE = Path(__file__).parent
MOST_ATOMS, MOST_ROTATABLE = 32, 1
# RMSD of the nearest conformer to that of the crystal, Å, where the ranges end in which molecules are counted.
SHAPES = (0.1, 0.2)
AROUND = 40  # molecules of a candidate that are compared with the 15 of the reference
COLUMNS = [
    Column("method", "method"),
    Column("n", "molecules"),
    Column("found8", "found, 8 of 15", 2, "higher"),
    Column("found13", "13 of 15", 2, "higher"),
    Column("found8_stable", "of the stable: 8 of 15", 2, "higher"),
    Column("found13_stable", "13 of 15", 2, "higher"),
    Column("stable", "stable in the field", 2, "higher"),
    Column("rank", "rank where found, median", 1, "lower"),
    Column("trials", "trials, mean", 0),
    Column("same8", "random on the same: 8 of 15", 2),
    Column("same13", "13 of 15", 2),
    Column("seconds", "s per molecule, mean", 1),
    Column("processor_seconds", "CPU s, mean", 1),
    Column("processor_most", "CPU s, most", 1),
    Column("failed", "refused"),
]


def chosen(folder: Path, splits: list[str]) -> tuple[list[tuple[str, str, Packing]], list[str], str]:
    """Id, split and packing of every crystal that counts; ids whose bonds make no sense; and a digest of the files."""
    with open(folder / "experimental.csv", newline="", encoding="utf-8") as stream:
        rows = sorted(
            (r for r in csv.DictReader(stream) if r["split"] in splits and r["z_indep"] == "1"),
            key=lambda r: r["id"],
        )
    found, unclear, digest = [], [], hashlib.sha256()
    for row in rows:
        path = folder / "experimental" / f"{row['id']}.cif"
        packing = packing_from_cif(path)
        molecule = packing.molecules[0]
        flexible = rotatable_bonds(molecule)
        try:
            check_molecule(molecule, guessed=False)
        except KFlowError:
            continue
        if len(molecule) > MOST_ATOMS or (flexible or 0) > MOST_ROTATABLE:
            continue
        if flexible is None:
            unclear.append(row["id"])
        digest.update(path.read_bytes())
        found.append((row["id"], row["split"], packing))
    return found, unclear, digest.hexdigest()


def shapes_of(
    truth: Packing, conformers: int, seed: int
) -> tuple[tuple[Molecule, ...], tuple[float, ...], list[float]]:
    """The conformer of the crystal, or conformers from its SMILES with the atoms in the order of the crystal.

    With them come their energies above the lowest, kJ/mol, and their RMSD to the conformer of the crystal, Å.
    The SMILES is of the bond orders of least formal charge: what is read from distances makes zwitterions of some
    sulphur compounds, which nobody would write.
    """
    given = truth.molecules[0]
    if not conformers:
        return (given,), (), [0.0]
    orders, charges = bond_orders(given)
    given = replace(given, bond_orders=orders, formal_charges=charges)
    found, strain = read_conformers(smiles_of(given), conformers, seed)
    ordered, rmsd = [], []
    for molecule in found:
        match = match_conformers(
            given.numbers, given.positions, given.bonds, molecule.numbers, molecule.positions, molecule.bonds
        )
        if match is None:
            raise KFlowError("the SMILES gives another molecule than the crystal holds")
        rmsd.append(match.rmsd)
        # The frame stays that of the conformer; only the atoms are listed in another order.
        ordered.append(
            replace(
                molecule,
                numbers=molecule.numbers[match.order],
                positions=molecule.positions[match.order],
                bonds=given.bonds,
                bond_orders=given.bond_orders,
                formal_charges=given.formal_charges,
                handed=given.handed,
            )
        )
    return tuple(ordered), strain, rmsd


def compare(candidate: Packing, reference: Frame, mirror: bool) -> Overlay:
    """The overlay of a candidate on the true surroundings."""
    return overlay(Frame.of(cluster_from_packing(candidate, AROUND)), reference, mirror=mirror)


def measure(row: dict[str, Any], truth: Packing, method: str, options: argparse.Namespace) -> None:
    """Fill the row of one molecule and one method, as far as it comes.

    Raises:
        KFlowError: the search refuses the molecule.
    """
    from kflow_sci.assembly.forcefield.relax import relax

    reference = Frame.of(cluster_from_packing(truth, AROUND))
    mirror = not truth.molecules[0].handed
    field = make_field(truth.molecules)
    own = relax([truth], field)[0]
    kept = None if own.failure else compare(own.packing, reference, mirror)
    row |= {
        "space_group": truth.info["space_group"],
        "z_prime": truth.info["z_prime"],
        "charges": field.charge_name,
        "stable": bool(kept and kept.solved),
        "stable_n": kept.n_matched if kept else 0,
        "stable_volume": own.volume / truth.volume - 1,
        "true_energy": own.energy,
    }
    shapes, strain, rmsd = shapes_of(truth, options.conformers, options.seed)
    row |= {"shapes": len(shapes), "shape_rmsd": min(rmsd), "shape_rmsd_lowest": rmsd[0]}
    problem = make_problem(shapes, strain, seed=options.seed)
    proposal = floor_proposal(problem, method) if method in FLOORS else make_proposal(problem, method)
    began, worked = time.monotonic(), processor_seconds()
    folder = Path(tempfile.mkdtemp(prefix="kflow-"))
    try:
        result = search(
            proposal,
            make_field(shapes),
            trials=options.trials,
            keep=options.keep,
            seconds=options.seconds,
            workers=options.workers,
            folder=folder,
        )
    finally:
        shutil.rmtree(folder)
    row |= {"trials": result.trials, "search_seconds": result.seconds, "seconds": time.monotonic() - began}
    row["processor_seconds"] = processor_seconds() - worked
    overlays = [compare(packing, reference, mirror) for packing in result.packings]
    hits8 = [o.solved for o in overlays]
    hits13 = [o.n_matched >= 13 and o.rmsd < 2.0 for o in overlays]
    best = max(overlays, key=lambda o: (o.n_matched, -o.rmsd))
    row |= {
        "found8": any(hits8),
        "found13": any(hits13),
        "rank8": hits8.index(True) + 1 if any(hits8) else None,
        "rank13": hits13.index(True) + 1 if any(hits13) else None,
        "best_n": best.n_matched,
        "best_rmsd": best.rmsd,
        "lowest": result.packings[0].info["energy"],
        "failures": result.failures.total(),
    }


def processor_seconds() -> float:
    """Processor time of this process and of its workers that have ended, s: what a shared machine does not stretch."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def truth_of(text: object) -> bool:
    """A cell of the csv as true or false."""
    return str(text) == "True"


def summary(rows: list[dict[str, Any]], method: str) -> Row:
    """The line of one method."""
    mine = [row for row in rows if row["method"] == method]
    good = [row for row in mine if not row["refused"]]
    stable = [row for row in mine if truth_of(row.get("stable"))]
    ids = {row["id"] for row in mine}
    same = [row for row in rows if row["method"] == "random" != method and row["id"] in ids]

    def share(key: str, of: list[dict[str, Any]]) -> Estimate:
        interval = wilson(sum(truth_of(row.get(key)) for row in of), len(of))
        return Estimate(interval.mean, interval.low, interval.high, interval.n)

    ranks, worked = numbers(good, "rank8"), numbers(good, "processor_seconds")
    # Rows made before processor time was measured have none: then the clock on the wall has to do.
    timed = len(worked) == len(good) > 0
    return {
        "method": method,
        "n": len(mine),
        # What was refused was not found.
        "found8": share("found8", mine),
        "found13": share("found13", mine),
        "found8_stable": share("found8", stable),
        "found13_stable": share("found13", stable),
        "stable": share("stable", mine),
        "same8": share("found8", same),
        "same13": share("found13", same),
        "rank": float(np.median(ranks)) if ranks else None,
        "trials": float(np.mean([float(row["trials"]) for row in good])) if good else None,
        "seconds": float(np.mean([float(row["seconds"]) for row in good])) if good else None,
        "processor_seconds": float(np.mean(worked)) if timed else None,
        "processor_most": max(worked) if timed else None,
        "failed": len(mine) - len(good),
    }


def numbers(rows: list[dict[str, Any]], key: str) -> list[float]:
    """The values of a column, where there are any."""
    return [float(row[key]) for row in rows if row.get(key) not in ("", None)]


def by_shape(rows: list[dict[str, Any]], given: Path) -> str:
    """How often a molecule is found, by how near its conformers from SMILES are; and which are missed.

    Args:
        rows: Of one method, from SMILES.
        given: Rows of the same method with the conformer of the crystal, to say what the conformer costs.
    """
    known: dict[str, dict[str, Any]] = {}
    if given.is_file():
        with open(given, newline="", encoding="utf-8") as stream:
            known = {row["id"]: row for row in csv.DictReader(stream) if row["method"] == rows[0]["method"]}
    parts = []
    for low, high in pairwise((0.0, *SHAPES, math.inf)):
        mine = [row for row in rows if any(low < x <= high for x in numbers([row], "shape_rmsd"))]
        found = sum(truth_of(row.get("found8")) for row in mine)
        between = f"above {low:g}" if math.isinf(high) else f"{low:g} to {high:g}"
        parts.append(f"{found} of {len(mine)} at {between} Å")
    missed = []
    for row in rows:
        if not truth_of(row.get("found8")):
            before = known.get(row["id"], {})
            other = "found" if truth_of(before.get("found8")) else "not found"
            why = row["refused"] or f"{float(row['shape_rmsd']):.2f} Å, {row['best_n']} of 15"
            missed.append(f"{row['id']} ({why}; with the conformer of the crystal {other})")
    ranges = ", ".join(parts)
    return (
        f"By the RMSD of all atoms between the nearest conformer and that of the crystal, found are {ranges}. "
        f"Missed: {', '.join(missed) or 'none'}."
    )


def main() -> None:
    """Run what is missing and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--crystals", type=Path, required=True, help="folder with experimental.csv")
    parser.add_argument("--splits", default="val,test")
    parser.add_argument("--methods", default="random", help=f"of {', '.join([*PROPOSALS, *FLOORS])}")
    parser.add_argument(
        "--conformers", type=int, default=0, help="from SMILES, so many; 0: that of the crystal"
    )
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=110.0, help="for the trials of one molecule")
    parser.add_argument("--keep", type=int, default=30)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--molecules", type=int, help="only so many; 0: tables of the rows there are")
    parser.add_argument("--name", default="crystal_search", help="of the tables")
    options = parser.parse_args()
    crystals, unclear, digest = chosen(options.crystals, options.splits.split(","))
    methods = options.methods.split(",")
    table = HERE / f"{options.name}_rows.csv"
    rows: list[dict[str, Any]] = []
    if table.is_file():
        with open(table, newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
    there = {(row["id"], row["method"], str(row["seed"])) for row in rows}
    for name, split, truth in crystals[: options.molecules]:
        for method in methods:
            if (name, method, str(options.seed)) in there:
                continue
            row: dict[str, Any] = {"id": name, "split": split, "method": method, "seed": options.seed}
            row |= {"refused": "", "atoms": len(truth.molecules[0])}
            try:
                measure(row, truth, method, options)
            except KFlowError as error:
                row["refused"] = str(error)
            rows.append(row)
            write_csv(table, rows)
            print(
                f"{name} {method}: found {row.get('found8')} {row.get('best_n')} of 15, {row.get('seconds')} s"
            )
    provenance = Provenance(
        __version__,
        options.seed,
        digest,
        len(crystals),
        "python benchmarks/crystal_search.py --crystals FOLDER"
        + (f" --conformers {options.conformers} --name {options.name}" if options.conformers else ""),
    )
    done = len({row["id"] for row in rows})
    shape = (
        f"{options.conformers} conformers from SMILES" if options.conformers else "conformer of the crystal"
    )
    above = (
        f"# Crystals found by a search\n\n{done} of {len(crystals)} {options.splits} crystals, {shape}; at most "
        f"{options.trials} trials per molecule, {options.keep} crystals kept. `{table.name}` has one row per molecule "
        "and method; CPU s are of all processes, and blank where rows are older than their measurement. Rotatable "
        f"bonds unknown, taken as rigid: {len(unclear)}."
    )
    if options.conformers:
        plain = [row for row in rows if row["method"] == methods[0]]
        above += "\n\n" + by_shape(plain, HERE / "crystal_search_rows.csv")
    lines = [summary(rows, method) for method in dict.fromkeys(row["method"] for row in rows)]
    write_markdown(HERE / f"{options.name}.md", lines, COLUMNS, provenance, above)
    write_csv(HERE / f"{options.name}.csv", lines, provenance)


if __name__ == "__main__":
    main()
