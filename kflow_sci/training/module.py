"""The training loop: any model with a loss, any data that follow from the number of the step.

The one idea: a step is a function of (settings, step number, state). Its data and random numbers follow from the
step number (``order``), its state is one safetensors file written atomically, so killing the process at any moment
and starting again gives the run that was never killed, bit for bit on a CPU. Only a time limit (``minutes``) breaks
that: the learning rate then follows the clock, and how many steps fit depends on the machine.

Lightning serves here as Fabric, not as Trainer. Trainer's loop counts epochs of a data loader, restores its position
inside them, and pickles its checkpoints; all three would have to be talked out of it. Fabric gives what is wanted,
device, precision and gradients averaged over processes, and leaves the loop visible below.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, cast

import torch
from torch import Tensor

from kflow_sci.checkpoint import load_checkpoint, read_header, save_checkpoint
from kflow_sci.errors import ConfigError, KFlowError
from kflow_sci.files import atomic_write, output_folder
from kflow_sci.training.config import FitConfig, nearest, plain, write_config
from kflow_sci.training.folder import RunFolder, Table
from kflow_sci.training.launch import StopSignals, flushed_denormals, make_fabric
from kflow_sci.training.order import seeds_of_step
from kflow_sci.training.progress import TrainingProgress
from kflow_sci.training.state import TrainState, learning_rate_at

_NAMED_IDS = 8


class TrainingError(KFlowError):
    """Training cannot go on: the loss or its gradient is not finite."""


class Batch(Protocol):
    """What is asked of a batch: names for its examples, and tensors that Fabric can find and move to a device."""

    @property
    def ids(self) -> Sequence[str]:
        """One name per example; their number is the size of the batch."""


class Model(Protocol):
    """What a model must be able to do, besides being a ``torch.nn.Module``."""

    def loss(self, batch: Any, generator: torch.Generator) -> dict[str, Tensor]:
        """Mean over the batch: ``loss`` (differentiable) and further parts to log, all scalars."""


Batches = Callable[[int, int, int], Batch]
"""``(step, rank, world_size) -> this process's part of the step's batch``; must follow from these three alone."""

Validate = Callable[[Any, int], Mapping[str, float]]
"""``(model, step) -> named scores``; runs in the first process, on the running mean of the weights."""


@dataclass(frozen=True)
class FitResult:
    """How far a run came.

    Attributes:
        folder: The run folder.
        step: Steps done and saved.
        finished: False when it was interrupted; the same call continues it.
        best: ``step`` and ``metrics`` of ``best.safetensors``; None before the first validation.
        first: This process is the one that speaks for all.
    """

    folder: Path
    step: int
    finished: bool
    best: dict[str, Any] | None
    first: bool


def fit(
    config: FitConfig,
    model: torch.nn.Module,
    batches: Batches,
    validate: Validate,
    out: str | Path,
    *,
    header: Mapping[str, Any],
    device: str = "auto",
    start: Literal["auto", "resume", "fresh"] = "auto",
    unit: str = "examples",
    show: bool = True,
    ship: Callable[[Any], Mapping[str, Tensor]] = torch.nn.Module.state_dict,
) -> FitResult:
    """Train ``model`` with AdamW and keep all that is needed in ``out``.

    Several processes (``torchrun``) each take their part of every batch; gradients are averaged with the parts'
    sizes as weights, so the result is that of one process on the joint batch, up to rounding and to the noise that
    ``loss`` draws.

    Args:
        config: Settings; ``config.out`` is not looked at.
        model: Has ``loss(batch, generator)``, see ``Model``. ``generator`` lies on the CPU whatever the device; its
            seed follows from (seed, step, rank), see ``order.seeds_of_step``. Trained in place.
        batches: See ``Batches``.
        validate: See ``Validate``. Called at step 0 (the untrained floor, and an early proof that it works),
            every ``validate_every`` steps and at the end.
        out: Run folder, see ``folder``.
        header: Plain json that goes into every checkpoint: the model's config, the hash of the data.
        device: See ``launch.make_fabric``.
        start: ``auto`` continues a run that is there, ``resume`` insists on one, ``fresh`` starts over.
        unit: What an example is called on the progress bar.
        show: Print progress on standard error.
        ship: What of the running mean goes into the checkpoints, by name.

    Returns:
        How far it came. Ctrl-C and SIGTERM save and return with ``finished=False``.

    Raises:
        ConfigError: ``out`` holds another run; nothing to resume; ``best_by`` is no score.
        TrainingError: Loss or gradient not finite; the ids of the batch are named and kept in ``nonfinite.json``.
        CheckpointError: The saved state is damaged.
        OutputError: ``out`` cannot be written.
    """
    run = _Run(config, model, batches, validate, RunFolder(output_folder(out)), header, device, ship)
    run.open(start)
    try:
        with (
            torch.random.fork_rng(devices=[run.device] if run.device.type == "cuda" else []),
            TrainingProgress(config.steps, run.step, unit, show and run.first) as progress,
            StopSignals() as stop,
            flushed_denormals(),
        ):
            run.train(progress, stop)
    except KeyboardInterrupt:
        pass  # a second Ctrl-C, or one during a validation: the last saved state is what counts
    best = read_header(run.folder.best) if run.folder.best.is_file() else None
    return FitResult(
        folder=run.folder.path,
        step=run.saved,
        finished=run.done,
        best=best and {key: best[key] for key in ("step", "metrics")},
        first=run.first,
    )


@dataclass
class _Window:
    """Sums since the last row of the metrics; part of the state, so that rows do not depend on interruptions."""

    sums: dict[str, float] = field(default_factory=dict)
    steps: int = 0
    examples: float = 0.0
    seconds: float = 0.0


class _Box:
    """Carries a batch through ``forward`` untouched; Fabric and DDP would take it apart and cast it."""

    def __init__(self, batch: Batch, generator: torch.Generator) -> None:
        self.batch = batch
        self.generator = generator


class _Objective(torch.nn.Module):
    """Runs the loss inside ``forward``, the only method whose gradients are averaged over processes."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, box: _Box) -> dict[str, Tensor]:
        return self.model.loss(box.batch, box.generator)  # type: ignore[operator]


class _Run:
    def __init__(
        self,
        config: FitConfig,
        model: torch.nn.Module,
        batches: Batches,
        validate: Validate,
        folder: RunFolder,
        header: Mapping[str, Any],
        device: str,
        ship: Callable[[Any], Mapping[str, Tensor]],
    ) -> None:
        self.config, self.batches, self.validate, self.folder = config, batches, validate, folder
        self.ship = ship
        self.header = dict(header)
        self.settings = {key: value for key, value in plain(config).items() if key != "out"}
        self.fabric = make_fabric(device, config.precision)
        self.device, self.first = self.fabric.device, self.fabric.is_global_zero
        if config.batch_size < self.fabric.world_size:
            raise ConfigError(
                f"batch_size = {config.batch_size} is less than {self.fabric.world_size} processes"
            )
        self.model = model.to(self.device).train()
        self.state = TrainState(self.model, config)
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.objective, self.stepper = self.fabric.setup(_Objective(self.model), self.state.optimizer)
        self.step, self.saved, self.done = 0, -1, False
        self.seconds = 0.0
        self.spent = 0.0  # seconds in training steps, the mean of all processes
        self.rate = 0.0
        self.window = _Window()

    def open(self, start: str) -> None:
        """Continue what the folder holds, or begin."""
        if start == "fresh" and self.first:
            self.folder.clear()
        self.fabric.barrier()
        if self.folder.state.is_file():
            self._load()
        elif start == "resume":
            raise ConfigError(f"{self.folder.path} holds no run to resume: leave --resume out to begin one")
        self.fabric.barrier()  # nobody writes before everybody has read
        if self.first:
            self.metrics = Table(self.folder.metrics, self.step if self.saved >= 0 else -1)
            self.validations = Table(self.folder.validation, self.step if self.saved >= 0 else -1)
            write_config(self.config, self.folder.config)

    def train(self, progress: TrainingProgress, stop: StopSignals) -> None:
        """Steps until the end or until somebody wants to stop; saves before it returns."""
        config = self.config
        while True:
            if self.step % config.validate_every == 0 or self.over:
                self._validate(progress, stop)
            if self.over:
                self.done = True
                return
            stopping = self._step(stop.wanted)
            progress.advance(self.step)
            if self.step % config.log_every == 0 or self.over:
                self._log(progress)
            if stopping or self.step % config.save_every == 0 or self.over:
                self._save()
            if stopping:
                return

    @property
    def over(self) -> bool:
        """All steps are done, or all the time is spent; the same in all processes."""
        limit = self.config.minutes
        return self.step >= self.config.steps or (limit is not None and self.spent >= 60.0 * limit)

    def _step(self, wants_stop: bool) -> bool:
        """One optimizer step; True when some process wants to stop, and then it is True in all of them."""
        started = time.perf_counter()
        _, noise_seed, global_seed = seeds_of_step(self.config.seed, self.step, self.fabric.global_rank)
        torch.manual_seed(global_seed)  # dropout knows no other generator
        # On the CPU, so that every device sees the same noise.
        generator = torch.Generator().manual_seed(noise_seed)
        batch = self.batches(self.step, self.fabric.global_rank, self.fabric.world_size)
        batch = self.fabric.to_device(batch)
        self.rate = learning_rate_at(self.step, self.config, self.spent)
        self.state.set_rate(self.rate)
        self.stepper.zero_grad(set_to_none=True)
        parts = self.objective(_Box(batch, generator))
        loss = parts["loss"]
        own = torch.stack([part.detach().to(loss.dtype) for part in parts.values()])
        size = len(batch.ids)
        spent = self.seconds + self.window.seconds
        joint = torch.cat([own * size, own.new_tensor([spent, size, float(wants_stop)])])
        joint = cast(Tensor, self.fabric.all_reduce(joint, reduce_op="sum"))
        self.fabric.backward(loss * (size * self.fabric.world_size / joint[-2]))
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, self.config.clip_norm)
        self.stepper.step()
        self.state.mean.update(self.step + 1)
        values = torch.cat([joint, norm.detach().to(joint.dtype)[None]])
        *totals, spent, examples, stopping, norm_value = values.tolist()
        means = {name: value / examples for name, value in zip(parts, totals, strict=True)}
        if not (math.isfinite(means["loss"]) and math.isfinite(norm_value)):
            raise self._not_finite(batch, dict(zip(parts, own.tolist(), strict=True)), norm_value)
        self.step += 1
        # Built anew, because json brought the sums back in the order of the alphabet.
        sums = self.window.sums
        self.window.sums = {
            k: sums.get(k, 0.0) + value for k, value in {"grad_norm": norm_value, **means}.items()
        }
        self.window.steps += 1
        self.window.examples += examples
        self.window.seconds += time.perf_counter() - started
        self.spent = spent / self.fabric.world_size  # before this step, as all processes know it
        return bool(stopping)

    def _not_finite(self, batch: Batch, parts: dict[str, float], norm: float) -> TrainingError:
        rank = self.fabric.global_rank
        ids = list(batch.ids)
        file = self.folder.path / (f"nonfinite{rank}.json" if rank else "nonfinite.json")
        text = {"step": self.step, "rank": rank, "parts": {k: str(v) for k, v in parts.items()}, "ids": ids}
        with atomic_write(file) as beside:
            beside.write_text(json.dumps(text, indent=1))
        what = f"loss is {parts['loss']}"
        if math.isfinite(parts["loss"]):
            what = f"gradient norm is {norm} (this process's loss is {parts['loss']:.4g})"
        named = ", ".join(ids[:_NAMED_IDS]) + (" …" if len(ids) > _NAMED_IDS else "")
        return TrainingError(
            f"{what} at step {self.step} for the batch of {named} (all {len(ids)} in {file}): look at these, or lower "
            f"learning_rate = {self.config.learning_rate:g}"
        )

    def _log(self, progress: TrainingProgress) -> None:
        window, self.window = self.window, _Window()
        self.seconds += window.seconds
        means = {name: value / window.steps for name, value in window.sums.items()}
        rate = window.examples / window.seconds
        progress.report(self.step, means["loss"], rate)
        if self.first:
            row = {"step": self.step, "seconds": self.seconds, "per_second": rate}
            row |= {"learning_rate": self.rate, **means}
            self.metrics.append(row)

    def _validate(self, progress: TrainingProgress, stop: StopSignals) -> None:
        """Score the running mean, unless that was done before an interruption."""
        if self.saved != self.step:
            self._save()
        stop.open()  # the state is saved, so nothing is lost
        if self.first and self.step not in self.validations.steps:
            torch.manual_seed(seeds_of_step(self.config.seed, self.step, self.fabric.global_rank)[2])
            mean = self.state.mean.module
            scores = {name: float(value) for name, value in self.validate(mean, self.step).items()}
            mean.eval().requires_grad_(False)  # whatever validation did to it
            if self.config.best_by not in scores:
                hint = nearest(self.config.best_by, [*scores])
                raise ConfigError(f"best_by = '{self.config.best_by}' is no validation score: {hint}")
            self._keep(scores)
            self.validations.append({"step": self.step, **scores})
            shown = ", ".join(f"{name} {value:.4g}" for name, value in scores.items())
            progress.line(f"validation at step {self.step}: {shown}")
        self.fabric.barrier()
        stop.at_once = False

    def _keep(self, scores: Mapping[str, float]) -> None:
        # json knows no NaN: a score that is not finite is null there
        metrics = {name: value if math.isfinite(value) else None for name, value in scores.items()}
        header = {**self.header, "settings": self.settings, "step": self.step, "metrics": metrics}
        weights = self.ship(self.state.mean.module)
        save_checkpoint(self.folder.last, weights, header)
        if self.step > 0 and self._is_best(scores[self.config.best_by]):  # untrained weights are no candidate
            save_checkpoint(self.folder.best, weights, header)

    def _is_best(self, score: float) -> bool:
        if not math.isfinite(score):
            return False
        if not self.folder.best.is_file():
            return True
        before = read_header(self.folder.best)["metrics"][self.config.best_by]
        return score < before if self.config.best_is == "lowest" else score > before

    def _save(self) -> None:
        if self.first:
            state = {"step": self.step, "seconds": self.seconds, "window": vars(self.window)}
            run = {"settings": self.settings, **self.header}
            save_checkpoint(self.folder.state, self.state.tensors(), {"run": run, "state": state})
        self.saved = self.step

    def _load(self) -> None:
        tensors, header = load_checkpoint(self.folder.state)
        if "run" not in header:
            raise ConfigError(f"{self.folder.state} is no saved state of a run: choose another --out")
        self.folder.check_same(header["run"], {"settings": self.settings, **self.header})
        self.state.load(tensors, self.folder.state)
        self.step = self.saved = header["state"]["step"]
        self.seconds = header["state"]["seconds"]
        self.window = _Window(**header["state"]["window"])
        self.spent = self.seconds + self.window.seconds
