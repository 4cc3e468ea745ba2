"""Adaptive steps between the edges of windows, through torchdiffeq.

The one idea: the velocity is smooth inside an interval between two edges and jumps at them. So every interval is
integrated for itself, up to a jump time just before its end, and the little that is left is one exact shell update.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from kflow_sci.errors import ScheduleError
from kflow_sci.flow.path import Path
from kflow_sci.flow.solve import Evaluation, Field, Solution, Steer, left_of

ADAPTIVE = ("dopri5", "dopri8", "bosh3", "fehlberg2", "adaptive_heun")
# Share of an interval left to the last update where the field gives an endpoint: (x̂₁ − x)/(1 − α) gets stiff there.
_LAST = 1e-3


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
        path: The transform and schedule that the field was trained with; no step crosses an edge of its windows.
        method: One of ``ADAPTIVE``.
        rtol: Relative tolerance.
        atol: Absolute tolerance.
        prediction: ``velocity`` or ``endpoint``.
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
    velocity = Evaluation(field, path, prediction, "velocity", steer)
    endpoint = Evaluation(field, path, prediction, "endpoint", steer)

    def rate(time: Tensor, x: Tensor) -> Tensor:
        if velocity.calls >= max_calls:
            raise ScheduleError(
                f"the adaptive solver used {velocity.calls} calls (limit {max_calls}): "
                "loosen rtol and atol, or solve on a grid"
            )
        return velocity(x, float(time))

    x, states = x0, [x0]
    for low, high in pairwise(path.schedule.edges):
        stiff = prediction == "endpoint" or bool(steer)
        latest = high - _LAST * (high - low) if stiff else left_of(high, low, x0.dtype)
        times = torch.tensor([low, latest], dtype=torch.float64, device=x0.device)
        options = {"jump_t": times[1:], "max_num_steps": max_calls}
        try:
            x = odeint(rate, x, times, rtol=rtol, atol=atol, method=method, options=options)[-1]
        except AssertionError as error:  # how torchdiffeq says that it cannot go on
            raise ScheduleError(f"torchdiffeq gave up ({error}): the field is stiff or not finite") from error
        s, end = (torch.full((len(x),), t, dtype=x.dtype, device=x.device) for t in (latest, high))
        x = path.step(x, endpoint(x, latest), s, end)
        states.append(x)
    times = torch.tensor(path.schedule.edges, dtype=torch.float64)
    return Solution(x, velocity.calls + endpoint.calls, times, states if keep else [])
