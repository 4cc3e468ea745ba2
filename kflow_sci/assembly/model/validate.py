"""Judging a model while it trains: by what it generates, not by its loss alone.

The one idea: two views. The residual angle at a flow time says whether the network has learnt orientation at
all; samples from random starts, scored against the crystal, say what a user would get.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import roma
import torch

from kflow_sci.assembly.cluster import Cluster
from kflow_sci.assembly.contacts import clashing_pairs
from kflow_sci.assembly.model.batch import collate, without_mirror_twins
from kflow_sci.assembly.model.cluster_model import ClusterModel
from kflow_sci.assembly.model.dataset import crop
from kflow_sci.assembly.model.generate import Request, propose
from kflow_sci.assembly.scoring.matching import matched_pm
from kflow_sci.assembly.scoring.packing import gyration_volume
from kflow_sci.flow.path import Path
from kflow_sci.flow.rigid import sample_rigid


@torch.no_grad()
def residual_angles(
    model: ClusterModel, clusters: Sequence[Cluster], copies: int, *, time: float = 0.75, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Mean angle to the true orientation, before and after the network, of each cluster.

    Points are drawn on the path at the given flow time, from random starts coupled as in training; symmetric
    molecules count the nearest of their equivalent orientations to the start.

    Args:
        model: The model; with velocity prediction its answer is carried to the end of the path.
        clusters: True clusters.
        copies: Molecules taken of each.
        time: Flow time s.
        seed: Of the starts.

    Returns:
        Degrees, two arrays with one value per cluster.
    """
    generator = torch.Generator().manual_seed(seed)
    batch = collate([without_mirror_twins(crop(c, copies)) for c in clusters])
    batch, start = model.pair(batch, generator)
    s = torch.full((len(clusters),), time)
    path = Path(model.transform(start.centroid, batch.mask), model.schedule)
    point = sample_rigid(path, start, batch.pose, s)
    _, turn = model.answer(point.pose, batch, model.net.encode(batch.table), s)
    if model.config.prediction == "velocity":
        turn = turn * (1.0 - time)
    after = roma.rotvec_to_rotmat(turn) @ point.pose.rotation

    def angle(rotation: torch.Tensor) -> np.ndarray:
        return roma.rotmat_geodesic_distance(rotation, batch.pose.rotation).rad2deg().mean(1).numpy()

    return angle(point.pose.rotation), angle(after)


def validate(
    model: ClusterModel, clusters: Sequence[Cluster], *, copies: int, samples: int, seed: int = 0
) -> dict[str, float]:
    """Scores of samples against true clusters; means over clusters.

    Returns:
        ``angle`` and ``angle_before`` (degrees at s = 0.75), ``density_error`` (|ln V| by radius of gyration,
        volume guessed from the molecule alone), ``clashing_pairs`` (per molecule, raw) and ``matched_pm``
        (Å).
    """
    was_training = model.training
    model.eval()
    before, after = residual_angles(model, clusters, copies, seed=seed)
    density, clashes, distances = [], [], []
    for cluster in clusters:
        truth = crop(cluster, copies)
        drawn = propose(model, cluster.molecules[0], Request(copies=copies, samples=samples, seed=seed))
        true_volume = gyration_volume(truth.centroid)
        density += [abs(np.log(gyration_volume(c.centroid) / true_volume)) for c in drawn]
        clashes += list(clashing_pairs(drawn))
        distances += [matched_pm(c.centroid, truth.centroid) for c in drawn]
    model.train(was_training)
    return {
        "angle_before": float(before.mean()),
        "angle": float(after.mean()),
        "density_error": float(np.mean(density)),
        "clashing_pairs": float(np.mean(clashes)),
        "matched_pm": float(np.mean(distances)),
    }
