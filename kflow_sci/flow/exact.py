"""Targets whose K-Flow is known in closed form: what solvers, densities and samplers are held against.

The one idea: for a mixture of Gaussians as target and N(0, σ²) as start, drawn independently, point and target are
jointly Gaussian within each component, whatever the shells. So the marginal velocity ``E[v | x]``, the endpoint
``E[x₁ | x]`` and the density of every intermediate x_s are a few linear solves.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from kflow_sci.errors import ScheduleError
from kflow_sci.flow.path import Path
from kflow_sci.flow.schedule import ShellSchedule
from kflow_sci.transforms.base import KTransform
from kflow_sci.transforms.grid import GridTransform


class CoordinateTransform(GridTransform):
    """The transform that does nothing: each shell is a given set of entries of the data.

    For vectors whose axes are the scales, for masks (shell 0 the known pixels), and for tests: nothing is rounded.

    Args:
        shell_of: Shell of each entry; its shape is that of one sample.

    Raises:
        TransformError: a shell without entries.

    Example:
        >>> transform = CoordinateTransform(torch.tensor([0, 1, 1]))
        >>> transform.project(torch.tensor([[3.0, 4.0, 5.0]]), 1)
        tensor([[0., 4., 5.]])
    """

    def __init__(self, shell_of: Tensor) -> None:
        super().__init__(tuple(shell_of.shape), shell_of, int(shell_of.max()) + 1)

    def forward(self, x: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch ..."]:
        self._check(x)
        return x

    def inverse(self, c: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch ..."]:
        return c


def coordinate_path(dimensions: Sequence[int], overlap: float = 0.0, mu: str = "linear") -> Path:
    """A path on vectors whose first ``dimensions[0]`` entries are shell 0, the next ``dimensions[1]`` shell 1.

    Example:
        >>> coordinate_path([1, 2]).transform.shell_of
        tensor([0, 1, 1])
    """
    shell_of = torch.repeat_interleave(torch.arange(len(dimensions)), torch.tensor(list(dimensions)))
    return Path(CoordinateTransform(shell_of), ShellSchedule.equal(len(dimensions), overlap, mu))


def projectors(transform: KTransform, shape: Sequence[int]) -> Float[Tensor, "shells size size"]:
    """The matrices P_j on data of a shape, flattened, in float64; for small data.

    Args:
        transform: A transform of double precision; one made for a batch must hold a single sample.
        shape: Shape of one sample.

    Example:
        >>> projectors(CoordinateTransform(torch.tensor([0, 1])), (2,))[1].tolist()
        [[0.0, 0.0], [0.0, 1.0]]
    """
    size = math.prod(shape)
    unit = torch.eye(size, dtype=torch.float64).reshape(size, 1, *shape)
    shells = range(transform.n_shells)
    return torch.stack([torch.stack([transform.project(e, j).flatten() for e in unit], 1) for j in shells])


class GaussianMixture:
    """A mixture of Gaussians and the K-Flow from N(0, σ²) to it, all in closed form (float64).

    Args:
        projectors: P_j of the transform, ``(shells, size, size)``; see ``projectors``.
        schedule: When each shell moves.
        weight: Share of each component, scaled to sum 1.
        mean: Mean of each component, ``(components, *shape)``.
        covariance: Covariance of each component, ``(components, size, size)``, positive definite.
        sigma: Standard deviation of the start.

    Raises:
        ScheduleError: sizes that do not fit.

    Example:
        The flow from N(0, 1) to N(2, 9) in one shell. At s = 1 the velocity field has moved x = 1 to 2 + 3 · 1.

        >>> from kflow_sci.flow.solve import solve
        >>> one = torch.ones(1, 1, 1, dtype=torch.float64)
        >>> target = GaussianMixture(one, ShellSchedule.plain(), [1.0], 2 * one[0], 9 * one)
        >>> path = Path(CoordinateTransform(torch.tensor([0])), ShellSchedule.plain())
        >>> solve(target.velocity, one[0], path, [50], method="rk4").x
        tensor([[5.0000]], dtype=torch.float64)
    """

    def __init__(
        self,
        projectors: Float[Tensor, "shells size size"],
        schedule: ShellSchedule,
        weight: Sequence[float],
        mean: Float[Tensor, "components ..."],
        covariance: Float[Tensor, "components size size"],
        sigma: float = 1.0,
    ) -> None:
        size = projectors.shape[-1]
        if mean.flatten(1).shape != (len(weight), size) or covariance.shape != (len(weight), size, size):
            raise ScheduleError(
                f"{len(weight)} weights, means {tuple(mean.shape)} and covariances {tuple(covariance.shape)} "
                f"do not fit data of size {size}: give one of each per component"
            )
        if len(projectors) != schedule.n_shells:
            raise ScheduleError(
                f"{len(projectors)} projectors and {schedule.n_shells} shells: make them equal"
            )
        self.projectors, self.schedule, self.sigma = projectors.double(), schedule, sigma
        self.weight = torch.tensor(list(weight), dtype=torch.float64)
        self.weight = self.weight / self.weight.sum()
        self.shape = tuple(mean.shape[1:])
        self.mean, self.covariance = mean.flatten(1).double(), covariance.double()

    def _at(self, time: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """``S(α)``, ``S(1−α)`` and ``S(α′)`` as matrices."""
        alpha, rate = self.schedule.progress(time[None])
        return tuple(torch.einsum("k,kij->ij", w[0], self.projectors) for w in (alpha, 1.0 - alpha, rate))  # type: ignore[return-value]

    def _posterior(self, x: Tensor, time: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """``E[x₁|x]``, ``E[v|x]``, ``E[x₀|x]`` and ``log p_s(x)`` of flat points at one time."""
        data, noise, rate = self._at(time)
        centre = self.mean @ data
        cross = self.covariance @ data
        spread = data @ cross + self.sigma**2 * noise @ noise
        factor = torch.linalg.cholesky(spread)
        off = x[None] - centre[:, None]
        solved = torch.cholesky_solve(off.transpose(1, 2), factor).transpose(1, 2)
        log_norm = factor.diagonal(dim1=1, dim2=2).log().sum(1) + 0.5 * x.shape[1] * math.log(2.0 * math.pi)
        log_each = self.weight.log()[:, None] - log_norm[:, None] - 0.5 * (off * solved).sum(-1)
        share = log_each.softmax(0)[..., None]
        endpoint = (share * (self.mean[:, None] + solved @ cross.transpose(1, 2))).sum(0)
        start = (share * (self.sigma**2 * solved @ noise)).sum(0)
        return endpoint, (endpoint - start) @ rate, start, log_each.logsumexp(0)

    def _each(self, x: Tensor, s: Tensor, which: int) -> Tensor:
        flat = x.flatten(1).double()
        out = flat.new_empty(len(x)) if which == 3 else torch.empty_like(flat)
        for time in s.unique():
            here = s == time
            part = self._posterior(flat[here], time.double())[which]
            # Not in place: densities differentiate through this.
            out = (
                part if bool(here.all()) else out.masked_scatter(here if which == 3 else here[:, None], part)
            )
        return (out if which == 3 else out.reshape(x.shape)).to(x.dtype)

    def endpoint(
        self, x: Float[Tensor, "batch ..."], s: Float[Tensor, " batch"]
    ) -> Float[Tensor, "batch ..."]:
        """``E[x₁ | x_s = x]``: what endpoint prediction learns.

        Example:
            >>> one, plain = torch.ones(1, 1, 1), ShellSchedule.plain()
            >>> target = GaussianMixture(one, plain, [1.0], one[0], 9 * one)
            >>> target.endpoint(torch.zeros(1, 1), torch.zeros(1))  # at s = 0 x says nothing: the mean
            tensor([[1.]])
        """
        return self._each(x, s, 0)

    def velocity(
        self, x: Float[Tensor, "batch ..."], s: Float[Tensor, " batch"]
    ) -> Float[Tensor, "batch ..."]:
        """``E[v_s | x_s = x]``: the marginal velocity, what velocity prediction learns.

        Example:
            >>> one, plain = torch.ones(1, 1, 1), ShellSchedule.plain()
            >>> target = GaussianMixture(one, plain, [1.0], one[0], 9 * one)
            >>> target.velocity(torch.full((1, 1), 4.0), torch.ones(1))  # at s = 1 x is the endpoint, the noise unknown
            tensor([[4.]])
        """
        return self._each(x, s, 1)

    def noise(self, x: Float[Tensor, "batch ..."], s: Float[Tensor, " batch"]) -> Float[Tensor, "batch ..."]:
        """``E[x₀ | x_s = x]``: what noise prediction learns.

        Example:
            >>> one, plain = torch.ones(1, 1, 1), ShellSchedule.plain()
            >>> target = GaussianMixture(one, plain, [1.0], one[0], 9 * one)
            >>> target.noise(torch.full((1, 1), 4.0), torch.zeros(1))  # at s = 0 x is the noise
            tensor([[4.]])
        """
        return self._each(x, s, 2)

    def log_density(self, x: Float[Tensor, "batch ..."], s: float = 1.0) -> Float[Tensor, " batch"]:
        """``log p_s(x)``; at s = 1 the target's.

        Example:
            >>> one, plain = torch.ones(1, 1, 1), ShellSchedule.plain()
            >>> target = GaussianMixture(one, plain, [1.0], one[0], 9 * one)
            >>> target.log_density(torch.ones(1, 1, dtype=torch.float64))  # −½ log 2π − log 3
            tensor([-2.0176], dtype=torch.float64)
        """
        return self._each(x, torch.full((len(x),), s, dtype=torch.float64), 3)

    def sample(self, n: int, generator: torch.Generator) -> Float[Tensor, "n ..."]:
        """Samples of the target.

        Example:
            >>> one, plain = torch.ones(1, 1, 1), ShellSchedule.plain()
            >>> target = GaussianMixture(one, plain, [1.0], one[0], 1e-12 * one)
            >>> target.sample(2, torch.Generator().manual_seed(0)).round(decimals=3).tolist()
            [[1.0], [1.0]]
        """
        component = torch.multinomial(self.weight, n, replacement=True, generator=generator)
        noise = torch.randn(n, self.mean.shape[1], generator=generator, dtype=torch.float64)
        factor = torch.linalg.cholesky(self.covariance)
        x = self.mean[component] + torch.einsum("nij,nj->ni", factor[component], noise)
        return x.reshape(n, *self.shape)
