"""Graphs, their weights and their shells: textbook spectra, ties, degenerate spaces, large clouds."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
import torch
from scipy.sparse import block_diag, csr_matrix

from kflow_sci.errors import TransformError
from kflow_sci.testing import relative_error
from kflow_sci.transforms.affinity import bond_weights, gaussian_weights, knn_weights
from kflow_sci.transforms.graph import GraphSpectralTransform
from kflow_sci.transforms.low_modes import low_modes, sparse_neighbours
from kflow_sci.transforms.partial import PartialGraphTransform, TruncatedNodeTransform
from kflow_sci.transforms.shells import cut_shells, shells_by_edges, shells_by_energy, shells_by_gap

CUBE = torch.tensor([[x, y, z] for x in (-1.0, 1) for y in (-1.0, 1) for z in (-1.0, 1)]).double()
OCTAHEDRON = torch.cat([torch.eye(3), -torch.eye(3)]).double()
BENZENE = (
    torch.tensor(
        [
            [r * math.cos(a * math.pi / 3), r * math.sin(a * math.pi / 3), 0.0]
            for r in (1.397, 2.481)
            for a in range(6)
        ]
    ).double()
)  # symmetric to single precision only; C and H, e.g. Cabana, Bachand & Giguère, Can. J. Phys. 52 (1974) 1949
BONDS = torch.tensor([[a, (a + 1) % 6] for a in range(6)] + [[a, a + 6] for a in range(6)])
AFFINITIES = {
    "gaussian": gaussian_weights,
    "knn": partial(knn_weights, neighbours=3),
    "knn1": partial(knn_weights, neighbours=1),
}


def cloud(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def motion(seed: int = 2) -> torch.Tensor:
    return torch.linalg.qr(cloud(3, seed=seed)).Q


def test_complete_bipartite_graph_by_textbook() -> None:
    # K_{3,3}: combinatorial spectrum 0, 3 four times, 6; normalised 0, 1 four times, 2 (Chung, Spectral Graph Theory,
    # AMS 1997, example 1.2).
    weights = torch.zeros(1, 6, 6, dtype=torch.float64)
    weights[:, :3, 3:] = weights[:, 3:, :3] = 1.0
    plain = GraphSpectralTransform(weights, 3)
    normalised = GraphSpectralTransform(weights, 3, mass="degree")
    assert plain.values[0].tolist() == pytest.approx([0, 3, 3, 3, 3, 6], abs=1e-12)
    assert normalised.values[0].tolist() == pytest.approx([0, 1, 1, 1, 1, 2], abs=1e-12)
    assert plain.shell_of[0].tolist() == [0, 0, 0, 0, 0, 2]


def test_benzene_by_hueckel() -> None:
    # The ring of carbons alone: L = 2 − A, and the eigenvalues of A are 2 cos(2πk/6) (Hückel, Z. Phys. 70 (1931) 204).
    ring = GraphSpectralTransform(bond_weights(BONDS[:6], 6).double()[None], 4, cut="gap")
    expected = sorted(2 - 2 * math.cos(2 * math.pi * k / 6) for k in range(6))
    assert ring.values[0].tolist() == pytest.approx(expected, abs=1e-12)
    assert ring.shell_of[0].tolist() == [0, 1, 1, 2, 2, 3]


def test_masses_put_their_square_root_into_the_lowest_mode() -> None:
    mass = torch.tensor([[1.0, 4.0, 9.0]], dtype=torch.float64)
    transform = GraphSpectralTransform(torch.ones(1, 3, 3, dtype=torch.float64), 2, mass=mass)
    root = mass[0].sqrt() / mass.sum().sqrt()
    assert relative_error(transform.basis[0, :, 0].abs(), root) < 1e-12
    assert float(transform.values[0, 0]) == pytest.approx(0, abs=1e-12)


def test_masses_of_a_ragged_batch_equal_those_of_its_singles() -> None:
    points, mass, mask = (
        cloud(2, 6),
        torch.rand(2, 6).double() + 0.1,
        torch.tensor([[True] * 6, [True] * 4 + [False] * 2]),
    )
    w = torch.tensor([[1.0, 0.2, 0.0]] * 2).double()
    x = cloud(2, 6, seed=1) * mask[..., None]
    whole = GraphSpectralTransform.from_points(points, 3, mask, mass=mass).filter(x, w)
    alone = GraphSpectralTransform.from_points(points[1:, :4], 3, mass=mass[1:, :4]).filter(x[1:, :4], w[1:])
    assert relative_error(whole[1, :4], alone[0]) < 1e-12


@pytest.mark.parametrize("affinity", AFFINITIES)
@pytest.mark.parametrize("cut", ["count", "gap", (0.5, 1.5)])
@pytest.mark.parametrize("mass", [None, "degree"])
@pytest.mark.parametrize(
    "points", [CUBE, OCTAHEDRON, BENZENE, cloud(9)], ids=["cube", "octahedron", "benzene", "chance"]
)
def test_filters_follow_relabelling_and_motion_with_every_rule(
    points: torch.Tensor, affinity: str, cut: str | tuple[float, float], mass: str | None
) -> None:
    def transform(at: torch.Tensor) -> GraphSpectralTransform:
        return GraphSpectralTransform.from_points(
            at[None], 3, affinity=AFFINITIES[affinity], cut=cut, mass=mass
        )

    x, w = cloud(1, len(points), seed=5), torch.tensor([[0.9, 0.4, 0.1]]).double()
    plain = transform(points).filter(x, w)
    for seed in range(3):
        order = torch.randperm(len(points), generator=torch.Generator().manual_seed(seed))
        assert relative_error(transform(points[order]).filter(x[:, order], w), plain[:, order]) < 1e-9
    q = motion()
    assert relative_error(transform(points @ q.T + 3.0).filter(x @ q.T, w), plain @ q.T) < 1e-9


def test_neighbours_at_equal_distance_are_all_taken() -> None:
    # Every corner of a cube has three nearest neighbours, so one neighbour means three.
    assert knn_weights(CUBE[None], neighbours=1).sum(-1).tolist() == [[3.0] * 8]
    assert sparse_neighbours(CUBE.numpy(), 1).sum(1).ravel().tolist() == [[3.0] * 8]


def test_sparse_and_dense_neighbours_are_the_same() -> None:
    points = cloud(40)
    for k in (1, 5, 39, 60):
        dense = knn_weights(points[None], neighbours=k)[0].numpy()
        assert np.array_equal(sparse_neighbours(points.numpy(), k).toarray(), dense)


def test_few_or_single_nodes_make_a_graph() -> None:
    assert knn_weights(cloud(1, 1)).tolist() == [[[0.0]]]
    assert sparse_neighbours(cloud(1).numpy(), 3).toarray().tolist() == [[0.0]]
    assert GraphSpectralTransform.from_points(
        cloud(1, 1), 2, affinity=AFFINITIES["knn"]
    ).dimension.tolist() == [[1, 0]]


def test_bond_orders_are_weights() -> None:
    weights = bond_weights(torch.tensor([[0, 1], [1, 0], [1, 2]]), 3, torch.tensor([2.0, 2.0, 1.0]))
    assert weights.tolist() == [[0, 2, 0], [2, 0, 1], [0, 1, 0]]


def test_shells_by_edges_by_hand() -> None:
    values = torch.tensor([[0.0, 0.99, 1.0, 1.0, 3.0], [0.0, 2.0, 5.0, 0.0, 0.0]])
    assert shells_by_edges(values, torch.tensor([5, 3]), [1.0, 2.5]).tolist() == [
        [0, 0, 1, 1, 2],
        [0, 1, 2, 0, 0],
    ]
    # A space that rounding has spread over the edge goes by its first value, and an edge met by rounding is met.
    spread = torch.tensor([[0.0, 1.0 - 1e-12, 1.0 + 1e-12]], dtype=torch.float64)
    assert shells_by_edges(spread, torch.tensor([3]), [1.0]).tolist() == [[0, 1, 1]]


def test_shells_by_gap_by_hand() -> None:
    values = torch.tensor([[0.0, 1.0, 1.0, 4.0, 6.0, 6.5]])
    assert shells_by_gap(values, torch.tensor([6]), 3).tolist() == [[0, 0, 0, 1, 2, 2]]
    # Fewer gaps than asked for leave shells empty; equal gaps are cut from below.
    assert shells_by_gap(values[:, :2], torch.tensor([2]), 4).tolist() == [[0, 1]]
    assert shells_by_gap(torch.tensor([[0.0, 1.0, 2.0]]), torch.tensor([3]), 2).tolist() == [[0, 1, 1]]


def test_shells_by_energy_by_hand() -> None:
    assert shells_by_energy(torch.tensor([1.0, 1.0, 1.0, 1.0]), 4).tolist() == [0, 1, 2, 3]
    assert shells_by_energy(torch.tensor([1.0, 1.0, 1.0, 1.0]), 2).tolist() == [0, 0, 1, 1]
    assert shells_by_energy(torch.tensor([0.0, 0.0, 0.0, 1.0]), 3).tolist() == [0, 0, 1, 2]


def test_large_clouds_need_low_modes_only() -> None:
    points = torch.rand(1, 900, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 10
    few = PartialGraphTransform.from_points(points, 3, 24)
    values, basis = torch.linalg.eigh(dense_laplacian(sparse_neighbours(points[0].numpy(), 12)))
    assert few.dimension.tolist() == [[12, 12, 876]]
    assert relative_error(few.values[0], values[:24]) < 1e-10
    assert relative_error(few.basis[0] @ few.basis[0].T, basis[:, :24] @ basis[:, :24].T) < 1e-9


def dense_laplacian(graph: csr_matrix) -> torch.Tensor:
    weights = torch.from_numpy(graph.toarray())
    return torch.diag(weights.sum(1)) - weights


def test_low_modes_of_a_simple_cubic_lattice_are_whole_degenerate_spaces() -> None:
    # 8³ sites with free ends: λ = Σ (2 − 2 cos(π k / 8)), so (1,0,0) and its permutations are three-fold.
    axis = torch.arange(8.0)
    points = torch.cartesian_prod(axis, axis, axis)[None]
    transform = PartialGraphTransform.from_points(points, 3, 30, neighbours=3)
    level = 2 - 2 * np.cos(np.pi * np.arange(8) / 8)
    expected = np.sort((level[:, None, None] + level[:, None] + level).ravel())
    found = transform.values.shape[1]
    assert transform.values[0].tolist() == pytest.approx(expected[:found], abs=1e-5)
    assert expected[found] - expected[found - 1] > 1e-3


def test_no_member_of_a_large_degenerate_space_is_missed() -> None:
    # Forty rings on one hub: spaces of 39 dimensions, which iterations from one vector can hardly see.
    size = 601
    weights = np.zeros((size, size))
    for arm in range(40):
        ring = 1 + 15 * arm + np.arange(15)
        weights[ring, np.roll(ring, 1)] = weights[np.roll(ring, 1), ring] = 1.0
        weights[0, ring[0]] = weights[ring[0], 0] = 0.1
    values, _ = low_modes(weights, 60)
    exact = np.linalg.eigvalsh(np.diag(weights.sum(1)) - weights)
    assert len(values) == 41
    np.testing.assert_allclose(values, exact[:41], atol=1e-10)


def test_many_equal_molecules_without_bonds_between_them() -> None:
    benzene = bond_weights(BONDS, 12).numpy()
    crystal = block_diag([csr_matrix(benzene)] * 50)
    values, basis = low_modes(crystal, 60)
    # The lowest space holds one constant vector per molecule; the next one two per molecule, which is too many.
    assert values.tolist() == pytest.approx([0.0] * 50, abs=1e-12)
    expected = np.kron(np.eye(50), np.full((12, 12), 1 / 12))
    np.testing.assert_allclose(basis @ basis.T, expected, atol=1e-12)


def test_partial_graphs_follow_relabelling_and_motion() -> None:
    points, x = cloud(60), cloud(1, 60, seed=1)
    w = torch.tensor([[1.0, 0.5, 0.1]]).double()
    order, q = torch.randperm(60, generator=torch.Generator().manual_seed(3)), motion()
    plain = PartialGraphTransform.from_points(points[None], 3, 15).filter(x, w)
    moved = PartialGraphTransform.from_points((points[order] @ q.T)[None], 3, 15).filter(x[:, order] @ q.T, w)
    assert relative_error(moved, plain[:, order] @ q.T) < 1e-9


def test_ragged_partial_graphs_equal_their_singles() -> None:
    points, sizes = cloud(3, 30), [30, 12, 20]
    mask = torch.arange(30)[None] < torch.tensor(sizes)[:, None]
    x, w = cloud(3, 30, seed=1) * mask[..., None], torch.tensor([[1.0, 0.5, 0.1]] * 3).double()
    transform = PartialGraphTransform.from_points(points, 3, 10, mask)
    whole = transform.filter(x, w)
    assert transform.dimension.sum(1).tolist() == sizes
    for i, n in enumerate(sizes):
        alone = PartialGraphTransform.from_points(points[i : i + 1, :n], 3, 10).filter(
            x[i : i + 1, :n], w[i : i + 1]
        )
        assert relative_error(whole[i, :n], alone[0]) < 1e-10
        assert whole[i, n:].abs().sum() == 0


WEIGHTS = torch.ones(1, 4, 4)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: GraphSpectralTransform(WEIGHTS, 0), "n_shells is 0, but at least 1"),
        (
            lambda: GraphSpectralTransform(WEIGHTS, 2, cut="size"),
            "shell rule 'size' is unknown: choose count, gap",
        ),
        (lambda: GraphSpectralTransform(WEIGHTS, 2, cut=[1.0, 2.0]), "2 inner edges make 3 shells, not 2"),
        (lambda: GraphSpectralTransform(WEIGHTS, 3, cut=[2.0, 1.0]), "must be finite and rise strictly"),
        (
            lambda: GraphSpectralTransform(WEIGHTS, 2, mass="weight"),
            "mass 'weight' is unknown: give 'degree'",
        ),
        (lambda: GraphSpectralTransform(WEIGHTS, 2, mass=torch.zeros(1, 4)), "finite and positive"),
        (
            lambda: GraphSpectralTransform(WEIGHTS, 2, mass=torch.ones(1, 3)),
            r"shape \(1, 3\), expected \(1, 4\)",
        ),
        (lambda: GraphSpectralTransform.from_points(cloud(2, 4) * math.nan, 2), "check the points for NaN"),
        (lambda: gaussian_weights(cloud(2, 4), torch.ones(2, 3) > 0), "do not fit"),
        (lambda: gaussian_weights(cloud(2, 4), sigma=0.0), "sigma is 0.0, but a width must be positive"),
        (lambda: knn_weights(cloud(2, 4), neighbours=0), "0 neighbours asked for"),
        (lambda: knn_weights(cloud(2, 4) * math.nan), "points must be finite"),
        (lambda: bond_weights(torch.tensor([[0, 4]]), 4), "bonds name nodes 0 … 4, but there are 4"),
        (lambda: bond_weights(torch.tensor([[1, 1]]), 4), "joins a node to itself"),
        (lambda: bond_weights(torch.tensor([0, 1]), 4), r"expected \(bonds, 2\)"),
        (
            lambda: PartialGraphTransform([np.ones((4, 4))], 1, 2),
            "1 shells asked for, but low modes and the rest",
        ),
        (lambda: PartialGraphTransform([], 2, 2), "no graphs given"),
        (lambda: PartialGraphTransform([np.ones((4, 4))], 2, 0), "0 modes asked for"),
        (
            lambda: PartialGraphTransform([np.zeros((4, 4))], 2, 2),
            "more than 2 of 4 dimensions: ask for more modes",
        ),
        (
            lambda: PartialGraphTransform([np.ones((4, 3))], 2, 2),
            r"shape \(4, 3\), expected \(nodes, nodes\)",
        ),
        (lambda: PartialGraphTransform([-np.ones((4, 4))], 2, 2), "finite and >= 0"),
        (lambda: PartialGraphTransform([np.triu(np.ones((4, 4)))], 2, 2), "asymmetric"),
        (lambda: PartialGraphTransform.from_points(cloud(1, 4) * math.nan, 2, 2), "points must be finite"),
        (
            lambda: PartialGraphTransform.from_points(cloud(1, 2), 2, 1, torch.tensor([[False, True]])),
            "padding stands before real nodes",
        ),
        (
            lambda: TruncatedNodeTransform(
                torch.ones(1, 4, 1), torch.zeros(1, 1).long(), 2, torch.zeros(1, 1)
            ),
            r"max\|BᵀB − I\| = 3.0e\+00",
        ),
        (
            lambda: TruncatedNodeTransform(
                torch.eye(4)[None, :, :1], torch.ones(1, 1).long(), 2, torch.zeros(1, 1)
            ),
            "must lie in 0 … 0",
        ),
        (lambda: cut_shells(torch.zeros(1, 3), torch.tensor([3]), 2, "energy"), "'energy' is unknown"),
    ],
)
def test_bad_input_is_refused(make: object, words: str) -> None:
    with pytest.raises(TransformError, match=words):
        make()  # type: ignore[operator]
