"""The search for the crystals of a molecule: many starts, relaxed; the distinct ones of lowest energy kept.

The one idea: trials are independent, so a search is a set of parts of trials, each a file that is made once. More
workers, a stop and a second call, or another machine change how fast the files appear, and nothing in them; the answer
follows from the files alone.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kflow_sci.assembly.data.fanout import fan_out
from kflow_sci.assembly.data.parts import Part, cut
from kflow_sci.assembly.lattice.packing import Packing
from kflow_sci.assembly.search.ranking import shortlist
from kflow_sci.assembly.search.trials import Row, crystals_of, read_trials, run_trials, write_trials
from kflow_sci.errors import PackingError

if TYPE_CHECKING:
    from kflow_sci.assembly.forcefield.parameters import ForceField
    from kflow_sci.assembly.search.starts import Proposal

PART = 10  # trials; what a stop can lose, and how fine the progress is
MOST_TRIALS = 10_000_000

# Called with the trials done, all trials, and the lowest energy so far (kJ/mol per molecule, or None).
Progress = Callable[[int, int, float | None], None]


@dataclass(frozen=True, eq=False)
class SearchResult:
    """What a search found.

    Attributes:
        packings: Distinct crystals, lowest energy first; for their ``info`` see ``ranking.shortlist``.
        trials: Trials done.
        failures: Trials that gave no crystal, by reason.
        stopped: Why fewer trials than asked for were done: "time", "interrupted", or empty.
        seconds: That the trials took in this call.
    """

    packings: list[Packing]
    trials: int
    failures: Counter[str]
    stopped: str
    seconds: float


def search(
    proposal: Proposal,
    field: ForceField,
    *,
    trials: int,
    keep: int = 30,
    seconds: float | None = None,
    workers: int = 1,
    folder: Path | None = None,
    progress: Progress | None = None,
    polish_progress: Callable[[int, int], None] | None = None,
) -> SearchResult:
    """Search for the crystals of a molecule.

    Args:
        proposal: Where each trial starts.
        field: Force field for ``proposal.molecules``.
        trials: How many starts.
        keep: How many distinct crystals to keep, >= 1.
        seconds: Begin no further part of trials after so many seconds; the answer then depends on the machine.
        workers: Processes; more than 1 need ``folder``.
        folder: Where finished trials are kept; those that are there already are used again. None keeps them in memory.
        progress: See ``Progress``.
        polish_progress: Called with the number of crystals polished and to polish.

    Returns:
        The crystals. The same proposal, field, trials and keep give the same, for any number of workers.

    Raises:
        PackingError: an option is out of range, or no trial gave a crystal.
        WorkError: a worker was killed.
        OutputError: the folder cannot be written.
        KeyboardInterrupt: interrupted before any crystal was there.
    """
    check_options(trials, keep, seconds, workers)
    if workers > 1 and folder is None:
        raise PackingError("more than one worker needs a folder for the finished trials: name one")
    began = time.monotonic()
    if folder is None:
        rows, stopped = _in_memory(proposal, field, trials, seconds, progress)
    else:
        rows, stopped = _in_folder(proposal, field, trials, seconds, workers, folder, progress)
    took = time.monotonic() - began
    failures = Counter(str(row["failure"]) for row in rows if "failure" in row)
    crystals = crystals_of(rows, proposal.molecules)
    if not crystals and stopped == "interrupted":
        raise KeyboardInterrupt
    if not crystals:
        reasons = ", ".join(f"{reason} {count}" for reason, count in failures.most_common(3)) or stopped
        raise PackingError(
            f"none of {len(rows)} trials gave a crystal ({reasons}): give more --trials, more --time or other --groups"
        )
    kept = shortlist(crystals, field, keep, progress=polish_progress)
    return SearchResult(kept, len(rows), failures, stopped, took)


def check_options(trials: int, keep: int, seconds: float | None, workers: int) -> None:
    """Refuse options that no search can have.

    Raises:
        PackingError: one is out of range.
    """
    if not 1 <= trials <= MOST_TRIALS:
        raise PackingError(f"trials is {trials}, but 1 to {MOST_TRIALS} can be run: give 100 or more")
    if keep < 1:
        raise PackingError(f"keep is {keep}, but at least 1 crystal must be kept: give a larger number")
    if seconds is not None and not seconds > 0:
        raise PackingError(f"time is {seconds:g} s, but must be more than 0: give for example 60s")
    if workers < 1:
        raise PackingError(f"workers is {workers}, but at least 1 process is needed: choose another number")


def _in_memory(
    proposal: Proposal, field: ForceField, trials: int, seconds: float | None, progress: Progress | None
) -> tuple[list[Row], str]:
    began, rows, lowest = time.monotonic(), [], None
    for row in run_trials(range(trials), proposal, field):
        rows.append(row)
        lowest = _lower(lowest, [row])
        if progress:
            progress(len(rows), trials, lowest)
        if seconds is not None and time.monotonic() - began > seconds and len(rows) < trials:
            return rows, "time"
    return rows, ""


def _in_folder(
    proposal: Proposal,
    field: ForceField,
    trials: int,
    seconds: float | None,
    workers: int,
    folder: Path,
    progress: Progress | None,
) -> tuple[list[Row], str]:
    settings = [proposal.settings, fingerprint_of(field)]
    parts: list[Part[int]] = list(cut(range(trials), folder, settings, size=PART))
    work = partial(write_trials, proposal=proposal, field=field)
    began, done, lowest, stopped = time.monotonic(), 0, None, ""
    made: Any = fan_out(work, parts, workers=min(workers, len(parts)))
    with contextlib.closing(made) as finished:
        try:
            for part in finished:
                done += len(part.items)
                lowest = _lower(lowest, read_trials(part.path))
                if progress:
                    progress(done, trials, lowest)
                if seconds is not None and time.monotonic() - began > seconds and done < trials:
                    stopped = "time"
                    break
        except KeyboardInterrupt:
            stopped = "interrupted"
    # Also what was finished out of turn when the search was stopped.
    rows = [row for part in parts if part.path.is_file() for row in read_trials(part.path)]
    return rows, stopped


def _lower(lowest: float | None, rows: Sequence[Row]) -> float | None:
    energies = [float(row["energy"]) for row in rows if "energy" in row]
    return min([*energies, *([] if lowest is None else [lowest])], default=None)


def fingerprint_of(field: ForceField) -> list[Any]:
    """Plain values that change whenever the parameters of a force field or the way of relaxing do."""
    from kflow_sci.assembly.forcefield.relax import STAGES, TOLERANCE

    digest = hashlib.sha256(repr((STAGES, TOLERANCE)).encode())
    for values in (*field.types, *field.charges, field.distance, field.depth):
        digest.update(np.ascontiguousarray(values).tobytes())
    return [field.name, field.charge_name, field.form, field.steepness, digest.hexdigest()[:16]]
