"""Steering a trained flow, scale by scale, without training.

The one idea: whatever the network predicts means an endpoint x̂₁, and to steer is to change that endpoint in chosen
shells before the solver heads for it. So every steering is a callable ``(x, s, x̂₁) -> x̂₁`` in
``solve(..., steer=[...])``. They compose, serve every solver, and know neither images nor clusters: a cluster is its
chart coordinates (``flow.rigid``). What is chosen before the walk is the noise of the start: ``vary``, ``mix``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from kflow_sci.errors import ScheduleError
from kflow_sci.flow.path import Path
from kflow_sci.transforms.base import KTransform


def below(n_shells: int, k: float) -> tuple[float, ...]:
    """Weights of the shells below scale k: 1 under it, 0 above, a fraction for the shell that k cuts.

    Raises:
        ScheduleError: k outside [0, n_shells].

    Example:
        >>> below(4, 1.5)
        (1.0, 0.5, 0.0, 0.0)
    """
    if not 0.0 <= k <= n_shells:
        raise ScheduleError(f"scale is {k}, outside [0, {n_shells}]")
    return tuple(min(max(k - j, 0.0), 1.0) for j in range(n_shells))


def above(n_shells: int, k: float) -> tuple[float, ...]:
    """Weights of the shells above scale k: ``1 − below``.

    Example:
        >>> above(4, 1.5)
        (0.0, 0.5, 1.0, 1.0)
    """
    return tuple(1.0 - w for w in below(n_shells, k))


def _spread(weights: Sequence[float], transform: KTransform, x: Tensor, most: float = 1.0) -> Tensor:
    """Weights of the shells for every sample of x, checked."""
    values = [float(w) for w in weights]
    if len(values) != transform.n_shells or not all(0.0 <= w <= most for w in values):
        limit = "numbers >= 0" if most == float("inf") else f"numbers in [0, {most:g}]"
        raise ScheduleError(f"shell weights are {values}, expected {transform.n_shells} {limit}")
    return torch.tensor(values, dtype=x.dtype, device=x.device).expand(len(x), -1)


def mix(
    transform: KTransform,
    a: Float[Tensor, "batch ..."],
    b: Float[Tensor, "batch ..."],
    weights: Sequence[float],
) -> Float[Tensor, "batch ..."]:
    """``S(w) a + S(1−w) b``: some shells of one array, the others of another.

    Args:
        transform: Its shells.
        a: Taken where the weight is 1.
        b: Taken where the weight is 0.
        weights: One number in [0, 1] per shell, for instance ``below(K, k)``.

    Raises:
        ScheduleError: weights that do not fit.

    Example:
        >>> from kflow_sci.flow.exact import CoordinateTransform
        >>> mix(CoordinateTransform(torch.tensor([0, 1])), torch.ones(1, 2), torch.zeros(1, 2), [1, 0])
        tensor([[1., 0.]])
    """
    w = _spread(weights, transform, a)
    return transform.filter(a, w) + transform.filter(b, 1.0 - w)


def vary(
    transform: KTransform,
    start: Float[Tensor, "batch ..."],
    weights: Sequence[float],
    generator: torch.Generator,
    sigma: float = 1.0,
) -> Float[Tensor, "batch ..."]:
    """New noise in some shells, the old noise frozen in the others; ``N(0, σ²)`` stays ``N(0, σ²)``.

    ``S(√(1−w²)) start + S(w) z``: the same coarse noise with new detail (``above``), or the reverse (``below``).

    Args:
        transform: Its shells.
        start: Noise; repeat one start over the batch for variations of one sample.
        weights: Share of new noise in each shell, in [0, 1].
        generator: Of the new noise.
        sigma: Standard deviation of the start.

    Raises:
        ScheduleError: weights that do not fit.

    Example:
        >>> from kflow_sci.flow.exact import CoordinateTransform
        >>> shells = CoordinateTransform(torch.tensor([0, 1]))
        >>> new = vary(shells, torch.ones(2, 2), above(2, 1), torch.Generator().manual_seed(0))
        >>> new[:, 0], bool((new[:, 1] == 1).any())
        (tensor([1., 1.]), False)
    """
    w = _spread(weights, transform, start)
    fresh = torch.randn(start.shape, generator=generator, dtype=start.dtype, device=generator.device).to(
        start.device
    )
    return transform.filter(start, (1.0 - w.square()).sqrt()) + transform.filter(fresh, sigma * w)


@dataclass(frozen=True)
class Clamp:
    """Head for known shells: the endpoint is that of a given sample where the weight is 1.

    Edits a given sample (``below``: keep what is coarse, new detail; ``above``: the reverse) and restores one of which
    some shells are known. With strict windows and the coarse shells known this samples the flow's conditional
    distribution exactly, since what comes first is not influenced by what comes later; otherwise it approximates it.

    Attributes:
        path: Transform and schedule.
        known: The given sample, in the shape of x.
        weights: One number in [0, 1] per shell.

    Example:
        >>> from kflow_sci.flow.exact import coordinate_path
        >>> from kflow_sci.flow.solve import solve
        >>> path, given = coordinate_path([1, 1]), torch.tensor([[7.0, 8.0]])
        >>> keep = Clamp(path, given, below(2, 1))
        >>> solve(lambda x, s: torch.ones_like(x), torch.zeros(1, 2), path, [1], steer=[keep]).x
        tensor([[7., 1.]])
    """

    path: Path
    known: Float[Tensor, "batch ..."]
    weights: Sequence[float]

    def __call__(
        self, x: Float[Tensor, "batch ..."], s: Float[Tensor, " batch"], endpoint: Float[Tensor, "batch ..."]
    ) -> Float[Tensor, "batch ..."]:
        """The endpoint with the known shells put in.

        Example:
            >>> from kflow_sci.flow.exact import coordinate_path
            >>> keep, x = Clamp(coordinate_path([1, 1]), torch.tensor([[7.0, 8.0]]), (1.0, 0.5)), torch.zeros(1, 2)
            >>> keep(x, torch.zeros(1), x)
            tensor([[7., 4.]])
        """
        return mix(self.path.transform, self.known.to(x).expand_as(x), endpoint, self.weights)


def restore(
    path: Path, observed: Float[Tensor, "batch ..."], gain: Sequence[float], floor: float = 0.05
) -> Clamp:
    """Undo an operator that is diagonal in shells, ``y = S(g) x``: super-resolution, deblurring, inpainting.

    Shells that the operator lets through are divided by their gain and clamped; the rest is generated. Super-resolution
    has gains 1 (kept) and 0 (lost), a blur falling gains; for inpainting shells are masks (``CoordinateTransform``).

    Args:
        path: Transform and schedule.
        observed: ``S(g) x``, in the shape of x.
        gain: g of each shell, >= 0.
        floor: Shells with a smaller gain count as lost: dividing by it would blow up their noise.

    Raises:
        ScheduleError: gains that do not fit, or a floor that is not positive.

    Example:
        >>> from kflow_sci.flow.exact import coordinate_path
        >>> blur = restore(coordinate_path([1, 1, 1]), torch.tensor([[4.0, 2.0, 0.0]]), gain=[1.0, 0.5, 0.0])
        >>> blur.known, blur.weights
        (tensor([[4., 4., 0.]]), (1.0, 1.0, 0.0))
    """
    if not floor > 0.0:
        raise ScheduleError(f"floor is {floor}, but must be positive: gains below it count as lost")
    g = _spread(gain, path.transform, observed, most=float("inf"))
    kept = g >= floor
    inverse = torch.where(kept, 1.0 / g.clamp(min=floor), torch.zeros_like(g))
    weights = tuple(float(value >= floor) for value in gain)
    return Clamp(path, path.transform.filter(observed, inverse), weights)


@dataclass(frozen=True)
class Downhill:
    """Physics by scale: the endpoint steps down an energy in chosen shells, ``x̂₁ − S(w) h ∇E(x̂₁)``.

    Attributes:
        path: Transform and schedule.
        energy: Any differentiable callable, one number per sample; of a cluster, of the pose of its chart coordinates.
        weights: One number in [0, 1] per shell; 1 in the last for an energy that only sets the detail.
        rate: h, displacement per unit of force.
        limit: Largest root mean square displacement of a sample, before the filter; a clash must not throw it away.

    Example:
        >>> from kflow_sci.flow.exact import coordinate_path
        >>> spring = Downhill(coordinate_path([1, 1]), lambda x: x.square().sum(1), [0, 1], rate=0.25)
        >>> spring(torch.zeros(1, 2), torch.tensor([0.0]), torch.tensor([[4.0, 4.0]]))
        tensor([[4., 2.]])
    """

    path: Path
    energy: Callable[[Tensor], Tensor]
    weights: Sequence[float]
    rate: float
    limit: float = float("inf")

    def __call__(
        self, x: Float[Tensor, "batch ..."], s: Float[Tensor, " batch"], endpoint: Float[Tensor, "batch ..."]
    ) -> Float[Tensor, "batch ..."]:
        """The endpoint, moved.

        Raises:
            ScheduleError: the energy is not one number per sample.

        Example:
            >>> from kflow_sci.flow.exact import coordinate_path
            >>> wind = Downhill(coordinate_path([1, 1]), lambda x: x.sum(1), [1, 1], rate=5.0, limit=1.0)
            >>> wind(torch.zeros(1, 2), torch.zeros(1), torch.zeros(1, 2))
            tensor([[-1., -1.]])
        """
        with torch.enable_grad():
            at = endpoint.detach().requires_grad_()
            value = self.energy(at)
            if value.shape != (len(at),):
                raise ScheduleError(
                    f"the energy has shape {tuple(value.shape)}, expected ({len(at)},): one number per sample"
                )
            (slope,) = torch.autograd.grad(value.sum(), at)
        move = -self.rate * slope
        length = move.flatten(1).square().mean(1).sqrt()
        shrink = (self.limit / length.clamp(min=torch.finfo(length.dtype).tiny)).clamp(max=1.0)
        move = move * shrink.reshape(-1, *(1,) * (move.ndim - 1))
        return endpoint + self.path.transform.filter(move, _spread(self.weights, self.path.transform, x))
