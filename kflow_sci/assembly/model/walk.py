"""How a sample came about: its poses along the flow, and what each shell has moved by then.

The one idea: what a solver kept are chart coordinates about the start, so displacements are plain differences there,
and the shell filter that walked them also says how much of them lies on which scale.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from kflow_sci.assembly.model.batch import ClusterBatch
from kflow_sci.assembly.model.cluster_model import ClusterModel
from kflow_sci.flow.rigid import from_chart
from kflow_sci.flow.solve import Solution


@dataclass(frozen=True, eq=False)
class Walk:
    """One sample on the grid of the solver, from its random start to the end of the flow.

    What comes after the flow (the volume restored, clashes resolved) is not part of it.

    Attributes:
        time: Flow time s, 0 … 1, ``(t,)``.
        scale: Continuous scale k(s), 0 … number of shells, ``(t,)``.
        progress: α of each shell, 0 … 1, ``(t, shells)``.
        centroid: Å, ``(t, n, 3)``.
        rotation: Proper rotations, ``(t, n, 3, 3)``.
        moved: ``‖P_j (c_s − c_0)‖² / n``: K-amplitude energy of the displacement of the centroids in each shell, Å² per
            molecule, ``(t, shells)``.
        turned: The same of the rotation vectors from the start, rad² per molecule, ``(t, shells)``.
    """

    time: Float[np.ndarray, " t"]
    scale: Float[np.ndarray, " t"]
    progress: Float[np.ndarray, "t shells"]
    centroid: Float[np.ndarray, "t n 3"]
    rotation: Float[np.ndarray, "t n 3 3"]
    moved: Float[np.ndarray, "t shells"]
    turned: Float[np.ndarray, "t shells"]


@torch.no_grad()
def walks_of(model: ClusterModel, batch: ClusterBatch, solution: Solution) -> list[Walk]:
    """The walk of each sample of a batch.

    Args:
        model: The model that walked it.
        batch: What was walked; its pose is the start. All copies are real (no padding).
        solution: Of ``ClusterModel.sample`` with ``keep=True``.
    """
    states = torch.stack(solution.states, dim=1)  # (batch, t, copies, 6)
    size, count, copies, _ = states.shape
    start = batch.pose
    transform = model.transform(start.centroid, batch.mask)
    moves = (states - states[:, :1]).unbind(1)
    moved, turned = (
        torch.stack([transform.energy(x[..., part]) for x in moves], dim=1).double() / copies
        for part in (slice(0, 3), slice(3, 6))
    )
    base = start.rotation[:, None].expand(size, count, copies, 3, 3)
    pose = from_chart(states, base)
    times = solution.times.to(states)
    progress, _ = model.schedule.progress(times)
    shared = [x.double().cpu().numpy() for x in (times, model.schedule.scale(times), progress)]
    arrays = [x.double().cpu().numpy() for x in (pose.centroid, pose.rotation, moved, turned)]
    return [Walk(*shared, *(array[i] for array in arrays)) for i in range(size)]
