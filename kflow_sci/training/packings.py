"""Where training meets computed crystals: stores of ``kflow data make-crystals`` in, weights of proposals out.

The one idea: some molecules are held back, told by a hash of their name, so that what chooses the weights is a question
the flow has never seen: how near do its samples come to a crystal of low energy?
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from kflow_sci.assembly.cluster import Cluster
from kflow_sci.assembly.data.store import open_store
from kflow_sci.assembly.proposals.chart import PARTS, SIZE, to_chart
from kflow_sci.assembly.proposals.library import Entry, Library
from kflow_sci.assembly.proposals.model import (
    ProposalBatch,
    ProposalConfig,
    ProposalModel,
    draw_batch,
    pairs_of,
)
from kflow_sci.assembly.proposals.propose import header_of
from kflow_sci.assembly.search.excluded import Excluded
from kflow_sci.errors import ConfigError
from kflow_sci.training.config import FitConfig, setting
from kflow_sci.training.module import FitResult, fit
from kflow_sci.training.order import part_size, seeds_of_step

_PCA_PAIRS = 2000


@dataclass(frozen=True, kw_only=True)
class PackingConfig(FitConfig):
    """What `kflow train` needs to train proposals of crystals."""

    method: Literal["proposals"] = setting("what is trained")
    stores: tuple[str, ...] = setting("files that `kflow data make-crystals` wrote")
    exclude: str = setting("csv of molecules that must not be learned from, see `make-crystals --exclude`")
    temperature: float = setting(
        "how far above the lowest crystal of a molecule others count, kJ/mol", above=0.0
    )
    held_back: float = setting("share of the molecules that validation alone sees", above=0.0, high=0.5)

    shells: tuple[str, ...] = setting("volume, shape, turn, place in the order they move, + joins; or pca, …")
    widths: tuple[float, ...] = setting("flow time of each shell", above=0.0)
    overlap: float = setting("of the shells' windows: 0 strict, 1 plain flow matching", low=0.0, high=1.0)
    mu: Literal["linear", "smoothstep", "cosine"] = setting("ramp of a shell inside its window")
    weighting: Literal["uniform", "open", "balanced"] = setting("weight of each shell's error over flow time")
    hidden: int = setting("width of the net", low=8)
    layers: int = setting("its residual layers", low=1)
    images: int = setting("neighbouring molecules it looks at", low=1, high=100)
    steps_per_shell: tuple[int, ...] = setting("solver steps of each shell", low=1)
    validate_pairs: int = setting("starts in a validation", low=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.stores:
            raise ConfigError("stores is an empty list: give at least one entry")
        self.model_config()

    def model_config(self) -> ProposalConfig:
        """The part that belongs to the model.

        Raises:
            ConfigError: shells that are not those of the chart, or lists that do not fit.
        """
        return ProposalConfig(
            self.shells, self.widths, self.overlap, self.mu, self.weighting, self.hidden, self.layers, self.images,
            self.steps_per_shell,
        )  # fmt: skip


def load_libraries(config: PackingConfig) -> tuple[Library, Library, str]:
    """Crystals to learn from and to be judged by, and a digest of the files.

    Raises:
        ConfigError: a molecule of the exclusion list is in a store, or too few molecules are left on one side.
        ClusterError: a store is missing or damaged.
        PackingError: a store was not written by ``kflow data make-crystals``.
    """
    excluded = Excluded.read(config.exclude)
    train: list[Cluster] = []
    held: list[Cluster] = []
    seen: dict[str, bool] = {}
    digest = hashlib.sha256()
    for store in config.stores:
        digest.update(hashlib.sha256(Path(store).read_bytes()).digest())
        for cluster in open_store(store):
            name = str(cluster.info.get("crystal", cluster.info["id"]))
            if name not in seen:
                if cluster.molecules[0] in excluded:
                    raise ConfigError(
                        f"{name} of store {store} is on the list {config.exclude}: make the store with --exclude"
                    )
                # Mirror images and other forms of one constitution stay on one side.
                code = int.from_bytes(hashlib.sha256(name[:14].encode()).digest()[:4], "big")
                seen[name] = code < config.held_back * 2**32
            (held if seen[name] else train).append(cluster)
    if not train or not held:
        raise ConfigError(
            f"held_back = {config.held_back:g} of {len(seen)} molecules leaves none to "
            f"{'learn from' if held else 'validate on'}: give more molecules or another share"
        )
    return Library.of(train, config.temperature), Library.of(held, config.temperature), digest.hexdigest()


def new_model(config: PackingConfig, library: Library) -> ProposalModel:
    """An untrained model; its first weights follow from the seed, its modes (if any) from the crystals."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = ProposalModel(config.model_config())
    if config.shells[0] == "pca":
        model.fit_pca(draw_batch(library, _PCA_PAIRS, np.random.default_rng(config.seed)))
    return model


@torch.no_grad()
def miss(
    model: ProposalModel, batch: ProposalBatch, entries: Sequence[Entry], library: Library
) -> dict[str, float]:
    """How far samples are from the nearest crystal of their molecule and group, in units of the chart.

    Args:
        model: The model.
        batch: Starts.
        entries: The crystal each start was drawn for; all of its molecule in the same group count.
        library: Of the entries.

    Returns:
        ``miss`` (root mean square over cell and pose of the samples, volume left out), ``miss_before`` (of the starts)
        and one per part of the chart.
    """
    found = model.sample(batch.start, batch.table)
    result = {}
    for name, crystals in (("", found), ("_before", batch.start)):
        squares = []
        for i, entry in enumerate(entries):
            low, high = library.first[entry.molecule], library.first[entry.molecule + 1]
            others = [e for e in library.entries[low:high] if e.group == entry.group]
            here = type(crystals)(*(x[i : i + 1].expand(len(others), *x.shape[1:]) for x in crystals))
            apart = to_chart(pairs_of(others, here), here) - to_chart(here, here)
            best = int(apart[:, 1:].square().sum(1).argmin())
            squares.append(apart[best].square())
        parts = torch.stack(squares).mean(0).split(list(PARTS.values()))
        result[f"miss{name}"] = float((sum(part.sum() for part in parts[1:]) / (SIZE - 1)) ** 0.5)
        result |= {f"{part}{name}": float(x.mean() ** 0.5) for part, x in zip(PARTS, parts, strict=True)}
    return result


def train_packings(
    config: PackingConfig,
    *,
    device: str = "auto",
    start: Literal["auto", "resume", "fresh"] = "auto",
    show: bool = True,
) -> FitResult:
    """Train proposals as a config says, in the folder ``config.out``; see ``module.fit``.

    Raises:
        KFlowError: See ``load_libraries`` and ``module.fit``.
    """
    library, held, data_hash = load_libraries(config)
    model = new_model(config, library)
    rng = np.random.default_rng(config.seed)
    entries = held.draw(config.validate_pairs, rng)
    question = draw_batch(held, len(entries), rng, entries)

    def batches(step: int, rank: int, world_size: int) -> ProposalBatch:
        size = part_size(config.batch_size, rank, world_size)
        return draw_batch(library, size, np.random.default_rng(seeds_of_step(config.seed, step, rank)[0]))

    def scores(mean: ProposalModel, step: int) -> dict[str, float]:
        on_cpu = copy.deepcopy(mean).cpu()
        with torch.no_grad():
            loss = on_cpu.loss(question, torch.Generator().manual_seed(config.seed))["loss"]
        return {"loss": float(loss), **miss(on_cpu, question, entries, held)}

    shares = {name: (a + held.group_shares()[name]).tolist() for name, a in library.group_shares().items()}
    header = {
        **json.loads(json.dumps(header_of(model, shares))),
        "data_hash": data_hash,
        "data": {
            "molecules": len(library.molecules),
            "crystals": len(library.entries),
            "held_back": len(held.molecules),
            "left_out": library.left_out + held.left_out,
        },
    }
    return fit(config, model, batches, scores, config.out, header=header, device=device, start=start,
               unit="crystals", show=show)  # fmt: skip


__all__ = ["PackingConfig", "load_libraries", "miss", "new_model", "train_packings"]
