"""A batch of two tiny clusters, and small rivals, for the tests of the learned rivals."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from kflow_sci.assembly.baselines.learned import Rival, rival_class
from kflow_sci.assembly.cluster import Cluster
from kflow_sci.assembly.model.batch import ClusterBatch, collate
from kflow_sci.assembly.model.start import random_start
from kflow_sci.assembly.molecule import Molecule
from kflow_sci.flow.rigid import Pose
from kflow_sci.settings import make_config

# Hand-typed, Å: a bent molecule with a two-fold axis, and a chiral one.
WATER = Molecule.build(np.array([8, 1, 1]), np.array([[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]]))[0]
CHIRAL = Molecule.build(
    np.array([6, 9, 17, 35, 1]),
    np.array([[0, 0, 0], [1.35, 0, 0], [-0.5, 1.7, 0], [-0.6, -0.7, 1.7], [-0.4, -0.6, -0.8]]),
)[0]
LENGTH = 4.0

_ATOM = {"features": 16, "layers": 2, "cutoff": 5.0, "radial": 6, "neighbours": 12, "time_steps": 4}
_RIGID = {
    "hidden": 24,
    "layers": 2,
    "edge": 16,
    "neighbours": 8,
    "contacts": 4,
    "rotation_weight": 0.2,
    "keep_volume": False,
}
SETTINGS: dict[str, dict[str, Any]] = {
    "regression": {**_RIGID, "matching": "exact", "epsilon": 0.05},
    "gnn-md": _ATOM,
    "crystal-sde-ve": {**_ATOM, "low": 0.02, "high": 3.0},
    "crystal-sde-vp": {**_ATOM, "low": 0.1, "high": 20.0},
    "crystal-flow-ve": {**_ATOM, "low": 0.02, "high": 3.0},
    "crystal-flow-vp": {**_ATOM, "low": 0.1, "high": 20.0},
    "crystal-flow-lerp": _ATOM,
    "bridge": {**_RIGID, "noise": 0.1, "spin": 0.2, "epsilon": 0.05, "reach": 2.0, "time_steps": 4},
}
METHODS = list(SETTINGS)


def rival(method: str, seed: int = 0, trained: bool = True, **changes: Any) -> Rival:
    """A small rival in double precision; ``trained``: the layers that begin at zero are filled at random."""
    torch.manual_seed(seed)
    kind = rival_class(method)
    made = kind(make_config(kind.settings_kind, {**SETTINGS[method], **changes})).double()
    if trained:
        for parameter in made.parameters():
            if not parameter.any():
                torch.nn.init.normal_(parameter, std=0.1)
    return made.eval()


def cluster(molecule: Molecule, copies: int, seed: int) -> Cluster:
    """Copies on a slightly disturbed grid, both hands."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid([0, 1], [0, 1], [0, 1]), -1).reshape(-1, 3)[:copies]
    return Cluster(
        (molecule,),
        np.zeros(copies, dtype=np.int64),
        LENGTH * (grid + 0.1 * rng.normal(size=(copies, 3))),
        Rotation.random(copies, rng=rng).as_matrix(),
        np.array([1, -1] * copies)[:copies],
        {"volume": LENGTH**3, "id": f"tiny{seed}"},
    )


def tiny_batch(copies: tuple[int, ...] = (5, 4), start: bool = True) -> ClusterBatch:
    """One cluster of each number of copies, padded; with a start for each, drawn from its own seed."""
    molecules = (CHIRAL, WATER)
    batch = collate([cluster(molecules[i % 2], n, i) for i, n in enumerate(copies)], torch.float64)
    if not start:
        return batch
    poses = [
        random_start(batch.mask[i : i + 1, :n], batch.length[i : i + 1], torch.Generator().manual_seed(i))
        for i, n in enumerate(copies)
    ]
    given = Pose(torch.zeros_like(batch.pose.centroid), batch.pose.rotation.clone())
    for i, (n, pose) in enumerate(zip(copies, poses, strict=True)):
        given.centroid[i, :n], given.rotation[i, :n] = pose.centroid[0], pose.rotation[0]
    return batch._replace(start=given)


def single(batch: ClusterBatch, i: int) -> ClusterBatch:
    """One cluster of a batch without its padding."""
    n = int(batch.mask[i].sum())

    def cut(pose: Pose) -> Pose:
        return Pose(pose.centroid[i : i + 1, :n], pose.rotation[i : i + 1, :n])

    return batch._replace(
        ids=batch.ids[i : i + 1],
        kind=batch.kind[i : i + 1, :n],
        parity=batch.parity[i : i + 1, :n],
        mask=batch.mask[i : i + 1, :n],
        length=batch.length[i : i + 1],
        pose=cut(batch.pose),
        start=None if batch.start is None else cut(batch.start),
    )


def turned(batch: ClusterBatch, pose: Pose, q: torch.Tensor) -> tuple[ClusterBatch, Pose]:
    """The same clusters after an orthogonal transformation about the origin, improper ones included."""
    sign = torch.linalg.det(q).round()
    return batch._replace(parity=sign * batch.parity), Pose(pose.centroid @ q.T, sign * q @ pose.rotation)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
