"""Parts made on many machines, by the workers of a dask scheduler.

The one idea: the machines exchange files and not data, so all that dask carries is which part is next. What goes wrong
with other machines (no scheduler, no workers, a folder that is not shared, another version) is said in one line.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kflow_sci import __version__
from kflow_sci.assembly.data.parts import Part, Work, killed, make
from kflow_sci.errors import WorkError

CONNECT = 10  # s
WAIT_FOR_WORKERS = 60  # s


class Machines:
    """The workers of a scheduler.

    Args:
        scheduler: Its address, as ``tcp://host:8786``.
        needs: Folders that every worker must see.

    Raises:
        WorkError: ``distributed`` is not installed, or the scheduler cannot be reached or has no workers.
    """

    def __init__(self, scheduler: str, needs: Sequence[Path]) -> None:
        try:
            from distributed import Client
        except ModuleNotFoundError:
            raise WorkError(
                "a scheduler needs the package distributed: pip install 'kflow_sci[dask]', or use --workers"
            ) from None
        self._needs = tuple(Path(os.path.abspath(folder)) for folder in needs)
        self._address = scheduler
        # It tells of a scheduler that went away by tracebacks; we do in one line.
        self._log = logging.getLogger("distributed.client")
        self._level = self._log.level
        self._log.setLevel(logging.CRITICAL)
        try:
            self._client = Client(scheduler, timeout=CONNECT, set_as_default=False)
        except (OSError, ValueError, TypeError) as error:
            self._log.setLevel(self._level)
            why = " ".join(str(error).split())[:150]
            raise WorkError(
                f"no dask scheduler answers at {scheduler} ({why}): start one with dask scheduler, and give its address"
            ) from None
        try:
            self._client.wait_for_workers(1, timeout=WAIT_FOR_WORKERS)
        except TimeoutError:
            self.close()
            raise WorkError(
                f"the scheduler at {scheduler} has had no worker for {WAIT_FOR_WORKERS} s: start some with "
                f"dask worker {scheduler} --nthreads 1"
            ) from None

    def room(self) -> bool:
        return True  # the scheduler gives its workers no more than they can take

    def submit(self, work: Work[Any], part: Part[Any]) -> Any:
        there = Part(Path(os.path.abspath(part.path)), part.items)
        return self._client.submit(make_there, work, there, self._needs, __version__, pure=False)

    def result(self, pending: Any, part: Part[Any]) -> None:
        from distributed import CancelledError, KilledWorker
        from distributed.comm.core import CommClosedError

        if pending.status != "finished":
            try:
                pending.result()
            except KilledWorker:
                raise killed(part) from None
            except (CancelledError, CommClosedError):
                raise WorkError(
                    f"the scheduler at {self._address} went away: start it and run again, what was made is kept"
                ) from None
            except (ImportError, RuntimeError) as error:
                if not _cannot_load(error):
                    raise
                raise WorkError(
                    f"the workers of {self._address} cannot load the work ({_root(error)}): install the "
                    "same version of kflow_sci there"
                ) from None
        if not part.path.is_file():
            raise WorkError(
                f"a worker says that it wrote {part.path}, but it is not here: give an output on a disk that all "
                "machines share"
            )

    def close(self) -> None:
        self._client.close()
        self._log.setLevel(self._level)


def make_there(work: Work[Any], part: Part[Any], needs: Sequence[Path], version: str) -> None:
    """Do the work of a part on a worker of a scheduler.

    Raises:
        WorkError: this machine has another version of the package or misses a folder.
    """
    if version != __version__:
        raise WorkError(
            f"{socket.gethostname()} has kflow_sci {__version__}, not {version}: install one version on all machines"
        )
    for folder in (*needs, part.path.parent):
        if not folder.is_dir():
            raise WorkError(
                f"{socket.gethostname()} does not see {folder}: use folders on a disk that all machines share"
            )
    if (
        not part.path.is_file()
    ):  # a result that died with its worker is asked for again, but the file is there
        make(work, part)


def _root(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split())[:150]


def _cannot_load(error: BaseException) -> bool:
    return isinstance(error, ImportError) or "deserializ" in str(error)
