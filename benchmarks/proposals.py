"""Do learned starts find crystals more often than random ones? Hits per 1,000 trials, the same relaxation for all.

    python benchmarks/proposals.py --crystals FOLDER --store STORE --flows kflow=WEIGHTS,plain=WEIGHTS

Writes ``proposals.md``, ``proposals.csv`` and ``proposals_rows.csv`` (one row per molecule and method) beside this
script, or with another ``--name``. A run that was stopped goes on: rows that are there are not made again.

A hit is a relaxed trial whose crystal overlays at least 8 of the 15 molecules around a central one of the measured
crystal with an RMSD below 2 Å; with 13 of 15 it stands beside it, because layer polytypes reach 8. Trials that relaxed
to the same crystal are compared once. Crystals more than ``--window`` kJ/mol from the energy, or 15 % from the volume,
of the measured crystal relaxed in the same force field are not compared and no hits. ``low`` counts trials that end at
most 0.5 kJ/mol above it, whatever they look like: it says how well low energies are reached.

Methods: ``random``, the search of the package; ``groups``, the same with space groups in the proportions learned for
the class of the molecule; ``resampled``, crystals of similar molecules with this one put in; and every flow named by
``--flows``. All but ``random`` share the learned groups. Ratios are of sums over molecules, their 95 % intervals from
resampling molecules.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import time
from pathlib import Path
from typing import Any

import numpy as np
from crystal_search import AROUND, chosen, compare

from kflow_sci import __version__
from kflow_sci.assembly.data.store import open_store
from kflow_sci.assembly.forcefield.parameters import ForceField
from kflow_sci.assembly.forcefield.relax import relax
from kflow_sci.assembly.lattice.cutting import cluster_from_packing
from kflow_sci.assembly.lattice.packing import Packing
from kflow_sci.assembly.proposals.library import Library
from kflow_sci.assembly.proposals.propose import (
    ResampledProposal,
    flow_proposal,
    learned_random,
    load_proposals,
)
from kflow_sci.assembly.scoring.frame import Frame
from kflow_sci.assembly.search.dedupe import distinct
from kflow_sci.assembly.search.setup import make_field, make_problem, make_proposal
from kflow_sci.assembly.search.starts import Proposal
from kflow_sci.assembly.search.trials import crystals_of, run_trials
from kflow_sci.errors import KFlowError
from kflow_sci.report.tables import Column, Estimate, Provenance, Row, write_csv, write_markdown

HERE = Path(__file__).parent
VOLUME = 0.15
COLUMNS = [
    Column("method", "starts"),
    Column("n", "molecules"),
    Column("trials", "trials"),
    Column("hits8", "hits per 1,000, 8 of 15", 1, "higher"),
    Column("ratio8", "over random", 2, "higher"),
    Column("hits13", "hits per 1,000, 13 of 15", 1, "higher"),
    Column("ratio13", "over random", 2, "higher"),
    Column("low", "low energies per 1,000", 1, "higher"),
    Column("ratio_low", "over random", 2, "higher"),
    Column("milliseconds", "CPU ms per trial", 1, "lower"),
    Column("proposing", "of it for the start", 1, "lower"),
    Column("failed", "trials without crystal"),
]


class Timed:
    """A proposal that counts the processor time of its starts."""

    def __init__(self, proposal: Proposal) -> None:
        self.proposal, self.seconds = proposal, 0.0
        self.molecules = proposal.molecules
        self.settings = proposal.settings

    def __call__(self, trial: int) -> Packing:
        began = time.process_time()
        start = self.proposal(trial)
        self.seconds += time.process_time() - began
        return start


def one(truth: Packing, field: ForceField, proposal: Proposal, options: argparse.Namespace) -> dict[str, Any]:
    """The row of one molecule and one method."""
    own = relax([truth], field)[0]
    timed = Timed(proposal)
    timed(0)  # loading of weights does not count
    timed.seconds, began = 0.0, time.process_time()
    rows = list(run_trials(range(options.trials), timed, field))
    seconds = time.process_time() - began
    packings = crystals_of(rows, proposal.molecules)
    row = {
        "trials": options.trials,
        "failed": options.trials - len(packings),
        "true_energy": own.energy,
        "milliseconds": 1000 * seconds / options.trials,
        "proposing": 1000 * timed.seconds / options.trials,
        "hits8": 0,
        "hits13": 0,
    }
    row["low"] = sum(p.info["energy"] <= own.energy + 0.5 for p in packings)
    reference = Frame.of(cluster_from_packing(truth, AROUND))
    for kind in distinct(packings):
        first = packings[kind[0]]
        apart = abs(np.log(first.volume / own.volume))
        if not abs(first.info["energy"] - own.energy) <= options.window or apart > VOLUME:
            continue
        found = compare(first, reference, not truth.molecules[0].handed)
        row["hits8"] += len(kind) * found.solved
        row["hits13"] += len(kind) * (found.n_matched >= 13 and found.rmsd < 2.0)
    return row


def ratio(mine: np.ndarray, other: np.ndarray, seed: int = 0) -> Estimate:
    """Ratio of sums, and its interval over molecules drawn again with replacement."""
    if not other.sum():
        return Estimate(float("nan"))
    rng = np.random.default_rng(seed)
    drawn = rng.integers(len(mine), size=(4000, len(mine)))
    below = other[drawn].sum(axis=1)
    ratios = mine[drawn].sum(axis=1)[below > 0] / below[below > 0]
    low, high = np.quantile(ratios, [0.025, 0.975])
    return Estimate(float(mine.sum() / other.sum()), float(low), float(high), len(mine))


def summary(rows: list[dict[str, Any]], method: str) -> Row:
    """The line of one method, against random on the same molecules."""
    random = {row["id"]: row for row in rows if row["method"] == "random" and not row["refused"]}
    mine = [row for row in rows if row["method"] == method and not row["refused"] and row["id"] in random]
    trials = sum(int(row["trials"]) for row in mine)
    line: dict[str, Any] = {"method": method, "n": len(mine), "trials": trials}
    for key, name in (("hits8", "ratio8"), ("hits13", "ratio13"), ("low", "ratio_low")):
        own = np.array([1000 * float(row[key]) / float(row["trials"]) for row in mine])
        base = np.array([1000 * float(random[r["id"]][key]) / float(random[r["id"]]["trials"]) for r in mine])
        line[key] = float(own.mean()) if len(own) else None
        line[name] = ratio(own, base) if len(own) else None
    for key in ("milliseconds", "proposing"):
        line[key] = float(np.mean([float(row[key]) for row in mine])) if mine else None
    line["failed"] = sum(int(row["failed"]) for row in mine)
    return line


def main() -> None:
    """Run what is missing and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--crystals", type=Path, required=True, help="folder with experimental.csv")
    parser.add_argument("--store", type=Path, required=True, help="of kflow data make-crystals, to resample")
    parser.add_argument(
        "--flows", required=True, help="NAME=WEIGHTS,…; the first one's groups are used for all"
    )
    parser.add_argument("--methods", default="", help="of random, groups, resampled and the names of --flows")
    parser.add_argument("--splits", default="val")
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--window", type=float, default=12.0)
    parser.add_argument("--atoms", type=int, default=32, help="largest molecule")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--molecules", type=int, help="only so many")
    parser.add_argument("--name", default="proposals", help="of the tables")
    options = parser.parse_args()
    flows = dict(pair.split("=", 1) for pair in options.flows.split(","))
    methods = options.methods.split(",") if options.methods else ["random", "groups", "resampled", *flows]
    counts = load_proposals(next(iter(flows.values()))).counts
    crystals, _, digest = chosen(options.crystals, options.splits.split(","))
    crystals = [c for c in crystals if len(c[2].molecules[0]) <= options.atoms][: options.molecules]
    data = hashlib.sha256(digest.encode())
    for path in (options.store, *flows.values()):
        data.update(Path(path).read_bytes())
    library = Library.of(open_store(options.store)) if "resampled" in methods else None
    table = HERE / f"{options.name}_rows.csv"
    rows: list[dict[str, Any]] = []
    if table.is_file():
        with open(table, newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
    there = {(row["id"], row["method"], str(row["seed"])) for row in rows}
    for method in methods:
        for name, split, truth in crystals:
            if (name, method, str(options.seed)) in there:
                continue
            row = {"id": name, "split": split, "method": method, "seed": options.seed, "refused": ""}
            row |= {"atoms": len(truth.molecules[0]), "space_group": truth.info["space_group"]}
            try:
                problem = make_problem(truth.molecules, seed=options.seed)
                if method == "random":
                    proposal: Proposal = make_proposal(problem)
                elif method == "groups":
                    proposal = learned_random(problem, counts)
                elif method == "resampled" and library is not None:
                    proposal = ResampledProposal(learned_random(problem, counts), library)
                else:
                    proposal = flow_proposal(problem, flows[method])
                row |= one(truth, make_field(truth.molecules), proposal, options)
            except KFlowError as error:
                row["refused"] = str(error)
            rows.append(row)
            write_csv(table, rows)
            print(f"{name} {method}: {row.get('hits8')} hits, {row.get('low')} low", flush=True)
    provenance = Provenance(
        __version__, options.seed, data.hexdigest(), len(crystals),
        "python benchmarks/proposals.py --crystals FOLDER --store STORE --flows NAME=WEIGHTS,…",
    )  # fmt: skip
    above = (
        f"# Crystals hit by learned starts\n\n{len(crystals)} {options.splits} crystals, conformer of the crystal, "
        f"at most {options.atoms} atoms; {options.trials} trials per molecule and method. `{table.name}` has one row "
        "per molecule."
    )
    lines = [summary(rows, method) for method in dict.fromkeys(row["method"] for row in rows)]
    write_markdown(HERE / f"{options.name}.md", lines, COLUMNS, provenance, above)
    write_csv(HERE / f"{options.name}.csv", lines, provenance)


if __name__ == "__main__":
    main()
