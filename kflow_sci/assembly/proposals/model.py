"""The flow over cells and poses: pairs, path, network, loss and sampling joined.

The one idea: a start is what a random search would try, and its target is a crystal of the same molecule and group,
written in the way nearest to that start. ``flow`` does the rest, as it does for clusters and images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from kflow_sci.assembly.lattice.packing import SpaceGroup
from kflow_sci.assembly.model.batch import molecule_table
from kflow_sci.assembly.molecule import Molecule
from kflow_sci.assembly.proposals.chart import PARTS, SIZE, UNITS, Crystals, from_chart, shape_of, to_chart
from kflow_sci.assembly.proposals.equivalents import origins
from kflow_sci.assembly.proposals.library import GROUPS, Entry, Library
from kflow_sci.assembly.search.starts import RandomProposal, random_cell, random_rotations
from kflow_sci.errors import ConfigError
from kflow_sci.flow.exact import CoordinateTransform
from kflow_sci.flow.objective import shell_weights, stratified_times
from kflow_sci.flow.path import Path
from kflow_sci.flow.schedule import ShellSchedule
from kflow_sci.flow.solve import solve
from kflow_sci.nets.embed import MoleculeTable
from kflow_sci.nets.packing import GroupTable, PackingNet
from kflow_sci.transforms.base import KTransform
from kflow_sci.transforms.pca import PCATransform


@dataclass(frozen=True)
class ProposalConfig:
    """All that defines a model but its weights.

    Attributes:
        shells: Parts of the chart in the order they move, joined by ``+`` where they move together; one entry is
            plain flow matching. The word ``pca`` (several times) gives that many shells of fitted modes instead.
        widths: Share of flow time of each.
        overlap: 0 strict … 1 plain.
        mu: Ramp.
        weighting: See ``flow.objective.shell_weights``.
        hidden: Width of the net.
        layers: Its layers.
        images: Neighbours it looks at.
        steps: Solver steps of each shell.
    """

    shells: tuple[str, ...] = ("volume", "shape", "turn", "place")
    widths: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0)
    overlap: float = 0.5
    mu: str = "linear"
    weighting: str = "open"
    hidden: int = 192
    layers: int = 3
    images: int = 14
    steps: tuple[int, ...] = (2, 2, 2, 2)

    def __post_init__(self) -> None:
        named = [part for shell in self.shells for part in shell.split("+")]
        if set(named) != {"pca"} and sorted(named) != sorted(PARTS):
            raise ConfigError(
                f"shells are {list(self.shells)}: name each of {', '.join(PARTS)} once, or all shells pca"
            )
        if len(self.widths) != len(self.shells):
            raise ConfigError(f"{len(self.widths)} widths for {len(self.shells)} shells: give one for each")


class ProposalBatch(NamedTuple):
    """Pairs of starts and targets; one row of the table per pair."""

    ids: tuple[str, ...]
    table: MoleculeTable
    start: Crystals
    target: Crystals


class ProposalModel(nn.Module):
    """K-Flow over crystals of one independent molecule."""

    def __init__(self, config: ProposalConfig) -> None:
        super().__init__()
        self.config = config
        self.schedule = ShellSchedule(config.widths, config.overlap, config.mu)
        self.net = PackingNet(len(GROUPS), len(config.shells), config.hidden, config.layers, config.images)
        for name, value in group_table()._asdict().items():
            self.register_buffer(f"group_{name}", value, persistent=False)
        if config.shells[0] == "pca":
            self.register_buffer("pca_basis", torch.eye(SIZE))
            self.register_buffer("pca_values", torch.ones(SIZE))

    def config_dict(self) -> dict[str, Any]:
        """The config as a plain mapping."""
        return asdict(self.config)

    @property
    def groups(self) -> GroupTable:
        """The operations of ``GROUPS``."""
        return GroupTable(*(getattr(self, f"group_{name}") for name in GroupTable._fields))

    def fit_pca(self, batch: ProposalBatch) -> None:
        """Modes of the differences between starts and targets, about zero."""
        apart = to_chart(batch.target, batch.start) - to_chart(batch.start, batch.start)
        fitted = PCATransform.fit(apart, len(self.config.shells), centred=False)
        self.pca_basis, self.pca_values = fitted.basis.float(), fitted.values.float()

    @property
    def transform(self) -> KTransform:
        """The shells."""
        if self.config.shells[0] == "pca":
            return PCATransform(self.pca_basis, self.pca_values, len(self.config.shells), cut="energy")
        shell_of = [
            next(k for k, shell in enumerate(self.config.shells) if part in shell.split("+"))
            for part, size in PARTS.items()
            for _ in range(size)
        ]
        return CoordinateTransform(torch.tensor(shell_of, device=self.groups.mask.device))

    def endpoint(
        self, x: Float[Tensor, "batch size"], s: Float[Tensor, " batch"], base: Crystals, table: MoleculeTable
    ) -> tuple[Float[Tensor, "batch size"], Crystals]:
        """What the network answers at a point of the chart (the way to go), and the crystals there."""
        now = from_chart(x, base)
        alpha, _ = self.schedule.progress(s)
        return self.net(now.cell, now.rotation, now.place, now.group, table, self.groups, s, alpha), now

    def loss(self, batch: ProposalBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """Squared error of the endpoint, in units of the chart, weighed by shell; flow times are stratified."""
        s = stratified_times(len(batch.ids), generator).to(batch.start.cell)
        path = Path(self.transform, self.schedule)
        point = path.sample(to_chart(batch.start, batch.start), to_chart(batch.target, batch.start), s)
        answer, now = self.endpoint(point.x, s, batch.start, batch.table)
        wanted = to_chart(batch.target, now) - to_chart(now, now)
        weights = shell_weights(self.schedule, s, self.config.weighting).sqrt()
        error = path.transform.filter(answer - wanted, weights).square()
        parts = error.mean(0).split(list(PARTS.values()))
        named = {name: part.sum().detach() for name, part in zip(PARTS, parts, strict=True)}
        return {"loss": error.sum(1).mean(), **named}

    @torch.no_grad()
    def sample(self, start: Crystals, table: MoleculeTable, steps: Sequence[int] | None = None) -> Crystals:
        """Walk from starts to crystals."""
        path = Path(self.transform, self.schedule)

        def field(x: Tensor, s: Tensor) -> Tensor:
            way, now = self.endpoint(x, s, start, table)
            # The way is one of the chart at the present crystal; the path is walked in that at the start.
            return to_chart(from_chart(to_chart(now, now) + way, now), start)

        solution = solve(field, to_chart(start, start), path, steps or self.config.steps, method="shell")
        return from_chart(solution.x, start)


def group_table() -> GroupTable:
    """The operations of ``GROUPS``."""
    groups = [SpaceGroup.named(name) for name in GROUPS]
    most = max(len(group) for group in groups)
    rotation, cartesian = (np.tile(np.eye(3), (len(groups), most, 1, 1)) for _ in range(2))
    translation, mask = np.zeros((len(groups), most, 3)), np.zeros((len(groups), most), dtype=bool)
    for k, group in enumerate(groups):
        count = len(group)
        rotation[k, :count], cartesian[k, :count] = group.rotations, group.cartesian
        translation[k, :count], mask[k, :count] = group.translations, True
    return GroupTable(
        torch.tensor(rotation).float(), torch.tensor(cartesian).float(), torch.tensor(translation).float(),
        torch.from_numpy(mask),
    )  # fmt: skip


def tables_of(molecules: Sequence[Molecule]) -> MoleculeTable:
    """One row per molecule of a batch, repeats included."""
    distinct = list({id(m): m for m in molecules}.values())
    row = {id(m): k for k, m in enumerate(distinct)}
    index = torch.tensor([row[id(m)] for m in molecules])
    table = molecule_table(distinct)
    return MoleculeTable(*(x[index] for x in table))


def random_starts(
    groups: Sequence[SpaceGroup], molecules: Sequence[Molecule], rng: np.random.Generator
) -> Crystals:
    """What a random search would try: see ``search.starts.RandomProposal``."""
    usual = RandomProposal
    cells, filling = [], []
    for group, molecule in zip(groups, molecules, strict=True):
        filling.append(molecule.crystal_volume * len(group))
        loose = rng.uniform(usual.densest, usual.loosest)
        cells.append(random_cell(group, loose * filling[-1], usual.spread, rng))
    rotation, place = random_rotations(len(groups), rng), rng.uniform(size=(len(groups), 3))
    index = [GROUPS.index(group.name) for group in groups]
    cell, turn, where, volume = (
        torch.as_tensor(np.array(x)).float() for x in (cells, rotation, place, filling)
    )
    return Crystals(cell, turn, where, volume, torch.tensor(index))


def nearest(
    entry: Entry,
    shape: Float[np.ndarray, "5"],
    rotation: Float[np.ndarray, "3 3"],
    place: Float[np.ndarray, "3"],
) -> tuple[int, Float[np.ndarray, "3"]]:
    """Which description of a crystal is nearest to a start, and its place in the image nearest to that of the start.

    Args:
        entry: The crystal.
        shape: Of the cell of the start, see ``chart.shape_of``.
        rotation: Of the start.
        place: Of the start, fractional.

    Returns:
        Index of the description in ``entry.ways``, and the place, fractional and not wrapped.
    """
    ways = entry.ways
    cosine = (ways.rotation.reshape(-1, 9) @ rotation.reshape(9) - 1.0) / 2.0
    angle = np.arccos(np.clip(cosine, -1.0, 1.0)) / UNITS["turn"]
    cost = (((entry.shape - shape) / UNITS["shape"]) ** 2).sum(1) + angle**2
    # The place comes last: it decides among the descriptions that are about as near.
    few = np.argsort(cost)[:64]
    shifts, free = origins(entry.packing.group)
    move = (ways.place[few] - place)[:, None] + shifts
    move -= np.round(move)
    move[..., free] = 0.0
    far = (move**2).sum(-1)
    k = int((cost[few] + far.min(axis=1) / UNITS["place"] ** 2).argmin())
    return int(few[k]), place + move[k, far[k].argmin()]


def pairs_of(entries: Sequence[Entry], start: Crystals) -> Crystals:
    """The crystals of entries, each in the description nearest to its start."""
    shape = shape_of(start.cell)[1].numpy()
    rotation, place = start.rotation.numpy(), start.place.numpy()
    found = [nearest(e, shape[i], rotation[i], place[i]) for i, e in enumerate(entries)]
    cells = [entry.ways.cell[k] for entry, (k, _) in zip(entries, found, strict=True)]
    turns = [entry.ways.rotation[k] for entry, (k, _) in zip(entries, found, strict=True)]
    return start._replace(
        cell=torch.as_tensor(np.array(cells)).float(),
        rotation=torch.as_tensor(np.array(turns)).float(),
        place=torch.as_tensor(np.array([p for _, p in found])).float(),
    )


def draw_batch(
    library: Library, size: int, rng: np.random.Generator, entries: Sequence[Entry] | None = None
) -> ProposalBatch:
    """A training batch: crystals of low energy, or given ones, and random starts in their groups."""
    entries = library.draw(size, rng) if entries is None else entries
    molecules = [library.molecules[entry.molecule] for entry in entries]
    start = random_starts([entry.packing.group for entry in entries], molecules, rng)
    names = tuple(m.name for m in molecules)
    return ProposalBatch(names, tables_of(molecules), start, pairs_of(entries, start))
