"""Learned rivals under one interface: train with ``loss``, sample with ``walk``, the rest is shared.

The one idea: a rival is a torch module that knows a ``ClusterBatch`` and a start, nothing of files, seeds or users.
Drawing starts, chunks, hands and samples is done here, once, in the same way for all of them and for K-Flow, so that
a comparison compares the models.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from kflow_sci.assembly.baselines.poses import refuse_start, streams
from kflow_sci.assembly.cluster import Cluster
from kflow_sci.assembly.model.batch import ClusterBatch, collate, molecule_table, without_mirror_twins
from kflow_sci.assembly.model.generate import clusters_at, on_device
from kflow_sci.assembly.model.scene import choose_hands
from kflow_sci.assembly.model.start import random_start
from kflow_sci.assembly.molecule import Molecule
from kflow_sci.assembly.scoring.frame import Frame
from kflow_sci.checkpoint import load_checkpoint, load_weights, read_header
from kflow_sci.errors import CheckpointError, ClusterError, ConfigError
from kflow_sci.flow.rigid import Pose
from kflow_sci.settings import Settings, make_config, nearest, plain

METHODS: dict[str, str] = {
    "kflow": "kflow:KFlow",
    "assembleflow-molecule": "assembleflow:AssembleFlowMolecule",
    "assembleflow-atom": "assembleflow:AssembleFlowAtom",
    "regression": "regression:Regression",
    "gnn-md": "gnn_md:GnnMd",
    "crystal-sde-ve": "crystal_sde:CrystalSdeVe",
    "crystal-sde-vp": "crystal_sde:CrystalSdeVp",
    "crystal-flow-ve": "crystal_flow:CrystalFlowVe",
    "crystal-flow-vp": "crystal_flow:CrystalFlowVp",
    "crystal-flow-lerp": "crystal_flow:CrystalFlowLerp",
    "bridge": "bridge:Bridge",
}
"""Name of each learned method and where its class is, ``file:Class`` in this folder; imported when asked for."""

_ATOMS_PER_CHUNK = 8192
_SAME_MOLECULE = 1e-2  # Å; templates of a start may come from a file of rounded coordinates


class Rival(nn.Module):
    """Base of the learned rivals: a network with a loss and a way to walk from a start to a cluster.

    A subclass sets the class attributes, takes its settings in ``__init__``, and has ``calls``, ``loss`` and ``walk``.

    Attributes:
        settings_kind: Dataclass of its settings, lines of ``name: type = setting(...)``; they are keys of its yaml.
        rigid: ``walk`` gives poses; else positions of all atoms.
        stochastic: ``walk`` draws random numbers. Then samples are walked one by one, so that each depends on its
            seed alone.
        uses_start: A given start changes the answer; else ``propose`` refuses one.
    """

    settings_kind: ClassVar[type[Settings]]
    rigid: ClassVar[bool] = True
    stochastic: ClassVar[bool] = False
    uses_start: ClassVar[bool] = True

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.settings = settings

    @property
    def calls(self) -> int:
        """Calls of the network for one sample."""
        raise NotImplementedError

    def loss(self, batch: ClusterBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """Training loss and its parts, as ``training.module.Model`` asks; ``start_of`` gives the start."""
        raise NotImplementedError

    def walk(
        self, batch: ClusterBatch, start: Pose, generator: torch.Generator
    ) -> Pose | Float[Tensor, "batch copies atoms 3"]:
        """Clusters from starts.

        Args:
            batch: Molecules, kinds, parities and lengths; its pose is ignored.
            start: Where the copies stand at first, centred.
            generator: Source of all randomness, on the CPU.

        Returns:
            Poses if ``rigid``; else atom positions, Å, padded as ``batch.table``.
        """
        raise NotImplementedError

    def config_dict(self) -> dict[str, Any]:
        """The settings as plain json values; they stay with the weights."""
        return plain(self.settings)

    @classmethod
    def restore(cls, weights: str | Path) -> Rival:
        """The rival of a checkpoint whose header has ``{"rival": {"method", "settings"}}``, on the CPU.

        Raises:
            CheckpointError: The weights do not fit.
        """
        tensors, header = load_checkpoint(weights)
        try:
            rival = cls(make_config(cls.settings_kind, header["rival"]["settings"]))
        except ConfigError as error:
            raise CheckpointError(f"{weights} needs another version of kflow_sci: {error}") from error
        load_weights(rival, tensors, weights)
        return rival

    def chunks(
        self,
        molecule: Molecule,
        hands: Sequence[Int[np.ndarray, " copies"]],
        seed: int,
        volume: float,
        start: Sequence[Cluster] | None,
    ) -> Iterator[tuple[int, list[Any]]]:
        """The samples of ``propose_learned`` some at a time, each time with the number of the first.

        Args:
            molecule: The molecule.
            hands: Parity of every copy, for each sample.
            seed: Of all draws.
            volume: Å^3 per molecule.
            start: Checked starts, one per sample, or None.
        """
        size = 1 if self.stochastic else max(1, _ATOMS_PER_CHUNK // (len(hands[0]) * len(molecule)))
        for first in range(0, len(hands), size):
            members = range(first, min(first + size, len(hands)))
            given = None if start is None else [start[i] for i in members]
            generators = [torch_generator(seed, i) for i in members]
            parity = np.stack([hands[i] for i in members])
            batch = request_batch(self, molecule, parity, volume, generators, given)
            answer = self.walk(batch, batch.pose, generators[0])
            if isinstance(answer, Pose):
                yield first, _clusters(answer, molecule, parity)
            else:
                yield first, _frames(answer, molecule)


def rival_class(method: str) -> type[Rival]:
    """The class of a learned rival.

    Raises:
        ConfigError: An unknown name; the nearest good one is named.
    """
    if method not in METHODS:
        raise ConfigError(f"method '{method}' is unknown: {nearest(method, [*METHODS])}")
    module, _, name = METHODS[method].partition(":")
    found: type[Rival] = getattr(import_module(f"kflow_sci.assembly.baselines.{module}"), name)
    return found


def load(weights: str | Path, device: str = "cpu") -> Rival:
    """A trained rival from a checkpoint of ``kflow train``; K-Flow itself comes as one too.

    Raises:
        CheckpointError: Not a checkpoint of a rival or a cluster model.
        ClusterError: The device is not there.
    """
    header = read_header(weights)
    # Weights of other kinds of models, as of proposals, have a model too, and say their kind.
    clusters = "model" in header and "kind" not in header
    method = "kflow" if clusters else header.get("rival", {}).get("method")
    if method not in METHODS:
        raise CheckpointError(f"{weights} holds no rival known here: give weights that `kflow train` wrote")
    return on_device(rival_class(method).restore(weights), device).eval()


def start_of(batch: ClusterBatch, generator: torch.Generator) -> Pose:
    """Where training begins: the given starts of the batch, or else random ones, copy i for copy i."""
    return batch.start or random_start(batch.mask, batch.length, generator)


@torch.no_grad()
def propose_learned(
    rival: Rival,
    molecule: Molecule,
    copies: int,
    n: int,
    seed: int,
    volume: float,
    start: Sequence[Cluster] | None = None,
    progress: Callable[[int], None] | None = None,
) -> list[Cluster] | list[Frame]:
    """Samples of a learned rival, in the order they were drawn.

    Sample i depends on (seed, i) and its start alone, not on how many are drawn.

    Args:
        rival: See ``load``; it is used in evaluation mode.
        molecule: The molecule.
        copies: Molecules per cluster, >= 1.
        n: Number of clusters, >= 1.
        seed: Fixes every draw, >= 0.
        volume: Å^3 per molecule.
        start: One cluster of the molecule per sample to begin from (moved to the origin); random ones if None, see
            ``model.start.random_start``.
        progress: Called with the number of samples finished.

    Returns:
        Clusters of a rigid rival, frames of one that moves atoms. Their info holds ``sample``, ``volume`` and
        ``calls``. A sample that is not finite is returned as NaN positions, for the caller to count.

    Raises:
        ClusterError: A number out of range; a start that is not asked for or does not fit.
    """
    if not rival.uses_start:
        refuse_start(type(rival).__name__, start)
    rngs = list(streams(copies, n, seed, volume))
    hands = [choose_hands(molecule, copies, "auto", rng) for rng in rngs]
    if start is not None:
        start = [without_mirror_twins(cluster) for cluster in start]
        _check_start(start, molecule, copies, n)
        hands = [cluster.parity for cluster in start]
    was_training = rival.training
    rival.eval()
    made: list[Any] = []
    for first, some in rival.chunks(molecule, hands, seed, volume, start):
        for i, one in enumerate(some, start=first):
            one.info.update(sample=i, volume=volume, calls=rival.calls)
        made += some
        if progress is not None:
            progress(len(made))
    rival.train(was_training)
    return made


def torch_generator(seed: int, sample: int) -> torch.Generator:
    """The torch generator of one sample, on the CPU."""
    (word,) = np.random.SeedSequence([seed, sample, 1]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(word >> np.uint64(1)))


def request_batch(
    rival: nn.Module,
    molecule: Molecule,
    parity: Int[np.ndarray, "batch copies"],
    volume: float,
    generators: Sequence[torch.Generator],
    given: Sequence[Cluster] | None = None,
) -> ClusterBatch:
    """A batch of one molecule whose pose is the start, on the device and in the precision of the rival."""
    parameter = next(rival.parameters())
    dtype, device = parameter.dtype, parameter.device
    size, copies = parity.shape
    mask = torch.ones(size, copies, dtype=torch.bool)
    length = torch.full((size,), volume ** (1.0 / 3.0), dtype=dtype)
    if given is None:
        drawn = [random_start(mask[:1], length[:1], generator) for generator in generators]
        pose = Pose(torch.cat([p.centroid for p in drawn]), torch.cat([p.rotation for p in drawn]))
    else:
        given = [
            Cluster(c.molecules, c.kind, c.centroid, c.rotation, c.parity, {"volume": volume}) for c in given
        ]
        pose = collate(given, dtype).pose
    table = molecule_table([molecule], dtype)
    return ClusterBatch(
        tuple(str(i) for i in range(size)),
        type(table)(*(t.to(device) for t in table)),
        torch.zeros(size, copies, dtype=torch.long, device=device),
        torch.as_tensor(parity, dtype=dtype, device=device),
        mask.to(device),
        length.to(device),
        Pose(pose.centroid.to(device), pose.rotation.to(device)),
    )


def _check_start(start: Sequence[Cluster], molecule: Molecule, copies: int, n: int) -> None:
    if len(start) != n:
        raise ClusterError(f"{len(start)} starts for {n} samples: give one for each")
    for i, cluster in enumerate(start):
        if len(cluster) != copies:
            raise ClusterError(f"start {i} has {len(cluster)} molecules, but {copies} copies are asked for")
        for k in set(cluster.kind.tolist()):
            other = cluster.molecules[k]
            same = np.array_equal(other.numbers, molecule.numbers)
            if not (same and np.abs(other.positions - molecule.positions).max() <= _SAME_MOLECULE):
                raise ClusterError(
                    f"start {i} is of {other.name}, not of {molecule.name}: give its own starts"
                )


def _clusters(pose: Pose, molecule: Molecule, parity: Int[np.ndarray, "batch copies"]) -> list[Cluster]:
    # A pose that is not finite stays visible in its positions; a rotation cannot be NaN and still be orthogonal.
    lost = ~(pose.centroid.isfinite().all(-1) & pose.rotation.isfinite().all(-1).all(-1))
    unit = torch.eye(3, dtype=pose.rotation.dtype, device=lost.device)
    centroid = pose.centroid.masked_fill(lost[..., None], torch.nan)
    return clusters_at(
        Pose(centroid, torch.where(lost[..., None, None], unit, pose.rotation)), molecule, parity
    )


def _frames(positions: Float[Tensor, "batch copies atoms 3"], molecule: Molecule) -> list[Frame]:
    copies = positions.shape[1]
    numbers = np.tile(molecule.numbers, copies)
    owner = np.repeat(np.arange(copies), len(molecule))
    placed = positions.detach().double().cpu().numpy().reshape(len(positions), -1, 3)
    return [Frame(numbers, one, owner) for one in placed]
