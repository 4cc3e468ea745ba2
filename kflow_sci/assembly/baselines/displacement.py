"""What the rivals share that disturb the displacement of every atom from where it starts.

The one idea: the displacement u, in units of the cluster's length, goes to noise along ``m(τ) u + n(τ) z``; the net is
shown the disturbed atoms, the start and n. Score models and flows differ in what they ask it and how they walk back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from kflow_sci.assembly.baselines.atoms import (
    AtomCloud,
    AtomRival,
    AtomSettings,
    Pair,
    atoms_at,
    cloud_of,
    normal,
)
from kflow_sci.assembly.baselines.noising import Kind, Marginal, Noising
from kflow_sci.assembly.model.batch import ClusterBatch
from kflow_sci.flow.objective import stratified_times
from kflow_sci.flow.rigid import Pose
from kflow_sci.settings import setting


@dataclass(frozen=True, kw_only=True)
class NoiseSettings(AtomSettings):
    """The noise of a rival, besides its net."""

    low: float = setting("VE: deviation without noise, in lengths; VP: beta there", above=0.0)
    high: float = setting("VE: deviation at full noise, in lengths; VP: beta there", above=0.0)


class Origin(NamedTuple):
    """The atoms of a batch where they start.

    Attributes:
        cloud: The atoms.
        start: Where they stand at first, Å.
        length: Unit of length of each cluster, Å.
    """

    cloud: AtomCloud
    start: Float[Tensor, "n 3"]
    length: Float[Tensor, " batch"]

    @property
    def unit(self) -> Float[Tensor, "n 1"]:
        """Unit of length of each atom, Å."""
        return self.length.index_select(0, self.cloud.cluster)[:, None]

    def spread(self, u: Float[Tensor, "n 3"]) -> Float[Tensor, "batch copies atoms 3"]:
        """Where atoms of these displacements stand, Å; 0 in the padding."""
        return self.cloud.spread(self.start + self.unit * u)


class DisplacementRival(AtomRival):
    """Base of score models and flows of displacements; a subclass says which noise."""

    stochastic = True
    kind: ClassVar[Kind]

    def __init__(self, settings: AtomSettings) -> None:
        super().__init__(settings)
        low, high = (settings.low, settings.high) if isinstance(settings, NoiseSettings) else (0.0, 0.0)
        self.noising = Noising(self.kind, low, high)

    def origin(self, batch: ClusterBatch, start: Pose) -> Origin:
        """The atoms of a batch at a start."""
        cloud = cloud_of(batch)
        return Origin(cloud, cloud.take(atoms_at(batch, start)), batch.length)

    def answer(
        self, origin: Origin, u: Float[Tensor, "n 3"], tau: Float[Tensor, " batch"]
    ) -> Float[Tensor, "n 3"]:
        """What the net says of displacements at the time τ of each cluster."""
        position = origin.start + origin.unit * u
        noise = self.noising.marginal(tau).deviation
        found: Tensor = self.net(origin.cloud, position, origin.length, origin.start, tau, noise)
        return found

    def disturbed(
        self, pair: Pair, length: Float[Tensor, " batch"], last: float, generator: torch.Generator
    ) -> tuple[Float[Tensor, "n 3"], Float[Tensor, "n 3"], Marginal]:
        """A training example at a random time in [``last``, 1].

        Args:
            pair: The atoms at both ends.
            length: Unit of length of each cluster, Å.
            last: The smallest τ.
            generator: Of times and noise.

        Returns:
            The answer of the net, the noise it was shown, and the marginal at the time of each atom, ``(n, 1)``.
        """
        tau = last + (1.0 - last) * stratified_times(len(length), generator).to(length)
        at = self.noising.marginal(tau.index_select(0, pair.cloud.cluster)[:, None])
        noise = normal(pair.start, generator)
        u = at.mean * pair.displacement + at.deviation * noise
        return self.answer(Origin(pair.cloud, pair.start, length), u, tau), noise, at
