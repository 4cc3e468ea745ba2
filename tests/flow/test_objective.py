"""How errors of a prediction are weighed, shell by shell."""

from __future__ import annotations

import pytest
import torch

from kflow_sci.errors import ScheduleError
from kflow_sci.flow.exact import CoordinateTransform
from kflow_sci.flow.objective import PREDICTIONS, WEIGHTINGS, shell_weights
from kflow_sci.flow.path import QUANTITIES, Path
from kflow_sci.flow.schedule import RAMPS, ShellSchedule

# The middle of each of many equal steps of time: sums over it are integrals over s.
TIMES = (torch.arange(100_000, dtype=torch.float64) + 0.5) / 100_000


def test_loss_weights_by_hand() -> None:
    schedule = ShellSchedule((0.25, 0.75))
    s = torch.tensor([0.1, 0.5], dtype=torch.float64)
    assert shell_weights(schedule, s, "uniform").tolist() == [[1, 1], [1, 1]]
    assert shell_weights(schedule, s, "open").tolist() == [[1, 1], [0, 1]]
    assert shell_weights(schedule, s, "balanced").tolist() == [[4, 1], [0, 1]]
    with pytest.raises(ScheduleError, match="choose uniform"):
        shell_weights(schedule, s, "heavy")


def test_balanced_weights_give_every_shell_the_same_expectation() -> None:
    schedule = ShellSchedule.equal(4, overlap=0.3)
    s = (torch.arange(100_000, dtype=torch.float64) + 0.5) / 100_000
    mean = shell_weights(schedule, s, "balanced").mean(0)
    assert torch.allclose(mean, torch.ones(4, dtype=torch.float64), atol=1e-4)


def test_weights_of_velocity_and_noise_by_hand() -> None:
    schedule, s = ShellSchedule((0.25, 0.75)), torch.tensor([0.1, 0.5], dtype=torch.float64)
    assert shell_weights(schedule, s, "open", prediction="velocity").tolist() == [[1, 0], [0, 1]]
    assert shell_weights(schedule, s, "balanced", prediction="velocity").tolist() == [[0.25, 0], [0, 0.75]]
    assert shell_weights(schedule, s, "open", prediction="noise").tolist() == [[1, 0], [1, 1]]
    assert shell_weights(schedule, s, "balanced", prediction="noise")[1].tolist() == pytest.approx([1, 4 / 3])


@pytest.mark.parametrize("mu", RAMPS)
def test_balanced_velocities_cost_what_they_cost_in_plain_flow_matching(mu: str) -> None:
    # ∫ w_j |v_j|² ds is |x₁ − x₀|² in every shell, whatever its window and ramp.
    schedule = ShellSchedule((0.1, 0.6, 0.3), overlap=0.2, mu=mu)
    path = Path(CoordinateTransform(torch.tensor([0, 1, 2])), schedule)
    one = torch.ones(len(TIMES), 3, dtype=torch.float64)
    v = path.sample(torch.zeros_like(one), one, TIMES).v
    cost = (shell_weights(schedule, TIMES, "balanced", prediction="velocity") * v.square()).mean(0)
    assert cost.tolist() == pytest.approx([1.0, 1.0, 1.0], abs=1e-3)


@pytest.mark.parametrize("prediction", ["endpoint", "noise"])
def test_balanced_weights_have_mean_one(prediction: str) -> None:
    schedule = ShellSchedule((0.1, 0.6, 0.3), overlap=0.2)
    mean = shell_weights(schedule, TIMES, "balanced", prediction=prediction).mean(0)
    assert mean.tolist() == pytest.approx([1.0, 1.0, 1.0], abs=1e-4)


def test_weights_by_energy_make_relative_errors_cost_the_same() -> None:
    schedule, energy = ShellSchedule.equal(3), [90.0, 9.0, 0.9]
    weights = shell_weights(schedule, torch.zeros(1), "open", energy=energy)[0]
    cost = weights * torch.tensor(energy)
    assert cost.tolist() == pytest.approx([33.3] * 3)
    assert float((weights * torch.tensor(energy)).mean()) == pytest.approx(33.3)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"weighting": "heavy"}, "choose uniform"),
        ({"prediction": "score"}, "choose endpoint"),
        ({"energy": [1.0]}, "expected 2 positive"),
        ({"energy": [1.0, 0.0]}, "expected 2 positive"),
    ],
)
def test_weights_that_cannot_be_are_refused(change: dict[str, object], words: str) -> None:
    given = {"weighting": "open", **change}
    with pytest.raises(ScheduleError, match=words):
        shell_weights(ShellSchedule.equal(2), torch.zeros(1), given.pop("weighting"), **given)  # type: ignore[arg-type]


def test_what_a_solver_can_start_from_is_among_what_can_be_predicted() -> None:
    assert set(PREDICTIONS) < set(QUANTITIES) and len(WEIGHTINGS) == 3
