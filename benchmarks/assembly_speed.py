"""How fast are training and assembly on this machine? PackMol is timed in the same run.

    python benchmarks/assembly_speed.py

Writes ``assembly_speed.md`` and ``assembly_speed.csv`` beside this script. All with paracetamol (20 atoms)
but the command line, which makes ten clusters of aspirin from a cold process. Times are medians [fastest,
slowest]; compare the rows of one run, not of two machines.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from kflow_sci import __version__
from kflow_sci.assembly.baselines import packmol
from kflow_sci.assembly.energy.relax import resolve_clashes
from kflow_sci.assembly.model.batch import collate
from kflow_sci.assembly.model.cluster_model import ClusterModel
from kflow_sci.assembly.model.generate import Request, load_model, propose
from kflow_sci.assembly.reading.embed import from_smiles
from kflow_sci.report.tables import Column, Row, write_csv, write_markdown

HERE = Path(__file__).parent
PARACETAMOL = "CC(=O)Nc1ccc(O)cc1"
ASPIRIN = "CC(=O)Oc1ccccc1C(=O)O"


def timed(work: Callable[[], object], repeats: int) -> list[float]:
    """Seconds of each repeat, after one that is not counted."""
    work()
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return seconds


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=HERE / "assembly_speed")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.set_flush_denormal(True)

    molecule = from_smiles(PARACETAMOL)
    volume = molecule.crystal_volume
    model, header = load_model()
    rows: list[tuple[str, str, list[float], str]] = []

    batch64 = collate(propose(model, molecule, Request(samples=64)))
    learner = ClusterModel(model.config)
    optimizer = torch.optim.AdamW(learner.parameters(), 1e-3)

    def training_step() -> None:
        loss = learner.loss(batch64, torch.Generator().manual_seed(0))["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    rows.append(
        (
            "training",
            "clusters/s",
            [64 / s for s in timed(training_step, options.repeats)],
            "batch of 64 × 17",
        )
    )
    flow = timed(lambda: propose(model, molecule, Request(samples=64)), options.repeats)
    calls = f"{propose(model, molecule, Request(samples=1))[0].info['calls']} calls"
    rows.append(("sampling the flow", "ms/cluster", [1e3 * s / 64 for s in flow], f"64 × 17, {calls}"))
    bare = timed(lambda: propose(model, molecule, Request(samples=64, contacts=False)), options.repeats)
    rows.append(("… without contact steps", "ms/cluster", [1e3 * s / 64 for s in bare], f"64 × 17, {calls}"))
    raw = propose(model, molecule, Request(samples=64))
    relax = timed(lambda: resolve_clashes(raw), 3)
    rows.append(("resolving clashes", "ms/cluster", [1e3 * s / 64 for s in relax], "64 × 17"))
    packed = []
    for seed in range(10):
        began = time.perf_counter()
        packmol.propose(molecule, 17, 1, seed, volume)
        packed.append(1e3 * (time.perf_counter() - began))
    rows.append(("PackMol", "ms/cluster", packed, "17, sphere at the expected density, its process included"))
    large = timed(lambda: resolve_clashes(propose(model, molecule, Request(copies=200, samples=1))), 3)
    rows.append(("one cluster of 200 molecules, clashes resolved", "s", large, calls))
    cold, memory = cold_process(3)
    rows.append(("kflow assemble of aspirin, 10 samples, cold process", "s", cold, "to written files"))
    rows.append(("its peak memory", "MiB", memory, ""))
    write(options, header, rows)


def cold_process(repeats: int) -> tuple[list[float], list[float]]:
    """Wall seconds and peak resident MiB of the command."""
    seconds, memory = [], []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            command = [
                sys.executable,
                "-m",
                "kflow_sci",
                "assemble",
                ASPIRIN,
                "--samples",
                "10",
                "--out",
                folder,
            ]
            began = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            seconds.append(time.perf_counter() - began)
        memory.append(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)
    return seconds, memory


def write(
    options: argparse.Namespace, header: dict[str, object], rows: list[tuple[str, str, list[float], str]]
) -> None:
    """Markdown and csv."""
    machine = f"{platform.machine()}, {options.threads} threads, torch {torch.__version__}"
    table: list[Row] = []
    for what, unit, values, how in rows:
        spread = {"median": float(np.median(values)), "fastest": min(values), "slowest": max(values)}
        if unit == "clusters/s":
            spread |= {"fastest": max(values), "slowest": min(values)}
        table.append({"what": what, "how": how, **spread, "unit": unit, "runs": len(values)})
    columns = [Column("what", "what"), Column("how", "how"), Column("median", "median", 1)]
    columns += [
        Column("fastest", "fastest", 1),
        Column("slowest", "slowest", 1),
        Column("unit", "unit"),
        Column("runs", "runs"),
    ]
    above = (
        f"# Speed of assembly\n\n{machine}, kflow_sci {__version__}, weights at step {header.get('step')}. "
    )
    above += "Paracetamol (20 atoms) but for the command. Compare rows of one run, not of two machines."
    write_markdown(options.out.with_suffix(".md"), table, columns, above=above)
    write_csv(
        options.out.with_suffix(".csv"),
        [{**row, "version": __version__, "machine": machine} for row in table],
    )
    print(options.out.with_suffix(".md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
