"""A condition that depends on the scale: dropped, swapped, or weighed shell by shell.

The one idea: the flow decides scale by scale, so a condition need only be told while the scale it decides is open. A
conditional network under a plan of conditions is a field like any other, and says what it costs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from kflow_sci.errors import ScheduleError
from kflow_sci.flow.path import Path


@dataclass(frozen=True)
class ByScale:
    """A conditional network as a field whose condition depends on the scale: drop it, swap it, guide by shell.

    Attributes:
        net: ``net(x, s, condition)``.
        path: Transform and schedule.
        plan: ``(k, condition)`` pairs: the condition from scale k on. The first k is 0. Changes at whole k fall on
            edges (strict windows) and cost no order of the solver.
        null: The condition that says nothing; ``(k, null)`` drops the condition from k on.
        guidance: Weight of each shell, ``null answer + S(w) (answer − null answer)``; None for 1 everywhere.
            A second call is made only while a shell moves whose weight is not 1.

    Raises:
        ScheduleError: a plan that does not begin at 0 and rise, or weights that do not fit.

    Example:
        >>> from kflow_sci.flow.exact import coordinate_path
        >>> net = lambda x, s, c: torch.full_like(x, c)
        >>> field = ByScale(net, coordinate_path([1, 1]), plan=[(0, 5.0), (1, 0.0)], null=0.0)
        >>> [field(torch.zeros(1, 2), torch.tensor([s]))[0, 0].item() for s in (0.4, 0.6)]
        [5.0, 0.0]
    """

    net: Callable[[Tensor, Tensor, Any], Tensor]
    path: Path
    plan: Sequence[tuple[float, Any]]
    null: Any = None
    guidance: Sequence[float] | None = None

    def __post_init__(self) -> None:
        scales = [k for k, _ in self.plan]
        if not scales or scales[0] != 0 or any(b <= a for a, b in pairwise(scales)):
            raise ScheduleError(f"the plan changes at scales {scales}: begin at 0 and rise")
        if self.guidance is not None and len(self.guidance) != self.path.schedule.n_shells:
            raise ScheduleError(
                f"{len(self.guidance)} guidance weights for {self.path.schedule.n_shells} shells: give one per shell"
            )

    def condition(self, s: Float[Tensor, " batch"]) -> Any:
        """The condition at the time of the batch (the solver's: one for all samples).

        Example:
            >>> from kflow_sci.flow.exact import coordinate_path
            >>> field = ByScale(lambda x, s, c: x, coordinate_path([1, 1]), plan=[(0, "cat"), (1.5, None)])
            >>> [field.condition(torch.tensor([s])) for s in (0.5, 0.7, 0.8)]
            ['cat', 'cat', None]
        """
        k = float(self.path.schedule.scale(s[:1]))
        return [c for start, c in self.plan if start <= k][-1]

    def _guided(self, s: Tensor) -> bool:
        if self.guidance is None or self.condition(s) is self.null:
            return False
        moving = self.path.schedule.moving(s[:1])[0].tolist()
        return any(m and w != 1 for m, w in zip(moving, self.guidance, strict=True))

    def cost(self, s: Float[Tensor, " batch"]) -> int:
        """Network calls of one evaluation.

        Example:
            >>> from kflow_sci.flow.exact import coordinate_path
            >>> field = ByScale(lambda x, s, c: x, coordinate_path([1, 1]), plan=[(0, "cat")], guidance=[1.0, 2.0])
            >>> [field.cost(torch.tensor([s])) for s in (0.2, 0.7)]
            [1, 2]
        """
        return 2 if self._guided(s) else 1

    def __call__(
        self, x: Float[Tensor, "batch ..."], s: Float[Tensor, " batch"]
    ) -> Float[Tensor, "batch ..."]:
        """What the network predicts under the condition of this scale.

        Example:
            >>> from kflow_sci.flow.exact import coordinate_path
            >>> net = lambda x, s, c: torch.full_like(x, c)
            >>> field = ByScale(net, coordinate_path([1, 1]), plan=[(0, 3.0)], null=1.0, guidance=[1.0, 2.0])
            >>> field(torch.zeros(1, 2), torch.tensor([0.7]))
            tensor([[3., 5.]])
        """
        answer = self.net(x, s, self.condition(s))
        if self.guidance is None or not self._guided(s):
            return answer
        plain = self.net(x, s, self.null)
        w = torch.tensor(list(self.guidance), dtype=x.dtype, device=x.device).expand(len(x), -1)
        return plain + self.path.transform.filter(answer - plain, w)
