"""Graph-spectral and PCA transforms on the nodes of point clouds."""

from __future__ import annotations

import math

import pytest
import torch

from kflow_sci.errors import TransformError
from kflow_sci.testing import assert_isometry, assert_shell_projectors, relative_error
from kflow_sci.transforms.base import NodeTransform
from kflow_sci.transforms.graph import GraphSpectralTransform
from kflow_sci.transforms.node_pca import NodePCATransform, node_second_moment
from kflow_sci.transforms.shells import shells_by_count

CUBE = torch.tensor([[x, y, z] for x in (-1.0, 1) for y in (-1.0, 1) for z in (-1.0, 1)], dtype=torch.float64)
OCTAHEDRON = torch.cat([torch.eye(3, dtype=torch.float64), -torch.eye(3, dtype=torch.float64)])
RING = torch.tensor(
    [[1.39 * math.cos(a * math.pi / 3), 1.39 * math.sin(a * math.pi / 3), 0.0] for a in range(6)],
    dtype=torch.float64,
)


def cloud(batch: int = 3, nodes: int = 11) -> torch.Tensor:
    return torch.randn(batch, nodes, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def rotation() -> torch.Tensor:
    return torch.linalg.qr(
        torch.randn(3, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    ).Q


@pytest.mark.parametrize("points", [cloud(), CUBE[None], OCTAHEDRON[None], RING[None]])
@pytest.mark.parametrize("n_shells", [1, 2, 3, 5])
def test_graph_transform_is_an_isometry_with_complete_orthogonal_shells(
    points: torch.Tensor, n_shells: int
) -> None:
    transform = GraphSpectralTransform.from_points(points, n_shells)
    x = torch.randn(points.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    assert_isometry(transform, x)
    assert_shell_projectors(transform, x)


def test_path_graph_eigenvalues_by_textbook() -> None:
    # Path of 4 nodes with unit weights: λ_k = 2 − 2 cos(π k / 4) (e.g. Strang, SIAM Rev. 41 (1999) 135).
    weights = torch.diag(torch.ones(3, dtype=torch.float64), 1)
    transform = GraphSpectralTransform((weights + weights.T)[None], 2)
    expected = 2 - 2 * torch.cos(torch.arange(4, dtype=torch.float64) * math.pi / 4)
    assert torch.allclose(transform.values[0], expected, atol=1e-12)
    assert transform.shell_of.tolist() == [[0, 0, 1, 1]]


def test_lowest_mode_moves_the_cloud_as_a_whole() -> None:
    transform = GraphSpectralTransform.from_points(cloud(), 3)
    shift = torch.ones(3, 11, 3, dtype=torch.float64)
    assert relative_error(transform.project(shift, 0), shift) < 1e-12


@pytest.mark.parametrize(
    ("points", "multiplicities"), [(CUBE, [1, 3, 3, 1]), (OCTAHEDRON, [1, 3, 2]), (RING, [1, 2, 2, 1])]
)
def test_degenerate_spaces_of_symmetric_bodies_are_never_split(
    points: torch.Tensor, multiplicities: list[int]
) -> None:
    # Multiplicities are those of the permutation representation of O_h and D_6h on the vertices.
    for n_shells in range(1, len(points) + 1):
        shells = GraphSpectralTransform.from_points(points[None], n_shells).shell_of[0].tolist()
        first = 0
        for size in multiplicities:
            assert len(set(shells[first : first + size])) == 1, (n_shells, shells)
            first += size


@pytest.mark.parametrize("points", [cloud(1, 9)[0], CUBE, OCTAHEDRON, RING])
def test_filter_commutes_with_relabelling_and_motion_even_with_degenerate_spectra(
    points: torch.Tensor,
) -> None:
    n = len(points)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(4))
    x = torch.randn(1, n, 3, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    w = torch.tensor([[0.9, 0.4, 0.1]], dtype=torch.float64)
    plain = GraphSpectralTransform.from_points(points[None], 3).filter(x, w)
    renumbered = GraphSpectralTransform.from_points(points[order][None], 3).filter(x[:, order], w)
    assert relative_error(renumbered, plain[:, order]) < 1e-9
    q = rotation()
    moved = GraphSpectralTransform.from_points((points @ q.T + 5.0)[None], 3).filter(x @ q.T, w)
    assert relative_error(moved, plain @ q.T) < 1e-9


def test_ragged_batch_equals_its_singles_and_leaves_padding_zero() -> None:
    points, sizes = cloud(4, 8), [8, 3, 5, 2]
    mask = torch.arange(8)[None] < torch.tensor(sizes)[:, None]
    x = cloud(4, 8).flip(0)
    w = torch.rand(4, 3, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    whole = GraphSpectralTransform.from_points(points, 3, mask).filter(x * mask[..., None], w)
    for i, n in enumerate(sizes):
        single = GraphSpectralTransform.from_points(points[i : i + 1, :n], 3).filter(
            x[i : i + 1, :n], w[i : i + 1]
        )
        assert relative_error(whole[i, :n], single[0]) < 1e-12
        assert whole[i, n:].abs().sum() == 0


def test_padding_never_reaches_real_nodes() -> None:
    points = cloud(1, 6)
    mask = torch.tensor([[True] * 4 + [False] * 2])
    transform = GraphSpectralTransform.from_points(points, 2, mask)
    far = points.clone()
    far[:, 4:] = 1e6
    other = GraphSpectralTransform.from_points(far, 2, mask)
    x = cloud(1, 6) * mask[..., None]
    assert (
        relative_error(
            other.filter(x, torch.tensor([[1.0, 0.0]]).double()),
            transform.filter(x, torch.tensor([[1.0, 0.0]]).double()),
        )
        < 1e-12
    )


def test_shells_by_count_by_hand() -> None:
    values = torch.tensor([[0.0, 1.0, 2.0, 2.0, 2.0, 5.0], [0.0, 1.0, 2.0, 0.0, 0.0, 0.0]])
    # Row one: 6 modes in 3 shells would be 0 0 1 1 2 2; the space {2, 2, 2} stays with its first mode.
    # Row two: 3 real modes.
    assert shells_by_count(values, torch.tensor([6, 3]), 3).tolist() == [
        [0, 0, 1, 1, 1, 2],
        [0, 1, 2, 0, 0, 0],
    ]


def test_energy_of_a_single_mode_is_in_its_shell() -> None:
    transform = GraphSpectralTransform.from_points(cloud(1, 6), 3)
    x = transform.basis[:, :, 4:5].expand(-1, -1, 3).contiguous()
    assert torch.allclose(
        transform.energy(x), torch.tensor([[0.0, 0.0, 3.0]], dtype=torch.float64), atol=1e-12
    )


def test_second_moment_is_invariant_under_rotation_of_every_sample() -> None:
    x = cloud(5, 6)
    turned = torch.stack([s @ torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64)).Q for s in x])
    assert relative_error(node_second_moment(turned), node_second_moment(x)) < 1e-12


def test_pca_finds_the_modes_of_a_known_covariance() -> None:
    generator = torch.Generator().manual_seed(7)
    modes = torch.linalg.qr(torch.randn(5, 5, generator=generator, dtype=torch.float64)).Q
    scale = torch.tensor([5.0, 3.0, 2.0, 1.0, 0.1], dtype=torch.float64)
    samples = modes @ (scale[:, None] * torch.randn(20_000, 5, 3, generator=generator, dtype=torch.float64))
    basis, values = NodePCATransform.fit(samples)
    assert torch.allclose(values.sqrt(), scale, rtol=0.03)
    assert torch.allclose((basis.T @ modes).abs().diagonal(), torch.ones(5, dtype=torch.float64), atol=2e-3)


def test_pca_is_an_isometry_and_follows_the_order_of_each_sample() -> None:
    basis, values = NodePCATransform.fit(cloud(50, 6))
    order = torch.stack([torch.randperm(6, generator=torch.Generator().manual_seed(i)) for i in range(3)])
    transform = NodePCATransform(basis, values, 3, order)
    x = cloud(3, 6)
    assert_isometry(transform, x)
    assert_shell_projectors(transform, x)
    straight = NodePCATransform(basis, values, 3, torch.arange(6).expand(3, -1))
    w = torch.tensor([[1.0, 0.5, 0.0]] * 3, dtype=torch.float64)
    rows = torch.arange(3)[:, None]
    assert relative_error(transform.filter(x, w)[rows, order], straight.filter(x[rows, order], w)) < 1e-12


def test_a_small_cloud_may_leave_shells_empty() -> None:
    transform = GraphSpectralTransform.from_points(cloud(1, 2), 3)
    x = cloud(1, 2)
    assert_shell_projectors(transform, x)


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        (torch.full((1, 2, 2), float("nan")), "finite"),
        (-torch.ones(1, 2, 2), ">= 0"),
        (torch.tensor([[[0.0, 1.0], [0.5, 0.0]]]), "asymmetric"),
        (torch.ones(1, 2, 3), "expected"),
    ],
)
def test_bad_weights_are_refused(weights: torch.Tensor, words: str) -> None:
    with pytest.raises(TransformError, match=words):
        GraphSpectralTransform(weights, 2)


def test_wrong_number_of_filter_weights_is_refused() -> None:
    transform = GraphSpectralTransform.from_points(cloud(), 3)
    with pytest.raises(TransformError, match="one weight per sample and shell"):
        transform.filter(cloud(), torch.ones(3, 2, dtype=torch.float64))
    with pytest.raises(TransformError, match="choose 0 … 2"):
        transform.project(cloud(), 3)


def test_a_basis_that_is_not_orthonormal_is_refused() -> None:
    with pytest.raises(TransformError, match=r"B Bᵀ"):
        NodePCATransform(2.0 * torch.eye(4), torch.ones(4), 2, torch.arange(4)[None])
    with pytest.raises(TransformError, match="do not fit"):
        NodeTransform(torch.eye(4)[None], torch.zeros(1, 3, dtype=torch.long), 1, torch.zeros(1, 3))
