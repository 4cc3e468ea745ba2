"""Targets with a known flow, and the proof of transforms, schedules and solvers that rests on them."""

from __future__ import annotations

import math

import pytest
import torch

from kflow_sci.errors import ScheduleError
from kflow_sci.flow.exact import CoordinateTransform, GaussianMixture, coordinate_path, projectors
from kflow_sci.flow.path import Path
from kflow_sci.flow.schedule import ShellSchedule
from kflow_sci.flow.solve import solve
from kflow_sci.testing import assert_transform, relative_error
from kflow_sci.transforms.base import KTransform
from kflow_sci.transforms.fourier import FourierTransform
from kflow_sci.transforms.graph import GraphSpectralTransform
from kflow_sci.transforms.nested import NestedTransform
from kflow_sci.transforms.node_pca import NodePCATransform
from kflow_sci.transforms.partial import PartialGraphTransform
from kflow_sci.transforms.pca import PCATransform
from kflow_sci.transforms.wavelet import WaveletTransform


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def covariance(size: int, seed: int) -> torch.Tensor:
    a = random(size, size, seed=seed) / math.sqrt(size)
    return a @ a.T + 0.3 * torch.eye(size, dtype=torch.float64)


def orthonormal(size: int, seed: int) -> torch.Tensor:
    return torch.linalg.qr(random(size, size, seed=seed))[0]


def falling(n: int) -> torch.Tensor:
    return torch.arange(n, 0, -1, dtype=torch.float64)


# name -> (transform for a batch of this size, shape of a sample); bases per sample are the same for all samples
TRANSFORMS = {
    "fourier 1-D odd": lambda n: (FourierTransform((7,), shells=3), (7,)),
    "fourier 2-D": lambda n: (FourierTransform((4, 3), shells=3), (4, 3)),
    "wavelet 1-D": lambda n: (WaveletTransform((8,), "db2", levels=2), (8,)),
    "wavelet 2-D": lambda n: (WaveletTransform((4, 4), "haar", levels=2), (4, 4)),
    "pca": lambda n: (PCATransform(orthonormal(6, 1), falling(6), 3), (6,)),
    "pca truncated": lambda n: (PCATransform(orthonormal(6, 1)[:, :4], falling(4), 3), (6,)),
    "graph": lambda n: (
        GraphSpectralTransform.from_points(random(1, 4, 3, seed=2).expand(n, -1, -1), 3),
        (4, 2),
    ),
    "pca on nodes": lambda n: (
        NodePCATransform(orthonormal(4, 3), falling(4), 3, torch.arange(4).expand(n, -1)),
        (4, 2),
    ),
    "graph, low modes": lambda n: (
        PartialGraphTransform.from_points(random(1, 5, 3, seed=2).expand(n, -1, -1), 3, 3, neighbours=3),
        (5, 2),
    ),
    "molecules over atoms": lambda n: (
        NestedTransform.from_points(
            random(1, 5, 3, seed=2).expand(n, -1, -1), torch.tensor([[0, 0, 1, 1, 1]]).expand(n, -1), (2, 1)
        ),
        (5, 2),
    ),
    "coordinates": lambda n: (CoordinateTransform(torch.tensor([0, 0, 1, 1, 2, 2])), (6,)),
}
SCHEDULES = {
    "strict": ShellSchedule.equal(3),
    "overlap": ShellSchedule.equal(3, overlap=0.5),
    "plain": ShellSchedule.equal(3, overlap=1.0),
    "widths": ShellSchedule((0.5, 0.2, 0.3)),
    "smoothstep": ShellSchedule.equal(3, mu="smoothstep"),
    "cosine overlap": ShellSchedule((1, 2, 3), overlap=0.3, mu="cosine"),
}


def test_sets_of_entries_are_a_transform() -> None:
    assert_transform(CoordinateTransform(torch.tensor([[0, 1, 1], [2, 0, 1]])), random(2, 2, 3))


def gaussian(transform: KTransform, shape: tuple[int, ...], schedule: ShellSchedule) -> GaussianMixture:
    size = math.prod(shape)
    return GaussianMixture(
        projectors(transform, shape), schedule, [1.0], random(1, *shape, seed=5), covariance(size, 6)[None]
    )


def affine(
    target: GaussianMixture, path: Path, steps: list[int], method: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """The flow of a Gaussian target is affine, x₁ = b + M x₀: b and M by walking 0 and the unit vectors."""
    size = math.prod(target.shape)
    start = torch.cat([torch.zeros(1, size), torch.eye(size)]).double().reshape(-1, *target.shape)
    field = target.endpoint if method.startswith("shell") else target.velocity
    end = solve(field, start, path, steps, method=method).x.flatten(1)
    return end[0], (end[1:] - end[0]).T


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES.keys())
@pytest.mark.parametrize("name", TRANSFORMS)
def test_the_exact_field_carries_the_normal_to_a_gaussian_target(name: str, schedule: ShellSchedule) -> None:
    make = TRANSFORMS[name]
    single, shape = make(1)
    target = gaussian(single, shape, schedule)
    path = Path(make(math.prod(shape) + 1)[0], schedule)
    shift, matrix = affine(target, path, [6], "rk4")
    # Mean and covariance of b + M x₀ with x₀ ~ N(0, I), with no sampling error at all.
    assert relative_error(shift, target.mean[0]) < 2e-3
    assert relative_error(matrix @ matrix.T, target.covariance[0]) < 4e-3


@pytest.mark.parametrize("method", ["shell", "shell_midpoint", "euler", "midpoint", "heun", "rk4"])
def test_every_solver_reaches_the_gaussian_target(method: str) -> None:
    transform, shape = TRANSFORMS["fourier 1-D odd"](1)
    path = Path(transform, SCHEDULES["overlap"])
    target = gaussian(transform, shape, path.schedule)
    shift, matrix = affine(target, path, [100], method)
    assert relative_error(shift, target.mean[0]) < 0.01
    assert relative_error(matrix @ matrix.T, target.covariance[0]) < 0.02


def mixture(path: Path, size: int) -> GaussianMixture:
    means = 2.0 * random(3, size, seed=8)
    spreads = torch.stack([0.3 * covariance(size, seed) for seed in (1, 2, 3)])
    return GaussianMixture(
        projectors(path.transform, (size,)), path.schedule, [0.5, 0.3, 0.2], means, spreads
    )


def test_samples_carried_to_a_mixture_have_its_moments() -> None:
    path = coordinate_path([1, 2], overlap=0.3)
    target = mixture(path, 3)
    x = solve(target.velocity, random(4000, 3, seed=1), path, [8], method="rk4").x
    drawn = target.sample(4000, torch.Generator().manual_seed(2))
    # Three standard errors of a difference of two means of 4000.
    error = 3.0 * (x.var(0) / 4000 + drawn.var(0) / 4000).sqrt()
    assert bool(((x.mean(0) - drawn.mean(0)).abs() < error).all())
    assert relative_error(x.T.cov(), drawn.T.cov()) < 0.1


def test_closed_form_is_the_conditional_mean_of_drawn_pairs() -> None:
    # For a single Gaussian, E[· | x] is linear in x: the regression of the drawn values on the drawn points.
    path = coordinate_path([1, 1], overlap=0.5)
    target = gaussian(path.transform, (2,), path.schedule)
    n = 200_000
    x0, x1 = random(n, 2, seed=1), target.sample(n, torch.Generator().manual_seed(3))
    s = torch.full((n,), 0.6, dtype=torch.float64)
    point = path.sample(x0, x1, s)
    design = torch.cat([point.x, torch.ones(n, 1, dtype=torch.float64)], 1)
    for drawn, closed in ((x1, target.endpoint), (point.v, target.velocity), (x0, target.noise)):
        slope = torch.linalg.lstsq(design, drawn).solution
        assert relative_error(design[:50] @ slope, closed(point.x[:50], s[:50])) < 0.02


@pytest.mark.parametrize("s", [0.1, 0.5, 0.9])
def test_endpoint_velocity_and_noise_of_the_closed_form_agree(s: float) -> None:
    path = coordinate_path([1, 2], overlap=1.0)
    target, x = mixture(path, 3), random(20, 3)
    times = torch.full((20,), s, dtype=torch.float64)
    endpoint, velocity, noise = (f(x, times) for f in (target.endpoint, target.velocity, target.noise))
    assert (
        relative_error(path.convert(endpoint, x, times, given="endpoint", wanted="velocity"), velocity)
        < 1e-12
    )
    assert relative_error(path.convert(velocity, x, times, given="velocity", wanted="noise"), noise) < 1e-12
    assert relative_error(path.convert(noise, x, times, given="noise", wanted="endpoint"), endpoint) < 1e-11


def test_density_is_the_normal_at_the_start_and_the_target_at_the_end() -> None:
    path = coordinate_path([1, 1])
    target, x = mixture(path, 2), random(30, 2)
    parts = torch.stack(
        [
            torch.distributions.MultivariateNormal(m, c).log_prob(x) + math.log(w)
            for m, c, w in zip(target.mean, target.covariance, (0.5, 0.3, 0.2), strict=True)
        ]
    )
    assert relative_error(target.log_density(x), parts.logsumexp(0)) < 1e-12
    normal = -0.5 * x.square().sum(1) - math.log(2 * math.pi)
    assert relative_error(target.log_density(x, s=0.0), normal) < 1e-12


def test_times_may_differ_from_sample_to_sample() -> None:
    path = coordinate_path([1, 1])
    target, x = mixture(path, 2), random(6, 2)
    s = torch.tensor([0.2, 0.7, 0.2, 1.0, 0.0, 0.7], dtype=torch.float64)
    whole = target.velocity(x, s)
    singles = torch.cat([target.velocity(x[i : i + 1], s[i : i + 1]) for i in range(6)])
    assert relative_error(whole, singles) < 1e-13


@pytest.mark.parametrize(
    ("weights", "means", "shells", "words"),
    [
        ([1.0], (2, 2), 2, "one of each per component"),
        ([1.0], (1, 3), 2, "one of each"),
        ([1.0], (1, 2), 3, "equal"),
    ],
)
def test_a_mixture_whose_sizes_do_not_fit_is_refused(
    weights: list[float], means: tuple[int, int], shells: int, words: str
) -> None:
    identity = torch.eye(2, dtype=torch.float64)
    matrices = torch.stack([torch.diag(identity[0]), torch.diag(identity[1])])
    with pytest.raises(ScheduleError, match=words):
        GaussianMixture(matrices, ShellSchedule.equal(shells), weights, torch.zeros(means), identity[None])
