"""A store in the formats of others: extended xyz for every tool, the published csv layout for the rivals' own code.

The one idea: clusters pass one by one, so a set of any size can be written, and the output appears when it is whole.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import tee
from pathlib import Path

from kflow_sci.assembly.cluster import Cluster
from kflow_sci.assembly.data.layout import FINAL, START, final_file, start_file, write_state
from kflow_sci.assembly.data.starts import SPREAD, centred_on_start, noised_start
from kflow_sci.assembly.data.store import SUFFIX, Store, open_store, write_store
from kflow_sci.assembly.writing import write_clusters
from kflow_sci.errors import ClusterError, OutputError
from kflow_sci.files import output_folder, reason

LAYOUTS = ("extxyz", "cluster17", "store")
_SUFFIXES = {"extxyz": (".extxyz", ".xyz"), "store": (SUFFIX,)}


@dataclass(frozen=True)
class Selection:
    """Which clusters of a store, and in which states.

    Attributes:
        store: The file of clusters.
        ids: Only these, in the order of the store; None for all.
        noise: Draw starts from this seed (``starts.noised_start``) instead of taking those of the store.
        spread: Of the drawn starts.
    """

    store: Store
    ids: frozenset[str] | None = None
    noise: int | None = None
    spread: float = SPREAD

    def __post_init__(self) -> None:
        absent = sorted((self.ids or frozenset()) - set(self.store.ids))
        if absent:
            raise ClusterError(
                f"{len(absent)} of the {len(self.ids or ())} ids are not in {self.store.path} (first {absent[0]}): "
                "remove them from the list"
            )
        if not len(self):
            raise ClusterError(f"{self.store.path} holds no cluster that was asked for: nothing to export")

    def __len__(self) -> int:
        return len(self.store) if self.ids is None else sum(name in self.ids for name in self.store.ids)

    @property
    def has_starts(self) -> bool:
        """Whether there are initial states."""
        return self.noise is not None or self.store.has_starts

    def clusters(self) -> Iterator[Cluster]:
        """The crystals."""
        return (self.store[i] for i in self._chosen())

    def pairs(self) -> Iterator[tuple[Cluster, Cluster]]:
        """Crystals and where they start from.

        Raises:
            ClusterError: the store has no starts and none are drawn.
        """
        for i in self._chosen():
            cluster = self.store[i]
            if self.noise is None:
                yield cluster, self.store.start(i)
            else:
                yield centred_on_start(cluster, noised_start(cluster, self.noise, self.spread))

    def _chosen(self) -> Iterable[int]:
        if self.ids is None:
            return range(len(self.store))
        return (i for i, name in enumerate(self.store.ids) if name in self.ids)


def export_store(
    store: str | Path,
    out: str | Path,
    *,
    layout: str = "extxyz",
    start: bool = False,
    ids: Iterable[str] | None = None,
    noise: int | None = None,
    spread: float = SPREAD,
) -> int:
    """Write the clusters of a store in another layout.

    Args:
        store: A file of clusters.
        out: For ``extxyz`` a file ``.extxyz`` or ``.xyz`` that ``kflow score`` reads; for ``store`` a file ``.kfc``;
            for ``cluster17`` a folder, new or empty.
        layout: ``extxyz``: one frame per cluster. ``cluster17``: the published csv files of both states. ``store``: a
            store of the chosen clusters, with starts if there are any.
        start: Write the initial states (``extxyz`` only; the other layouts hold both).
        ids: Only these.
        noise: Draw the starts from this seed instead of taking those of the store.
        spread: Of the drawn starts, see ``starts.noised_start``.

    Returns:
        Number of clusters written.

    Raises:
        ClusterError: an option is out of range or does not fit the layout, an id is not in the store, or there are no
            initial states where they are needed.
        OutputError: the output cannot be written.
    """
    out = Path(out)
    if layout not in LAYOUTS:
        raise ClusterError(f"layout is {layout!r}, not one of {', '.join(LAYOUTS)}: choose one of them")
    if start and layout != "extxyz":
        raise ClusterError(f"the layout {layout} holds both states: leave out --start")
    if layout in _SUFFIXES and out.suffix.lower() not in _SUFFIXES[layout]:
        raise ClusterError(
            f"{out} does not end in {' or '.join(_SUFFIXES[layout])}: rename it, or choose a layout"
        )
    selection = Selection(open_store(store), None if ids is None else frozenset(ids), noise, spread)
    if (start or layout == "cluster17") and not selection.has_starts:
        raise ClusterError(f"{store} holds no initial states: draw some with --noise SEED")
    if layout == "extxyz":
        return write_clusters(out, (s for _, s in selection.pairs()) if start else selection.clusters())
    if layout == "store":
        return _as_store(selection, out)
    return _as_cluster17(selection, out)


def _as_store(selection: Selection, out: Path) -> int:
    info = selection.store.info
    if selection.noise is not None:
        info = info | {"noise": selection.noise, "spread": selection.spread}
    if not selection.has_starts:
        return write_store(out, selection.clusters(), info)
    one, two = tee(selection.pairs())  # read in step, so nothing piles up
    return write_store(out, (cluster for cluster, _ in one), info, (start for _, start in two))


def _as_cluster17(selection: Selection, out: Path) -> int:
    """Into a hidden folder that takes the name of ``out`` when all files are there."""
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise OutputError(f"cannot write {out}: it exists and is not an empty folder: name a new one")
    output_folder(out.resolve().parent)
    temporary = out.resolve().with_name(f".{out.name[:40]}-{secrets.token_hex(6)}")
    count = 0
    try:
        for folder in (FINAL, START):
            output_folder(temporary / folder)
        for cluster, start in selection.pairs():
            name = cluster.info["id"]
            if name != Path(name).name:
                raise ClusterError(f"the id {name!r} cannot be the name of a file: rename it")
            write_state(final_file(temporary, name), cluster)
            write_state(start_file(temporary, name), start)
            count += 1
        os.replace(temporary, out)
    except OSError as error:
        raise OutputError(f"cannot write {out}: {reason(error)}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return count
