"""How good are assembled clusters? Models and floors on the test crystals, ten samples each.

    python benchmarks/assembly_quality.py --crystals CIF_FOLDER --model "K-Flow"=kflow_sci/weights/assembly.safetensors

Writes ``assembly_quality.md`` (the table), ``assembly_quality.csv`` (the same) and ``assembly_quality_rows.csv`` (every
sample) beside this script. Models guess the volume from the molecule; the floors are given the true density. Means are over
crystals, intervals are 95 % bootstrap over crystals; a difference is paired by crystal.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from kflow_sci import __version__
from kflow_sci.assembly.baselines import packmol, random_ball, renumbered
from kflow_sci.assembly.cluster import Cluster
from kflow_sci.assembly.contacts import clashing_pairs
from kflow_sci.assembly.crystal import cluster_from_crystal, read_crystal
from kflow_sci.assembly.generate import Request, load_model, propose
from kflow_sci.assembly.relax import resolve_clashes
from kflow_sci.assembly.scoring.frame import Frame
from kflow_sci.assembly.scoring.matching import matched_pm
from kflow_sci.assembly.scoring.packing import gyration_volume, voronoi_volume
from kflow_sci.assembly.scoring.published import packing_matching
from kflow_sci.assembly.scoring.similarity import overlay
from kflow_sci.assembly.validate import residual_angles

HERE = Path(__file__).parent
# name, unit, direction, decimals
MEASURES = {
    "density_error": ("density error abs(ln V), Voronoi cell of the centre", "lower", 3),
    "gyration_error": ("density error abs(ln V), radius of gyration", "lower", 3),
    "clashes_raw": ("clashing pairs per molecule, raw", "lower", 2),
    "clashes": ("clashing pairs per molecule, after 20 iterations", "lower", 3),
    "matched_pm": ("matched PM-center, Å", "lower", 3),
    "matched_pm_raw": ("matched PM-center before resolving clashes, Å", "lower", 3),
    "pm_center": ("published PM-center by index, Å", "lower", 2),
    "overlay": ("overlay, molecules of 15 (20 %, 20°)", "higher", 2),
    "packed": ("share with at least 8 of 15", "higher", 3),
}
Propose = Callable[[Cluster], list[Cluster]]


def test_clusters(folder: Path, ids: Path, split: str, copies: int) -> tuple[list[Cluster], str]:
    """Clusters of one split, and a hash of the files they came from."""
    with open(ids, encoding="utf-8") as file:
        wanted = sorted(row["id"] for row in csv.DictReader(file) if row["split"] == split)
    digest = hashlib.sha256()
    clusters = []
    for name in wanted:
        path = folder / f"{name}.cif"
        digest.update(path.read_bytes())
        clusters.append(cluster_from_crystal(read_crystal(path), copies))
    return clusters, digest.hexdigest()[:12]


def measure(drawn: list[Cluster], resolved: list[Cluster], truth: Cluster) -> list[dict[str, float]]:
    """One row per sample."""
    reference = Frame.of(truth)
    true_cell = voronoi_volume(reference.positions, reference.molecule, reference.centre)
    true_ball = gyration_volume(truth.centroid)
    rows = []
    for raw, final in zip(drawn, resolved, strict=True):
        frame = Frame.of(final)
        match = overlay(frame, reference)
        cell = voronoi_volume(frame.positions, frame.molecule, frame.centre)
        rows.append(
            {
                "density_error": abs(float(np.log(cell / true_cell))),
                "gyration_error": abs(float(np.log(gyration_volume(final.centroid) / true_ball))),
                "clashes_raw": float(clashing_pairs([raw])[0]),
                "clashes": float(clashing_pairs([final])[0]),
                "matched_pm": matched_pm(final.centroid, truth.centroid),
                "matched_pm_raw": matched_pm(raw.centroid, truth.centroid),
                "pm_center": packing_matching(final.centroid, truth.centroid),
                "overlay": float(match.n_matched),
                "packed": float(match.packed),
            }
        )
    return rows


def interval(values: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """95 % percentile bootstrap of the mean."""
    rng = np.random.default_rng(seed)
    means = values[rng.integers(len(values), size=(4000, len(values)))].mean(1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def methods(arguments: argparse.Namespace) -> dict[str, Propose]:
    """Every method as a function from the truth (of which it may use what is stated) to samples."""
    n, seed = arguments.samples, arguments.seed
    table: dict[str, Propose] = {
        "true crystal, renumbered": lambda t: renumbered.propose(t, n, seed),
        "random ball, true density": lambda t: random_ball.propose(
            t.molecules[0], len(t), n, seed, t.info["volume"]
        ),
        "PackMol, true density": lambda t: packmol.propose(t.molecules[0], len(t), n, seed, t.info["volume"]),
    }
    for entry in arguments.model:
        name, path = entry.split("=", 1)
        model, _ = load_model(path)
        request = Request(copies=arguments.copies, samples=n, seed=seed)
        table[name] = lambda t, model=model, request=request: propose(model, t.molecules[0], request)  # type: ignore[misc]
    return table


def main() -> None:
    """Run all methods and write the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--crystals", type=Path, required=True, help="folder with the CIF files of the id list"
    )
    parser.add_argument("--ids", type=Path, default=HERE.parent / "datasets" / "crystals" / "ids.csv")
    parser.add_argument("--split", default="test")
    parser.add_argument("--model", action="append", default=[], metavar="NAME=WEIGHTS")
    parser.add_argument("--reference", help="model against which paired differences are printed")
    parser.add_argument("--copies", type=int, default=17)
    parser.add_argument("--samples", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=HERE / "assembly_quality")
    arguments = parser.parse_args()

    clusters, data_hash = test_clusters(arguments.crystals, arguments.ids, arguments.split, arguments.copies)
    rows: list[dict[str, object]] = []
    per_crystal: dict[str, dict[str, np.ndarray]] = {}
    for name, generate in methods(arguments).items():
        began = time.perf_counter()
        table = []
        for truth in clusters:
            drawn = generate(truth)
            resolved = resolve_clashes(drawn) if "renumbered" not in name else drawn
            measured = measure(drawn, resolved, truth)
            rows += [
                {"method": name, "id": truth.info["id"], "sample": i, **row} for i, row in enumerate(measured)
            ]
            table.append(measured)
        per_crystal[name] = {key: np.array([np.mean([r[key] for r in m]) for m in table]) for key in MEASURES}
        print(f"{name}: {time.perf_counter() - began:.0f} s", flush=True)

    angles = {}
    for entry in arguments.model:
        name, path = entry.split("=", 1)
        before, after = residual_angles(load_model(path)[0], clusters, arguments.copies, seed=arguments.seed)
        angles[name] = (before, after)
    write(arguments, clusters, data_hash, rows, per_crystal, angles)


def write(
    arguments: argparse.Namespace,
    clusters: list[Cluster],
    data_hash: str,
    rows: list[dict[str, object]],
    per_crystal: dict[str, dict[str, np.ndarray]],
    angles: dict[str, tuple[np.ndarray, np.ndarray]],
) -> None:
    """The table in Markdown and csv, and the rows."""
    names = list(per_crystal)
    lines = [
        "# Quality of assembled clusters",
        "",
        f"{len(clusters)} {arguments.split} crystals, {arguments.samples} samples each, {arguments.copies} molecules, seed "
        f"{arguments.seed}, kflow_sci {__version__}, data {data_hash}. Mean over crystals [95 % bootstrap over crystals]. "
        "Models guess the volume from the molecule; the floors are given the true density. All but the truth and what is "
        "called raw are measured after clash resolution.",
        "",
        "| measure (better) | " + " | ".join(names) + " |",
        "|---|" + "---|" * len(names),
    ]
    flat: list[dict[str, object]] = []
    common = {"split": arguments.split, "n_crystals": len(clusters), "samples": arguments.samples}
    common |= {"seed": arguments.seed, "version": __version__, "data": data_hash}

    def cell(name: str, key: str, values: np.ndarray, digits: int) -> str:
        finite = values[np.isfinite(values)]
        low, high = interval(finite)
        failed = len(values) - len(finite)
        flat.append(
            {
                "method": name,
                "measure": key,
                "mean": finite.mean(),
                "low": low,
                "high": high,
                "failed": failed,
                **common,
            }
        )
        note = f" ({failed} failed)" if failed else ""
        return f"{finite.mean():.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]{note}"

    for key, (text, better, digits) in MEASURES.items():
        cells = [cell(name, key, per_crystal[name][key], digits) for name in names]
        lines.append(f"| {text} ({better}) | " + " | ".join(cells) + " |")
    for place, text in (
        (0, "angle to the truth at s = 0.75 before the net, degrees"),
        (1, "… after the net, degrees (lower)"),
    ):
        key = ("angle_before", "angle")[place]
        cells = [cell(name, key, angles[name][place], 1) if name in angles else "–" for name in names]
        lines.append(f"| {text} | " + " | ".join(cells) + " |")
    if arguments.reference:
        lines += ["", f"Paired difference to {arguments.reference}, by crystal:", ""]
        others = [name for name in angles if name != arguments.reference]
        lines += ["| measure | " + " | ".join(others) + " |", "|---|" + "---|" * len(others)]
        for key, (text, _, digits) in MEASURES.items():
            base = per_crystal[arguments.reference][key]
            cells = [
                cell(f"{n} − {arguments.reference}", key, per_crystal[n][key] - base, digits + 1)
                for n in others
            ]
            lines.append(f"| {text} | " + " | ".join(cells) + " |")
    lines.append("")
    arguments.out.with_suffix(".md").write_text("\n".join(lines), encoding="utf-8")
    for path, table in ((arguments.out.with_suffix(".csv"), flat), (Path(f"{arguments.out}_rows.csv"), rows)):
        with open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(table[0]))
            writer.writeheader()
            writer.writerows(
                {k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()} for row in table
            )
    print("\n".join(lines))


if __name__ == "__main__":
    main()
