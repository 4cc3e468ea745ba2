"""What is known also tells what is not: a field that regresses the unknown shells on the known ones.

The one idea: to put known shells into a predicted endpoint (``steer.Clamp``) leaves the other shells as the network
guessed them from x alone. The best guess from x *and* the known shells differs by a regression, whose covariance the
network itself knows: on the path, ``Cov(x₁|x) = S((1−α)²/α) (∂x̂₁/∂x)ᵀ``. A product with it is one backward pass, and
a few conjugate gradient rounds solve for what is needed. Where the windows are strict and the known shells come first
nothing is left to regress, since the network has then seen them: there ``Clamp`` alone is exact.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from kflow_sci.errors import ScheduleError
from kflow_sci.flow.path import Path
from kflow_sci.flow.solve import Field
from kflow_sci.flow.steer import Clamp, mix

# Below this progress x hardly depends on the endpoint, and its covariance cannot be read from the network.
_BEGUN = 0.05


@dataclass(frozen=True)
class Informed:
    """A field that answers with the endpoint given x and the known shells; for ``solve(..., prediction="endpoint")``.

    With W the projector on what is known, ``x̂₁ + Σ W (W Σ W)⁻¹ W (known − x̂₁)``, Σ the covariance above. It is exact
    where x₁ is Gaussian given x, the network is right and there are as many rounds as known numbers; few do most of it.

    Attributes:
        field: The field, see ``flow.solve``.
        path: Transform and schedule that it was trained with.
        given: What it answers: ``endpoint`` or ``velocity``.
        keep: What is known; its transform need not be that of the path.
        rounds: Of conjugate gradients, each with one backward pass; 0 only puts in what is known.
        limit: Largest norm of a correction, as a multiple of what is known and missed. Shells that are done cannot be
            corrected any more, and those that still can would be bent out of shape to make up for them.

    Raises:
        ScheduleError: negative rounds.

    Source:
        Song et al., *Pseudoinverse-Guided Diffusion Models for Inverse Problems*, ICLR (2023), with a fixed covariance
        in the place of Σ; the covariance of the network itself is Tweedie's second formula.

    Example:
        Two numbers that are equal (variance 1, correlation 1), of which the first is known to be 3.

        >>> from kflow_sci.flow.exact import coordinate_path
        >>> both = lambda x, s: (x.sum(1, keepdim=True) * s[:, None] / (2 * s**2 + (1 - s) ** 2)[:, None]).expand_as(x)
        >>> keep = Clamp(coordinate_path([1, 1]), torch.tensor([[3.0, 0.0]]), (1.0, 0.0))
        >>> Informed(both, coordinate_path([2]), "endpoint", keep, 1)(torch.zeros(1, 2), torch.tensor([0.5]))
        tensor([[3., 3.]])
    """

    field: Field
    path: Path
    given: str
    keep: Clamp
    rounds: int = 1
    limit: float = float("inf")

    def __post_init__(self) -> None:
        if self.rounds < 0:
            raise ScheduleError(f"{self.rounds} rounds of conjugate gradients asked for: ask for at least 0")

    def cost(self, s: Float[Tensor, " batch"]) -> int:
        """Network calls of one evaluation; a backward pass counts as one.

        Example:
            >>> from kflow_sci.flow.exact import coordinate_path
            >>> path = coordinate_path([1, 1])
            >>> keep = Clamp(path, torch.zeros(1, 2), (1.0, 0.0))
            >>> Informed(lambda x, s: x, path, "endpoint", keep, 2).cost(torch.zeros(1))
            3
        """
        inner = getattr(self.field, "cost", None)
        return (1 if inner is None else int(inner(s))) + self.rounds

    def __call__(
        self, x: Float[Tensor, "batch ..."], s: Float[Tensor, " batch"]
    ) -> Float[Tensor, "batch ..."]:
        """The endpoint, the known shells put in.

        Example:
            >>> from kflow_sci.flow.exact import coordinate_path
            >>> path = coordinate_path([1, 1])
            >>> keep = Clamp(path, torch.tensor([[7.0, 8.0]]), (1.0, 0.0))
            >>> Informed(lambda x, s: x, path, "endpoint", keep, 0)(torch.zeros(1, 2), torch.zeros(1))
            tensor([[7., 0.]])
        """
        with torch.enable_grad():
            at = x.detach().requires_grad_(self.rounds > 0)
            endpoint = self.path.convert(self.field(at, s), at, s, given=self.given, wanted="endpoint")
            guess = endpoint.detach()
            if self.rounds and endpoint.requires_grad:
                guess = guess + self._regress(at, s, endpoint)
        return self.keep(x, s, guess)

    def _known(self, x: Tensor) -> Tensor:
        return mix(self.keep.path.transform, x, torch.zeros_like(x), self.keep.weights)

    def _regress(self, x: Tensor, s: Tensor, endpoint: Tensor) -> Tensor:
        """``Σ z`` with ``W Σ W z = W (known − x̂₁)``, by conjugate gradients, every sample for itself."""
        alpha, _ = self.path.schedule.progress(s)
        begun = alpha >= _BEGUN
        spread = torch.where(begun, (1.0 - alpha).square() / alpha.clamp(min=_BEGUN), torch.zeros_like(alpha))
        rest = self._known((self.keep.known.to(endpoint) - endpoint).detach())
        moved, along = torch.zeros_like(rest), rest
        size = missed = _dot(rest, rest)
        for i in range(self.rounds):
            last = i == self.rounds - 1
            (back,) = torch.autograd.grad(endpoint, x, along, retain_graph=not last)
            tilted = self.path.transform.filter(back, spread)
            seen = self._known(tilted)
            curve = _dot(along, seen)
            # An imperfect network may curve the wrong way, and what has not begun has no covariance yet.
            step = torch.where(curve > 0, size / curve.clamp(min=torch.finfo(curve.dtype).tiny), 0.0)
            moved, rest = moved + step * tilted, rest - step * seen
            new = _dot(rest, rest)
            along = (
                rest + torch.where(size > 0, new / size.clamp(min=torch.finfo(size.dtype).tiny), 0.0) * along
            )
            size = new
        length, most = _dot(moved, moved).sqrt(), self.limit * missed.sqrt()
        return torch.where(length > most, moved * (most / length.clamp(min=1e-30)), moved)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Of every sample, in a shape that multiplies it."""
    return (a * b).flatten(1).sum(1).reshape(-1, *(1,) * (a.ndim - 1))
