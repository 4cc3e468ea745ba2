"""Which solvers an image model can be walked with."""

from __future__ import annotations

import pytest
import torch

from kflow_sci.errors import ScheduleError
from tests.images.small_model import small_model


@pytest.mark.parametrize("overlap", [0.0, 0.5, 1.0])
@pytest.mark.parametrize(("method", "limit"), [("heun", 2e-2), ("rk4", 2e-3), ("midpoint", 2e-2)])
def test_a_residual_model_follows_its_velocity_to_the_end_of_every_window(
    method: str, limit: float, overlap: float
) -> None:
    # An answer of zero means Gaussian shells of the given variances, whose flow is x₀ → σ x₀.
    model = small_model(prediction="residual", variance=(4.0, 1.0, 0.25), overlap=overlap)
    start = torch.randn(8, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    found = model.sample(8, torch.Generator(), [24, 24, 24], start=start, method=method).x
    exact = model.path().transform.filter(start, torch.tensor([2.0, 1.0, 0.5]).expand(8, -1))
    assert float((found - exact).abs().max()) < limit


def test_an_endpoint_model_refuses_a_solver_that_asks_at_the_end_of_windows() -> None:
    with pytest.raises(ScheduleError, match="solver 'heun' needs the velocity at the end of windows"):
        small_model().sample(2, torch.Generator().manual_seed(0), 6, method="heun")
