"""What drawing a point of the path costs, against a training step of the smallest net.

    python benchmarks/flow_cost.py

Writes ``flow_cost.md`` and ``flow_cost.csv`` beside this script. The rows are parts of one training step of the cluster
model with the default settings; parts and step take turns, so that the load of the machine falls on all. Times are
medians over the turns, the share is the median of the shares within one turn.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from kflow_sci import __version__
from kflow_sci.assembly.baselines import random_ball
from kflow_sci.assembly.model.batch import collate
from kflow_sci.assembly.model.cluster_model import ClusterModel, ModelConfig
from kflow_sci.assembly.reading.embed import from_smiles
from kflow_sci.flow.path import Path as FlowPath
from kflow_sci.flow.rigid import sample_rigid
from kflow_sci.report.tables import Column, Row, write_csv, write_markdown

HERE = Path(__file__).parent
LIMIT = 5.0


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--copies", type=int, default=17)
    parser.add_argument("--out", type=Path, default=HERE / "flow_cost")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.set_flush_denormal(True)

    molecule = from_smiles("CC(=O)Nc1ccc(O)cc1")
    batch = collate(random_ball.propose(molecule, options.copies, options.batch, 0, molecule.crystal_volume))
    torch.manual_seed(0)
    model = ClusterModel(ModelConfig())
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    generator = torch.Generator().manual_seed(0)
    target, start = model.pair(batch, generator)
    path = FlowPath(model.transform(start.centroid, batch.mask), model.schedule)
    s = torch.rand(options.batch, generator=generator)

    def step() -> None:
        loss = model.loss(batch, generator)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    works: dict[str, Callable[[], object]] = {
        "a training step, all of the below included": step,
        "point and velocity on SE(3)^M": lambda: sample_rigid(path, start, target.pose, s),
        "point and velocity on R^n (centroids)": lambda: path.sample(start.centroid, target.pose.centroid, s),
        "start, assignment and alignment": lambda: model.pair(batch, generator),
        "the graph transform of the start": lambda: model.transform(start.centroid, batch.mask),
    }
    times = {name: [] for name in works}
    for turn in range(options.turns + 1):
        for name, work in works.items():
            began = time.perf_counter()
            work()
            if turn:  # the first is not counted
                times[name].append(1e3 * (time.perf_counter() - began))
    whole = np.array(times["a training step, all of the below included"])
    rows: list[Row] = []
    for name, spent in times.items():
        share = 100 * float(np.median(np.array(spent) / whole))
        drawing = name.startswith("point")
        rows.append(
            {
                "what": name,
                "ms": float(np.median(spent)),
                "share": share,
                "limit": f"≤ {LIMIT:g} %" if drawing else "",
                "holds": ("yes" if share <= LIMIT else "NO") if drawing else "",
            }
        )
    columns = [
        Column("what", "what"),
        Column("ms", "ms", 2),
        Column("share", "% of the step", 1),
        Column("limit", "limit"),
        Column("holds", "holds"),
    ]
    above = (
        f"# Cost of the path\n\nBatch of {options.batch} clusters of {options.copies} molecules, default model, "
        f"{options.threads} thread(s), torch {torch.__version__}, kflow_sci {__version__}, seed 0. Medians of "
        f"{options.turns} turns."
    )
    write_markdown(options.out.with_suffix(".md"), rows, columns, above=above)
    write_csv(options.out.with_suffix(".csv"), rows)
    print(options.out.with_suffix(".md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
