"""The published set COD-Cluster17 becomes one compact file: crystals and where they start from.

The one idea: nothing is lost in silence. Whatever the files hold ends either in the store, with words for all that is
unusual about it, or in ``skipped.csv`` with a reason; the two add up to what was there. What the published code leaves
out is a word in the store like any other, so that its selection is one option away. ``cluster17_pair`` judges one
cluster.
"""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from kflow_sci import __version__
from kflow_sci.assembly import DEFAULT_COPIES
from kflow_sci.assembly.cluster import Cluster
from kflow_sci.assembly.data.cluster17_pair import read_cluster
from kflow_sci.assembly.data.fanout import fan_out
from kflow_sci.assembly.data.layout import final_file, list_ids, raw_folder, read_ids, start_file
from kflow_sci.assembly.data.parts import clear_parts, cut, parts_folder
from kflow_sci.assembly.data.published import KEPT, VERDICTS
from kflow_sci.assembly.data.store import VERSION, merge_stores, open_store, write_store
from kflow_sci.errors import ClusterError, CrystalError, OutputError
from kflow_sci.files import atomic_write

PART = 128
SUBSETS = {
    "5k": 5000,
    "10k": 10000,
}  # the published code keeps their lists in processed_5000 and processed_10000
ID_LIST = "valid_idx.txt"


@dataclass(frozen=True)
class ImportReport:
    """What came of an import: ``total == clusters + skipped.total()``.

    Attributes:
        total: Entries of the list, or ids and other csv files in the folder.
        clusters: Clusters in the store.
        skipped: Entries left out, by reason (``cluster17_pair.REASONS``).
        flags: Clusters with each word of ``cluster17_pair.FLAGS``.
        verdicts: Clusters by what the published code does with them (``published.VERDICTS``).
        reused: Parts of an earlier, interrupted run that were used again.
        skipped_csv: The table of what was left out.
    """

    total: int
    clusters: int
    skipped: Counter[str]
    flags: Counter[str]
    verdicts: Counter[str]
    reused: int
    skipped_csv: Path


def import_cluster17(
    raw: str | Path,
    out: str | Path,
    *,
    ids: str | Path | None = None,
    subset: str = "all",
    as_published: bool = False,
    copies: int = DEFAULT_COPIES,
    workers: int = 1,
    scheduler: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ImportReport:
    """Turn the published csv files into a store with starts, and a table of what is left out beside it.

    Args:
        raw: The folder that holds ``FinalPositions`` and ``InitialPositions``, or the one that holds it as ``raw``.
        out: The store to write, by convention ``*.kfc``.
        ids: A text file with one id per line; the store keeps its order.
        subset: ``all``, or ``5k`` or ``10k``: the lists of the published code, ``processed_5000/valid_idx.txt`` and
            ``processed_10000/valid_idx.txt`` beside the raw folder.
        as_published: Keep only what the published code keeps.
        copies: Molecules per cluster.
        workers: Processes on this machine.
        scheduler: Address of a dask scheduler, whose workers then do the work; they must see ``raw`` and the folder of
            ``out`` under the same paths.
        progress: Called with the number of entries done and the number of all.

    Raises:
        ClusterError: an option is out of range, a folder or a list is missing or empty, or nothing could be used.
        WorkError: see ``fanout.fan_out``.
        OutputError: the output cannot be written.
    """
    folder, out = (
        Path(os.path.abspath(raw_folder(raw))),
        Path(out),
    )  # other machines know no working folder of ours
    if copies < 2:
        raise ClusterError(
            f"copies is {copies}, but a cluster has at least 2 molecules: choose another number"
        )
    if workers < 1:
        raise ClusterError(f"workers is {workers}, but at least 1 process is needed: choose another number")
    if ids is not None and subset != "all":
        raise ClusterError(f"both a list of ids and the subset {subset} are given: choose one of them")
    names, refused = _listed(_list_file(folder, ids, subset)) if ids or subset != "all" else _all(folder)
    total = len(names) + len(refused)
    if not total:
        raise ClusterError(f"{folder} holds no csv file of the set: give the folder of the published files")
    if out.is_dir():
        raise OutputError(f"cannot write {out}: it is a folder: name a file")
    parts = parts_folder(out)
    settings = [VERSION, str(folder), copies, as_published]
    work = partial(import_part, str(folder), copies, as_published)
    pieces = cut(names, parts, settings, size=PART, stamp=partial(_stamp, folder))
    made: list[Path] = []
    reused = 0
    flags: Counter[str] = Counter()
    verdicts: Counter[str] = Counter()
    done = len(refused)
    for part in fan_out(work, pieces, workers=workers, scheduler=scheduler, needs=[folder]):
        info = open_store(part.path).info
        refused += [(name, reason, message) for name, reason, message in info["skipped"]]
        flags.update(info["flags"])
        verdicts.update(info["published"])
        made.append(part.path)
        reused += part.reused
        done += len(part.items)
        if progress is not None:
            progress(done, total)
    skipped = Counter(reason for _, reason, _ in refused)
    table = out.with_name("skipped.csv")
    with atomic_write(table) as temporary, open(temporary, "w", newline="", encoding="utf-8") as stream:
        csv.writer(stream, lineterminator="\n").writerows([("id", "reason", "message"), *refused])
    clusters = total - len(refused)
    if clusters:
        about = {
            "set": "COD-Cluster17",
            "subset": "list" if ids else subset,
            "as_published": as_published,
            "copies": copies,
            "total": total,
            "skipped": dict(sorted(skipped.items())),
            "flags": dict(sorted(flags.items())),
            "published": dict(sorted(verdicts.items())),
            "made_by": f"kflow data import-cluster17 {__version__}",
        }
        clusters = merge_stores(out, made, about)
    clear_parts(parts)
    if not clusters:
        listed = ", ".join(f"{reason} {count}" for reason, count in skipped.most_common(3))
        raise ClusterError(f"none of the {total} clusters in {folder} can be used ({listed}): see {table}")
    return ImportReport(total, clusters, skipped, flags, verdicts, reused, table)


def _list_file(folder: Path, ids: str | Path | None, subset: str) -> Path:
    if ids is not None:
        return Path(ids)
    if subset not in SUBSETS:
        raise ClusterError(f"subset is {subset!r}, not one of all, {', '.join(SUBSETS)}: choose one of them")
    name = Path(f"processed_{SUBSETS[subset]}") / ID_LIST
    for place in (folder.parent / name, folder / name):
        if place.is_file():
            return place
    raise ClusterError(
        f"the list of the subset {subset} is missing: put it at {folder.parent / name}, or name it with --ids"
    )


def _listed(path: Path) -> tuple[list[str], list[tuple[str, str, str]]]:
    names, refused = [], []
    seen: set[str] = set()
    for name in read_ids(path):
        if name != Path(name).name or "\0" in name:
            refused.append((name, "name", "an id of the list is not a file name: mend the line"))
        elif name in seen:
            refused.append((name, "duplicate", "the id stands twice in the list: remove one line"))
        else:
            seen.add(name)
            names.append(name)
    return names, refused


def _all(folder: Path) -> tuple[list[str], list[tuple[str, str, str]]]:
    names, alone, odd = list_ids(folder)
    refused = [(name, "name", "the file is not named as one of the set: rename or remove it") for name in odd]
    refused += [(name, "no_final", "there is a start but no crystal: leave it out") for name in alone]
    return names, refused


def _stamp(folder: Path, name: str) -> list[object]:
    """Changes whenever one of the two files does."""
    stamp: list[object] = [name]
    for path in (final_file(folder, name), start_file(folder, name)):
        try:
            status = path.stat()
        except OSError:
            continue
        stamp += [status.st_size, status.st_mtime_ns]
    return stamp


def import_part(folder: str, copies: int, as_published: bool, part: Path, names: Iterable[str]) -> None:
    """Write the store of a few ids; refusals and counts go into its info. Runs in a worker.

    Args:
        folder: The folder of ``layout.raw_folder``.
        copies: Molecules per cluster.
        as_published: Refuse what the published code drops.
        part: The store to write.
        names: The ids.
    """
    clusters: list[Cluster] = []
    starts: list[Cluster] = []
    skipped: list[tuple[str, str, str]] = []
    for name in names:
        try:
            cluster, start = read_cluster(Path(folder), name, copies)
            verdict = cluster.info["published"]
            if as_published and verdict != KEPT:
                raise CrystalError("unpublished", f"the published code drops {name}: {VERDICTS[verdict]}")
        except CrystalError as error:
            skipped.append((name, error.reason, str(error)))
            continue
        clusters.append(cluster)
        starts.append(start)
    counts = {
        "skipped": skipped,
        "flags": Counter(flag for cluster in clusters for flag in cluster.info["flags"]),
        "published": Counter(cluster.info["published"] for cluster in clusters),
    }
    write_store(part, clusters, counts, starts)
