"""Learned proposals of a search: where trial t starts, by the flow, by resampling known crystals, or mixed.

The one idea: trials are made in blocks of a fixed size, each from the random starts of the same numbers, so a trial
depends on its number alone, and the network still sees many at once.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.spatial.transform import Rotation

from kflow_sci.assembly.lattice.packing import Packing
from kflow_sci.assembly.molecule import Molecule
from kflow_sci.assembly.proposals.chart import Crystals
from kflow_sci.assembly.proposals.library import GROUPS, Library, class_of, group_weights
from kflow_sci.assembly.proposals.model import ProposalConfig, ProposalModel, tables_of
from kflow_sci.assembly.search.setup import Problem
from kflow_sci.assembly.search.starts import RandomProposal
from kflow_sci.checkpoint import load_checkpoint, load_weights
from kflow_sci.errors import CheckpointError, PackingError
from kflow_sci.settings import from_plain

BLOCK = 32  # trials the network sees at once
LOOSER = 1.15  # factor of the volume that the flow proposes: what touches is hard to relax
_KIND = "packing proposals"


@dataclass(frozen=True, eq=False)
class LearnedWeights:
    """A model of packings with what was counted beside it.

    Attributes:
        model: The flow.
        counts: Molecules of each class seen in each of ``GROUPS``.
        checksum: Of the file.
    """

    model: ProposalModel
    counts: dict[str, list[float]]
    checksum: str


def default_weights() -> Path:
    """The weights that come with the package."""
    return Path(str(resources.files("kflow_sci") / "weights" / "proposals.safetensors"))


@lru_cache(maxsize=4)
def load_proposals(path: str | Path) -> LearnedWeights:
    """Weights that ``kflow train`` made from a config of ``configs/proposals``.

    Raises:
        CheckpointError: missing, damaged, or of another model.
        ConfigError: it has settings that this version does not know.
    """
    tensors, header = load_checkpoint(path)
    if header.get("kind") != _KIND:
        raise CheckpointError(
            f"{path} holds '{header.get('kind', 'a model')}', not {_KIND}: give another file"
        )
    if list(header["groups"]) != list(GROUPS):
        raise CheckpointError(f"{path} was trained for other space groups: train again with this version")
    model = ProposalModel(from_plain(ProposalConfig, header["model"]))
    load_weights(model, tensors, path)
    digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]
    return LearnedWeights(model.eval(), header["counts"], digest)


def header_of(model: ProposalModel, counts: dict[str, Any]) -> dict[str, Any]:
    """What a checkpoint of proposals says beside its tensors."""
    return {
        "kind": _KIND,
        "groups": list(GROUPS),
        "model": model.config_dict(),
        "counts": {name: [round(float(x), 3) for x in values] for name, values in counts.items()},
    }


@dataclass(frozen=True, eq=False)
class FlowProposal:
    """Starts of a random search, moved by the flow towards crystals of low energy.

    Attributes:
        random: The random starts, in the groups that suit the molecule.
        weights: A file of ``kflow train``.
        looser: Factor of the volume the flow proposes.
        every: 1: all trials are moved; 2: every second one, the others stay random starts.
    """

    random: RandomProposal
    weights: Path
    looser: float = LOOSER
    every: int = 1

    @property
    def molecules(self) -> tuple[Molecule, ...]:
        """The conformers."""
        return self.random.molecules

    @property
    def settings(self) -> list[Any]:
        """All that decides a start."""
        return ["flow", self.looser, self.every, BLOCK, self._learned.checksum, *self.random.settings]

    @property
    def _learned(self) -> LearnedWeights:
        return load_proposals(self.weights)

    @cached_property
    def _blocks(self) -> dict[int, list[Packing]]:
        return {}

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_blocks"}

    def __call__(self, trial: int) -> Packing:
        """Trial number ``trial``."""
        if trial % self.every:
            return self.random(trial)
        number = trial // (self.every * BLOCK)
        if number not in self._blocks:
            self._blocks.clear()  # trials come in order: one block is enough
            first = number * self.every * BLOCK
            self._blocks[number] = self._moved(
                [self.random(t) for t in range(first, first + self.every * BLOCK, self.every)]
            )
        return self._blocks[number][trial % (self.every * BLOCK) // self.every]

    def _moved(self, starts: list[Packing]) -> list[Packing]:
        return move_starts(self._learned.model, starts, self.looser)


def move_starts(model: ProposalModel, starts: list[Packing], looser: float = LOOSER) -> list[Packing]:
    """Packings of one independent molecule, moved by the flow; those of other groups stay where they are."""
    known = [k for k, start in enumerate(starts) if start.group.name in GROUPS]
    if not known:
        return starts
    moving = [starts[k] for k in known]
    molecules = [start.molecules[start.kind[0]] for start in moving]

    def tensor(values: list[Any]) -> torch.Tensor:
        return torch.as_tensor(np.array(values), dtype=torch.float32)

    crystals = Crystals(
        tensor([start.cell for start in moving]),
        tensor([start.rotation[0] for start in moving]),
        tensor([start.place[0] for start in moving]),
        tensor([m.crystal_volume * len(start.group) for m, start in zip(molecules, moving, strict=True)]),
        torch.tensor([GROUPS.index(start.group.name) for start in moving]),
    )
    found = model.sample(crystals, tables_of(molecules))
    moved = list(starts)
    for i, k in enumerate(known):
        cell, rotation, place = (x[i].double().numpy() for x in found[:3])
        moved[k] = _packing(starts[k], cell * looser ** (1 / 3), rotation, place)
    return moved


def _packing(
    start: Packing,
    cell: Float[np.ndarray, "3 3"],
    rotation: Float[np.ndarray, "3 3"],
    place: Float[np.ndarray, "3"],
) -> Packing:
    """A start with another cell and pose; the cell has the symmetry, the rotation is one to the last digit."""
    basis = start.group.cell_basis
    left, _, right = np.linalg.svd(rotation)
    return replace(
        start,
        cell=np.einsum("kij,kmn,mn->ij", basis, basis, cell),
        rotation=(left @ right)[None],
        place=place[None] % 1.0,
    )


@dataclass(frozen=True, eq=False)
class ResampledProposal:
    """Crystals of other molecules, with this one put in: what the flow must beat.

    A crystal of a molecule of the same class and about the same proportions is drawn, its cell is scaled to the volume
    of this molecule, its place kept, and the molecule laid along the axes of the other, in one of the four ways.

    Attributes:
        random: Gives the group and the volume.
        library: Crystals to draw from.
        width: How far the logarithms of the proportions of the molecules may differ (a standard deviation).
        noise: Of the shape of the cell (log), the orientation (rad) and the place (fraction).
    """

    random: RandomProposal
    library: Library
    width: float = 0.15
    noise: float = 0.1

    @property
    def molecules(self) -> tuple[Molecule, ...]:
        """The conformers."""
        return self.random.molecules

    @property
    def settings(self) -> list[Any]:
        """All that decides a start."""
        drawn = hashlib.sha256(" ".join(m.name for m in self.library.molecules).encode())
        drawn.update(self.library.share.tobytes())
        for entry in self.library.entries:
            drawn.update(entry.packing.cell.tobytes())
        return ["resampled", self.width, self.noise, drawn.hexdigest()[:16], *self.random.settings]

    @cached_property
    def _extents(self) -> Float[np.ndarray, "m 3"]:
        return np.array([np.log(proportions(m)) for m in self.library.molecules])

    @cached_property
    def _of_group(self) -> dict[str, tuple[Int[np.ndarray, " e"], Float[np.ndarray, " e"]]]:
        """Entries of the library in each group, and the probability of each."""
        owner = np.array([entry.molecule for entry in self.library.entries])
        apart = self._extents - np.log(proportions(self.molecules[0]))
        near = np.exp(-0.5 * ((apart / self.width) ** 2).sum(axis=1)) + 1e-9
        mine = class_of(self.molecules[0])
        same = np.array([class_of(m) == mine for m in self.library.molecules])
        weight = self.library.share * (near * np.where(same, 1.0, 0.05))[owner]
        name = np.array([entry.packing.group.name for entry in self.library.entries])
        found = {}
        for group in GROUPS:
            here = np.flatnonzero(name == group)
            if len(here):
                found[group] = here, weight[here] / weight[here].sum()
        return found

    def __call__(self, trial: int) -> Packing:
        """Trial number ``trial``."""
        start = self.random(trial)
        if start.group.name not in self._of_group:
            return start
        rng = np.random.default_rng([self.random.seed, trial, 1])
        index, weight = self._of_group[start.group.name]
        entry = self.library.entries[int(rng.choice(index, p=weight))]
        way = int(rng.integers(len(entry.ways.cell)))
        cell = entry.ways.cell[way] * np.exp(self.noise * rng.standard_normal((3, 1)))
        cell = cell * (np.linalg.det(start.cell) / np.linalg.det(cell)) ** (1 / 3)
        flip = np.diag([(1.0, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1)][int(rng.integers(4))])
        turn = _small_turn(self.noise, rng) @ entry.ways.rotation[way] @ flip
        place = entry.ways.place[way] + 0.3 * self.noise * rng.standard_normal(3)
        return _packing(start, np.linalg.cholesky(cell @ cell.T), turn, place)


def _small_turn(width: float, rng: np.random.Generator) -> Float[np.ndarray, "3 3"]:
    return Rotation.from_rotvec(width * rng.standard_normal(3)).as_matrix()


def proportions(molecule: Molecule) -> Float[np.ndarray, "3"]:
    """Extents along the axes of the body frame, 1.5 Å of atom at either end included, over their geometric mean."""
    low, high = molecule.positions.min(axis=0), molecule.positions.max(axis=0)
    extents = high - low + 3.0
    return extents / extents.prod() ** (1 / 3)


def learned_random(problem: Problem, counts: dict[str, Any]) -> RandomProposal:
    """Random starts in groups that suit the class of the molecule."""
    weights = group_weights(problem.conformers[0], problem.groups, problem.weights, counts)
    return RandomProposal(
        problem.conformers, problem.groups, weights, problem.z_prime, problem.seed, problem.strain
    )


def flow_proposal(problem: Problem, weights: str | Path | None = None, every: int = 1) -> FlowProposal:
    """The flow for a problem.

    Args:
        problem: With one independent molecule.
        weights: A file of ``kflow train``; that of the package if None.
        every: See ``FlowProposal``.

    Raises:
        PackingError: several independent molecules, or no weights at all.
        CheckpointError: the weights cannot be used.
    """
    if problem.z_prime != 1:
        raise PackingError(
            f"learned proposals know 1 independent molecule, not {problem.z_prime}: use --proposals random"
        )
    path = default_weights() if weights is None else Path(weights)
    if weights is None and not path.is_file():
        raise PackingError(
            "no weights of proposals come with this version: give --weights with what kflow train made of "
            "configs/proposals/kflow.yaml, or use --proposals random"
        )
    return FlowProposal(learned_random(problem, load_proposals(path).counts), path, every=every)
