"""Asking a network only for what the best linear guess leaves.

The one idea: where noise of variance 1 is mixed with data of known variance σ_j² in shell j, the best linear guess of
the endpoint is one factor per shell (Wiener's filter). The network answers the rest, scaled to variance 1 at every
scale and time, so a faint shell is asked for as clearly as a loud one. With one shell and σ = 1 this is the
"v-prediction" of diffusion models; the spectrum makes it fit all shells at once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from kflow_sci.errors import ScheduleError
from kflow_sci.flow.path import Path


@dataclass(frozen=True)
class Residual:
    """The answer r of a network as an endpoint, ``x̂₁ = S(c) x + S(d) r``.

    With progress α and ``D = α²σ² + (1−α)²``: ``c = ασ²/D`` and ``d = σ(1−α)/√D``, shell by shell. Finished shells are
    taken from x as they are (c = 1, d = 0).

    Attributes:
        path: Transform and schedule; its start is noise of variance 1.
        variance: σ_j², mean square of a coefficient of the data in each shell.

    Raises:
        ScheduleError: variances that do not fit the shells or are not positive.

    Source:
        Salimans & Ho, ICLR (2022), for one scale; Karras et al., NeurIPS (2022).

    Example:
        >>> from kflow_sci.flow.exact import coordinate_path
        >>> guess = Residual(coordinate_path([2]), (4.0,))
        >>> x = torch.tensor([[1.0, 3.0]])  # halfway: 0.5 · 4 / (0.25 · 4 + 0.25) = 1.6
        >>> guess.endpoint(torch.zeros(1, 2), x, torch.tensor([0.5]))
        tensor([[1.6000, 4.8000]])
    """

    path: Path
    variance: Sequence[float]

    def __post_init__(self) -> None:
        fits = len(self.variance) == self.path.schedule.n_shells
        if not fits or not all(math.isfinite(v) and v > 0 for v in self.variance):
            raise ScheduleError(
                f"variances are {list(self.variance)}, expected {self.path.schedule.n_shells} positive numbers, one "
                "per shell"
            )

    def _parts(self, s: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Progress, standard deviation of the data, and √D."""
        alpha, _ = self.path.schedule.progress(s)
        sigma = torch.tensor(self.variance, dtype=s.dtype, device=s.device).sqrt().expand_as(alpha)
        return alpha, sigma, ((alpha * sigma).square() + (1.0 - alpha).square()).sqrt()

    def endpoint(
        self, answer: Float[Tensor, "batch ..."], x: Float[Tensor, "batch ..."], s: Float[Tensor, " batch"]
    ) -> Float[Tensor, "batch ..."]:
        """The endpoint that an answer means at a point x of the path.

        Example:
            >>> from kflow_sci.flow.exact import coordinate_path
            >>> guess, x = Residual(coordinate_path([1, 1]), (1.0, 4.0)), torch.tensor([[5.0, 5.0]])
            >>> guess.endpoint(torch.ones(1, 2), x, torch.tensor([0.5]))  # the first is done, the second not begun
            tensor([[5., 2.]])
        """
        alpha, sigma, root = self._parts(s)
        keep = self.path.transform.filter(x, alpha * (sigma / root).square())
        return keep + self.path.transform.filter(answer, sigma * (1.0 - alpha) / root)

    def velocity(
        self, answer: Float[Tensor, "batch ..."], x: Float[Tensor, "batch ..."], s: Float[Tensor, " batch"]
    ) -> Float[Tensor, "batch ..."]:
        """The velocity that an answer means, ``S(α′(ασ² − (1−α))/D) x + S(α′σ/√D) r``.

        Unlike that of an endpoint it is known to the end of a window: nothing is divided by 1 − α. So solvers that ask
        there (``heun``, ``rk4``) can be used.

        Example:
            >>> from kflow_sci.flow.exact import coordinate_path
            >>> guess, x = Residual(coordinate_path([1]), (4.0,)), torch.tensor([[3.0]])
            >>> guess.velocity(torch.ones(1, 1), x, torch.tensor([0.0]))  # endpoint 2, noise 3
            tensor([[-1.]])
            >>> guess.velocity(torch.ones(1, 1), x, torch.tensor([1.0]))  # the limit of (endpoint − x)/(1 − α)
            tensor([[4.]])
        """
        alpha, sigma, root = self._parts(s)
        _, rate = self.path.schedule.progress(s)
        kept = self.path.transform.filter(x, rate * (alpha * sigma.square() - (1.0 - alpha)) / root.square())
        return kept + self.path.transform.filter(answer, rate * sigma / root)

    def target(
        self, x0: Float[Tensor, "batch ..."], x1: Float[Tensor, "batch ..."], s: Float[Tensor, " batch"]
    ) -> Float[Tensor, "batch ..."]:
        """The answer that gives the endpoint x1 on the path from x0: ``S((1−α)/(σ√D)) x₁ − S(ασ/√D) x₀``.

        Example:
            >>> from kflow_sci.flow.exact import coordinate_path
            >>> guess, x0, x1 = Residual(coordinate_path([1]), (1.0,)), torch.ones(1, 1), torch.zeros(1, 1)
            >>> guess.target(x0, x1, torch.tensor([0.0])), guess.target(x1, x0, torch.tensor([0.0]))
            (tensor([[0.]]), tensor([[1.]]))
        """
        alpha, sigma, root = self._parts(s)
        ahead = self.path.transform.filter(x1, (1.0 - alpha) / (sigma * root))
        return ahead - self.path.transform.filter(x0, alpha * sigma / root)
