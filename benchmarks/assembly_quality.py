"""How good are assembled clusters? Models and floors on the test crystals.

    python benchmarks/assembly_quality.py --crystals CIF_FOLDER

Writes ``assembly_quality.md``, ``assembly_quality.csv`` and ``assembly_quality_rows.csv`` (every sample)
beside this script. The models guess the volume from the molecule; the floors are given the true density.
Clashes are resolved with 20 iterations before anything is measured, but in the columns called raw. Means are
over crystals of the mean over samples, intervals 95 % bootstrap over crystals; differences are paired by
crystal.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import os
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from kflow_sci import __version__
from kflow_sci.assembly.baselines import packmol, random_ball, renumbered
from kflow_sci.assembly.cluster import Cluster
from kflow_sci.assembly.contacts import clashing_pairs
from kflow_sci.assembly.energy.relax import resolve_clashes
from kflow_sci.assembly.model.cluster_model import ClusterModel
from kflow_sci.assembly.model.generate import Request, load_model, propose
from kflow_sci.assembly.model.validate import residual_angles
from kflow_sci.assembly.reading.crystal import cluster_from_crystal, read_crystal
from kflow_sci.assembly.scoring.matching import matched_pm
from kflow_sci.assembly.scoring.report import score_clusters
from kflow_sci.assembly.scoring.statistics import bootstrap
from kflow_sci.errors import ClusterError
from kflow_sci.report.tables import Column, Estimate, Provenance, Row, markdown_table, write_csv

HERE = Path(__file__).parent
ROOT = HERE.parent
COLUMNS = [
    Column("method", "method"),
    Column("density_error", "abs(ln V), Voronoi", 3, "lower"),
    Column("gyration_error", "abs(ln V), gyration", 3, "lower"),
    Column("clashes_raw", "clashing pairs per molecule, raw", 1, "lower"),
    Column("clashes", "… resolved", 3, "lower"),
    Column("matched_pm", "matched PM, Å", 3, "lower"),
    Column("matched_pm_raw", "… raw", 3, "lower"),
    Column("overlay_n", "overlay, of 15", 2, "higher"),
    Column("packed", "Packed", 3, "higher"),
    Column("pm_center", "published PM-center, Å", 2, "lower"),
    Column("angle", "angle at s = 0.75 after the net, °", 1, "lower"),
    Column("angle_before", "… before", 1),
    Column("failed", "failed"),
]
Generate = Callable[[Cluster], list[Cluster]]
TRUTH = "the crystal itself, renumbered"
PACKMOL = "PackMol, true density"
BARE = ", no contact steps"


def crystals(folder: Path, table: Path, split: str, copies: int) -> tuple[list[Cluster], str]:
    """Clusters of one split, and a digest of the files they came from."""
    with open(table, encoding="utf-8") as file:
        names = sorted(row["id"] for row in csv.DictReader(file) if row["split"] == split)
    paths = [folder / f"{name}.cif" for name in names]
    digest = hashlib.sha256(b"".join(hashlib.sha256(path.read_bytes()).digest() for path in paths))
    return [cluster_from_crystal(read_crystal(path), copies) for path in paths], digest.hexdigest()


def floors(samples: int, packmol_samples: int, seed: int) -> dict[str, Generate]:
    """What needs no learning; each knows the true density, the first one all."""
    return {
        TRUTH: lambda t: renumbered.propose(t, samples, seed),
        "random ball, true density": lambda t: random_ball.propose(
            t.molecules[0], len(t), samples, seed, t.info["volume"]
        ),
        PACKMOL: lambda t: packmol.propose(t.molecules[0], len(t), packmol_samples, seed, t.info["volume"]),
    }


def _flow(model: ClusterModel, request: Request, truth: Cluster) -> list[Cluster]:
    return propose(model, truth.molecules[0], request)


def measure(name: str, generate: Generate, truths: list[Cluster], samples: int) -> tuple[list[Row], int]:
    """Rows of all samples of a method, and the number of samples it failed to make."""
    raw: list[list[Cluster]] = []
    for truth in truths:
        try:
            raw.append(generate(truth))
        except ClusterError as error:  # PackMol gives up on some molecules; that is a result and is counted
            print(f"{name}, {truth.info['id']}: {error}", flush=True)
            raw.append([])
    final = [c if name == TRUTH else resolve_clashes(c) for c in raw]
    missing = sum(samples - len(c) for c in raw)
    made = [i for i, c in enumerate(raw) if c]
    report = score_clusters([final[i] for i in made], [truths[i] for i in made])
    flat_raw = [(cluster, truths[i]) for i in made for cluster in raw[i]]
    clashes = clashing_pairs([cluster for cluster, _ in flat_raw])
    rows: list[Row] = []
    for row, (cluster, truth), clash in zip(report.rows, flat_raw, clashes, strict=True):
        rows.append(
            {
                "method": name,
                "failed_sample": bool(row["failed"]),
                **{key: row[key] for key in ("id", "sample", *_SCORED)},
                "gyration_error": abs(float(np.log(row["gyration_ratio"]))),
                "clashes_raw": float(clash),
                "matched_pm_raw": matched_pm(cluster.centroid, truth.centroid),
            }
        )
    return rows, missing + sum(bool(row["failed_sample"]) for row in rows)


_SCORED = ("density_error", "gyration_ratio", "clashes", "matched_pm", "overlay_n", "packed", "pm_center")
_MEANS = (
    *(key for key in _SCORED if key != "gyration_ratio"),
    "gyration_error",
    "clashes_raw",
    "matched_pm_raw",
)


def by_crystal(rows: list[Row], key: str) -> dict[str, float]:
    """Mean over the samples of each crystal."""
    values: dict[str, list[float]] = {}
    for row in rows:
        values.setdefault(str(row["id"]), []).append(float(row[key]))  # type: ignore[arg-type]
    return {name: float(np.mean(v)) for name, v in values.items()}


def estimate(values: list[float] | np.ndarray, seed: int) -> Estimate:
    """Mean and bootstrap interval as a cell of a table."""
    found = bootstrap(np.asarray(values, dtype=np.float64), seed)
    return Estimate(found.mean, found.low, found.high, found.n)


def main() -> None:
    """Run all methods and write the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    here = Path(os.environ.get("KFLOW_CRYSTALS", ROOT.parent / "shared" / "crystals")) / "experimental"
    parser.add_argument(
        "--crystals", type=Path, default=here, help="folder with the CIF files of the id list"
    )
    parser.add_argument("--ids", type=Path, default=ROOT / "datasets" / "crystals" / "ids.csv")
    parser.add_argument("--split", default="test")
    parser.add_argument(
        "--model", action="append", metavar="NAME=WEIGHTS", help="default: all that are committed"
    )
    parser.add_argument(
        "--reference", default="plain flow matching", help="models are compared with this one"
    )
    parser.add_argument("--copies", type=int, default=17)
    parser.add_argument("--samples", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--packmol-samples", type=int, default=1, help="PackMol takes many seconds for one")
    parser.add_argument("--no-floors", action="store_true", help="models only")
    parser.add_argument("--out", type=Path, default=HERE / "assembly_quality")
    options = parser.parse_args()

    truths, digest = crystals(options.crystals, options.ids, options.split, options.copies)
    methods = {} if options.no_floors else floors(options.samples, options.packmol_samples, options.seed)
    request = Request(copies=options.copies, samples=options.samples, seed=options.seed)
    bare = replace(request, contacts=False)
    angles = {}
    for name, path in _models(options.model).items():
        model, _ = load_model(path)
        methods[name] = partial(_flow, model, request)
        methods[f"{name}{BARE}"] = partial(_flow, model, bare)
        angles[name] = residual_angles(model, truths, options.copies, seed=options.seed)

    every: list[Row] = []
    table: list[Row] = []
    means: dict[str, dict[str, dict[str, float]]] = {}
    for name, generate in methods.items():
        began = time.perf_counter()
        drawn = options.packmol_samples if name == PACKMOL else options.samples
        rows, failed = measure(name, generate, truths, drawn)
        every += rows
        means[name] = {key: by_crystal(rows, key) for key in _MEANS}
        line: Row = {"method": name, "failed": failed}
        line |= {key: estimate(list(values.values()), options.seed) for key, values in means[name].items()}
        if name in angles:
            before, after = angles[name]
            line |= {"angle_before": estimate(before, options.seed), "angle": estimate(after, options.seed)}
        table.append(line)
        print(f"{name}: {time.perf_counter() - began:.0f} s", flush=True)
    origin = Provenance(
        __version__, options.seed, digest, len(truths), "python benchmarks/assembly_quality.py"
    )
    text = f"# Quality of assembled clusters\n\n{_prose()}\n\n"
    text += f"{options.split} split, {options.samples} samples each (PackMol {options.packmol_samples}).\n\n"
    text += markdown_table(table, COLUMNS, origin)
    if options.reference in angles:
        differences: list[Row] = []
        for name in angles.keys() - {options.reference}:
            line = {"method": f"{name} − {options.reference}"}
            for key in _MEANS:
                base = means[options.reference][key]
                line[key] = estimate([v - base[i] for i, v in means[name][key].items()], options.seed)
            line["angle"] = estimate(angles[name][1] - angles[options.reference][1], options.seed)
            differences.append(line)
        table += sorted(differences, key=lambda row: str(row["method"]))
        text += "\nDifferences, paired by crystal; an interval without 0 is a difference:\n\n"
        text += markdown_table(sorted(differences, key=lambda row: str(row["method"])), COLUMNS[:-2])
    options.out.with_suffix(".md").write_text(text, encoding="utf-8")
    write_csv(options.out.with_suffix(".csv"), table, origin)
    write_csv(Path(f"{options.out}_rows.csv"), every)
    print(text)


def _models(entries: list[str] | None) -> dict[str, Path]:
    if entries is not None:
        return {name: Path(path) for name, path in (entry.split("=", 1) for entry in entries)}
    known = {"K-Flow": ROOT / "kflow_sci" / "weights" / "assembly.safetensors"}
    titles = {"plain": "plain flow matching"}
    for path in sorted((HERE / "weights").glob("*.safetensors")):
        known[titles.get(path.stem, path.stem.replace("_", " "))] = path
    return known


def _prose() -> str:
    # The docstring from where it speaks of what is measured.
    text = " ".join((__doc__ or "").split())
    return text[text.index("The models guess") :]


if __name__ == "__main__":
    main()
