"""Log-density under the flow."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from kflow_sci.errors import ScheduleError
from kflow_sci.flow.exact import CoordinateTransform, GaussianMixture, coordinate_path, projectors
from kflow_sci.flow.likelihood import (
    confined,
    exact_divergence,
    hutchinson_divergence,
    log_density,
    normal_log_density,
)
from kflow_sci.flow.path import Path
from kflow_sci.flow.schedule import ShellSchedule
from kflow_sci.flow.solve import solve
from kflow_sci.testing import relative_error
from kflow_sci.transforms.base import KTransform
from kflow_sci.transforms.fourier import FourierTransform
from kflow_sci.transforms.graph import GraphSpectralTransform
from kflow_sci.transforms.pca import PCATransform
from kflow_sci.transforms.wavelet import WaveletTransform


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def mixture(path: Path, size: int) -> GaussianMixture:
    root = random(2, size, size, seed=4) / math.sqrt(size)
    spread = root @ root.transpose(1, 2) + 0.3 * torch.eye(size, dtype=torch.float64)
    means = 2.0 * random(2, size, seed=5)
    return GaussianMixture(projectors(path.transform, (size,)), path.schedule, [0.6, 0.4], means, spread)


@pytest.mark.parametrize("overlap", [0.0, 0.5, 1.0])
def test_density_of_a_mixture_agrees_with_the_analytic_one(overlap: float) -> None:
    path = coordinate_path([1, 2, 1], overlap)
    target = mixture(path, 4)
    x1 = target.sample(30, torch.Generator().manual_seed(1))
    found = log_density(target.velocity, x1, path, [12])
    truth = target.log_density(x1)
    assert float(((found.log_density - truth) / truth).abs().max()) < 0.01
    assert float((found.log_density - truth).abs().max()) < 0.01


def test_probes_agree_with_the_analytic_density_on_average() -> None:
    path = coordinate_path([1, 2])
    target = mixture(path, 3)
    x1 = target.sample(1, torch.Generator().manual_seed(1)).expand(4000, -1).clone()
    found = log_density(
        target.velocity, x1, path, [8], divergence="hutchinson", generator=torch.Generator().manual_seed(2)
    ).log_density
    error = float(found.std()) / math.sqrt(len(found))
    assert abs(float(found.mean() - target.log_density(x1[:1]))) < 3 * error + 0.01
    assert error < 0.05


def test_one_gradient_per_moving_coefficient() -> None:
    path = coordinate_path([1, 3])
    target = mixture(path, 4)
    x1 = random(2, 4)
    strict = log_density(target.velocity, x1, path, [5], method="euler")
    assert strict.calls == 10 and strict.gradients == 5 * 1 + 5 * 3
    probed = log_density(
        target.velocity, x1, path, [5], method="euler", divergence="hutchinson", samples=2,
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    assert probed.gradients == 10 * 2


TRANSFORMS: dict[str, tuple[KTransform, tuple[int, ...]]] = {
    "fourier": (FourierTransform((6,), 3), (6,)),
    "wavelet": (WaveletTransform((4, 4), "haar", 2), (4, 4)),
    "pca truncated": (
        PCATransform(torch.linalg.qr(random(6, 6))[0][:, :3], torch.tensor([3.0, 2.0, 1.0]).double(), 3),
        (6,),
    ),
    "graph": (GraphSpectralTransform.from_points(random(1, 5, 3), 3), (5, 3)),
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_exact_divergence_is_the_trace_inside_the_shells(name: str) -> None:
    transform, shape = TRANSFORMS[name]
    size = math.prod(shape)
    jacobian, p = random(size, size, seed=7), projectors(transform, shape)
    x = random(1, *shape).requires_grad_()
    v = (jacobian @ x.flatten()).reshape(x.shape)
    for shells in ([1.0, 0.0, 0.0], [0.0, 1.0, 1.0], [1.0, 1.0, 1.0]):
        inside = sum(w * p[j] for j, w in enumerate(shells))
        path = Path(transform, ShellSchedule.equal(3))
        trace, gradients = exact_divergence(x, v, path, torch.tensor([shells]).double())
        assert float(trace) == pytest.approx(float(torch.trace(inside @ jacobian @ inside)), abs=1e-10)
        assert gradients <= size + 3


def test_probes_inside_the_moving_shells_have_the_lower_variance() -> None:
    # v = P J x. A Rademacher probe ε of A has variance 2 Σ_{i≠j} sym(A)²_ij: A is P J for a full probe, P J P inside.
    n, size, n_moving = 20_000, 8, 3
    jacobian = random(size, size, seed=3)
    p = torch.diag((torch.arange(size) < n_moving).double())
    x = random(n, size).requires_grad_()
    v = x @ (p @ jacobian).T
    probe = (2 * torch.randint(0, 2, (n, size), generator=torch.Generator().manual_seed(5)) - 1).double()
    for probes, matrix in ((probe, p @ jacobian), (probe @ p, p @ jacobian @ p)):
        drawn = hutchinson_divergence(x, v, probes)
        off = 0.5 * (matrix + matrix.T)
        off = off - torch.diag(off.diagonal())
        assert float(drawn.mean()) == pytest.approx(
            float(torch.trace(matrix)), abs=4 * float(drawn.std()) / n**0.5
        )
        assert float(drawn.var()) == pytest.approx(2 * float(off.square().sum()), rel=0.05)
    full, inside = (hutchinson_divergence(x, v, q).var() for q in (probe, probe @ p))
    # What a full probe adds is the coupling of moving to resting shells: ‖P J (1 − P)‖².
    added = float((p @ jacobian @ (torch.eye(size).double() - p)).square().sum())
    assert float(full - inside) == pytest.approx(added, rel=0.1)


def test_density_of_a_strict_flow_has_less_noise_with_probes_in_the_moving_shells() -> None:
    path = coordinate_path([2, 2, 2])
    target = mixture(path, 6)
    x1 = target.sample(1, torch.Generator().manual_seed(3)).expand(500, -1).clone()

    def spread(probes: str) -> float:
        generator = torch.Generator().manual_seed(1)
        found = log_density(
            target.velocity, x1, path, [4], divergence="hutchinson", probes=probes, generator=generator
        )
        return float(found.log_density.std())

    assert spread("moving") < 0.9 * spread("all")


def test_what_leaks_out_of_the_moving_shells_is_left_out_of_flow_and_density_alike() -> None:
    # A field that also moves resting shells: its density is that of the confined flow, by a change of variables.
    path = coordinate_path([1, 1])
    matrix = torch.tensor([[0.3, 0.5], [-0.4, 0.2]], dtype=torch.float64)

    def field(x: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
        return x @ matrix.T

    x0 = random(5, 2)
    x1 = solve(confined(field, path), x0, path, [20], method="rk4").x
    found = log_density(field, x1, path, [20])
    assert relative_error(found.x0, x0) < 1e-8
    # Each shell moves alone for half of the time: volume grows by e^{0.3/2} and then by e^{0.2/2}.
    assert relative_error(found.log_density, normal_log_density(x0) - 0.25) < 1e-8


def test_normal_density_of_any_width() -> None:
    x = random(4, 2, 3)
    truth = torch.distributions.Normal(x.new_zeros(()), x.new_tensor(2.5)).log_prob(x).flatten(1).sum(1)
    assert relative_error(normal_log_density(x, 2.5), truth) < 1e-12


def test_a_constant_field_changes_no_density() -> None:
    path = Path(CoordinateTransform(torch.tensor([0, 1])), ShellSchedule.equal(2))
    x1 = random(3, 2)
    for how in ("exact", "hutchinson"):
        found = log_density(
            lambda x, s: torch.ones_like(x), x1, path, [2], divergence=how, generator=torch.Generator()
        )
        assert relative_error(found.log_density, normal_log_density(x1 - 0.5)) < 1e-10


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"method": "shell"}, "choose euler"),
        ({"divergence": "trace"}, "choose exact"),
        ({"divergence": "hutchinson"}, "torch.Generator"),
        ({"divergence": "hutchinson", "samples": 0, "generator": torch.Generator()}, "samples >= 1"),
        ({"probes": "some"}, "choose moving"),
    ],
)
def test_what_cannot_be_is_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ScheduleError, match=words):
        log_density(lambda x, s: x, random(1, 2), coordinate_path([1, 1]), [2], **change)
