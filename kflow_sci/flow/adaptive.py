"""Adaptive steps between the edges of windows, through torchdiffeq.

The one idea: the velocity is smooth inside an interval between two edges and jumps at them, so the edges are the jump
times of the solver, every stage is evaluated on its own side of an edge, and a step that crossed one would be an error.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from kflow_sci.errors import ScheduleError
from kflow_sci.flow.path import Path
from kflow_sci.flow.solve import Evaluation, Field, Solution, Steer, left_of

ADAPTIVE = ("dopri5", "dopri8", "bosh3", "fehlberg2", "adaptive_heun")


class _Sided:
    """The velocity as torchdiffeq asks for it, each time read on its own side of the edges."""

    def __init__(
        self, evaluate: Evaluation, edges: Sequence[float], dtype: torch.dtype, max_calls: int
    ) -> None:
        self.evaluate, self.dtype, self.max_calls = evaluate, dtype, max_calls
        # torchdiffeq passes times in the precision of x, so edges are compared in it.
        self.edges = torch.tensor(edges, dtype=torch.float64).to(dtype).tolist()

    def __call__(self, time: Tensor, x: Tensor) -> Tensor:
        if self.evaluate.calls >= self.max_calls:
            raise ScheduleError(
                f"the adaptive solver used {self.evaluate.calls} calls (limit {self.max_calls}): "
                "loosen rtol and atol, or solve on a grid"
            )
        t = float(time)
        i = min(max(bisect.bisect_right(self.edges, t) - 1, 0), len(self.edges) - 2)
        low, high = self.edges[i], self.edges[i + 1]
        return self.evaluate(x, min(max(t, low), left_of(high, low, self.dtype)))

    def callback_accept_step(self, start: Tensor, _x: Tensor, length: Tensor) -> None:
        low, high = float(start), float(start + length)
        crossed = [e for e in self.edges if low + 1e-6 < e < high - 1e-6]
        if crossed:
            raise ScheduleError(
                f"a step from {low:g} to {high:g} crossed the edge {crossed[0]:g}: solve on a grid"
            )


def solve_adaptive(
    field: Field,
    x0: Float[Tensor, "batch ..."],
    path: Path,
    *,
    method: str = "dopri5",
    rtol: float = 1e-5,
    atol: float = 1e-5,
    prediction: str = "velocity",
    steer: Sequence[Steer] = (),
    keep: bool = False,
    max_calls: int = 10_000,
) -> Solution:
    """Integrate from s = 0 to s = 1 with steps that keep the local error below ``atol + rtol |x|``.

    Args:
        field: ``field(x, s)``; its answer is what ``prediction`` says.
        x0: Start.
        path: The transform and schedule that the field was trained with; its edges are the jump times.
        method: One of ``ADAPTIVE``.
        rtol: Relative tolerance.
        atol: Absolute tolerance.
        prediction: ``velocity``, ``endpoint`` or ``noise``.
        steer: See ``solve``.
        keep: Return the state at every edge.
        max_calls: Calls of the field after which it gives up.

    Returns:
        The solution; its times are the edges, its calls include those of rejected steps.

    Raises:
        ScheduleError: torchdiffeq is missing, the method is unknown, the calls are used up, or the solution diverges.

    Source:
        torchdiffeq: Chen, R. T. Q. (2018), https://github.com/rtqichen/torchdiffeq. Its default method is that of
        Dormand & Prince, J. Comput. Appl. Math. 6 (1980) 19.

    Example:
        >>> from kflow_sci.flow.exact import coordinate_path
        >>> path = coordinate_path([1, 1])  # dx/ds = α′(s) x in each shell: both grow by e, one after the other
        >>> field = lambda x, s: path.transform.filter(x, path.schedule.progress(s)[1])
        >>> solve_adaptive(field, torch.ones(1, 2, dtype=torch.float64), path).x
        tensor([[2.7183, 2.7183]], dtype=torch.float64)
    """
    if method not in ADAPTIVE:
        raise ScheduleError(f"adaptive solver '{method}' is unknown: choose {', '.join(ADAPTIVE)}")
    try:
        from torchdiffeq import odeint
    except ModuleNotFoundError as error:
        raise ScheduleError(
            "torchdiffeq is missing: pip install 'kflow_sci[adaptive]', or use solve"
        ) from error
    edges = path.schedule.edges
    evaluate = Evaluation(field, path, prediction, "velocity", steer)
    times = torch.tensor(edges, dtype=torch.float64, device=x0.device)
    func = _Sided(evaluate, edges, x0.dtype, max_calls)
    options = {"jump_t": times[1:], "max_num_steps": max_calls}
    try:
        states = odeint(func, x0, times, rtol=rtol, atol=atol, method=method, options=options)
    except AssertionError as error:  # how torchdiffeq says that it cannot go on
        raise ScheduleError(f"torchdiffeq gave up ({error}): the field is stiff or not finite") from error
    return Solution(states[-1], evaluate.calls, times.cpu(), list(states) if keep else [])
