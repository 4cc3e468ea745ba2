"""Judging a model while it trains: by what it generates, not by its loss alone.

The one idea: two views. The residual angle at a flow time says whether the network of K-Flow has learnt orientation
at all; samples of any method, scored against the crystal, say what a user would get.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import roma
import torch

from kflow_sci.assembly.bonds import bonded_pairs
from kflow_sci.assembly.cluster import Cluster
from kflow_sci.assembly.contacts import polar_hydrogens
from kflow_sci.assembly.model.batch import collate, without_mirror_twins
from kflow_sci.assembly.model.cluster_model import ClusterModel
from kflow_sci.assembly.model.dataset import crop
from kflow_sci.assembly.model.generate import propose
from kflow_sci.assembly.model.request import Request
from kflow_sci.assembly.scoring.frame import Frame
from kflow_sci.assembly.scoring.matching import matched_pm
from kflow_sci.assembly.scoring.measures import usable
from kflow_sci.assembly.scoring.packing import clash_pairs, gyration_volume, voronoi_volume
from kflow_sci.flow.path import Path
from kflow_sci.flow.rigid import sample_rigid

_ROOM_ROUNDS = 2


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
    """Scores of a cluster model against true clusters; means over clusters.

    Returns:
        ``angle`` and ``angle_before`` (degrees at s = 0.75), and those of ``sample_scores``.
    """
    was_training = model.training
    model.eval()
    before, after = residual_angles(model, clusters, copies, seed=seed)

    def drawn(truth: Cluster) -> Sequence[Cluster]:
        return propose(model, truth.molecules[0], Request(copies=copies, samples=samples, seed=seed))

    scores = sample_scores(drawn, clusters, copies)
    model.train(was_training)
    return {"angle_before": float(before.mean()), "angle": float(after.mean()), **scores}


def room(
    model: ClusterModel, clusters: Sequence[Cluster], *, copies: int, samples: int, seed: int = 0
) -> float:
    """The ``ModelConfig.room`` with which samples are on average as dense in the middle as the true clusters.

    Args:
        model: The model; what room it has does not matter, and it keeps that.
        clusters: True clusters that the model was not trained on.
        copies: Molecules per cluster.
        samples: Per true cluster.
        seed: Of the samples.

    Returns:
        A factor. Cells grow a little less than the volume of the cluster, as some are open, so it is found by steps.
    """
    found, tried = 1.0, copy.copy(model)
    for _ in range(_ROOM_ROUNDS):
        tried.config = replace(model.config, room=found)
        request = Request(copies=copies, samples=samples, seed=seed)
        logs = []
        for cluster in clusters:
            truth = _cell(crop(cluster, copies))
            logs += [math.log(truth / _cell(c)) for c in propose(tried, cluster.molecules[0], request)]
        found *= math.exp(float(np.mean(logs)))
    return found


def _cell(cluster: Cluster) -> float:
    frame = Frame.of(cluster)
    return voronoi_volume(frame.positions, frame.molecule, frame.centre)


def sample_scores(
    draw: Callable[[Cluster], Sequence[Cluster | Frame]], clusters: Sequence[Cluster], copies: int
) -> dict[str, float]:
    """Scores of the samples of any method against true clusters.

    Args:
        draw: Samples for a true cluster, ``copies`` molecules each; of the cluster it may use the molecule alone, and
            the start that the data give for it.
        clusters: True clusters.
        copies: Molecules taken of each.

    Returns:
        Means over the samples that are finite: ``density_error`` (|ln V| by radius of gyration), ``clashing_pairs``
        (per molecule, raw) and ``matched_pm`` (Å); NaN if none is. ``failed`` is the share of the others.
    """
    density, clashes, distances, failed = [], [], [], 0
    for cluster in clusters:
        truth = crop(cluster, copies)
        true_volume = gyration_volume(truth.centroid)
        molecule = cluster.molecules[0]
        # From the template: the bonds of a distorted molecule are no longer those of its atoms' distances.
        polar = np.tile(polar_hydrogens(molecule.numbers, bonded_pairs(molecule)), copies)
        for sample in draw(cluster):
            frame = Frame.of(sample) if isinstance(sample, Cluster) else sample
            if not usable(frame):
                failed += 1
                continue
            centroids = frame.centroids
            density.append(abs(np.log(gyration_volume(centroids) / true_volume)))
            clashes.append(clash_pairs(frame.numbers, frame.positions, frame.molecule, polar) / copies)
            distances.append(matched_pm(centroids, truth.centroid))
    count = failed + len(density)
    named = {"density_error": density, "clashing_pairs": clashes, "matched_pm": distances}
    means = {name: float(np.mean(values)) if values else math.nan for name, values in named.items()}
    return {**means, "failed": failed / count}
