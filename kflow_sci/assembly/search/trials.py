"""Running trials: every start of a range, relaxed; what came of each as a row of plain values.

The one idea: a row depends on the number of its trial alone, so rows can be made anywhere, in any order, and kept in
files; the crystals they stand for are rebuilt from the row when they are wanted.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kflow_sci.assembly.lattice.cutting import SPECIAL, nearest_images
from kflow_sci.assembly.lattice.packing import Packing
from kflow_sci.assembly.lattice.record import packing_from_record, record_of
from kflow_sci.assembly.molecule import Molecule
from kflow_sci.errors import PackingError
from kflow_sci.files import atomic_write

if TYPE_CHECKING:
    from kflow_sci.assembly.forcefield.parameters import ForceField
    from kflow_sci.assembly.search.starts import Proposal

Row = dict[str, Any]
ON_ELEMENT = "on a symmetry element"


def run_trials(trials: Iterable[int], proposal: Proposal, field: ForceField) -> Iterator[Row]:
    """Relax the starts of some trials, one after the other.

    Args:
        trials: Their numbers.
        proposal: Where each starts.
        field: For the molecules of the proposal.

    Yields:
        ``trial``, then either ``failure`` (why there is no crystal) or ``energy`` (kJ/mol per molecule, with the
        ``strain`` of the conformers where there are several), ``volume`` (Å^3 per molecule), ``converged`` and
        ``packing`` (see ``record_of``).
    """
    from kflow_sci.assembly.forcefield.relax import relax

    for trial in trials:
        result = relax([proposal(trial)], field)[0]
        failure = result.failure
        if not failure and nearest_images(result.packing) < SPECIAL:
            failure = ON_ELEMENT
        if failure:
            yield {"trial": trial, "failure": failure}
        else:
            strain = result.packing.info.get("strain")
            yield {
                "trial": trial,
                "energy": result.energy + (strain or 0.0),
                **({} if strain is None else {"strain": strain}),
                "volume": result.volume,
                "converged": result.converged,
                "packing": record_of(result.packing),
            }


def write_trials(path: Path, trials: Iterable[int], proposal: Proposal, field: ForceField) -> None:
    """Run trials and write their rows to a file of json lines, whole or not at all.

    Args:
        path: The file.
        trials: Their numbers.
        proposal: Where each starts.
        field: For the molecules of the proposal.

    Raises:
        OutputError: the file cannot be written.
    """
    rows = list(run_trials(trials, proposal, field))
    with atomic_write(path) as temporary:
        temporary.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def read_trials(path: Path) -> list[Row]:
    """The rows of a file of ``write_trials``.

    Raises:
        PackingError: the file is damaged; it is removed, so that the next run makes it again.
    """
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except (ValueError, OSError):
        path.unlink(missing_ok=True)
        raise PackingError(
            f"{path} was damaged and is removed: run again, the other trials are kept"
        ) from None


def crystals_of(rows: Sequence[Row], molecules: tuple[Molecule, ...]) -> list[Packing]:
    """The relaxed crystals of rows, lowest energy first; failures are left out.

    Args:
        rows: Of ``run_trials``.
        molecules: Those of the proposal.
    """
    good = sorted((row for row in rows if "packing" in row), key=lambda row: (row["energy"], row["trial"]))
    return [
        packing_from_record(
            row["packing"],
            molecules,
            {key: row[key] for key in ("trial", "energy", "strain", "volume") if key in row},
        )
        for row in good
    ]
