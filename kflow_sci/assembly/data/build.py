"""A folder of CIFs becomes one file of clusters, on all cores or many machines, and goes on where it was killed.

The one idea: the files are listed in one order and cut into parts of ``PART``; each finished part is a small store
beside the output, named by what it was made from. A restart finds its parts again, and the output is their
concatenation, so neither the number of workers nor an interruption can change a byte of it. Nothing is held for all
crystals at once but a few bytes of each, so half a million of them need no more memory than a thousand.
"""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from kflow_sci import __version__
from kflow_sci.assembly.cluster import Cluster
from kflow_sci.assembly.data.fanout import fan_out
from kflow_sci.assembly.data.listing import count_cifs, list_cifs, name_of, stamp_of
from kflow_sci.assembly.data.parts import clear_parts, cut, parts_folder
from kflow_sci.assembly.data.store import VERSION, merge_stores, open_store, write_store
from kflow_sci.assembly.reading.crystal import cluster_from_crystal, read_crystal
from kflow_sci.errors import ClusterError, CrystalError, MoleculeError, OutputError
from kflow_sci.files import atomic_write

PART = 16
MAX_COPIES = 1000
CENTRES = ("first", "all")


@dataclass(frozen=True)
class BuildReport:
    """What came of a build.

    Attributes:
        clusters: Clusters in the file.
        crystals: Crystals they come from.
        skipped: Crystals refused, by reason.
        reused: Parts of an earlier, interrupted run that were used again.
        skipped_csv: The table of refused crystals.
    """

    clusters: int
    crystals: int
    skipped: Counter[str]
    reused: int
    skipped_csv: Path


def build_store(
    folder: str | Path,
    out: str | Path,
    copies: int,
    *,
    workers: int = 1,
    scheduler: str | None = None,
    centres: str = "first",
    progress: Callable[[int, int], None] | None = None,
) -> BuildReport:
    """Read every CIF of a folder, and of the folders in it, and store the cluster around its central molecule.

    Crystals that cannot be used are listed, with a reason of ``cif.REASONS`` and a sentence, in ``skipped.csv`` beside
    the output. Files that do not end in ``.cif`` and hidden ones are ignored.

    Args:
        folder: Folder of CIFs; the id of a crystal is the name of its file.
        out: The store to write, by convention ``*.kfc``.
        copies: Molecules per cluster, 2 … 1000.
        workers: Processes on this machine.
        scheduler: Address of a dask scheduler, whose workers then do the work; they must see ``folder`` and the folder
            of ``out`` under the same paths.
        centres: ``first``: one cluster per crystal; ``all``: one per symmetry-independent molecule.
        progress: Called with the number of files done and the number of all.

    Raises:
        ClusterError: an option is out of range, there is no CIF, two files have one id, or no crystal can be used.
        WorkError: a worker was killed (the message names the crystal it was reading), or the scheduler and its workers
            cannot do the work.
        OutputError: the output cannot be written.
    """
    if not 2 <= copies <= MAX_COPIES:
        raise ClusterError(
            f"copies is {copies}, but a cluster here has 2 to {MAX_COPIES} molecules: choose another number"
        )
    if workers < 1:
        raise ClusterError(f"workers is {workers}, but at least 1 process is needed: choose another number")
    if centres not in CENTRES:
        raise ClusterError(f"centres is {centres!r}, not one of {', '.join(CENTRES)}: choose one of them")
    out = Path(out)
    total = count_cifs(folder)
    if out.is_dir():
        raise OutputError(f"cannot write {out}: it is a folder: name a file")
    store = parts_folder(out)
    source = Path(os.path.abspath(folder))  # other machines know no working folder of ours
    parts = cut(
        list_cifs(source),
        store,
        [VERSION, copies, centres],
        size=PART,
        stamp=partial(stamp_of, folder=source),
    )
    names: list[str] = []
    files = reused = 0
    reasons: Counter[str] = Counter()
    table = out.with_name("skipped.csv")
    with atomic_write(table) as temporary, open(temporary, "w", newline="", encoding="utf-8") as stream:
        rows = csv.writer(stream, lineterminator="\n")
        rows.writerow(("id", "reason", "message"))
        work = partial(build_part, copies=copies, centres=centres)
        for part in fan_out(work, parts, workers=workers, scheduler=scheduler, needs=[source]):
            names.append(part.path.name)
            files += len(part.items)
            reused += part.reused
            for row in _refused(part.path):
                reasons[row[1]] += 1
                rows.writerow(row)
            if progress:
                progress(files, max(files, total))
    crystals = files - reasons.total()
    if crystals:
        info = {
            "crystals": crystals,
            "copies": copies,
            "centres": centres,
            "skipped": dict(sorted(reasons.items())),
            "made_by": f"kflow data build {__version__}",
        }
        count = _merge(out, store, names, info)
    clear_parts(store)
    if not crystals:
        listed = ", ".join(f"{reason} {count}" for reason, count in reasons.most_common(3))
        raise ClusterError(f"none of the {files} CIFs in {folder} can be used ({listed}): see {table}")
    return BuildReport(count, crystals, reasons, reused, table)


def build_part(part: Path, files: Iterable[str], copies: int, centres: str) -> None:
    """Write the store of a few files; refusals go into its info. Runs in a worker.

    Args:
        part: The store to write.
        files: Paths of the CIFs.
        copies: Molecules per cluster.
        centres: ``first`` or ``all``.

    Raises:
        OutputError: the part cannot be written. Any other error is a fault of the program.
    """
    clusters: list[Cluster] = []
    skipped: list[tuple[str, str, str]] = []
    for file in files:
        try:
            clusters += _clusters(file, copies, centres)
        except CrystalError as error:
            skipped.append(_row(file, error.reason, error))
        except MoleculeError as error:
            skipped.append(_row(file, "molecule", error))
    write_store(part, clusters, {"skipped": skipped})


def _clusters(file: str, copies: int, centres: str) -> list[Cluster]:
    try:
        name_of(file).encode()
    except UnicodeEncodeError:
        raise CrystalError("unreadable", "the name of the file is not UTF-8: rename it") from None
    crystal = read_crystal(Path(file))
    chosen = range(len(crystal.centres)) if centres == "all" else (0,)
    return [cluster_from_crystal(crystal, copies, centre) for centre in chosen]


def _row(file: str, reason: str, error: Exception) -> tuple[str, str, str]:
    # Without the folder, so that the table is the same wherever the crystals lie.
    message = str(error).replace(file, os.path.basename(file))
    return _printable(name_of(file)), reason, _printable(message)


def _printable(text: str) -> str:
    return text.encode(errors="backslashreplace").decode()


def _refused(part: Path) -> list[list[str]]:
    try:
        return open_store(part).info["skipped"]
    except ClusterError:
        raise _spoilt(part) from None


def _merge(out: Path, store: Path, names: list[str], info: dict[str, object]) -> int:
    at = store

    def paths() -> Iterator[Path]:
        nonlocal at
        for name in names:
            at = store / name
            yield at

    try:
        return merge_stores(out, paths(), info)
    except ClusterError:
        raise _spoilt(at) from None


def _spoilt(part: Path) -> ClusterError:
    part.unlink(missing_ok=True)
    return ClusterError(f"{part} was damaged and is removed: run again, the other parts are kept")
