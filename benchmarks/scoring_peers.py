"""Do the overlay, pymatgen's StructureMatcher and AMD/PDD call the same crystals the same.

    python benchmarks/scoring_peers.py --crystals CIF_FOLDER

Crystals are described anew (another cell, turned, renumbered), disturbed molecule by molecule, and replaced by others;
each pair is judged by all three. Writes ``scoring_peers.md`` and ``scoring_peers.csv`` (every pair) beside this script.
The peers look at the heavy atoms of the infinite crystal, the overlay for 15 molecules in a cluster of 57.
"""

from __future__ import annotations

import argparse
import csv
import os
import statistics
import warnings
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import amd
import numpy as np
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Lattice, Structure
from scipy.spatial.transform import Rotation
from scipy.stats import spearmanr

from kflow_sci import __version__
from kflow_sci.assembly.reading.crystal import Crystal, cluster_from_crystal, read_crystal
from kflow_sci.assembly.reading.match import match_conformers
from kflow_sci.assembly.scoring.frame import Frame
from kflow_sci.assembly.scoring.similarity import overlay
from kflow_sci.report.tables import Row, markdown_table, write_csv

HERE = Path(__file__).parent
ROOT = HERE.parent
NEIGHBOURS = 100  # k of AMD and PDD
LARGEST = 100  # heavy atoms in the cell; the matcher slows down beyond
NUDGES = {"0.05 Å and 2°": (0.05, 2.0), "0.3 Å and 10°": (0.3, 10.0), "1 Å and 40°": (1.0, 40.0)}


def atoms(crystal: Crystal) -> tuple[np.ndarray, np.ndarray]:
    """Heavy atoms of the cell: numbers and positions, Å."""
    numbers, positions = [], []
    for kind, middle, turn, hand in zip(
        crystal.kind, crystal.centroid, crystal.rotation, crystal.parity, strict=True
    ):
        molecule = crystal.molecules[kind]
        heavy = molecule.numbers > 1
        numbers.append(molecule.numbers[heavy])
        positions.append(middle + hand * molecule.positions[heavy] @ turn.T)
    return np.concatenate(numbers), np.concatenate(positions)


def described_anew(crystal: Crystal, seed: int) -> Crystal:
    """The same crystal: molecules in another order and other cells, another cell, another orientation."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(crystal))
    turn = Rotation.from_quat(rng.normal(size=4)).as_matrix()
    basis = np.array([[1, 1, 0], [0, 1, 0], [-1, 0, 1]])  # of determinant 1
    shift = rng.integers(-1, 2, size=(len(crystal), 3)) @ crystal.cell
    return replace(
        crystal,
        cell=basis @ crystal.cell @ turn.T,
        kind=crystal.kind[order],
        centroid=(crystal.centroid + shift)[order] @ turn.T,
        rotation=turn @ crystal.rotation[order],
        parity=crystal.parity[order],
        centres=tuple(int(np.flatnonzero(order == centre)[0]) for centre in crystal.centres),
    )


def nudged(crystal: Crystal, distance: float, angle: float, seed: int) -> Crystal:
    """Every molecule of the cell moved and turned by just so much, in random directions."""
    rng = np.random.default_rng(seed)
    step, axis = rng.normal(size=(2, len(crystal), 3))
    step *= distance / np.linalg.norm(step, axis=1, keepdims=True)
    axis *= np.radians(angle) / np.linalg.norm(axis, axis=1, keepdims=True)
    turn = Rotation.from_rotvec(axis).as_matrix()
    return replace(crystal, centroid=crystal.centroid + step, rotation=turn @ crystal.rotation)


def turned_at_random(crystal: Crystal, seed: int) -> Crystal:
    """Every molecule in another orientation."""
    rng = np.random.default_rng(seed)
    return replace(crystal, rotation=Rotation.from_quat(rng.normal(size=(len(crystal), 4))).as_matrix())


def mirrored(crystal: Crystal, seed: int) -> Crystal:
    """The mirror image, described anew."""
    inverted = replace(crystal, cell=-crystal.cell, centroid=-crystal.centroid, parity=-crystal.parity)
    return described_anew(inverted, seed)


def judge(first: Crystal, second: Crystal) -> Row:
    """What each of the three says of a pair."""
    match = overlay(
        Frame.of(cluster_from_crystal(second, 57)), Frame.of(cluster_from_crystal(first, 17)), size=15
    )
    structures, sets = [], []
    for crystal in (first, second):
        numbers, positions = atoms(crystal)
        structures.append(Structure(Lattice(crystal.cell), numbers, positions, coords_are_cartesian=True))
        sets.append(amd.PeriodicSet(positions, crystal.cell, types=numbers))
    same = StructureMatcher(primitive_cell=True, scale=False).fit(*structures)
    vectors = [amd.AMD(one, NEIGHBOURS) for one in sets]
    rows = [amd.PDD(one, NEIGHBOURS) for one in sets]
    return {
        "n": match.n_matched,
        "rmsd": match.rmsd,
        "matcher": bool(same),
        "amd": float(np.abs(vectors[0] - vectors[1]).max()),
        "pdd": float(amd.EMD(*rows)),
    }


def main() -> None:
    """Judge all pairs and write the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    here = Path(os.environ.get("KFLOW_CRYSTALS", ROOT.parent / "shared" / "crystals"))
    parser.add_argument(
        "--crystals", type=Path, default=here, help="folder with experimental/ and predicted/"
    )
    parser.add_argument("--count", type=int, default=20, help="crystals, and pairs of packings")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=HERE / "scoring_peers")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    crystals = []
    for path in sorted((options.crystals / "experimental").glob("*.cif"))[::3]:
        crystal = read_crystal(path)
        if len(atoms(crystal)[0]) <= LARGEST and len(crystals) < options.count:
            crystals.append(crystal)
    cases: dict[str, Callable[[Crystal], Crystal]] = {
        "the same, described anew": lambda c: described_anew(c, options.seed),
        **{
            f"molecules off by {name}": lambda c, d=d, a=a: nudged(described_anew(c, options.seed), d, a, 1)
            for name, (d, a) in NUDGES.items()
        },
        "molecules turned at random": lambda c: turned_at_random(c, options.seed),
        "its mirror image": lambda c: mirrored(c, options.seed),
    }
    rows: list[Row] = []
    for case, change in cases.items():
        rows += [{"case": case, "id": c.name, "other": "", **judge(c, change(c))} for c in crystals]
        print(case, flush=True)
    rows += [
        {"case": "another packing of the molecule", "id": a.name, "other": b.name, **judge(a, b)}
        for a, b in packings(options.crystals, options.count)
    ]
    table = [
        summary(case, [row for row in rows if row["case"] == case])
        for case in dict.fromkeys(r["case"] for r in rows)
    ]
    graded = [row for row in rows if "mirror" not in str(row["case"])]
    trend = spearmanr([row["n"] for row in graded], [row["pdd"] for row in graded]).statistic
    text = (
        "# The overlay beside StructureMatcher and AMD/PDD\n\n"
        f"{' '.join((__doc__ or '').split('CIF_FOLDER')[1].split())}\n\n{markdown_table(table)}\n"
        f"Spearman's correlation of the number matched and PDD over all pairs but mirror images: {trend:.2f}. AMD and "
        "PDD do not see the hand, nor does the matcher. "
        f"kflow_sci {__version__}, pymatgen StructureMatcher(scale=False), AMD with k = {NEIGHBOURS}, "
        f"seed {options.seed}.\n"
    )
    options.out.with_suffix(".md").write_text(text, encoding="utf-8")
    write_csv(options.out.with_suffix(".csv"), rows)
    print(text)


def packings(folder: Path, count: int) -> list[tuple[Crystal, Crystal]]:
    """Pairs of computed crystals of one molecule."""
    with open(folder / "predicted.csv", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    pairs = []
    for a, b in pairwise(table):
        if a["mol_hash"] == b["mol_hash"] and int(a["n_atoms"]) * int(a["n_mol_cell"]) <= 1.5 * LARGEST:
            pairs.append((a["id"], b["id"]))
    chosen = pairs[:: max(1, len(pairs) // count)][:count]
    read = [[read_crystal(folder / "predicted" / f"{name}.cif") for name in pair] for pair in chosen]
    return [(a, in_order_of(a, b)) for a, b in read]


def in_order_of(first: Crystal, second: Crystal) -> Crystal:
    """The second crystal with the atoms of its molecules in the order that those of the first have."""
    like = first.molecules[0]
    molecules = []
    for molecule in second.molecules:
        match = match_conformers(
            like.numbers, like.positions, like.bonds, molecule.numbers, molecule.positions, molecule.bonds
        )
        if match is None:
            raise SystemExit(f"{first.name} and {second.name} hold different molecules")
        order = match.order
        bonds = np.argsort(order)[molecule.bonds]
        molecules.append(
            replace(
                molecule, numbers=molecule.numbers[order], positions=molecule.positions[order], bonds=bonds
            )
        )
    return replace(second, molecules=tuple(molecules))


def summary(case: str, rows: list[Row]) -> Row:
    """One line of the table."""

    def mean(key: str) -> float:
        return statistics.fmean(float(row[key]) for row in rows)  # type: ignore[arg-type]

    full = [float(row["rmsd"]) for row in rows if row["n"] == 15]  # type: ignore[arg-type]
    return {
        "pair": case,
        "pairs": len(rows),
        "overlay: 15 of 15": len(full),
        "mean n": f"{mean('n'):.1f}",
        "their largest RMSD, Å": f"{max(full):.3f}" if full else "-",
        "matcher: same": sum(bool(row["matcher"]) for row in rows),
        "AMD, Å": f"{mean('amd'):.3f}",
        "PDD, Å": f"{mean('pdd'):.3f}",
    }


if __name__ == "__main__":
    main()
