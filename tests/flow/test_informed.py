"""Regression on what is known, beside the conditional mean of Gaussians."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from kflow_sci.errors import ScheduleError
from kflow_sci.flow.exact import coordinate_path
from kflow_sci.flow.informed import Informed
from kflow_sci.flow.steer import Clamp

N, KNOWN = 5, 2


def covariance() -> np.ndarray:
    mixed = np.random.default_rng(0).standard_normal((N, N))
    return mixed @ mixed.T + 0.1 * np.eye(N)


def exact_field(c: np.ndarray):  # type: ignore[no-untyped-def]
    """E[x₁|x] on the plain path from white noise to N(0, C): α C (α² C + (1−α)² I)⁻¹ x."""

    def field(x: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
        a = float(s[0])
        return x @ torch.from_numpy(a * c @ np.linalg.inv(a**2 * c + (1 - a) ** 2 * np.eye(N))).T

    return field


def keep(known: torch.Tensor) -> Clamp:
    return Clamp(coordinate_path([KNOWN, N - KNOWN]), known, (1.0, 0.0))


def test_with_as_many_rounds_as_known_numbers_the_answer_is_the_conditional_mean() -> None:
    c, a = covariance(), 0.4
    rng = np.random.default_rng(1)
    x, known = rng.standard_normal((3, N)), rng.standard_normal((3, N))
    # Joint Gaussian of (x₁, x = (1−a) x₀ + a x₁, first numbers of x₁), conditioned by its covariances.
    seen = np.block(
        [[a**2 * c + (1 - a) ** 2 * np.eye(N), a * c[:, :KNOWN]], [a * c[:KNOWN], c[:KNOWN, :KNOWN]]]
    )
    across = np.hstack([a * c, c[:, :KNOWN]])
    wanted = np.hstack([x, known[:, :KNOWN]]) @ np.linalg.solve(seen, across.T)
    informed = Informed(
        exact_field(c), coordinate_path([N]), "endpoint", keep(torch.from_numpy(known)), KNOWN
    )
    found = informed(torch.from_numpy(x), torch.full((3,), a, dtype=torch.float64))
    assert np.allclose(found.numpy(), wanted, atol=1e-9)


def test_every_round_brings_it_nearer_and_none_only_puts_in_what_is_known() -> None:
    c, s = covariance(), torch.tensor([0.6], dtype=torch.float64)
    x, known = torch.randn(2, 1, N, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    field = exact_field(c)
    answers = [
        Informed(field, coordinate_path([N]), "endpoint", keep(known), r)(x, s) for r in range(KNOWN + 1)
    ]
    assert torch.equal(answers[0], keep(known)(x, s, field(x, s)))
    off = [float((answer - answers[-1]).norm()) for answer in answers]
    assert off[0] > off[1] > off[2] == 0.0


def test_a_velocity_is_understood_and_calls_are_counted() -> None:
    c, s = covariance(), torch.tensor([0.5], dtype=torch.float64)
    path, field = coordinate_path([N]), exact_field(covariance())
    x, known = torch.randn(2, 1, N, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def velocity(x: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
        return path.velocity_from_endpoint(x, exact_field(c)(x, s), s)

    one = Informed(velocity, path, "velocity", keep(known), 2)
    assert torch.allclose(one(x, s), Informed(field, path, "endpoint", keep(known), 2)(x, s))
    assert one.cost(s) == 3
    with pytest.raises(ScheduleError, match="-1 rounds of conjugate gradients"):
        Informed(field, path, "endpoint", keep(known), -1)


def test_a_finished_shell_has_nothing_left_to_say() -> None:
    path = coordinate_path([KNOWN, N - KNOWN])  # strict: at s = 1/2 the first is done
    x = torch.randn(2, N, generator=torch.Generator().manual_seed(0))
    given = Clamp(path, x, (1.0, 0.0))
    field = lambda x, s: torch.cat([x[:, :KNOWN], 3.0 * x[:, :1].expand(-1, N - KNOWN)], 1)  # noqa: E731
    s = torch.full((2,), 0.5)
    assert torch.equal(Informed(field, path, "endpoint", given, 2)(x, s), field(x, s))


def test_a_correction_is_no_longer_than_its_limit_allows() -> None:
    x, known = torch.randn(2, 3, N, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    field, path, s = (
        exact_field(covariance()),
        coordinate_path([N]),
        torch.full((3,), 0.3, dtype=torch.float64),
    )
    bare = field(x, s)
    free, held = (
        Informed(field, path, "endpoint", keep(known), KNOWN, limit)(x, s) - bare
        for limit in (float("inf"), 0.1)
    )
    missed = (known - bare)[:, :KNOWN].norm(dim=1)
    assert (free[:, KNOWN:].norm(dim=1) > 0.1 * missed).any()
    assert (held[:, KNOWN:].norm(dim=1) <= 0.1 * missed + 1e-12).all()
