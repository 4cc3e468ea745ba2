"""What all methods train and are tested on: one folder, made once, named by its content.

The one idea: every method sees the same bytes. Clusters are cropped to the same number of copies, training gets a
volume for each (that of the cell where the data know it, else that of the radius of gyration), and the test set is a
file of its own that nothing is left out of.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from kflow_sci.assembly.cluster import Cluster
from kflow_sci.assembly.data.split import split_store
from kflow_sci.assembly.data.store import Store, open_store, write_store
from kflow_sci.assembly.model.batch import without_mirror_twins
from kflow_sci.assembly.model.dataset import crop
from kflow_sci.assembly.scoring.packing import gyration_volume
from kflow_sci.errors import ConfigError, MoleculeError
from kflow_sci.files import atomic_write, output_folder
from kflow_sci.training.clusters import read_split

VALIDATION = 2  # crystals that training looks at; the benchmark takes the weights at the end of the budget
FORMAT = 1  # raise it when what is written here changes its meaning
_ABOUT = "task.json"


@dataclass(frozen=True)
class Task:
    """Paths and facts of one benchmark.

    Attributes:
        folder: Where its files are.
        copies: Molecules per cluster.
        has_starts: The data give initial states.
        true_volumes: The data give the volume of the cell.
        train: Training clusters.
        tested: Test clusters.
        left_out: Clusters for training and validation that could not be used, by reason.
        data: Digest of the stores and the split they came from.
        train_digest: Of all that training reads.
        test_digest: Of the test clusters.
    """

    folder: str
    copies: int
    has_starts: bool
    true_volumes: bool
    train: int
    tested: int
    data: str
    train_digest: str = ""
    test_digest: str = ""
    left_out: dict[str, int] = field(default_factory=dict)

    @property
    def stores(self) -> str:
        """Store of training and validation clusters, with starts if ``has_starts``."""
        return str(Path(self.folder) / "train.kfc")

    @property
    def split(self) -> str:
        """Csv that names their parts."""
        return str(Path(self.folder) / "split.csv")

    @property
    def test(self) -> str:
        """Store of test clusters, with starts if ``has_starts``."""
        return str(Path(self.folder) / "test.kfc")

    @classmethod
    def read(cls, folder: str | Path) -> Task:
        """The task of a folder that ``make_task`` made."""
        values = json.loads((Path(folder) / _ABOUT).read_text(encoding="utf-8"))
        return cls(folder=str(folder), **values)


def make_task(
    stores: Sequence[str | Path], split: str | Path | None, root: str | Path, copies: int, limit: int | None
) -> Task:
    """Divide the data and write what training and testing read; what is there already is taken.

    Args:
        stores: Files of clusters.
        split: Csv with ``id`` and ``split``; by molecule with seed 0 if None, for one store.
        root: Folder of the benchmark.
        copies: Molecules per cluster.
        limit: Test clusters at most, chosen by a digest of their ids; all if None.

    Raises:
        ConfigError: See ``training.clusters.read_split``; several stores without a split; a crystal that is not in it;
            a cluster with too few copies; nothing to train on or to test; some stores have starts and some not.
        ClusterError: A store is missing or damaged.
        OutputError: The folder cannot be written.
    """
    if copies < 2:
        raise ConfigError(f"--copies is {copies}, but a cluster has at least 2 molecules")
    if limit is not None and limit < 1:
        raise ConfigError(f"--test-limit is {limit}, but at least 1 test cluster is needed")
    opened = [open_store(store) for store in stores]
    if len({store.has_starts for store in opened}) != 1:
        raise ConfigError("some stores hold initial states and others do not: run them apart")
    root = output_folder(root)
    if split is None:
        if len(stores) != 1:
            raise ConfigError(
                f"{len(stores)} stores and no --split: say which crystals train and which are tested"
            )
        split = root / "split.csv"
        split_store(stores[0], split, seed=0)
    table = read_split(split)
    digest = hashlib.sha256()
    for path in (*stores, split):
        digest.update(hashlib.sha256(Path(path).read_bytes()).digest())
    data = digest.hexdigest()
    digest.update(json.dumps([FORMAT, VALIDATION, copies, limit]).encode())
    folder = root / "tasks" / digest.hexdigest()[:12]
    if (folder / _ABOUT).is_file():
        return Task.read(folder)
    return _write(output_folder(folder), opened, table, copies, limit, data, split)


def _write(
    folder: Path,
    stores: Sequence[Store],
    table: dict[str, tuple[str, str]],
    copies: int,
    limit: int | None,
    data: str,
    split: str | Path,
) -> Task:
    parts: dict[str, list[tuple[Cluster, Cluster | None]]] = {"train": [], "val": [], "test": []}
    left_out: Counter[str] = Counter()
    seen: set[str] = set()
    known = True
    for cluster, start in _pairs(stores):
        name, crystal = str(cluster.info["id"]), _crystal(cluster)
        if crystal not in table:
            raise ConfigError(f"{crystal} is not in split {split}: add a line (or none)")
        if name in seen:
            raise ConfigError(f"cluster {name} occurs twice: name each store once")
        seen.add(name)
        part = table[crystal][0]
        if part not in parts:
            continue
        if len(cluster) < copies:
            raise ConfigError(
                f"cluster {name} holds {len(cluster)} molecules, fewer than {copies}: lower --copies"
            )
        known &= "volume" in cluster.info
        cluster, start = _ready(cluster, copies), None if start is None else _ready(start, copies)
        reason = "" if part == "test" else _unusable(cluster, start, part)
        if reason:
            left_out[reason] += 1
        else:
            parts[part].append((cluster, start))
    for part in ("train", "test"):
        if not parts[part]:
            raise ConfigError(f"split {split} leaves no cluster to {part} on: see its column split")
    parts["val"] = _some(parts["val"], VALIDATION)
    if not parts["val"]:  # the training loop wants one to look at; nothing is chosen by it
        borrowed = _crystal(parts["train"][-1][0])
        parts["val"] = [pair for pair in parts["train"] if _crystal(pair[0]) == borrowed]
        parts["train"] = [pair for pair in parts["train"] if _crystal(pair[0]) != borrowed]
        if not parts["train"]:
            raise ConfigError(f"split {split} leaves 1 crystal to train on: at least 2 are needed")
    if limit is not None:
        parts["test"] = _some(parts["test"], limit)
    task = Task(
        folder=str(folder), copies=copies, has_starts=stores[0].has_starts, true_volumes=known,
        train=len(parts["train"]), tested=len(parts["test"]), data=data, left_out=dict(sorted(left_out.items())),
    )  # fmt: skip
    for path, pairs in ((task.stores, [*parts["train"], *parts["val"]]), (task.test, parts["test"])):
        begun = [start for _, start in pairs if start is not None]
        write_store(path, [cluster for cluster, _ in pairs], starts=begun if task.has_starts else None)
    with atomic_write(task.split) as temporary:
        # A borrowed crystal may share its molecule with training; it has a name of its own in this table.
        rows = {_crystal(c): (_crystal(c), "train", table[_crystal(c)][1]) for c, _ in parts["train"]}
        rows |= {_crystal(c): (_crystal(c), "val", f"val {table[_crystal(c)][1]}") for c, _ in parts["val"]}
        with temporary.open("w", newline="", encoding="utf-8") as stream:
            csv.writer(stream, lineterminator="\n").writerows([("id", "split", "molecule"), *rows.values()])
    task = replace(task, train_digest=_digest([task.stores, task.split]), test_digest=_digest([task.test]))
    with atomic_write(folder / _ABOUT) as temporary:
        values: dict[str, Any] = asdict(task)
        del values["folder"]
        temporary.write_text(json.dumps(values, indent=1), encoding="utf-8")
    return task


def _pairs(stores: Sequence[Store]) -> Iterator[tuple[Cluster, Cluster | None]]:
    for store in stores:
        for i in range(len(store)):
            yield store[i], store.start(i) if store.has_starts else None


def _crystal(cluster: Cluster) -> str:
    return str(cluster.info.get("crystal", cluster.info["id"]))  # a crystal may give several clusters


def _ready(cluster: Cluster, copies: int) -> Cluster:
    cluster = crop(cluster, copies)
    volume = float(cluster.info.get("volume", 0.0)) or gyration_volume(cluster.centroid)
    return replace(cluster, info={**cluster.info, "volume": volume})


def _unusable(cluster: Cluster, start: Cluster | None, part: str) -> str:
    """Why no method can learn from a cluster, or be looked at by it; empty if it can."""
    if part == "val" and len({molecule.numbers.tobytes() for molecule in cluster.molecules}) > 1:
        return "several kinds of molecules, in validation"
    try:
        for molecule in cluster.molecules:
            _ = molecule.crystal_volume
    except MoleculeError:
        return "an element without a known volume"
    hands = [without_mirror_twins(one).parity for one in (cluster, start) if one is not None]
    if not np.array_equal(hands[0], hands[-1]):
        return "an initial molecule is a mirror image of its final one"
    return ""


def _some(pairs: list[tuple[Cluster, Cluster | None]], most: int) -> list[tuple[Cluster, Cluster | None]]:
    """At most so many, chosen by their ids alone, in their order."""
    chosen = sorted(pairs, key=lambda pair: hashlib.sha256(str(pair[0].info["id"]).encode()).hexdigest())[
        :most
    ]
    names = {str(cluster.info["id"]) for cluster, _ in chosen}
    return [pair for pair in pairs if str(pair[0].info["id"]) in names]


def _digest(paths: Sequence[str]) -> str:
    total = hashlib.sha256()
    for path in paths:
        total.update(hashlib.sha256(Path(path).read_bytes()).digest())
    return total.hexdigest()[:16]
