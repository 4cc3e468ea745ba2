"""K-Flow itself, and plain flow matching with its net, seen as one of the rivals.

The one idea: nothing is added to the model; from random starts it samples as ``model.generate`` does for a user,
contact steps included, and from given starts it walks the bare flow.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from kflow_sci.assembly.baselines.learned import Rival
from kflow_sci.assembly.cluster import Cluster
from kflow_sci.assembly.model.batch import ClusterBatch
from kflow_sci.assembly.model.cluster_model import ClusterModel
from kflow_sci.assembly.model.generate import load_model, propose
from kflow_sci.assembly.model.request import Request, volume_per_molecule
from kflow_sci.assembly.molecule import Molecule
from kflow_sci.flow.rigid import Pose
from kflow_sci.settings import Settings


class KFlow(Rival):
    """A cluster model behind the interface of the rivals.

    Args:
        model: Any number of shells; one is plain flow matching.
    """

    settings_kind = Settings

    def __init__(self, model: ClusterModel) -> None:
        super().__init__(Settings())
        self.model = model

    @property
    def calls(self) -> int:
        return len(self.model.schedule.grid(self.model.config.steps)) - 1

    @classmethod
    def restore(cls, weights: str | Path) -> KFlow:
        return cls(load_model(weights)[0])

    def config_dict(self) -> dict[str, Any]:
        return self.model.config_dict()

    def loss(self, batch: ClusterBatch, generator: torch.Generator) -> dict[str, Tensor]:
        return self.model.loss(batch, generator)

    def walk(self, batch: ClusterBatch, start: Pose, generator: torch.Generator) -> Pose:
        return self.model.sample(batch, start)[0]

    def chunks(
        self,
        molecule: Molecule,
        hands: Sequence[Int[np.ndarray, " copies"]],
        seed: int,
        volume: float,
        start: Sequence[Cluster] | None,
    ) -> Iterator[tuple[int, list[Any]]]:
        if start is not None:
            yield from super().chunks(molecule, hands, seed, volume, start)
            return
        density = (
            volume_per_molecule(molecule, 1.0) / volume
        )  # g/cm^3: the volume at 1 g/cm^3 over that asked for
        request = Request(copies=len(hands[0]), samples=len(hands), seed=seed, density=density)
        yield 0, propose(self.model, molecule, request)
