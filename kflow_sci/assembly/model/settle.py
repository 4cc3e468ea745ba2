"""What is done to the poses after each step of the flow, and to finished clusters: contacts, regions, held copies.

The one idea: each is a projection of the poses, applied as the detail is set; the held ones have the last word.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float

from kflow_sci.assembly.cluster import Cluster
from kflow_sci.assembly.contacts import Stack, clashing_pairs
from kflow_sci.assembly.energy.relax import Parting, resolve_clashes, step_apart
from kflow_sci.assembly.model.region import Region, outside
from kflow_sci.flow.rigid import Pose

RELAX_ITERATIONS = 20
_ROUNDS, _STEPS = 12, 5  # of steps apart between which held copies and regions are restored


@dataclass(frozen=True, eq=False)
class StepApart:
    """Physics by scale: while the flow sets the detail, overlapping molecules step apart after each of its steps.

    The network never meets overlaps on its training path and does not mend them; ``relax`` does, a few linearised
    steps at a time, in all shells of the state. Where the cluster has a volume to keep, it is brought to it before, as
    room that is taken back at the end would be overlaps again.

    Attributes:
        parting: The molecules of the batch.
        body: Atoms of all copies in the frames of their molecules, mirrored where the copy is, Å, ``(atoms, 3)``.
        radius: Radius of gyration that each cluster is to have, Å; None for whatever it has.
        after: Flow time from which it acts.
        iterations: Steps of the relaxation after each step of the flow. With 6 from s = .8 on, raw samples of the
            validation crystals had .1 to .4 clashing pairs per molecule, and about 11 without any.
    """

    parting: Parting
    body: Float[np.ndarray, "atoms 3"]
    radius: Float[np.ndarray, " clusters"] | None = None
    after: float = 0.8
    iterations: int = 6

    @classmethod
    def of(cls, clusters: Sequence[Cluster], room: float | None = None) -> StepApart:
        """For clusters of these molecules and hands, wherever they are.

        Args:
            clusters: As many copies in each.
            room: Bring clusters to the radius of gyration that these have at so many times the volume.

        Raises:
            ClusterError: see ``Parting.of``.
        """
        body = [p * c.molecules[k].positions for c in clusters for k, p in zip(c.kind, c.parity, strict=True)]
        radius = None
        if room is not None:
            radius = _gyration(np.stack([c.centroid for c in clusters])) * room ** (1.0 / 3.0)
        return cls(Parting.of(clusters), np.concatenate(body), radius)

    def __call__(self, pose: Pose, s: Float[torch.Tensor, " batch"]) -> Pose:
        """The poses, their overlaps smaller."""
        if float(s[0]) < self.after:
            return pose
        centroid, arm = self.arms(pose)
        if self.radius is not None:
            each = centroid.reshape(pose.centroid.shape)
            mean = each.mean(axis=1, keepdims=True)
            each = mean + (each - mean) * (self.radius / _gyration(each))[:, None, None]
            centroid = each.reshape(-1, 3)
        moved, turn = self.parting(centroid, arm, self.iterations)
        rotation = pose.rotation.double().cpu().numpy()
        return Pose(
            torch.as_tensor(moved.reshape(pose.centroid.shape)).to(pose.centroid),
            torch.as_tensor(turn.reshape(rotation.shape) @ rotation).to(pose.rotation),
        )

    def arms(self, pose: Pose) -> tuple[Float[np.ndarray, "copies 3"], Float[np.ndarray, "atoms 3"]]:
        """Centroids of all copies, and the atoms about them in the world frame, Å."""
        centroid, rotation = (x.double().cpu().numpy() for x in pose)
        turned = rotation.reshape(-1, 3, 3)[self.parting.stack.owner]
        return centroid.reshape(-1, 3), np.einsum("aij,aj->ai", turned, self.body)


def _gyration(centroid: Float[np.ndarray, "clusters copies 3"]) -> Float[np.ndarray, " clusters"]:
    away = centroid - centroid.mean(axis=1, keepdims=True)
    return np.sqrt((away**2).sum(axis=2).mean(axis=1))


@dataclass(frozen=True, eq=False)
class Confine:
    """Molecules that stick out of a region are moved back in, as a whole, after each step.

    Attributes:
        apart: The molecules of the batch.
        region: Where they may be.
    """

    apart: StepApart
    region: Region

    def __call__(self, pose: Pose, s: Float[torch.Tensor, " batch"]) -> Pose:
        """The poses, inside as far as molecules fit."""
        centroid, arm = self.apart.arms(pose)
        moved = self.region.confine(centroid, arm, self.apart.parting.first)
        return Pose(torch.as_tensor(moved.reshape(pose.centroid.shape)).to(pose.centroid), pose.rotation)


def without_clashes(
    clusters: Sequence[Cluster],
    iterations: int = RELAX_ITERATIONS,
    held: Sequence[Bool[np.ndarray, " n"]] | None = None,
    region: Region | None = None,
) -> list[Cluster]:
    """``energy.relax.resolve_clashes`` for clusters of which some copies are held, or which lie in a region.

    Args:
        clusters: Any number.
        iterations: 0 leaves the poses as they are.
        held: Copies of each cluster that stay where they are.
        region: Where atoms may be; copies that do not fit count in ``info["outside"]``.

    Returns:
        New clusters, with the ``info`` that ``resolve_clashes`` gives.
    """
    free = held is None or not any(h.any() for h in held)
    if free and region is None:
        return resolve_clashes(clusters, iterations)
    made = []
    for k, cluster in enumerate(clusters):
        still = np.zeros(len(cluster), dtype=bool) if held is None else held[k]
        moved = cluster
        for _ in range(_ROUNDS if iterations else 0):
            (tried,) = step_apart([moved], _STEPS)
            moved = _restored(tried, cluster, still, region)
            if not clashing_pairs([moved])[0]:
                break
        before, after = clashing_pairs([cluster, moved])
        shift = np.sqrt(((moved.centroid - cluster.centroid) ** 2).sum(1).mean())
        info = {
            "clashing_pairs_start": float(before),
            "clashing_pairs": float(after),
            "relax_shift": float(shift),
        }
        if region is not None:
            stack = Stack.of([moved])
            info["outside"] = outside(region, stack.centroid, stack.arm, _first(stack))
        made.append(replace(moved, info={**cluster.info, **info}))
    return made


def _restored(
    tried: Cluster, before: Cluster, still: Bool[np.ndarray, " n"], region: Region | None
) -> Cluster:
    centroid, rotation = tried.centroid, tried.rotation
    if region is not None:
        stack = Stack.of([tried])
        centroid = region.confine(stack.centroid, stack.arm, _first(stack))
    return replace(
        tried,
        centroid=np.where(still[:, None], before.centroid, centroid),
        rotation=np.where(still[:, None, None], before.rotation, rotation),
    )


def _first(stack: Stack) -> np.ndarray:
    return np.searchsorted(stack.owner, np.arange(len(stack.system) + 1))
