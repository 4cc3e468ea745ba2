"""The image model: transform + schedule + net + what it predicts.

The one idea: images bring nothing of their own but the net. Path, schedule, solver and steering are those of the
clusters; the net is told flow time and the progress of every shell (``nets.scale``) and, where there are conditions,
their values.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path as FilePath
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from kflow_sci.checkpoint import load_checkpoint, load_weights
from kflow_sci.errors import CheckpointError, ImageError
from kflow_sci.flow.condition import ByScale
from kflow_sci.flow.objective import shell_weights, stratified_times
from kflow_sci.flow.path import Path
from kflow_sci.flow.residual import Residual
from kflow_sci.flow.schedule import ShellSchedule
from kflow_sci.flow.solve import RUNGE_KUTTA, Solution, Steer, solve
from kflow_sci.images.config import ImageConfig
from kflow_sci.images.networks import make_net
from kflow_sci.images.shells import ImageShells
from kflow_sci.transforms.pca import PCATransform

Value = str | int | Sequence[str | int] | Tensor
"""The value of a condition, by name or number, one for all samples or one each."""
Told = Mapping[str, Value]
"""What is told: condition -> value; conditions that are not named are not told."""


class ImageBatch(NamedTuple):
    """A batch of training.

    Attributes:
        ids: Name of each image.
        x: Images or latents.
        condition: Value of each condition.
    """

    ids: tuple[str, ...]
    x: Float[Tensor, "batch channels rows columns"]
    condition: Int[Tensor, "batch conditions"]


class ImageModel(nn.Module):
    """K-Flow on images.

    Args:
        config: All but the weights.
        pca: The fitted modes, for transform ``pca`` alone; they are part of the weights.
    """

    def __init__(self, config: ImageConfig, pca: PCATransform | None = None) -> None:
        super().__init__()
        self.config = config
        self.schedule = ShellSchedule(config.widths, config.overlap, config.mu)
        shells = ImageShells(config.transform, config.shells, config.wavelet)
        self._path = Path(shells.make(config.shape, pca), self.schedule)
        if pca is not None:
            self.register_buffer("pca_basis", pca.basis)
            self.register_buffer("pca_values", pca.values)
        self.counts = tuple(len(values) for values in config.conditions.values())
        self.net = make_net(
            config.net,
            shape=config.shape,
            patch=config.patch,
            hidden=config.hidden,
            layers=config.layers,
            heads=config.heads,
            n_shells=self.schedule.n_shells,
            conditions=self.counts,
            packing=config.packing,
        )
        if config.prediction == "residual":
            Residual(self._path, config.variance)  # so that bad variances are told before training

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    def path(self) -> Path:
        """Transform and schedule, on the device of the weights."""
        if self._path.transform.shell_of.device != self.device:
            self._path = Path(self._path.transform.to(self.device), self.schedule)
        return self._path

    def config_dict(self) -> dict[str, Any]:
        """The config as plain json values."""
        return dict(json.loads(json.dumps(asdict(self.config))))

    # -- training ----------------------------------------------------------------------------------------------------

    def forward(
        self,
        x: Float[Tensor, "batch channels rows columns"],
        s: Float[Tensor, " batch"],
        condition: Int[Tensor, "batch conditions"],
    ) -> Float[Tensor, "batch channels rows columns"]:
        """The raw answer of the net, told flow time, the progress of every shell and the condition."""
        alpha, _ = self.schedule.progress(s)
        return self.net(x, s, alpha, condition).to(x.dtype)

    def loss(self, batch: ImageBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """Training loss of one batch: mean square of the error in every coefficient, weighed shell by shell.

        Flow times are stratified over the batch. What the error is of is what the net is asked for: endpoint,
        velocity, or residual.
        """
        x1, config = batch.x, self.config
        x0 = torch.randn(x1.shape, generator=generator, dtype=torch.float32).to(x1)
        s = stratified_times(len(x1), generator).to(x1)
        kept = torch.rand(batch.condition.shape, generator=generator).to(x1.device) >= config.drop
        condition = torch.where(kept, batch.condition, self.null(len(x1)))
        path = self.path()
        # Half precision is for the net: basis changes would lose what fine shells have.
        with torch.autocast(x1.device.type, enabled=False):
            point = path.sample(x0, x1, s)
        answer = self(point.x, s, condition)
        with torch.autocast(x1.device.type, enabled=False):
            kind = "velocity" if config.prediction == "velocity" else "endpoint"
            weights = shell_weights(self.schedule, s, config.weighting, prediction=kind).sqrt()
            if config.prediction == "velocity":
                _, rate = self.schedule.progress(s)
                error, weights = answer - (x1 - x0), weights * rate
            elif config.prediction == "endpoint":
                error = answer - x1
            else:
                guess = Residual(path, config.variance)
                error = answer - guess.target(x0, x1, s)
                # A finished shell asks for nothing: its residual is noise that is gone.
                weights = weights * (s[:, None] < self.schedule.bounds(s)[1])
            return {"loss": path.transform.filter(error, weights).square().mean()}

    # -- conditions --------------------------------------------------------------------------------------------------

    def null(self, n: int) -> Int[Tensor, "batch conditions"]:
        """Conditions that tell nothing, for n samples."""
        return torch.tensor(self.counts, dtype=torch.long, device=self.device).expand(n, -1)

    def told(self, n: int, values: Told) -> Int[Tensor, "batch conditions"]:
        """Conditions by name, for n samples; those that are not named are not told.

        Raises:
            ImageError: an unknown condition or value, or a number of values that is not n.
        """
        table = self.null(n).clone()
        names = list(self.config.conditions)
        for name, value in values.items():
            if name not in names:
                known = ", ".join(names) or "none: it was trained without"
                raise ImageError(f"condition '{name}' is unknown to this model; known are {known}")
            given = value.tolist() if isinstance(value, Tensor) else value
            each = list(given) if isinstance(given, Sequence) and not isinstance(given, str) else [given] * n
            if len(each) != n:
                raise ImageError(
                    f"{len(each)} values of condition '{name}' for {n} samples: give one, or one each"
                )
            table[:, names.index(name)] = torch.tensor(
                [self._number(name, v) for v in each], device=table.device
            )
        return table

    def _number(self, name: str, value: str | int) -> int:
        known = self.config.conditions[name]
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(known):
            return value
        if value not in known:
            some = ", ".join(known) if len(known) <= 12 else f"{known[0]} … {known[-1]}"
            raise ImageError(f"{name} '{value}' is unknown to this model: choose {some}")
        return known.index(str(value))

    def field(
        self,
        n: int,
        plan: Sequence[tuple[float, Told]] = ((0.0, {}),),
        guidance: float | Sequence[float] | None = None,
        *,
        velocity: bool = False,
    ) -> ByScale:
        """What the net predicts (endpoint or velocity) under a plan of conditions, for ``flow.solve``.

        Args:
            n: Number of samples.
            plan: ``(k, what is told from scale k on)``; the first k is 0.
            guidance: Weight of what the condition adds, one number or one per shell; None or 1 for plain conditioning.
            velocity: Answer with the velocity also where the net is asked for the residual, whose velocity is known
                to the end of every window.

        Raises:
            ImageError: guidance without a condition or not finite, or a scale outside the shells.
            ScheduleError: a plan that does not begin at 0 and rise, or weights that do not fit the shells.
        """
        shells, path = self.schedule.n_shells, self.path()
        for k, _ in plan:
            if not 0.0 <= k <= shells:
                raise ImageError(f"scale is {k:g}, outside [0, {shells}]: the model has {shells} shells")
        if guidance is not None and not any(values for _, values in plan):
            raise ImageError(
                "guidance strengthens a condition, but none is given: give a label, or leave it out"
            )
        weights = [float(guidance)] * shells if isinstance(guidance, int | float) else guidance
        if not all(math.isfinite(w) for w in weights or ()):
            raise ImageError(f"guidance is {guidance}: give finite numbers, 1 for plain conditioning")
        null = self.null(n)
        steps = [(k, self.told(n, values) if values else null) for k, values in plan]
        net = self._velocity if velocity and self.config.prediction == "residual" else self._predict
        return ByScale(net, path, steps, null=null, guidance=weights)

    def _velocity(self, x: Tensor, s: Tensor, condition: Tensor) -> Tensor:
        return Residual(self.path(), self.config.variance).velocity(self(x, s, condition), x, s)

    def _predict(self, x: Tensor, s: Tensor, condition: Tensor) -> Tensor:
        answer = self(x, s, condition)
        if self.config.prediction == "velocity":
            _, rate = self.schedule.progress(s)
            return self.path().transform.filter(answer, rate)
        if self.config.prediction == "residual":
            return Residual(self.path(), self.config.variance).endpoint(answer, x, s)
        return answer

    # -- sampling ----------------------------------------------------------------------------------------------------

    def start(self, n: int, generator: torch.Generator) -> Float[Tensor, "batch channels rows columns"]:
        """Noise to start from; drawn on the device of the generator, so a CPU generator gives the same everywhere."""
        noise = torch.randn((n, *self.config.shape), generator=generator, device=generator.device)
        return noise.to(self.device)

    @torch.no_grad()
    def sample(
        self,
        n: int,
        generator: torch.Generator,
        steps: int | Sequence[int] | None = None,
        *,
        label: Value | None = None,
        plan: Sequence[tuple[float, Told]] | None = None,
        guidance: float | Sequence[float] | None = None,
        drop: float = 0.0,
        start: Float[Tensor, "batch channels rows columns"] | None = None,
        steer: Sequence[Steer] = (),
        method: str | None = None,
        keep: bool = False,
    ) -> Solution:
        """Draw samples.

        Args:
            n: How many.
            generator: Of the noise.
            steps: Solver steps of all shells together, or of each; the model's own number if None.
            label: Value of the first condition, for all scales; short for ``plan=[(0, {name: label})]``.
            plan: Conditions by scale, see ``field``: two conditions on different shells, or one that changes.
            guidance: See ``field``.
            drop: Share of the scale axis, at its end, over which no condition is told.
            start: Noise to start from; drawn if None.
            steer: Changes of the predicted endpoint, see ``flow.steer``.
            method: A solver of ``flow.solve``; the model's own if None.
            keep: Keep the state at every step.

        Returns:
            The samples ``x``, the number of network ``calls``, and the states if kept.

        Raises:
            ImageError: a label for a model without conditions, label and plan at once, a share outside [0, 1]; see
                ``field`` and ``told``.
            ScheduleError: steps that do not fit the shells; see ``flow.solve``.
        """
        config = self.config
        if n < 1:
            raise ImageError(f"{n} samples asked for: ask for at least 1")
        if label is not None:
            if plan is not None or not config.conditions:
                why = (
                    "a plan is given too: put it there" if config.conditions else "the model has no condition"
                )
                raise ImageError(f"label {label!r} cannot be told: {why}")
            plan = [(0.0, {next(iter(config.conditions)): label})]
        if not 0.0 <= drop <= 1.0:
            raise ImageError(
                f"drop is {drop:g}, outside [0, 1]: the share of the scale axis without condition"
            )
        planned = [(0.0, {})] if plan is None else list(plan)
        if drop:
            k = (1.0 - drop) * self.schedule.n_shells
            planned = [(at, values) for at, values in planned if at < k] + [(k, {})]
        total = config.steps if steps is None else steps
        shares = config.step_shares or None
        per_shell = self.schedule.spend(total, shares) if isinstance(total, int) else tuple(total)
        if start is None:
            start = self.start(n, generator)
        if start.shape != (n, *config.shape):
            raise ImageError(f"the start has shape {tuple(start.shape)}, expected {(n, *config.shape)}")
        method = method or config.method
        # A steering changes endpoints, and is refused by solvers that ask for the velocity where these do not tell it.
        follows = config.prediction == "residual" and method in RUNGE_KUTTA and not steer
        return solve(
            self.field(n, planned, guidance, velocity=follows),
            start,
            self.path(),
            per_shell,
            method=method,
            prediction="velocity" if follows or config.prediction == "velocity" else "endpoint",
            steer=steer,
            keep=keep,
        )


def load_image_model(path: str | FilePath, device: str = "cpu") -> tuple[ImageModel, dict[str, Any]]:
    """An image model and the header of its weights (what it is, what it was trained on).

    Raises:
        CheckpointError: no checkpoint, or one of something else than images.
        ImageError: the device is not there.
    """
    tensors, header = load_checkpoint(path)
    if "image_model" not in header:
        raise CheckpointError(f"{path} holds no image model: give weights that `kflow image train` wrote")
    config = ImageConfig.from_dict(header["image_model"])
    pca = None
    if "pca_basis" in tensors:
        starts = [int(first) for first in config.shells] if isinstance(config.shells, tuple) else []
        pca = PCATransform(
            tensors["pca_basis"], tensors["pca_values"], len(config.widths), shape=config.shape, cut=starts
        )
    model = ImageModel(config, pca)
    load_weights(model, tensors, path)
    try:
        model = model.to(device)
    except (RuntimeError, AssertionError) as error:
        raise ImageError(f"device {device} cannot be used ({str(error).splitlines()[0]}): use cpu") from error
    return model.eval().requires_grad_(False), header
