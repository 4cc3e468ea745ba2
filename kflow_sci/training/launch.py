"""Where and how a run is executed: device, precision, processes, and the wish to stop.

The one idea: one process is the rule and needs nothing; several are started by ``torchrun``, which says so in its
environment, and everything else about them is Lightning Fabric's business.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Literal

import torch
from lightning.fabric import Fabric
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.fabric.strategies.ddp import DDPStrategy

from kflow_sci.errors import ConfigError


@contextmanager
def flushed_denormals() -> Iterator[None]:
    """Denormal numbers count as zero inside the block, and as themselves after it, as everyone else expects.

    The first gradients of zero-started layers leave denormal moments in AdamW, which slow a CPU tenfold.
    """
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def make_fabric(device: str, precision: str) -> Fabric:
    """Fabric for this process, already connected to the others if ``torchrun`` started several.

    Args:
        device: ``auto`` (a CUDA device if there is one, else the CPU), ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
        precision: ``float32`` or ``bfloat16`` (autocast; weights stay float32).

    Raises:
        ConfigError: A device that does not exist, or one named CUDA device for several processes.
    """
    # Fabric's remarks on devices it could also use are noise in a run that was told what to use.
    for room in ("lightning.fabric", "lightning.pytorch"):
        logging.getLogger(room).setLevel(logging.WARNING)
    accelerator, index = _device(device)
    mixed: Literal["32-true", "bf16-mixed"] = "32-true" if precision == "float32" else "bf16-mixed"
    if not TorchElasticEnvironment.detect():
        devices: Any = 1 if index is None else [index]
        # Without this, Fabric takes the variables of a batch queue for an order to start several processes.
        alone = LightningEnvironment()
        return Fabric(accelerator=accelerator, devices=devices, precision=mixed, plugins=[alone])
    if index is not None:
        raise ConfigError(f"device {device} names one device for all processes: use --device {accelerator}")
    local = int(os.environ["LOCAL_WORLD_SIZE"])
    if accelerator == "cuda" and local > torch.cuda.device_count():
        raise ConfigError(
            f"{local} processes, but {torch.cuda.device_count()} CUDA devices: lower --nproc-per-node"
        )
    fabric = Fabric(
        accelerator=accelerator,
        devices=local,
        num_nodes=int(os.environ["WORLD_SIZE"]) // local,
        strategy=DDPStrategy(process_group_backend="nccl" if accelerator == "cuda" else "gloo"),
        precision=mixed,
        plugins=[TorchElasticEnvironment()],
    )
    fabric.launch()
    return fabric


class StopSignals:
    """While open, the first SIGINT or SIGTERM is a wish to stop after the step at hand; the second stops at once.

    Attributes:
        wanted: Somebody asked to stop.
        at_once: A signal raises ``KeyboardInterrupt`` at once, because that loses nothing.
    """

    def __init__(self) -> None:
        self.wanted = False
        self.at_once = False
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():  # Python allows handlers nowhere else
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def open(self) -> None:
        """From here on, stopping at once loses nothing.

        Raises:
            KeyboardInterrupt: Somebody asked before.
        """
        self.at_once = True
        if self.wanted:
            raise KeyboardInterrupt

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.wanted or self.at_once:
            raise KeyboardInterrupt
        self.wanted = True


def _device(name: str) -> tuple[str, int | None]:
    kind, _, index = name.partition(":")
    if kind == "auto" and not index:
        return ("cuda" if torch.cuda.is_available() else "cpu"), None
    if kind not in ("cpu", "cuda", "mps") or (index and not (kind == "cuda" and index.isdecimal())):
        raise ConfigError(f"device '{name}' is unknown: use auto, cpu, cuda, cuda:N or mps")
    if kind == "cuda" and not int(index or 0) < torch.cuda.device_count():
        raise ConfigError(
            f"device {name} asked for, but torch sees {torch.cuda.device_count()} CUDA devices: use cpu"
        )
    if kind == "mps" and not torch.backends.mps.is_available():
        raise ConfigError("device mps asked for, but torch sees none: use cpu")
    return kind, int(index) if index else None
