"""What the user sees of a run: a bar on a terminal, plain lines in the log file of a queue."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class TrainingProgress:
    """Progress on standard error.

    Args:
        steps: Steps of the whole run.
        done: Steps done before.
        unit: What an example is called (``clusters``).
        show: False keeps quiet (all processes but the first).
    """

    def __init__(self, steps: int, done: int, unit: str, show: bool) -> None:
        self._console = Console(stderr=True, quiet=not show, highlight=False, soft_wrap=True)
        self._bar = Progress(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]}"),
            TextColumn("{task.fields[rate]} " + unit + "/s"),
            TimeRemainingColumn(),
            console=self._console,
            disable=not (show and self._console.is_terminal),
        )
        self._unit = unit
        self._steps = steps
        self._task = self._bar.add_task("training", total=steps, completed=done, loss="-", rate="-")

    def __enter__(self) -> TrainingProgress:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def advance(self, step: int) -> None:
        """One more step is done."""
        self._bar.update(self._task, completed=step)

    def report(self, step: int, loss: float, rate: float) -> None:
        """A row of the metrics."""
        self._bar.update(self._task, loss=f"{loss:.4g}", rate=f"{rate:.0f}")
        if not self._console.is_terminal:
            self.line(f"step {step} of {self._steps}: loss {loss:.4g}, {rate:.0f} {self._unit}/s")

    def line(self, text: str) -> None:
        """A line above the bar."""
        self._console.print(text, markup=False)
