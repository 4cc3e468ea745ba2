"""Walking the flow from start to sample.

The one idea: velocities jump at the edges of windows, so the step grid always contains every edge, no step crosses one,
and a stage at the right end of a step is evaluated on its left side. The solver knows a callable and the path; no
network, no data.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from kflow_sci.errors import ScheduleError
from kflow_sci.flow.objective import PREDICTIONS
from kflow_sci.flow.path import Path

Field = Callable[[Tensor, Tensor], Tensor]
# (x, s, predicted endpoint) -> the endpoint to head for; see ``flow.steer``.
Steer = Callable[[Tensor, Tensor, Tensor], Tensor]
# (x, s) -> the state to go on from, after each step.
Settle = Callable[[Tensor, Tensor], Tensor]


class Tableau(NamedTuple):
    """An explicit Runge–Kutta method: when stages are taken, from what they start, how they are averaged.

    Example:
        >>> RUNGE_KUTTA["heun"].weights
        (0.5, 0.5)
    """

    nodes: tuple[float, ...]
    matrix: tuple[tuple[float, ...], ...]
    weights: tuple[float, ...]


RUNGE_KUTTA = {
    "euler": Tableau((0.0,), ((),), (1.0,)),
    "midpoint": Tableau((0.0, 0.5), ((), (0.5,)), (0.0, 1.0)),
    "heun": Tableau((0.0, 1.0), ((), (1.0,)), (0.5, 0.5)),
    "rk4": Tableau(
        (0.0, 0.5, 0.5, 1.0), ((), (0.5,), (0.0, 0.5), (0.0, 0.0, 1.0)), (1 / 6, 1 / 3, 1 / 3, 1 / 6)
    ),
}
SHELL_UPDATES = ("shell", "shell_midpoint")
METHODS = (*SHELL_UPDATES, *RUNGE_KUTTA)
# Methods that ask for the velocity at the end of a window. There an endpoint does not tell it: (x̂₁ − x)/(1 − α) is 0/0.
_TO_THE_EDGE = ("heun", "rk4")


class Solution(NamedTuple):
    """The sample, the number of times the network was called, and the states on the grid if they were asked for.

    Example:
        >>> from kflow_sci.flow.exact import coordinate_path
        >>> solution = solve(lambda x, s: x, torch.ones(1, 2), coordinate_path([1, 1]), [2], keep=True)
        >>> solution.times.tolist(), len(solution.states), solution.calls
        ([0.0, 0.25, 0.5, 0.75, 1.0], 5, 4)
    """

    x: Float[Tensor, "batch ..."]
    calls: int
    times: Float[Tensor, " times"]
    states: list[Tensor]


class Evaluation:
    """A field at one time for the whole batch: counted, steered, and in the words that the solver needs.

    Args:
        field: ``field(x, s)`` with s of shape ``(batch,)``. If it has a method ``cost(s)``, that is the number of
            network calls it makes at these times; else 1.
        path: The transform and schedule.
        given: What the field answers: ``endpoint`` or ``velocity``.
        wanted: What the solver needs.
        steer: Changes of the predicted endpoint, one after the other.

    Raises:
        ScheduleError: a prediction no solver can start from; on a call, an answer that does not have the shape of x.

    Example:
        >>> from kflow_sci.flow.exact import coordinate_path
        >>> path = coordinate_path([1, 1])
        >>> evaluate = Evaluation(lambda x, s: torch.ones_like(x), path, "endpoint", "velocity")
        >>> evaluate(torch.zeros(1, 2), 0.5), evaluate.calls
        (tensor([[0., 2.]]), 1)
    """

    def __init__(
        self, field: Field, path: Path, given: str, wanted: str, steer: Sequence[Steer] = ()
    ) -> None:
        self.field, self.path, self.given, self.wanted, self.steer = field, path, given, wanted, tuple(steer)
        self.calls = 0
        if given not in PREDICTIONS:
            raise ScheduleError(
                f"no solver starts from prediction '{given}': choose {', '.join(PREDICTIONS)}"
            )

    def __call__(self, x: Float[Tensor, "batch ..."], time: float) -> Float[Tensor, "batch ..."]:
        s = torch.full((len(x),), time, dtype=x.dtype, device=x.device)
        answer = self.field(x, s)
        cost = getattr(self.field, "cost", None)
        self.calls += 1 if cost is None else int(cost(s))
        if answer.shape != x.shape:
            raise ScheduleError(
                f"the field answers {tuple(answer.shape)} to x of shape {tuple(x.shape)}: make the shapes equal"
            )
        now = self.given
        if self.steer:
            answer, now = self.path.convert(answer, x, s, given=now, wanted="endpoint"), "endpoint"
            for change in self.steer:
                answer = change(x, s, answer)
        return self.path.convert(answer, x, s, given=now, wanted=self.wanted)


def left_of(high: float, low: float, dtype: torch.dtype) -> float:
    """A time just before an edge, on the side of a step [low, high].

    Not the neighbouring number, which another precision would round to the edge itself: half of the digits away.

    Example:
        >>> 0.499 < left_of(0.5, 0.0, torch.float32) < 0.5
        True
    """
    eps = torch.finfo(dtype).eps
    return high - max(eps**0.5 * (high - low), 2.0 * eps)


def runge_kutta(
    evaluate: Callable[[Tensor, float], Tensor],
    x: Tensor,
    now: float,
    then: float,
    latest: float,
    method: str,
) -> Tensor:
    """One step from now to then (which may be earlier); no stage is taken after ``latest``.

    Example:
        >>> runge_kutta(lambda x, t: x, torch.ones(1), 0.0, 0.1, 0.1, "rk4")  # e^0.1 = 1.10517
        tensor([1.1052])
    """
    tableau, h = RUNGE_KUTTA[method], then - now
    slopes: list[Tensor] = []
    for node, row in zip(tableau.nodes, tableau.matrix, strict=True):
        stage = x
        for weight, slope in zip(row, slopes, strict=True):
            stage = stage + (h * weight) * slope if weight else stage
        slopes.append(evaluate(stage, min(now + node * h, latest)))
    for weight, slope in zip(tableau.weights, slopes, strict=True):
        x = x + (h * weight) * slope if weight else x
    return x


def solve(
    field: Field,
    x0: Float[Tensor, "batch ..."],
    path: Path,
    steps: Sequence[int],
    *,
    method: str = "shell",
    prediction: str | None = None,
    steer: Sequence[Steer] = (),
    settle: Sequence[Settle] = (),
    backward: bool = False,
    keep: bool = False,
) -> Solution:
    """Integrate from s = 0 to s = 1.

    ``shell`` is the exact shell update, first order in how fast the predicted endpoint changes, one call per step;
    ``shell_midpoint`` takes the endpoint in the middle of the step, second order, two calls. ``euler``, ``midpoint``,
    ``heun`` and ``rk4`` follow the velocity with 1, 2, 2 and 4 calls; the last two ask for it at the end of every
    window, which only a field that answers with the velocity knows.

    Args:
        field: ``field(x, s)`` with s of shape ``(batch,)``; its answer is what ``prediction`` says.
        x0: Start (with ``backward`` the sample at s = 1).
        path: The transform and schedule that the field was trained with.
        steps: Steps per shell, one number or one per shell; see ``ShellSchedule.grid`` and ``spend``.
        method: One of ``METHODS``.
        prediction: What the field answers; None for ``endpoint`` with a shell update and ``velocity`` else.
        steer: What is done to the predicted endpoint before it is used; see ``flow.steer``. It acts through the
            open shells only.
        settle: What is done to the state after each step, in all shells: a constraint the state must meet, a move
            that lowers an energy.
        backward: Walk from s = 1 to s = 0 instead: the noise that a sample comes from. For velocities, not steered.
        keep: Return the state at every grid time.

    Raises:
        ScheduleError: unknown method or prediction, steps that do not fit the schedule, or an endpoint (predicted or
            steered) where only a velocity will do.

    Example:
        >>> from kflow_sci.flow.exact import coordinate_path
        >>> path = coordinate_path([1, 2])
        >>> solution = solve(lambda x, s: torch.full_like(x, 3.0), torch.zeros(1, 3), path, [2])
        >>> solution.x, solution.calls
        (tensor([[3., 3., 3.]]), 4)
    """
    if method not in METHODS:
        raise ScheduleError(f"solver '{method}' is unknown: choose {', '.join(METHODS)}")
    by_shell = method in SHELL_UPDATES
    wanted = "endpoint" if by_shell else "velocity"
    prediction = prediction or wanted
    heads_for_endpoint = prediction == "endpoint" or bool(steer)
    if backward and (by_shell or heads_for_endpoint):
        raise ScheduleError("an endpoint does not tell the way back: walk back by velocity, unsteered")
    if method in _TO_THE_EDGE and heads_for_endpoint:
        raise ScheduleError(
            f"solver '{method}' needs the velocity at the end of windows, where an endpoint does not tell it: "
            "choose shell_midpoint, or midpoint"
        )
    evaluate = Evaluation(field, path, prediction, wanted, steer)
    times = path.schedule.grid(steps)
    times = times.flip(0) if backward else times
    edges = set(path.schedule.edges)
    x = x0
    states = [x0] if keep else []
    for now, then in zip(times[:-1].tolist(), times[1:].tolist(), strict=True):
        if by_shell:
            x = _shell_step(evaluate, path, x, now, then, method)
        else:
            low, high = min(now, then), max(now, then)
            latest = left_of(high, low, x.dtype) if high in edges else high
            x = runge_kutta(evaluate, x, now, then, latest, method)
        if settle:
            s = torch.full((len(x),), then, dtype=x.dtype, device=x.device)
            for change in settle:
                x = change(x, s)
        if keep:
            states.append(x)
    return Solution(x, evaluate.calls, times, states)


def _shell_step(evaluate: Evaluation, path: Path, x: Tensor, now: float, then: float, method: str) -> Tensor:
    s, end = (torch.full((len(x),), t, dtype=x.dtype, device=x.device) for t in (now, then))
    endpoint = evaluate(x, now)
    if method == "shell_midpoint":
        half = 0.5 * (now + then)
        endpoint = evaluate(path.step(x, endpoint, s, torch.full_like(s, half)), half)
    return path.step(x, endpoint, s, end)
