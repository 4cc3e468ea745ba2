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

Methods: ``random`` is the search of the package: uniform poses at 1.15 to 1.7 times the expected volume. Two floors
have the same budget and the same force field: ``apart`` draws, after the manner of PyXtal, until the atoms of different
molecules are 1.2 times the sum of their covalent radii apart (at most 30 draws a trial); ``loose`` does not know the
volume (1 to 4 times the expected one).

Source of the rule of ``apart``: Fredericks, Parrish, Sayre & Zhu, Comput. Phys. Commun. 261 (2021) 107810.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import os
import shutil
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.distance import cdist

from kflow_sci import __version__
from kflow_sci.assembly.elements import COVALENT_RADIUS
from kflow_sci.assembly.forcefield.bond_orders import bond_orders
from kflow_sci.assembly.lattice.cutting import SPECIAL, cluster_from_packing, nearest_images
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
from kflow_sci.assembly.search.starts import RandomProposal
from kflow_sci.assembly.search.suitable import check_molecule
from kflow_sci.errors import KFlowError
from kflow_sci.report.tables import Column, Estimate, Provenance, Row, write_csv, write_markdown

HERE = Path(__file__).parent
MOST_ATOMS, MOST_ROTATABLE = 32, 1
# RMSD of the nearest conformer to that of the crystal, Å, by which the molecules from SMILES are told apart.
SHAPES = (0.1, 0.2)
AROUND = 40  # molecules of a candidate that are compared with the 15 of the reference
LOOSE = (1.0, 4.0)
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


class Apart:
    """Random starts that are drawn again while molecules overlap; the last of ``draws`` is taken as it is."""

    def __init__(self, plain: RandomProposal, draws: int = 30) -> None:
        self.plain, self.draws = plain, draws

    @property
    def molecules(self) -> tuple[Molecule, ...]:
        """Those of the plain proposal."""
        return self.plain.molecules

    @property
    def settings(self) -> list[Any]:
        """Those of the plain proposal and the number of draws."""
        return ["apart", self.draws, *self.plain.settings]

    def __call__(self, trial: int) -> Packing:
        """The first draw of the trial that does not overlap."""
        for draw in range(self.draws):
            start = self.plain(trial * self.draws + draw)
            if not overlaps(start):
                break
        return replace(start, info={**start.info, "trial": trial})


def overlaps(packing: Packing) -> bool:
    """Whether atoms of two molecules are closer than 1.2 times the sum of their covalent radii."""
    if nearest_images(packing) < SPECIAL:
        return True
    cluster = cluster_from_packing(packing, 13)
    atoms = len(cluster.molecules[cluster.kind[0]])
    radius = COVALENT_RADIUS[cluster.numbers]
    distance = cdist(cluster.positions[:atoms], cluster.positions[atoms:])
    return bool((distance < 1.2 * (radius[:atoms, None] + radius[None, atoms:])).any())


def one(name: str, split: str, truth: Packing, method: str, options: argparse.Namespace) -> dict[str, Any]:
    """The row of one molecule and one method."""
    from kflow_sci.assembly.forcefield.relax import relax

    reference = Frame.of(cluster_from_packing(truth, AROUND))
    row: dict[str, Any] = {"id": name, "split": split, "method": method, "seed": options.seed, "refused": ""}
    mirror = not truth.molecules[0].handed
    field = make_field(truth.molecules)
    own = relax([truth], field)[0]
    kept = None if own.failure else compare(own.packing, reference, mirror)
    row |= {
        "atoms": len(truth.molecules[0]),
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
    if method == "loose":
        proposal: Any = RandomProposal(
            shapes, problem.groups, problem.weights, 1, options.seed, strain, *LOOSE
        )
    elif method == "apart":
        proposal = Apart(RandomProposal(shapes, problem.groups, problem.weights, 1, options.seed, strain))
    else:
        proposal = make_proposal(problem, method)
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
    return row | {
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

    def share(key: str, of: list[dict[str, Any]]) -> Estimate:
        interval = wilson(sum(truth_of(row.get(key)) for row in of), len(of))
        return Estimate(interval.mean, interval.low, interval.high, interval.n)

    def numbers(key: str, of: list[dict[str, Any]]) -> list[float]:
        return [float(row[key]) for row in of if row.get(key) not in ("", None)]

    ranks, worked = numbers("rank8", good), numbers("processor_seconds", good)
    line: dict[str, Any] = {
        "method": method,
        "n": len(mine),
        # What was refused was not found.
        "found8": share("found8", mine),
        "found13": share("found13", mine),
        "found8_stable": share("found8", stable),
        "found13_stable": share("found13", stable),
        "stable": share("stable", mine),
        "rank": float(np.median(ranks)) if ranks else None,
        "trials": float(np.mean([float(row["trials"]) for row in good])) if good else None,
        "seconds": float(np.mean([float(row["seconds"]) for row in good])) if good else None,
        # Rows made before this was measured have none: then the column is empty, and the wall clock has to do.
        "processor_seconds": float(np.mean(worked)) if len(worked) == len(good) > 0 else None,
        "processor_most": max(worked) if len(worked) == len(good) > 0 else None,
        "failed": len(mine) - len(good),
    }
    for limit in SHAPES:
        near = [row for row in good if any(x <= limit for x in numbers("shape_rmsd", [row]))]
        line[f"near{limit}"] = share("found8", near)
    far = [row for row in good if any(x > SHAPES[-1] for x in numbers("shape_rmsd", [row]))]
    return line | {"far": share("found8", far)}


def main() -> None:
    """Run what is missing and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--crystals", type=Path, required=True, help="folder with experimental.csv")
    parser.add_argument("--splits", default="val,test")
    parser.add_argument("--methods", default="random", help=f"of {', '.join([*PROPOSALS, 'apart', 'loose'])}")
    parser.add_argument(
        "--conformers", type=int, default=0, help="from SMILES, so many; 0: that of the crystal"
    )
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=110.0, help="for the trials of one molecule")
    parser.add_argument("--keep", type=int, default=30)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--molecules", type=int, help="only so many")
    parser.add_argument("--name", default="crystal_search", help="of the tables")
    options = parser.parse_args()
    crystals, unclear, digest = chosen(options.crystals, options.splits.split(","))
    crystals = crystals[: options.molecules]
    methods = options.methods.split(",")
    table = HERE / f"{options.name}_rows.csv"
    rows: list[dict[str, Any]] = []
    if table.is_file():
        with open(table, newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
    there = {(row["id"], row["method"], str(row["seed"])) for row in rows}
    for name, split, truth in crystals:
        for method in methods:
            if (name, method, str(options.seed)) in there:
                continue
            try:
                row = one(name, split, truth, method, options)
            except KFlowError as error:
                row = {"id": name, "split": split, "method": method, "seed": options.seed}
                row |= {"refused": str(error), "atoms": len(truth.molecules[0])}
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
        "python benchmarks/crystal_search.py --crystals FOLDER",
    )
    shape = (
        f"{options.conformers} conformers from SMILES" if options.conformers else "conformer of the crystal"
    )
    above = (
        f"# Crystals found by a search\n\n{len(crystals)} {options.splits} crystals, {shape}; at most {options.trials} "
        f"trials and {options.seconds:g} s of trials on {options.workers} processes per molecule, {options.keep} "
        f"crystals kept. `{table.name}` has one row per molecule. Rotatable bonds unknown, taken as rigid: "
        f"{len(unclear)}."
    )
    lines = [summary(rows, method) for method in dict.fromkeys(row["method"] for row in rows)]
    write_markdown(HERE / f"{options.name}.md", lines, COLUMNS, provenance, above)
    write_csv(HERE / f"{options.name}.csv", lines, provenance)


if __name__ == "__main__":
    main()
