"""The picture of a cluster that assembles shell by shell, in docs/how.md.

    python docs/figures/assembling.py

Draws ``assembling.png`` beside this script, with the weights in the package; takes some seconds.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from kflow_sci import read_molecule
from kflow_sci.assembly.cluster import Cluster
from kflow_sci.assembly.model.generate import load_model, propose
from kflow_sci.assembly.model.request import Request
from kflow_sci.assembly.model.walk import Walk
from kflow_sci.report.plots import draw_clusters

SMILES = "c1ccc(cc1)C(=O)O"  # benzoic acid
HERE = Path(__file__).parent


def main() -> None:
    """Sample once and draw the stops at whole scales, all from one side."""
    model, _ = load_model()
    walks: list[Walk] = []
    request = Request(copies=17, samples=1, seed=3)
    (made,) = propose(model, read_molecule(SMILES), request, watch=lambda _, walk: walks.append(walk))
    walk, shells = walks[0], model.schedule.n_shells
    stops = [int(np.abs(walk.scale - k).argmin()) for k in range(shells + 1)]
    clusters = [
        Cluster(made.molecules, made.kind, walk.centroid[i], walk.rotation[i], made.parity) for i in stops
    ]
    told = ["k = 0: random start", *(f"k = {k}" for k in range(1, shells)), f"k = {shells}: end of the flow"]
    draw_clusters(clusters, HERE / "assembling.png", columns=len(stops), dpi=80, captions=told, alike=True)


if __name__ == "__main__":
    main()
