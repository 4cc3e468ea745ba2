"""Molecules over atoms, and transforms by name."""

from __future__ import annotations

import pytest
import torch

from kflow_sci.errors import TransformError
from kflow_sci.testing import relative_error
from kflow_sci.transforms.affinity import bond_weights
from kflow_sci.transforms.fourier import FourierTransform
from kflow_sci.transforms.graph import GraphSpectralTransform
from kflow_sci.transforms.nested import NestedTransform
from kflow_sci.transforms.registry import make_transform, register_transform, transform_names
from kflow_sci.transforms.wavelet import WaveletTransform

MOLECULE = torch.tensor([[0, 0, 0, 1, 1, 1, 1, 2, 2, 3]])  # of three, four, two and one atoms
NODES = MOLECULE.shape[1]


def cloud(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def mean_of_molecules(x: torch.Tensor) -> torch.Tensor:
    return torch.stack([x[:, MOLECULE[0] == m].mean(1) for m in range(4)], 1)


@pytest.mark.parametrize("shells", [(1, 1), (2, 2), (4, 3)])
def test_coarse_shells_hold_the_molecules_and_fine_shells_what_happens_inside(
    shells: tuple[int, int],
) -> None:
    transform, x = NestedTransform.from_points(cloud(1, NODES), MOLECULE, shells), cloud(1, NODES, seed=1)
    assert transform.dimension[0, : shells[0]].sum() == 4
    assert transform.dimension[0, shells[0] :].sum() == NODES - 4
    w = torch.zeros(1, sum(shells), dtype=torch.float64)
    w[:, : shells[0]] = 1.0
    wholes = mean_of_molecules(x)[:, MOLECULE[0]]
    assert relative_error(transform.filter(x, w), wholes) < 1e-12
    for j in range(shells[0], sum(shells)):
        assert mean_of_molecules(transform.project(x, j)).abs().max() < 1e-12


def test_translation_is_in_the_coarsest_shell_although_molecules_differ_in_size() -> None:
    transform = NestedTransform.from_points(cloud(1, NODES), MOLECULE, (4, 1))
    shift = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64).expand(1, NODES, 3)
    assert relative_error(transform.project(shift, 0), shift) < 1e-12


def test_filter_follows_relabelling_of_atoms_and_molecules_and_motion() -> None:
    points, x, w = cloud(1, NODES), cloud(1, NODES, seed=1), torch.rand(1, 4).double()
    plain = NestedTransform.from_points(points, MOLECULE, (2, 2)).filter(x, w)
    order = torch.randperm(NODES, generator=torch.Generator().manual_seed(2))
    renamed = torch.tensor([2, 0, 3, 1])[MOLECULE]
    q = torch.linalg.qr(cloud(3, seed=3)).Q
    other = NestedTransform.from_points(points[:, order] @ q.T - 4.0, renamed[:, order], (2, 2))
    assert relative_error(other.filter(x[:, order] @ q.T, w), plain[:, order] @ q.T) < 1e-9


def test_equal_molecules_keep_their_degenerate_modes_together() -> None:
    one = cloud(5)
    points = torch.cat([one, one + 7.0, one - 9.0])[None]
    molecule = torch.arange(3).repeat_interleave(5)[None]
    dimension = NestedTransform.from_points(points, molecule, (1, 3)).dimension[0, 1:]
    assert all(d % 3 == 0 for d in dimension.tolist())


def test_ragged_batch_equals_its_singles() -> None:
    points, x, w = cloud(2, 10), cloud(2, 10, seed=1), torch.rand(2, 4).double()
    group = torch.cat([MOLECULE, torch.tensor([[0, 1, 1, 0, 0, 1, 1, -1, -1, -1]])])
    x = x * (group >= 0)[..., None]
    whole = NestedTransform.from_points(points, group, (2, 2)).filter(x, w)
    for i, n in enumerate((10, 7)):
        one = slice(i, i + 1)
        alone = NestedTransform.from_points(points[one, :n], group[one, :n], (2, 2)).filter(
            x[one, :n], w[one]
        )
        assert relative_error(whole[one, :n], alone) < 1e-10
    assert whole[1, 7:].abs().max() == 0


def test_bonds_decide_what_is_coarse_inside_a_molecule() -> None:
    # A chain of four atoms: the lowest inner mode is the first cosine (Strang, SIAM Rev. 41 (1999) 135).
    bonds = bond_weights(torch.tensor([[0, 1], [1, 2], [2, 3]]), 4).double()[None]
    transform = NestedTransform.from_points(cloud(1, 4), torch.zeros(1, 4).long(), (1, 3), weights=bonds)
    cosine = torch.cos(torch.pi * (torch.arange(4).double() + 0.5) / 4)
    assert float((transform.basis[0, :, 1] @ cosine).abs() / cosine.norm()) == pytest.approx(1.0)
    # Edges to other molecules are ignored, and a molecule in two parts is still one.
    group, joined = torch.tensor([[0, 0, 1, 1]]), torch.ones(1, 4, 4).double()
    assert NestedTransform.from_points(cloud(1, 4), group, (1, 1), weights=joined).dimension.tolist() == [
        [2, 2]
    ]
    salt = NestedTransform.from_points(cloud(1, 4), group, (1, 1), weights=torch.zeros(1, 4, 4).double())
    assert salt.dimension.tolist() == [[2, 2]]


def test_transforms_that_do_not_belong_together_are_refused() -> None:
    coarse = GraphSpectralTransform.from_points(cloud(1, 4), 2)
    fine = GraphSpectralTransform.from_points(cloud(1, NODES), 2)
    with pytest.raises(TransformError, match="coarse and fine modes must be orthonormal together"):
        NestedTransform(coarse, fine, MOLECULE)
    with pytest.raises(TransformError, match="use one group index per node"):
        NestedTransform(coarse, fine, MOLECULE + 1)
    with pytest.raises(TransformError, match="do not fit"):
        NestedTransform.from_points(cloud(1, 4), MOLECULE, (1, 1))
    with pytest.raises(TransformError, match="no node in any group"):
        NestedTransform.from_points(cloud(1, 3), torch.full((1, 3), -1), (1, 1))
    with pytest.raises(TransformError, match="check the points for NaN"):
        NestedTransform.from_points(cloud(1, NODES) * float("nan"), MOLECULE, (1, 1))
    with pytest.raises(TransformError, match=r"weights \(1, 3, 3\) do not fit groups"):
        NestedTransform.from_points(cloud(1, NODES), MOLECULE, (1, 1), weights=torch.ones(1, 3, 3).double())


def test_every_name_of_the_package_makes_a_transform() -> None:
    points = cloud(2, 8)
    options = {
        "fourier": {"shape": (8, 8), "shells": 3},
        "graph": {"points": points, "n_shells": 3},
        "graph-partial": {"points": points, "n_shells": 3, "modes": 4, "neighbours": 4},
        "nested": {"points": points, "group": torch.tensor([[0, 0, 0, 1, 1, 1, 2, 2]] * 2), "shells": (2, 1)},
        "node-pca": {
            "basis": torch.eye(3),
            "values": torch.ones(3),
            "n_shells": 1,
            "order": torch.arange(3)[None],
        },
        "pca": {"basis": torch.eye(3), "values": torch.tensor([3.0, 2.0, 1.0]), "n_shells": 3},
        "wavelet": {"shape": 8, "wavelet": "db2", "levels": 2},
    }
    assert set(transform_names()) >= {*options, "pca-file"}
    for name, given in options.items():
        assert make_transform(name, **given).n_shells == (1 if name == "node-pca" else 3)


def test_ones_own_transform_has_a_name_too() -> None:
    @register_transform("test-own")
    def own(size: int) -> WaveletTransform:
        return WaveletTransform(size, "haar", 1)

    assert make_transform("test-own", size=6).n_shells == 2
    register_transform("test-own")(own)  # as when a notebook cell runs twice
    with pytest.raises(TransformError, match="transform 'test-own' is taken"):
        register_transform("test-own")(FourierTransform)
    with pytest.raises(TransformError, match="transform 'fourier' is taken"):
        register_transform("fourier")(own)


def test_names_and_options_that_are_unknown_are_refused() -> None:
    with pytest.raises(TransformError, match="'wavelt' is unknown: did you mean 'wavelet'"):
        make_transform("wavelt", shape=8)
    with pytest.raises(
        TransformError, match=r"options \['size'\] of transform 'fourier': .* it takes shape, shells, spacing"
    ):
        make_transform("fourier", size=8)
    register_transform("test-no-transform")(lambda: 3)  # type: ignore[arg-type, return-value]
    with pytest.raises(TransformError, match="made a int, not a KTransform"):
        make_transform("test-no-transform")
