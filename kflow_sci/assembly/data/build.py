"""A folder of CIFs becomes one file of clusters, on all cores, and goes on where it was killed.

The one idea: the files are sorted by name and cut into parts of ``PART`` files; each finished part is a small store
beside the output, named by what it was made from. A restart finds its parts again, and the output is their
concatenation, so neither the number of workers nor the order of the files nor an interruption can change a byte of it.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import itertools
import json
import multiprocessing
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import resource_tracker
from pathlib import Path

from kflow_sci import __version__
from kflow_sci.assembly.cluster import Cluster
from kflow_sci.assembly.data.store import VERSION, merge_stores, open_store, write_store
from kflow_sci.assembly.reading.crystal import cluster_from_crystal, read_crystal
from kflow_sci.errors import ClusterError, CrystalError, MoleculeError, OutputError
from kflow_sci.files import atomic_write, output_folder

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
    centres: str = "first",
    progress: Callable[[int, int], None] | None = None,
) -> BuildReport:
    """Read every CIF of a folder and store the cluster around its central molecule.

    Crystals that cannot be used are listed, with a reason of ``cif.REASONS`` and a sentence, in ``skipped.csv`` beside
    the output. Files that do not end in ``.cif`` are ignored, subfolders are not searched.

    Args:
        folder: Folder of CIFs; the id of a crystal is the name of its file.
        out: The store to write, by convention ``*.kfc``.
        copies: Molecules per cluster, 2 … 1000.
        workers: Processes.
        centres: ``first``: one cluster per crystal; ``all``: one per symmetry-independent molecule.
        progress: Called with the number of files done and the number of all.

    Raises:
        ClusterError: an option is out of range, there is no CIF, two files have one id, or no crystal can be used.
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
    files = _cif_files(Path(folder))
    if out.is_dir():
        raise OutputError(f"cannot write {out}: it is a folder: name a file")
    output_folder(out.parent)
    store = output_folder(out.with_name(f".{out.name}.parts"))
    chunks = [tuple(files[k : k + PART]) for k in range(0, len(files), PART)]
    parts = [store / f"{_fingerprint(chunk, copies, centres)}.kfc" for chunk in chunks]
    todo = [(part, chunk) for part, chunk in zip(parts, chunks, strict=True) if not part.is_file()]
    done = len(files) - sum(len(chunk) for _, chunk in todo)
    if progress:
        progress(done, len(files))
    for finished in _run(todo, copies, centres, min(workers, len(todo))):
        done += finished
        if progress:
            progress(done, len(files))

    refused = [row for part in parts for row in open_store(part).info["skipped"]]
    reasons = Counter(reason for _, reason, _ in refused)
    table = out.with_name("skipped.csv")
    with atomic_write(table) as temporary, open(temporary, "w", newline="", encoding="utf-8") as stream:
        csv.writer(stream, lineterminator="\n").writerows([("id", "reason", "message"), *refused])
    crystals = len(files) - len(refused)
    if crystals:
        info = {
            "crystals": crystals,
            "copies": copies,
            "centres": centres,
            "skipped": dict(sorted(reasons.items())),
            "made_by": f"kflow data build {__version__}",
        }
        count = merge_stores(out, parts, info)
    _clear(store)
    if not crystals:
        listed = ", ".join(f"{reason} {count}" for reason, count in reasons.most_common(3))
        raise ClusterError(f"none of the {len(files)} CIFs in {folder} can be used ({listed}): see {table}")
    return BuildReport(count, crystals, reasons, len(chunks) - len(todo), table)


def _cif_files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise ClusterError(f"{folder} {what}: give a folder of CIFs")
    files = sorted(
        (f for f in folder.iterdir() if f.suffix.lower() == ".cif" and f.is_file()),
        key=lambda f: (f.stem, f.name),
    )
    if not files:
        raise ClusterError(f"{folder} holds no file that ends in .cif: give a folder of CIFs")
    for first, second in itertools.pairwise(files):
        if first.stem == second.stem:
            raise ClusterError(
                f"{first.name} and {second.name} would share the id {first.stem}: rename one of them"
            )
    return files


def _fingerprint(chunk: tuple[Path, ...], copies: int, centres: str) -> str:
    """Changes whenever the part would: settings, program, and name, size and date of each file."""
    stats = [(f.name, f.stat().st_size, f.stat().st_mtime_ns) for f in chunk]
    return hashlib.sha256(json.dumps([__version__, VERSION, copies, centres, stats]).encode()).hexdigest()[
        :32
    ]


def _run(todo: list[tuple[Path, tuple[Path, ...]]], copies: int, centres: str, workers: int) -> Iterator[int]:
    """Make the missing parts; yields the number of files of each as it is finished."""
    if workers <= 1:
        for part, chunk in todo:
            yield build_part(part, chunk, copies, centres)
        return
    # Fresh processes and no forks: threads of the caller (a progress bar, torch) do not survive a fork.
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"))
    try:
        with _interrupts_held_back():
            futures = {pool.submit(build_part, part, chunk, copies, centres): chunk for part, chunk in todo}
        for future in as_completed(futures):
            with _naming(f"the files {futures[future][0].name} to {futures[future][-1].name}"):
                yield future.result()
    finally:
        pool.shutdown(cancel_futures=True)


@contextlib.contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Let processes started here never see Ctrl-C, which is the parent's to answer; it gets it a moment later."""
    if not hasattr(signal, "pthread_sigmask"):  # not a Unix
        yield
        return
    resource_tracker.ensure_running()  # would otherwise be started inside, and let the signal through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def build_part(part: Path, chunk: tuple[Path, ...], copies: int, centres: str) -> int:
    """Write the store of a few files; refusals go into its info. Runs in a worker.

    Args:
        part: The store to write.
        chunk: The CIFs.
        copies: Molecules per cluster.
        centres: ``first`` or ``all``.

    Returns:
        Number of files read.

    Raises:
        OutputError: the part cannot be written. Any other error is a fault of the program, and names the file.
    """
    clusters: list[Cluster] = []
    skipped: list[tuple[str, str, str]] = []
    for file in chunk:
        with _naming(file.name):
            try:
                crystal = read_crystal(file)
            except CrystalError as error:
                skipped.append((file.stem, error.reason, str(error)))
                continue
            except MoleculeError as error:
                skipped.append((file.stem, "molecule", str(error)))
                continue
            chosen = range(len(crystal.centres)) if centres == "all" else (0,)
            clusters += [cluster_from_crystal(crystal, copies, centre) for centre in chosen]
    write_store(part, clusters, {"skipped": skipped})
    return len(chunk)


class _naming(contextlib.AbstractContextManager[None]):
    """Let an error that is nobody's refusal say where it happened."""

    def __init__(self, what: str) -> None:
        self.what = what

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is not None:
            error.add_note(f"while building from {self.what}")


def _clear(store: Path) -> None:
    for part in store.glob("*.kfc"):
        part.unlink(missing_ok=True)
    for part in store.glob(".*.kfc"):
        part.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # someone put a file of theirs there: it stays
        store.rmdir()
