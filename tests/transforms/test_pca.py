"""PCA against scikit-learn and numpy, streamed, truncated, saved."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA, IncrementalPCA

from kflow_sci.checkpoint import save_checkpoint
from kflow_sci.errors import CheckpointError, TransformError
from kflow_sci.testing import assert_isometry, assert_shell_projectors, relative_error
from kflow_sci.transforms.moments import IncrementalModes, SecondMoment
from kflow_sci.transforms.node_pca import NodePCATransform
from kflow_sci.transforms.pca import PCATransform


@pytest.fixture(scope="module")
def digits() -> torch.Tensor:
    """1,797 images of 8 × 8 pixels that come with scikit-learn."""
    return torch.from_numpy(load_digits().images / 16.0)


def same_space(a: torch.Tensor, b: np.ndarray) -> float:
    """Largest difference of the projectors on the columns of a and the rows of b."""
    return float((a @ a.T - torch.from_numpy(b.T @ b)).abs().max())


def test_centred_modes_are_those_of_scikit_learn(digits: torch.Tensor) -> None:
    transform = PCATransform.fit(digits.split(100), 4, centred=True, dtype=torch.float64)
    peer = PCA().fit(digits.flatten(1).numpy())
    n = len(digits)
    # Theirs are sums over n − 1, ours means.
    np.testing.assert_allclose(transform.values.numpy(), peer.explained_variance_ * (n - 1) / n, atol=1e-12)
    np.testing.assert_allclose(transform.mean.flatten().numpy(), peer.mean_, atol=1e-12)
    for modes in (1, 5, 20):
        assert same_space(transform.basis[:, :modes], peer.components_[:modes]) < 1e-9


def test_modes_about_zero_are_singular_vectors_of_the_data(digits: torch.Tensor) -> None:
    transform = PCATransform.fit(digits, 2, dtype=torch.float64)
    _, sigma, right = np.linalg.svd(digits.flatten(1).numpy(), full_matrices=False)
    np.testing.assert_allclose(transform.values.numpy(), sigma**2 / len(digits), atol=1e-12)
    assert same_space(transform.basis[:, :7], right[:7]) < 1e-10
    # The first mode about zero is nearly the mean of the data.
    mean = digits.flatten(1).mean(0)
    assert float((transform.basis[:, 0] @ mean).abs() / mean.norm()) > 0.99


@pytest.mark.parametrize("centred", [False, True])
def test_batches_give_what_all_samples_give_at_once(digits: torch.Tensor, centred: bool) -> None:
    whole = PCATransform.fit(digits, 3, centred=centred, dtype=torch.float64)
    parts = PCATransform.fit(iter(digits.split(7)), 3, centred=centred, dtype=torch.float64)
    assert relative_error(parts.values, whole.values) < 1e-12
    assert relative_error(parts.basis[:, :10].abs(), whole.basis[:, :10].abs()) < 1e-9


def test_a_large_mean_costs_no_digits() -> None:
    data = torch.randn(400, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    fit = SecondMoment(5, centred=True)
    for part in (data + 1e7).split(50):
        fit.update(part)
    expected = torch.linalg.eigvalsh(torch.cov(data.T, correction=0)).flip(0)
    assert torch.allclose(fit.modes().values, expected, rtol=1e-6)


@pytest.mark.parametrize("centred", [False, True])
def test_incremental_modes_are_exact_for_data_of_low_rank(centred: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    data = torch.randn(200, 4, generator=generator, dtype=torch.float64) @ torch.randn(
        4, 30, generator=generator, dtype=torch.float64
    )
    exact, thin = SecondMoment(30, centred=centred), IncrementalModes(30, 6, centred=centred)
    for part in data.split(13):
        exact.update(part)
        thin.update(part)
    assert relative_error(thin.modes(4).values, exact.modes(4).values) < 1e-9
    assert same_space(thin.modes(4).basis, exact.modes(4).basis.T.numpy()) < 1e-9
    assert relative_error(thin.modes(4).mean, exact.modes(4).mean) < 1e-12


def test_incremental_modes_are_those_of_scikit_learn(digits: torch.Tensor) -> None:
    flat = digits.flatten(1)
    peer = IncrementalPCA(n_components=10)
    ours = IncrementalModes(64, 10, centred=True)
    for part in flat.split(200):
        ours.update(part)
        if len(part) >= 10:
            peer.partial_fit(part.numpy())
    modes = ours.modes()
    np.testing.assert_allclose(modes.values.numpy(), peer.singular_values_**2 / len(flat), rtol=1e-6)
    assert same_space(modes.basis, peer.components_) < 1e-6


def test_samples_too_long_for_a_moment_are_fitted_batch_by_batch() -> None:
    # 5,000 numbers per sample: the second moment alone would be 200 MB. Two directions carry all the energy.
    size, generator = 5000, torch.Generator().manual_seed(0)
    directions = torch.linalg.qr(torch.randn(size, 2, generator=generator)).Q

    def stream() -> Iterator[torch.Tensor]:
        for _ in range(4):
            yield (torch.randn(16, 2, generator=generator) * torch.tensor([5.0, 2.0])) @ directions.T

    transform = PCATransform.fit(stream(), 3, rank=2)
    assert transform.dimension.tolist() == [1, 1, size - 2]
    assert float((transform.basis.T @ directions).norm()) == pytest.approx(2**0.5, rel=1e-4)
    with pytest.raises(
        TransformError, match=r"samples of 5000 numbers are too large for a full basis .*: give rank"
    ):
        PCATransform.fit(stream(), 3)


def test_a_truncated_basis_stays_invertible_and_its_last_shell_is_the_rest(digits: torch.Tensor) -> None:
    transform = PCATransform.fit(digits, 3, rank=10, dtype=torch.float64)
    full = PCATransform.fit(digits, 3, cut=[5, 10], dtype=torch.float64)
    x = digits[:5, None] - 0.3
    assert_isometry(transform, x, 1e-12)
    assert_shell_projectors(transform, x, 1e-12)
    w = torch.rand(5, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    assert relative_error(transform.filter(x, w), full.filter(x, w)) < 1e-12
    assert transform.dimension.tolist() == full.dimension.tolist() == [5, 5, 54]


def test_the_transform_is_linear_and_never_subtracts_the_mean(digits: torch.Tensor) -> None:
    transform = PCATransform.fit(digits, 3, centred=True, dtype=torch.float64)
    w = torch.tensor([[1.0, 0.5, 0.0]], dtype=torch.float64)
    assert transform.filter(torch.zeros(1, 8, 8, dtype=torch.float64), w).abs().max() == 0
    x = digits[:1]
    assert relative_error(transform.filter(3 * x, w), 3 * transform.filter(x, w)) < 1e-14


def test_energy_of_training_data_in_a_shell_is_the_sum_of_its_mode_energies(digits: torch.Tensor) -> None:
    transform = PCATransform.fit(digits, 3, cut=[1, 10], dtype=torch.float64)
    expected = torch.stack(
        [transform.values[:1].sum(), transform.values[1:10].sum(), transform.values[10:].sum()]
    )
    assert torch.allclose(transform.energy(digits).mean(0), expected)


def test_shells_of_equal_energy(digits: torch.Tensor) -> None:
    transform = PCATransform.fit(digits, 3, centred=True, cut="energy", dtype=torch.float64)
    share = transform.energy(digits - transform.mean).mean(0)
    share = share / share.sum()
    # A shell may run over by the share of the mode that completes it.
    assert float((share - 1 / 3).abs().max()) < float(transform.values[0] / transform.values.sum())


def test_a_saved_basis_comes_back_to_the_last_bit(digits: torch.Tensor, tmp_path: Path) -> None:
    for transform in (
        PCATransform.fit(digits, 3, centred=True),
        PCATransform.fit(digits, 4, rank=9, cut="energy", dtype=torch.float64),
    ):
        transform.save(tmp_path / "modes.safetensors")
        back = PCATransform.load(tmp_path / "modes.safetensors")
        x = digits[:4].to(transform.basis.dtype)
        w = torch.rand(4, transform.n_shells, generator=torch.Generator().manual_seed(2)).to(x)
        assert torch.equal(back.filter(x, w), transform.filter(x, w))
        assert torch.equal(back.mean, transform.mean)
        assert torch.equal(back.shell_of, transform.shell_of)


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "other.safetensors", {"basis": torch.eye(2)}, {"kind": "cluster model"})
    with pytest.raises(
        CheckpointError, match="holds 'cluster model', not a pca transform: give another file"
    ):
        PCATransform.load(tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match="does not exist"):
        PCATransform.load(tmp_path / "missing.safetensors")


def test_node_modes_streamed_equal_node_modes_at_once() -> None:
    data = torch.randn(60, 6, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    basis, values = NodePCATransform.fit(data)
    _, streamed = NodePCATransform.fit(data.split(7))
    assert relative_error(streamed, values) < 1e-13
    with pytest.raises(TransformError, match="samples have 6 and 5 nodes: fit them apart"):
        NodePCATransform.fit([data, data[:, :5]])
    with pytest.raises(TransformError, match="at least one sample"):
        NodePCATransform.fit([])
    with pytest.raises(TransformError, match="name each of the 6 nodes once"):
        NodePCATransform(basis, values, 2, torch.zeros(1, 6, dtype=torch.long))


EYE, FALLING = torch.eye(4), torch.tensor([4.0, 3.0, 2.0, 1.0])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: PCATransform(2.0 * EYE, FALLING, 2), r"max\|B Bᵀ − I\| = 3.0e\+00 \(limit 1e-5\): refit"),
        (lambda: PCATransform(EYE, FALLING[:3], 2), "do not fit"),
        (lambda: PCATransform(EYE, FALLING, 2, shape=(3, 2)), "do not fit"),
        (lambda: PCATransform(EYE, FALLING.flip(0), 2), "must be finite and fall: sort the modes"),
        (lambda: PCATransform(EYE, FALLING * float("nan"), 2), "must be finite and fall"),
        (lambda: PCATransform(EYE, FALLING, 5), r"shells \[4\] of 5 hold no|indices run"),
        (lambda: PCATransform(EYE[:, :2], FALLING[:2], 1), "a truncated basis needs at least 2 shells"),
        (
            lambda: PCATransform(EYE, FALLING, 2, cut="norm"),
            "shell rule 'norm' is unknown: choose count, energy",
        ),
        (
            lambda: PCATransform(EYE, FALLING, 3, cut=[2, 1]),
            r"begin at modes \[2, 1\], expected 2 rising numbers in 1 … 3",
        ),
        (lambda: PCATransform(EYE, FALLING, 3, cut=[2]), "expected 2 rising numbers"),
        (lambda: PCATransform(EYE, FALLING, 2, cut=[4]), "expected 1 rising numbers in 1 … 3"),
        (
            lambda: PCATransform.fit(torch.full((3, 4), float("nan")), 2),
            "finite samples: check the data for NaN",
        ),
        (lambda: PCATransform.fit([], 2), "none was given"),
        (lambda: PCATransform.fit(torch.ones(0, 4), 2), "at least one sample"),
        (
            lambda: PCATransform.fit([torch.ones(2, 4), torch.ones(2, 5)], 2),
            r"shape \(2, 5\), expected \(batch, 4\)",
        ),
        (lambda: PCATransform.fit(torch.randn(9, 4), 2, rank=5), "rank is 5, but must lie in 1 … 4"),
        (lambda: IncrementalModes(4, 5), "rank is 5, but must lie in 1 … 4"),
        (
            lambda: PCATransform(EYE, FALLING, 2).forward(torch.ones(1, 4).double()),
            "data are torch.float64, the basis",
        ),
    ],
)
def test_bad_input_is_refused(make: object, words: str) -> None:
    with pytest.raises(TransformError, match=words):
        make()  # type: ignore[operator]
