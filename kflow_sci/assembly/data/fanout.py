"""Long work in small parts: on all cores or on many machines, in order, and it goes on where it was killed.

The one idea: what is made from a part is a file (``parts``), so all that goes to a worker is which part is next, and
all that comes back is that its file is there. The files are handed over in the order of the items, whoever made them.

    def work(path, items):            # runs in a worker; writes ``path`` whole or not at all
        write_store(path, [read(item) for item in items])

    folder = parts_folder(out)
    for part in fan_out(work, cut(items, folder, settings=[version, copies]), workers=8):
        names.append(part.path)       # in the order of the items
    merge_stores(out, names)
    clear_parts(folder)

Only a few parts are held at a time; the items may be a generator of half a million. On many machines the files are the
exchange, so all must see the same folders.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import queue
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any, Protocol

from kflow_sci.assembly.data.parts import Item, Part, Work, killed, make
from kflow_sci.errors import WorkError

LOOK_AHEAD = 1024  # parts given out or finished before the first of them is handed over


def fan_out(
    work: Work[Item],
    parts: Iterable[Part[Item]],
    *,
    workers: int = 1,
    scheduler: str | None = None,
    needs: Sequence[Path] = (),
) -> Iterator[Part[Item]]:
    """Make the files of all parts that are not there yet.

    Args:
        work: Called as ``work(path, items)`` in a worker; must write ``path`` and pull each item just before it is
            used. A function of a module, or a ``functools.partial`` of one with plain arguments.
        parts: Read as needed, each path once.
        workers: Processes on this machine; 1 works in this very process.
        scheduler: Address of a dask scheduler, as ``tcp://host:8786``; then its workers do the work.
        needs: Folders that the workers of a scheduler must see besides that of the parts.

    Yields:
        The parts in their order, each as soon as its file is there.

    Raises:
        WorkError: ``workers`` is below 1, a worker was killed (the message names the item it was at), the scheduler
            cannot be reached or has no workers, ``distributed`` is not installed, a machine misses a folder or has
            another version of this package. Any error of ``work`` is passed on, with a note that names the item.
    """
    if workers < 1:
        raise WorkError(f"workers is {workers}, but at least 1 process is needed: choose another number")
    if scheduler is None and workers == 1:
        yield from _one_by_one(work, parts)
        return
    with contextlib.closing(_pool(workers, scheduler, needs)) as pool:
        yield from _in_order(pool, work, parts)


def _one_by_one(work: Work[Item], parts: Iterable[Part[Item]]) -> Iterator[Part[Item]]:
    for part in parts:
        reused = part.path.is_file()
        if not reused:
            make(work, part)
        yield replace(part, reused=reused)


def _pool(workers: int, scheduler: str | None, needs: Sequence[Path]) -> Pool:
    if scheduler is None:
        return Processes(workers)
    from kflow_sci.assembly.data.machines import Machines

    return Machines(scheduler, needs)


class Pending(Protocol):
    """A part that is being made; the futures of the standard library and of dask are such."""

    def done(self) -> bool:
        """Whether ``result`` would answer at once."""

    def result(self) -> Any:
        """None, or the error of the work."""

    def add_done_callback(self, function: Callable[[Any], object]) -> Any:
        """Call a function when it is done."""


class Pool(Protocol):
    """Something that makes parts."""

    def room(self) -> bool:
        """Whether it can take another part now."""

    def submit(self, work: Work[Any], part: Part[Any]) -> Pending:
        """Start on a part."""

    def result(self, pending: Pending, part: Part[Any]) -> None:
        """Pass on the error of a part that is done, if it has one."""

    def close(self) -> None:
        """Begin nothing more, and wait for what was begun."""


def _in_order(pool: Pool, work: Work[Item], parts: Iterable[Part[Item]]) -> Iterator[Part[Item]]:
    line: deque[tuple[Part[Item], Pending | None]] = deque()  # None: the file was there
    finished: queue.SimpleQueue[None] = queue.SimpleQueue()
    source = iter(parts)
    more = True
    while more or line:
        while more and len(line) < LOOK_AHEAD and pool.room():
            part = next(source, None)
            if part is None:
                more = False
            elif part.path.is_file():
                line.append((replace(part, reused=True), None))
            else:
                started = pool.submit(work, part)
                line.append((part, started))
                started.add_done_callback(lambda _: finished.put(None))
        if line and not _is_done(line[0][1]):
            finished.get()
            for part, pending in line:  # the fault of a late part need not wait for the early ones
                if pending is not None and pending.done():
                    pool.result(pending, part)
        while line and _is_done(line[0][1]):
            part, pending = line.popleft()
            if pending is not None:
                pool.result(pending, part)
            yield part


def _is_done(pending: Pending | None) -> bool:
    return pending is None or pending.done()


class Processes:
    """Processes of this machine, each in a pool of its own: when one is killed, it is known which."""

    def __init__(self, workers: int) -> None:
        # Fresh processes and no forks: threads of the caller (a progress bar, torch) do not survive a fork.
        self._context = multiprocessing.get_context("spawn")
        self._all = [self._process() for _ in range(workers)]
        self._idle = list(self._all)

    def _process(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(1, self._context, initializer=_die_with_parent)

    def room(self) -> bool:
        return bool(self._idle)

    def submit(self, work: Work[Any], part: Part[Any]) -> Pending:
        process = self._idle.pop()
        with _interrupts_held_back():
            try:
                pending = process.submit(make, work, part)
            except BrokenProcessPool:  # killed between two parts: no harm done
                process = self._process()
                self._all.append(process)
                pending = process.submit(make, work, part)
        pending.add_done_callback(lambda _: self._idle.append(process))
        return pending

    def result(self, pending: Pending, part: Part[Any]) -> None:
        try:
            pending.result()
        except BrokenProcessPool:
            raise killed(part) from None

    def close(self) -> None:
        for process in self._all:  # each has at most one part under way, and all go on with theirs meanwhile
            process.shutdown()


def _die_with_parent() -> None:
    """Keep a worker from waiting for ever for a parent that was killed and could not say so."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_leave_after, args=(parent,), daemon=True).start()


def _leave_after(parent: Any) -> None:
    parent.join()
    os._exit(1)


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
