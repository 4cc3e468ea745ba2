"""The folder of a run: what can be continued, what can be shipped, what can be plotted.

The one idea: the saved state says up to which step the run is true; whatever the tables hold beyond it was
written by a process that was killed, will be computed again, and is dropped. So a continued run leaves the same
files as an uninterrupted one.

=====================  ==================================================================================
``config.yaml``        the complete config
``state.safetensors``  weights, their running mean, the optimizer and the step: for continuing, not for use
``best.safetensors``   the running mean at the best validation: the model
``last.safetensors``   the running mean at the last validation
``metrics.csv``        one row per ``log_every`` steps
``validation.csv``     one row per validation; step 0 is the untrained floor
=====================  ==================================================================================
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kflow_sci.errors import ConfigError, OutputError
from kflow_sci.files import atomic_write, reason

BEST = "best.safetensors"


class Table:
    """A csv file whose rows have a rising ``step``.

    Args:
        path: The file; it need not exist.
        through: Rows after this step, and a last row that was cut off, are dropped.
    """

    def __init__(self, path: Path, through: int) -> None:
        self.path = path
        self.columns: list[str] = []
        self.steps: list[int] = []
        if not path.is_file():
            return
        text = path.read_text(encoding="utf-8")
        whole = text[: text.rfind("\n") + 1]
        rows = list(csv.DictReader(io.StringIO(whole)))
        self.columns = list(rows[0]) if rows else []
        kept = [row for row in rows if int(row["step"]) <= through]
        self.steps = [int(row["step"]) for row in kept]
        if len(kept) < len(rows) or whole != text or not rows:
            with atomic_write(path) as beside, beside.open("w", newline="", encoding="utf-8") as file:
                if self.columns:
                    writer = csv.DictWriter(file, self.columns, lineterminator="\n")
                    writer.writeheader()
                    writer.writerows(kept)

    def append(self, row: Mapping[str, float | int]) -> None:
        """Add a row; its keys are the columns of the file.

        Raises:
            OutputError: Other columns than before, or the file cannot be written.
        """
        if self.columns and list(row) != self.columns:
            raise OutputError(
                f"{self.path} has columns {self.columns}, the new row {list(row)}: use another --out"
            )
        try:
            with self.path.open("a", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, list(row), lineterminator="\n")
                if not self.columns:
                    writer.writeheader()
                writer.writerow({key: _text(value) for key, value in row.items()})
        except OSError as error:
            raise OutputError(f"cannot write {self.path}: {reason(error)}") from error
        self.columns = list(row)
        self.steps.append(int(row["step"]))


class RunFolder:
    """Paths of a run and the two rules about them: never mix two runs, and delete only what a run wrote."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.config = self.path / "config.yaml"
        self.state = self.path / "state.safetensors"
        self.best = self.path / BEST
        self.last = self.path / "last.safetensors"
        self.metrics = self.path / "metrics.csv"
        self.validation = self.path / "validation.csv"

    def clear(self) -> None:
        """Remove the files of an earlier run; whatever else lies in the folder stays."""
        # The state goes last: a folder without it is no run, and a half-cleared one still is.
        known = (self.best, self.last, self.metrics, self.validation, self.config, self.state)
        for file in (*self.path.glob("nonfinite*.json"), *known):
            file.unlink(missing_ok=True)

    def check_same(self, stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
        """Refuse to continue a run that was something else.

        Args:
            stored: What the saved state says it belongs to.
            wanted: What is to be trained now.

        Raises:
            ConfigError: They differ; the first key that does is named with both values.
        """
        found = first_difference(stored, json.loads(json.dumps(wanted)))
        if found:
            key, old, new = found
            raise ConfigError(
                f"{self.path} holds a run with {key} = {old!r}, but now it is {new!r}: choose another --out, "
                "or start over with --fresh"
            )


def first_difference(old: Any, new: Any, key: str = "") -> tuple[str, Any, Any] | None:
    """The first place where two json values differ, as ``(dotted key, old, new)``; absent values are None."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for name in [*new, *(name for name in old if name not in new)]:
            found = first_difference(old.get(name), new.get(name), f"{key}.{name}" if key else name)
            if found:
                return found
        return None
    return None if old == new else (key, old, new)


def _text(value: float | int) -> str:
    return str(value) if isinstance(value, int) else f"{value:.9g}"
