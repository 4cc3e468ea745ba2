"""Where training meets clusters: files of crystals in, a trained cluster model or rival out.

The one idea: a crystal belongs to the split that the split file says, and two splits never share a molecule; whatever
the model learns from, is chosen by or is measured on is fixed by that file and by the bytes of the stores.
"""

from __future__ import annotations

import copy
import csv
import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from kflow_sci.assembly.baselines.learned import Rival, propose_learned, rival_class
from kflow_sci.assembly.cluster import Cluster
from kflow_sci.assembly.data.store import open_store
from kflow_sci.assembly.model.batch import ClusterBatch, without_mirror_twins
from kflow_sci.assembly.model.cluster_model import ClusterModel, ModelConfig
from kflow_sci.assembly.model.dataset import ClusterDataset, crop
from kflow_sci.assembly.model.generate import load_model
from kflow_sci.assembly.model.validate import room, sample_scores, validate
from kflow_sci.assembly.scoring.frame import Frame
from kflow_sci.checkpoint import load_checkpoint, save_checkpoint
from kflow_sci.errors import ConfigError
from kflow_sci.training.config import ClusterConfig, RivalConfig, TrainConfig
from kflow_sci.training.folder import BEST
from kflow_sci.training.module import FitResult, fit
from kflow_sci.training.order import part_size, seeds_of_step

SPLITS = ("train", "val", "test", "none")


@dataclass(frozen=True)
class ClusterData:
    """What a run learns from and is chosen by.

    Attributes:
        train: Training clusters.
        weights: How often each is drawn, relative: all packings of one molecule together count as one molecule, and
            all computed crystals together as ``computed_share`` of the draws.
        val: Clusters for validation.
        data_hash: SHA-256 of the stores and the split file.
        starts: Where the training clusters begin, one each; None if they are to be drawn.
        val_starts: The same for validation.
    """

    train: list[Cluster]
    weights: list[float]
    val: list[Cluster]
    data_hash: str
    starts: list[Cluster] | None = None
    val_starts: list[Cluster] | None = None


def read_split(path: str | Path) -> dict[str, tuple[str, str]]:
    """Split and molecule of every crystal.

    Args:
        path: Csv with the columns ``id``, ``split`` (train, val, test, none) and, where several crystals hold one
            molecule, ``molecule`` or ``mol_hash`` (any word, equal for equal molecules). Other columns are ignored.

    Raises:
        ConfigError: The file is missing or has no such columns, a split is unknown, an id occurs twice, or a molecule
            is in two splits.
    """
    try:
        with Path(path).open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"cannot read split {path}: {getattr(error, 'strerror', None) or error}") from error
    columns = list(rows[0]) if rows else []
    if "id" not in columns or "split" not in columns:
        raise ConfigError(
            f"split {path} needs the columns id and split, but has {', '.join(columns) or 'no rows'}"
        )
    named = next((column for column in ("molecule", "mol_hash") if column in columns), "id")
    table: dict[str, tuple[str, str]] = {}
    home: dict[str, tuple[str, str]] = {}
    for row in rows:
        name, split, molecule = row["id"], row["split"], row[named] or row["id"]
        if split not in SPLITS:
            raise ConfigError(f"split {path}: {name} has split '{split}', but known are {', '.join(SPLITS)}")
        if name in table:
            raise ConfigError(f"split {path}: {name} occurs twice: remove one line")
        table[name] = (split, molecule)
        first, other = home.setdefault(molecule, (name, split)) if split != "none" else ("", split)
        if other != split:
            raise ConfigError(
                f"split {path}: {first} ({other}) and {name} ({split}) are the same molecule {molecule}: "
                "put them into one split"
            )
    return table


def load_data(config: ClusterConfig) -> ClusterData:
    """Clusters of the stores, divided as the split file says.

    Raises:
        ConfigError: A cluster is not in the split file, occurs twice, or holds fewer molecules than the config asks
            for; no cluster to train on or to validate; a store without the starts that are asked for.
        ClusterError: A store is missing or damaged.
    """
    split = read_split(config.split)
    given = isinstance(config, RivalConfig) and config.starts == "data"
    parts: dict[str, list[Cluster]] = {name: [] for name in SPLITS}
    starts: dict[str, list[Cluster]] = {name: [] for name in SPLITS}
    molecules: list[str] = []
    seen: set[str] = set()
    for store in config.stores:
        clusters = open_store(store)
        if given and not clusters.has_starts:
            raise ConfigError(
                f"starts = 'data', but store {store} holds none: give another store, or starts: random"
            )
        for number, cluster in enumerate(clusters):
            name = str(cluster.info["id"])
            crystal = str(cluster.info.get("crystal", name))  # a crystal may give several clusters
            if crystal not in split:
                raise ConfigError(
                    f"{crystal} of store {store} is not in split {config.split}: add a line (or none)"
                )
            if name in seen:
                raise ConfigError(f"cluster {name} of store {store} occurs twice: name each store once")
            seen.add(name)
            part, molecule = split[crystal]
            parts[part].append(cluster)
            if given and part in ("train", "val"):
                starts[part].append(_same_hands(clusters.start(number), cluster))
            if part == "train":
                molecules.append(molecule)
    for part, key, needed in (
        ("train", "copies_max", config.copies_max),
        ("val", "validate_copies", config.validate_copies),
    ):
        if not parts[part]:
            raise ConfigError(
                f"no cluster of split {part} in {', '.join(config.stores)}: see split {config.split}"
            )
        smallest = min(parts[part], key=len)
        if len(smallest) < needed:
            raise ConfigError(
                f"{key} = {needed}, but cluster {smallest.info['id']} holds {len(smallest)} molecules: lower it, or "
                "build the store with more --copies"
            )
    packings = Counter(molecules)
    weights = [1.0 / packings[molecule] for molecule in molecules]
    if config.computed:
        if given:
            raise ConfigError("computed crystals have no starts: leave computed out, or set starts: random")
        computed, names = _computed(config)
        packings, share = Counter(names), config.computed_share
        real, made = (1.0 - share) / sum(weights), share / len(packings)
        weights = [real * w for w in weights] + [made / packings[name] for name in names]
        parts["train"] += computed
    return ClusterData(
        train=parts["train"],
        weights=weights,
        val=parts["val"],
        data_hash=_hash([*config.stores, *config.computed, config.split]),
        starts=starts["train"] if given else None,
        val_starts=starts["val"] if given else None,
    )


def _computed(config: ClusterConfig) -> tuple[list[Cluster], list[str]]:
    """The computed crystals, and the molecule of each."""
    clusters, names = [], []
    for store in config.computed:
        for cluster in open_store(store):
            if len(cluster) < config.copies_max:
                raise ConfigError(
                    f"copies_max = {config.copies_max}, but cluster {cluster.info['id']} of {store} holds "
                    f"{len(cluster)} molecules: lower it, or make the crystals with more --copies"
                )
            clusters.append(cluster)
            names.append(str(cluster.info["crystal"]))
    return clusters, names


def _same_hands(start: Cluster, cluster: Cluster) -> Cluster:
    if not np.array_equal(without_mirror_twins(start).parity, without_mirror_twins(cluster).parity):
        raise ConfigError(
            f"cluster {cluster.info['id']} starts from mirror images of its molecules, and no rigid motion leads from "
            "there: put it into split none"
        )
    return start


def model_config(config: TrainConfig) -> ModelConfig:
    """The part of the settings that stays with the weights."""
    return ModelConfig(
        transform=config.transform,
        widths=config.widths,
        overlap=config.overlap,
        mu=config.mu,
        prediction=config.prediction,
        weighting=config.weighting,
        rotation_weight=config.rotation_weight,
        hidden=config.hidden,
        layers=config.layers,
        edge=config.edge,
        neighbours=config.neighbours,
        contacts=config.contacts,
        steps=config.steps_per_shell,
    )


def new_model(config: TrainConfig, clusters: Sequence[Cluster]) -> ClusterModel:
    """An untrained model; its first weights follow from the seed, its PCA basis (if any) from the clusters."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = ClusterModel(model_config(config))
    if config.transform == "pca":
        for copies in sorted({*range(config.copies_min, config.copies_max + 1), config.validate_copies}):
            model.set_pca(torch.stack([_outwards(crop(cluster, copies).centroid) for cluster in clusters]))
    return model


def new_rival(config: RivalConfig) -> Rival:
    """An untrained rival; its first weights follow from the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return rival_class(config.method)(config.rival_settings())


def train_clusters(
    config: TrainConfig | RivalConfig,
    *,
    device: str = "auto",
    start: Literal["auto", "resume", "fresh"] = "auto",
    show: bool = True,
) -> FitResult:
    """Train a cluster model or a rival as a config says, in the folder ``config.out``; see ``module.fit``.

    Raises:
        KFlowError: See ``load_data`` and ``module.fit``.
    """
    data = load_data(config)
    dataset = ClusterDataset(data.train, data.weights, data.starts)
    model: ClusterModel | Rival
    if isinstance(config, TrainConfig):
        model = new_model(config, data.train)
        about = {"model": model.config_dict()}
    else:
        model = new_rival(config)
        about = {"rival": {"method": config.method, "settings": model.config_dict()}}

    def batches(step: int, rank: int, world_size: int) -> ClusterBatch:
        generator = torch.Generator().manual_seed(seeds_of_step(config.seed, step, rank)[0])
        size = part_size(config.batch_size, rank, world_size)
        return dataset.batch(size, (config.copies_min, config.copies_max), generator)

    def scores(mean: ClusterModel | Rival, step: int) -> dict[str, float]:
        # On the CPU, so that the choice of the best does not depend on the device.
        on_cpu = copy.deepcopy(mean).cpu()
        copies, samples = config.validate_copies, config.validate_samples
        if isinstance(on_cpu, ClusterModel):
            return validate(on_cpu, data.val, copies=copies, samples=samples, seed=config.seed)

        begin = (
            None if data.val_starts is None else dict(zip(map(id, data.val), data.val_starts, strict=True))
        )

        def drawn(truth: Cluster) -> list[Cluster] | list[Frame]:
            molecule = truth.molecules[0]
            start = None if begin is None else [crop(begin[id(truth)], copies)] * samples
            return propose_learned(
                on_cpu, molecule, copies, samples, config.seed, molecule.crystal_volume, start
            )

        return sample_scores(drawn, data.val, copies)

    header = {
        **json.loads(json.dumps(about)),
        "data_hash": data.data_hash,
        "data": {"train": len(data.train), "val": len(data.val)},
    }
    result = fit(config, model, batches, scores, config.out, header=header, device=device, start=start,
                 unit="clusters", show=show)  # fmt: skip
    if isinstance(config, TrainConfig) and config.room_samples and result.finished and result.first:
        _give_room(result.folder / BEST, config, data.val)
    return result


def _give_room(path: Path, config: TrainConfig, clusters: Sequence[Cluster]) -> None:
    """Write into finished weights the room that their samples need, see ``validate.room``."""
    model, _ = load_model(path)
    tensors, header = load_checkpoint(path)
    found = room(
        model, clusters, copies=config.validate_copies, samples=config.room_samples, seed=config.seed
    )
    save_checkpoint(path, tensors, {**header, "model": {**header["model"], "room": round(found, 4)}})


def _outwards(centroid: np.ndarray) -> torch.Tensor:
    """Centred, and ordered by distance from the centre, as ``ClusterModel.transform`` orders a start."""
    centred = torch.from_numpy(centroid - centroid.mean(0))
    return centred[centred.square().sum(-1).argsort()]


def _hash(paths: Sequence[str]) -> str:
    total = hashlib.sha256()
    for path in paths:
        total.update(hashlib.sha256(Path(path).read_bytes()).digest())
    return total.hexdigest()
