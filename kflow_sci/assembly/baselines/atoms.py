"""The atoms of a batch without their molecules, and the net of the rivals that move each of them.

The one idea: an atom-level method sees one cloud of atoms. So the padded clusters become one list of atoms, the net is
PaiNN on their nearest neighbours, and what the method knows besides (which atoms belong together, where they started)
enters as features of edges and as a few vectors whose weights the net chooses. Nothing here keeps a molecule rigid.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from kflow_sci.assembly.baselines.learned import Rival, start_of
from kflow_sci.assembly.model.batch import ClusterBatch
from kflow_sci.flow.rigid import Pose
from kflow_sci.nets.embed import N_ELEMENTS, fourier_features
from kflow_sci.nets.painn import PaiNN, neighbour_edges
from kflow_sci.settings import Settings, setting

_TIME = 6
_EDGE = 3
_PLACE = 3
_SHARPEST = 0.05  # lengths; a finer scale of distances helps no method without noise
_FARTHEST = 4.0


class AtomCloud(NamedTuple):
    """The real atoms of a padded batch, cluster after cluster, copy after copy, in template order.

    Attributes:
        element: Atomic number of each atom.
        body: Position in the frame of its molecule, Å.
        copy: Copy each atom belongs to, counted through the batch and its padding.
        cluster: Cluster each atom belongs to.
        slot: Where each atom stands in a flattened ``(batch, copies, atoms)``.
        shape: ``(batch, copies, atoms)``.
    """

    element: Int[Tensor, " n"]
    body: Float[Tensor, "n 3"]
    copy: Int[Tensor, " n"]
    cluster: Int[Tensor, " n"]
    slot: Int[Tensor, " n"]
    shape: tuple[int, int, int]

    def take(self, x: Float[Tensor, "batch copies atoms 3"]) -> Float[Tensor, "n 3"]:
        """The rows of the real atoms."""
        return x.reshape(-1, 3).index_select(0, self.slot)

    def spread(self, x: Float[Tensor, "n 3"]) -> Float[Tensor, "batch copies atoms 3"]:
        """Inverse of ``take``, zero in the padding."""
        batch, copies, atoms = self.shape
        return x.new_zeros(batch * copies * atoms, 3).index_copy(0, self.slot, x).view(*self.shape, 3)

    def mean(self, x: Float[Tensor, "n k"], group: Int[Tensor, " n"]) -> Float[Tensor, "n k"]:
        """For every atom the mean over its group, ``copy`` or ``cluster``."""
        size = self.shape[0] * self.shape[1]
        total = x.new_zeros(size, x.shape[1]).index_add(0, group, x)
        count = x.new_zeros(size, 1).index_add(0, group, x.new_ones(len(x), 1))
        return (total / count.clamp(min=1.0)).index_select(0, group)


def cloud_of(batch: ClusterBatch) -> AtomCloud:
    """The atoms of a batch; its pose is not looked at."""
    element = batch.table.element[batch.kind] * batch.mask[..., None]
    size, copies, atoms = element.shape
    slot = element.reshape(-1).nonzero().squeeze(1)
    copy = slot // atoms
    return AtomCloud(
        element.reshape(-1)[slot],
        batch.table.position[batch.kind].reshape(-1, 3)[slot],
        copy,
        copy // copies,
        slot,
        (size, copies, atoms),
    )


def atoms_at(batch: ClusterBatch, pose: Pose) -> Float[Tensor, "batch copies atoms 3"]:
    """Where the atoms stand if the copies are rigid and at these poses, Å; 0 in the padding."""
    frame = batch.parity[..., None, None] * pose.rotation
    placed = pose.centroid[:, :, None] + batch.table.position[batch.kind] @ frame.transpose(-1, -2)
    real = (batch.table.element[batch.kind] > 0) & batch.mask[..., None]
    return placed * real[..., None]


class AtomNet(nn.Module):
    """One polar vector per atom, in units of the batch's length.

    It is what PaiNN's vectors sum to, plus four vectors with weights that the net chooses: to the centre of the
    molecule, to the centre of the cluster, and, where a start is known, back to it and towards the shape the molecule
    had there. They are plain at any noise, where a graph of neighbours is not.

    Args:
        features: Width.
        layers: Rounds of messages.
        cutoff: Of the messages, Å.
        radial: Functions of the distance.
        neighbours: Atoms that each atom listens to.
    """

    def __init__(self, features: int, layers: int, cutoff: float, radial: int, neighbours: int) -> None:
        super().__init__()
        self.cutoff, self.neighbours = cutoff, neighbours
        self.element = nn.Embedding(N_ELEMENTS, features)
        self.time = nn.Linear(2 * _TIME + 1, features)
        self.place = nn.Linear(_PLACE, features)
        self.blend = nn.Sequential(nn.SiLU(), nn.Linear(features, features))
        self.net = PaiNN(features, layers, cutoff, radial, _EDGE)
        self.point = nn.Linear(features, 1, bias=False)
        self.weigh = nn.Sequential(nn.Linear(2 * features, features), nn.SiLU(), nn.Linear(features, 4))
        for last in (self.point, self.weigh[-1]):
            for parameter in last.parameters():
                nn.init.zeros_(parameter)

    def forward(
        self,
        cloud: AtomCloud,
        position: Float[Tensor, "n 3"],
        length: Float[Tensor, " batch"],
        start: Float[Tensor, "n 3"] | None,
        s: Float[Tensor, " batch"],
        noise: Float[Tensor, " batch"] | None = None,
    ) -> Float[Tensor, "n 3"]:
        """The vectors at some positions.

        Args:
            cloud: Which atoms they are.
            position: Where they are, Å.
            length: Unit of length of each cluster, Å.
            start: Where they stood at the start, Å; None for a method without memory.
            s: Time of each cluster, 0 to 1.
            noise: Deviation of each coordinate by noise, in units of the length; None where there is none.

        A cluster that is not finite is answered with NaN and harms no other.
        """
        unit = length.index_select(0, cloud.cluster)[:, None]
        middle = cloud.mean(position, cloud.copy)
        before = position if start is None else start
        back = (before - position) / unit
        pulls = [
            (middle - position) / unit,
            (cloud.mean(position, cloud.cluster) - position) / unit,
            back,
            back - cloud.mean(back, cloud.copy),
        ]
        basis = torch.stack(pulls, dim=1)
        sizes = torch.stack([basis[:, k].square().sum(-1).add(1e-12).sqrt() for k in range(_PLACE)], dim=-1)
        time = self.time(fourier_features(s, _TIME)).index_select(0, cloud.cluster)
        scalars = self.blend(self.element(cloud.element) + time + self.place(sizes))
        edges = neighbour_edges(position, cloud.cluster, self.cutoff, self.neighbours)
        blur = 0.0 if noise is None else noise.index_select(0, cloud.cluster)[:, None] * unit
        features = self._edge_features(cloud, position, edges, _SHARPEST * unit + blur)
        scalars, vectors = self.net(scalars, position, edges, features)
        gate = self.weigh(torch.cat([scalars, cloud.mean(scalars, cloud.copy)], dim=-1))
        return self.point(vectors.transpose(1, 2)).squeeze(-1) + (gate[..., None] * basis).sum(1)

    def _edge_features(
        self, cloud: AtomCloud, position: Tensor, edges: Tensor, blur: Tensor
    ) -> Float[Tensor, "e 3"]:
        """Whether both ends are of one molecule, and by how much their distance is off there: in Å and in ``blur``."""
        sender, receiver = edges
        same = (cloud.copy[sender] == cloud.copy[receiver]).to(position.dtype)
        wanted, found = ((x[sender] - x[receiver]).norm(dim=-1) for x in (cloud.body, position))
        off = same * (found - wanted)
        sharp = (off / blur[receiver, 0]).clamp(-_FARTHEST, _FARTHEST)
        return torch.stack([same, off.clamp(-self.cutoff, self.cutoff), sharp], dim=-1)


@dataclass(frozen=True, kw_only=True)
class AtomSettings(Settings):
    """What all rivals that move atoms are told."""

    features: int = setting("width of the atom net", low=1)
    layers: int = setting("rounds of messages", low=1)
    cutoff: float = setting("reach of a message, Å", above=0.0)
    radial: int = setting("functions of the distance", low=1)
    neighbours: int = setting("atoms each atom hears", low=1)
    time_steps: int = setting("steps of the sampler", low=1)


class Pair(NamedTuple):
    """A start and a target, atom for atom.

    Attributes:
        cloud: The atoms.
        start: Where they stand at first, Å.
        target: Where they are to go, Å.
        unit: Length of the cluster of each atom, Å, ``(n, 1)``.
    """

    cloud: AtomCloud
    start: Float[Tensor, "n 3"]
    target: Float[Tensor, "n 3"]
    unit: Float[Tensor, "n 1"]

    @property
    def displacement(self) -> Float[Tensor, "n 3"]:
        """From start to target, in units of the length."""
        return (self.target - self.start) / self.unit


class AtomRival(Rival):
    """Base of the rivals that move atoms: the net, the pairs they learn from, and the error they are judged by.

    Copy i of the start goes to copy i of the target and atom to atom, as in the published methods: no assignment, no
    alignment, and no use of the symmetry of a molecule.
    """

    rigid = False
    settings: AtomSettings

    def __init__(self, settings: AtomSettings) -> None:
        super().__init__(settings)
        self.net = AtomNet(
            settings.features, settings.layers, settings.cutoff, settings.radial, settings.neighbours
        )

    def pair(self, batch: ClusterBatch, generator: torch.Generator) -> Pair:
        """The atoms of a batch at the start and at the target."""
        cloud = cloud_of(batch)
        start, target = (
            cloud.take(atoms_at(batch, pose)) for pose in (start_of(batch, generator), batch.pose)
        )
        return Pair(cloud, start, target, batch.length.index_select(0, cloud.cluster)[:, None])

    def error(self, cloud: AtomCloud, difference: Float[Tensor, "n 3"]) -> dict[str, Tensor]:
        """Mean square per component; a cluster counts alike whatever its size."""
        square = difference.square().mean(-1)
        size = torch.bincount(cloud.cluster, minlength=cloud.shape[0]).to(square)
        loss = (square / size.index_select(0, cloud.cluster)).sum() / cloud.shape[0]
        return {"loss": loss, "error": loss.detach()}


def normal(like: Float[Tensor, "..."], generator: torch.Generator) -> Float[Tensor, "..."]:
    """Normal numbers drawn in double precision on the generator's device, so that precision does not change them."""
    drawn = torch.randn(like.shape, generator=generator, dtype=torch.float64, device=generator.device)
    return drawn.to(like)
