"""Are the scores right, what does chance reach, and what do they cost.

    python benchmarks/scoring.py --crystals CIF_FOLDER

Writes ``scoring.md`` and ``scoring.json`` beside this script; ``--only identity mirror floors peers speed`` runs some
parts and leaves the others as they are.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import math
import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from kflow_sci import __version__
from kflow_sci.assembly.baselines import lattice, packmol, random_ball, renumbered
from kflow_sci.assembly.cluster import Cluster
from kflow_sci.assembly.energy.relax import resolve_clashes
from kflow_sci.assembly.reading.crystal import cluster_from_crystal, read_crystal
from kflow_sci.assembly.scoring import published
from kflow_sci.assembly.scoring.frame import Frame
from kflow_sci.assembly.scoring.inside import Internal
from kflow_sci.assembly.scoring.matching import matched_pm
from kflow_sci.assembly.scoring.matching_atoms import matched_pm_atom
from kflow_sci.assembly.scoring.measures import BY_NAME, MEASURES
from kflow_sci.assembly.scoring.packing import contact_distance
from kflow_sci.assembly.scoring.report import score_clusters
from kflow_sci.assembly.scoring.similarity import overlay
from kflow_sci.errors import ClusterError
from kflow_sci.files import atomic_write
from kflow_sci.report.tables import Row, markdown_table

HERE = Path(__file__).parent
ROOT = HERE.parent
COPIES, LARGE = 17, 120
PARTS = ("identity", "mirror", "floors", "speed")
TITLES = {
    "identity": "Every crystal against itself, renumbered and turned",
    "mirror": "Every crystal against its mirror image",
    "floors": "What clusters reach that know nothing",
    "speed": "What a score costs",
}


def load(folder: Path, copies: int, names: Sequence[str]) -> dict[str, Cluster]:
    """The cluster of each crystal."""
    return {name: cluster_from_crystal(read_crystal(folder / f"{name}.cif"), copies) for name in names}


def identity(folder: Path, names: Sequence[str], seed: int) -> list[Row]:
    """Overlay, matched PMs and the rest of renumbered, turned truths: full marks or a fault."""
    matched, rmsd, center, atom, contact = [], [], [], [], []
    for cluster in load(folder, COPIES, names).values():
        truth = Frame.of(cluster)
        sample = Frame.of(renumbered.propose(cluster, 1, seed)[0])
        match = overlay(sample, truth)
        matched.append(match.n_matched == match.size == 15)
        rmsd.append(match.rmsd)
        center.append(matched_pm(sample.centroids, truth.centroids))
        atom.append(matched_pm_atom(sample, truth))
        contact.append(contact_distance(sample, truth))
    return [
        {
            "crystals": len(matched),
            "15 of 15": sum(matched),
            "largest RMSD, Å": max(rmsd),
            "largest matched PM-center, Å": max(center),
            "largest matched PM-atom, Å": max(atom),
            "largest contact distance": max(contact),
        }
    ]


def mirror(folder: Path, names: Sequence[str], seed: int) -> list[Row]:
    """The mirror image of each crystal, against the crystal, by what its space group says they are."""
    rows: dict[str, list[dict[str, float]]] = {}
    for name in names:
        crystal = read_crystal(folder / f"{name}.cif")
        truth = Frame.of(cluster_from_crystal(crystal, COPIES))
        large = cluster_from_crystal(crystal, LARGE)
        same, other = (_mirrored(cluster, seed) for cluster in (cluster_from_crystal(crystal, COPIES), large))
        cut, whole, back = overlay(same, truth), overlay(other, truth), overlay(same, truth, mirror=True)
        rows.setdefault(_handedness(crystal.space_group, crystal.molecules[0].symmetry.chiral), []).append(
            {
                "n, 17 of each": cut.n_matched,
                "n, 120 mirrored": whole.n_matched,
                "15 of 15, 120 mirrored": float(whole.n_matched == 15 and whole.rmsd < 0.01),
                "15 of 15, mirror=True": float(back.n_matched == 15 and back.rmsd < 0.01),
            }
        )
    return [
        {"space groups": kind, "crystals": len(found)}
        | {key: statistics.fmean(row[key] for row in found) for key in found[0]}
        for kind, found in sorted(rows.items())
    ]


def _mirrored(cluster: Cluster, seed: int) -> Frame:
    frame = Frame.of(renumbered.propose(cluster, 1, seed)[0])
    return replace(frame, positions=-frame.positions)


def _handedness(space_group: str, chiral: bool) -> str:
    import gemmi

    group = gemmi.SpaceGroup(space_group)
    if not group.is_sohncke():
        return "with improper operations: the same crystal"
    return f"Sohncke, {'chiral' if chiral else 'achiral'} shape: another crystal"


def floors(folder: Path, names: Sequence[str], seed: int, samples: int, packmol_samples: int) -> list[Row]:
    """Means of every measure for clusters that know the molecule, the count and the true density."""
    truths = list(load(folder, COPIES, names).values())

    def resolved(clusters: list[Cluster]) -> list[Cluster]:
        return resolve_clashes(clusters)

    makers: dict[str, Callable[[Cluster], list[Cluster]]] = {
        "random ball": lambda t: random_ball.propose(t.molecules[0], len(t), samples, seed, t.info["volume"]),
        "fcc/hcp lattice": lambda t: lattice.propose(t.molecules[0], len(t), samples, seed, t.info["volume"]),
        "PackMol": lambda t: packmol.propose(t.molecules[0], len(t), packmol_samples, seed, t.info["volume"]),
        "the crystal, renumbered": lambda t: renumbered.propose(t, samples, seed),
    }
    rows: list[Row] = []
    for name, make in makers.items():
        proposals: list[list[Cluster | None]] = []
        for truth in truths:
            try:
                made = make(truth)
                proposals.append([*(resolved(made) if name == "random ball" else made)])
            except (
                ClusterError
            ) as error:  # PackMol gives up on some molecules; that is a result and is counted
                print(f"{name}, {truth.info['id']}: {error}", flush=True)
                proposals.append([None])
        report = score_clusters(proposals, truths, seed=seed)
        row: Row = {"clusters": name + (", clashes resolved" if name == "random ball" else "")}
        row |= {line.measure.name: line.mean.mean for line in report.summary}
        row |= {key: entry["first"] for key, entry in report.published.items()}
        rows.append(row | {"failed": report.meta["failed_samples"]})
        print(name, flush=True)
    return rows


def speed(folder: Path, names: Sequence[str], seed: int) -> list[Row]:
    """Seconds on this machine, and the same in multiples of one distance matrix of 400 atoms."""
    rng = np.random.default_rng(seed)
    from scipy.spatial.distance import cdist

    points = 10 * rng.normal(size=(400, 3))
    unit = fastest(lambda: cdist(points, points), 50)
    numbers = rng.choice([1, 6, 7, 8], size=400)
    molecule = np.arange(400) * 17 // 400
    other = points + rng.normal(size=points.shape)
    one = fastest(lambda: published.score(numbers, other, points, molecule), 20)
    rows: list[Row] = [
        _cost("published protocol, 1,000 clusters of 400 atoms", [1000 * one], 1000 * unit, 20.0)
    ]
    took: dict[str, list[float]] = {}
    for cluster in load(folder, COPIES, names).values():
        truth = Frame.of(cluster)
        ball = random_ball.propose(cluster.molecules[0], COPIES, 1, seed, cluster.info["volume"])[0]
        inside = Internal(truth)
        for kind, sample in (("truth", renumbered.propose(cluster, 1, seed)[0]), ("random ball", ball)):
            pred = Frame.of(sample)
            works: dict[str, Callable[[], object]] = {
                "overlay": lambda p=pred, t=truth: overlay(p, t),
                "matched PM-center": lambda p=pred, t=truth: matched_pm(p.centroids, t.centroids),
                "matched PM-atom": lambda p=pred, t=truth: matched_pm_atom(p, t),
                "contact distance": lambda p=pred, t=truth: contact_distance(p, t),
                "inside the molecules": lambda p=pred, i=inside: i.compare(p),
            }
            for name, work in works.items():
                took.setdefault(f"{name}, {kind}", []).append(fastest(work, 2))
    limits = {"overlay, truth": 0.05, "overlay, random ball": 0.05}
    rows += [_cost(name, seconds, unit, limits.get(name)) for name, seconds in took.items()]
    return rows


def fastest(work: Callable[[], object], times: int) -> float:
    """Least time of some runs, s."""
    found = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        found.append(time.perf_counter() - began)
    return min(found)


def _cost(name: str, seconds: list[float], unit: float, limit: float | None) -> Row:
    return {
        "score": name,
        "mean, s": f"{statistics.fmean(seconds):.4f}",
        "largest, s": f"{max(seconds):.4f}",
        "mean in distance matrices of 400 atoms": round(statistics.fmean(seconds) / unit, 1),
        "limit, s": "" if limit is None else f"{limit:g}",
        "holds": "" if limit is None else ("yes" if max(seconds) <= limit else "NO"),
    }


def main() -> None:
    """Run the parts and write the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    here = Path(os.environ.get("KFLOW_CRYSTALS", ROOT.parent / "shared" / "crystals")) / "experimental"
    parser.add_argument(
        "--crystals", type=Path, default=here, help="folder with the CIF files of the id list"
    )
    parser.add_argument("--ids", type=Path, default=ROOT / "datasets" / "crystals" / "ids.csv")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--limit", type=int, help="only so many crystals")
    parser.add_argument("--samples", type=int, default=5, help="of each floor")
    parser.add_argument("--packmol-samples", type=int, default=1, help="PackMol takes many seconds for one")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=HERE / "scoring")
    options = parser.parse_args()
    with open(options.ids, encoding="utf-8") as file:
        split = {row["id"]: row["split"] for row in csv.DictReader(file)}
    every = sorted(name for name in split if (options.crystals / f"{name}.cif").is_file())[: options.limit]
    test = [name for name in every if split[name] == "test"]
    digest = hashlib.sha256(
        b"".join((options.crystals / f"{name}.cif").read_bytes() for name in every)
    ).hexdigest()
    kept = Path(f"{options.out}.json")
    parts = json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else {}
    for part in options.only:
        began = time.perf_counter()
        if part == "floors":
            rows = floors(options.crystals, test, options.seed, options.samples, options.packmol_samples)
        else:
            work = {"identity": identity, "mirror": mirror, "speed": speed}[part]
            rows = work(options.crystals, test if part == "speed" else every, options.seed)
        count = len(every if part in ("identity", "mirror") else test)
        parts[part] = {
            "rows": [{key: _plain(value) for key, value in row.items()} for row in rows],
            "crystals": count,
            "data": digest[:16],
            "seed": options.seed,
            "version": __version__,
        }
        print(f"{part}: {time.perf_counter() - began:.0f} s", flush=True)
    with atomic_write(kept) as temporary:
        temporary.write_text(json.dumps(parts, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    text = document({part: parts[part] for part in PARTS if part in parts})
    with atomic_write(options.out.with_suffix(".md")) as temporary:
        temporary.write_text(text, encoding="utf-8")
    print(text)


def document(parts: dict[str, dict[str, object]]) -> str:
    """The Markdown page."""
    text = "# The scores\n\nMade by `python benchmarks/scoring.py`; one core.\n"
    for name, part in parts.items():
        rows: list[Row] = list(part["rows"])  # type: ignore[call-overload]
        if name == "floors":
            keys = [measure.name for measure in MEASURES] + [key for key in rows[0] if key not in BY_NAME][1:]
            keys += [key for key in rows[0] if key in BY_NAME and key not in keys]
            heads = [str(row["clusters"]) for row in rows]
            rows = [
                {"measure": key} | {head: _short(row[key]) for head, row in zip(heads, rows, strict=True)}
                for key in keys
            ]
        else:
            rows = [{key: _short(value) for key, value in row.items()} for row in rows]
        text += f"\n## {TITLES[name]}\n\n{markdown_table(rows)}"
        origin = f"kflow_sci {part['version']}, seed {part['seed']}, data sha256 {part['data']}"
        text += f"\n{part['crystals']} crystals; {origin}.\n"
    return text


def _plain(value: object) -> object:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _short(value: object) -> str | int | float:
    if isinstance(value, float):
        return f"{value:.2g}" if 0 < abs(value) < 1e-3 else f"{value:.3f}"
    return "-" if value is None else value  # type: ignore[return-value]


if __name__ == "__main__":
    main()
