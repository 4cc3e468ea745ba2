"""Every transform keeps every promise of the contract, on shapes, shells, batches and precisions chosen by chance."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kflow_sci.errors import TransformError
from kflow_sci.testing import (
    assert_adjoint,
    assert_batch_equals_singles,
    assert_dimension,
    assert_filter,
    assert_isometry,
    assert_shell_projectors,
    assert_transform,
    relative_error,
)
from kflow_sci.transforms import base
from kflow_sci.transforms.base import KTransform
from kflow_sci.transforms.fourier import FourierTransform
from kflow_sci.transforms.graph import GraphSpectralTransform
from kflow_sci.transforms.grid import GridTransform
from kflow_sci.transforms.nested import NestedTransform
from kflow_sci.transforms.node_pca import NodePCATransform
from kflow_sci.transforms.partial import PartialGraphTransform
from kflow_sci.transforms.pca import PCATransform
from kflow_sci.transforms.wavelet import WaveletTransform

by_chance = settings(max_examples=25, deadline=None, derandomize=True, database=None)
seeds = st.integers(0, 2**31)
batches = st.integers(1, 3)
channels = st.lists(st.integers(1, 3), max_size=2)
precisions = st.sampled_from([torch.float64, torch.float32])


def normal(shape: tuple[int, ...], seed: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def check(transform: KTransform, x: torch.Tensor) -> None:
    limit = 1e-10 if x.dtype == torch.float64 else 1e-4
    assert transform.filter(x, x.new_ones(len(x), transform.n_shells)).dtype == x.dtype
    assert_isometry(transform, x, limit)
    assert_adjoint(transform, x, limit)
    assert_shell_projectors(transform, x, limit)
    assert_filter(transform, x, limit)
    assert_dimension(transform, x, 1e3 * limit)


@by_chance
@given(st.lists(st.integers(1, 6), min_size=1, max_size=3), channels, batches, seeds, precisions, st.data())
def test_fourier(
    shape: list[int], inner: list[int], batch: int, seed: int, dtype: torch.dtype, data: st.DataObject
) -> None:
    units = FourierTransform(shape)
    radii = units.radius.unique().tolist()
    cuts = sorted(data.draw(st.sets(st.integers(1, len(radii) - 1), max_size=3))) if len(radii) > 1 else []
    for transform in (units, FourierTransform(shape, [radii[i] for i in cuts]), FourierTransform(shape, 1)):
        check(transform, normal((batch, *inner, *shape), seed, dtype))


@by_chance
@given(
    st.lists(st.integers(1, 3), min_size=1, max_size=2),
    st.integers(1, 2),
    st.sampled_from(["haar", "db2", "db6", "sym4", "coif1"]),
    channels,
    batches,
    seeds,
    precisions,
)
def test_wavelet(
    halves: list[int], levels: int, name: str, inner: list[int], batch: int, seed: int, dtype: torch.dtype
) -> None:
    shape = tuple(n * 2**levels for n in halves)
    check(WaveletTransform(shape, name, levels), normal((batch, *inner, *shape), seed, dtype))


@by_chance
@given(st.integers(2, 8), st.integers(1, 8), st.integers(2, 4), channels, batches, seeds, precisions)
def test_pca(
    size: int, rank: int, n_shells: int, inner: list[int], batch: int, seed: int, dtype: torch.dtype
) -> None:
    training = normal((40, size), seed) * torch.linspace(2.0, 0.5, size)
    rank = min(rank, size)
    n_shells = min(n_shells, rank + (rank < size))  # every shell needs a mode
    transform = PCATransform.fit(training, n_shells, rank=rank, dtype=dtype)
    check(transform, normal((batch, *inner, size), seed + 1, dtype))


@by_chance
@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=3),
    st.integers(1, 4),
    seeds,
    precisions,
    st.sampled_from(["count", "gap"]),
)
def test_graph_of_ragged_clouds(
    sizes: list[int], n_shells: int, seed: int, dtype: torch.dtype, cut: str
) -> None:
    mask = torch.arange(max(sizes))[None] < torch.tensor(sizes)[:, None]
    points = normal((len(sizes), max(sizes), 3), seed, dtype)
    transform = GraphSpectralTransform.from_points(points, n_shells, mask, cut=cut)
    x = normal((len(sizes), max(sizes), 2), seed + 1, dtype) * mask[..., None]
    check(transform, x)
    w = torch.rand(
        len(sizes), n_shells, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    ).to(dtype)
    whole = transform.filter(x, w)
    for i, n in enumerate(sizes):
        alone = GraphSpectralTransform.from_points(points[i : i + 1, :n], n_shells, cut=cut)
        assert relative_error(whole[i, :n], alone.filter(x[i : i + 1, :n], w[i : i + 1])[0]) < (
            1e-9 if dtype == torch.float64 else 1e-3
        )
        assert whole[i, n:].abs().sum() == 0


@by_chance
@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.integers(1, 3), st.integers(1, 2), seeds)
def test_nested(sizes: list[int], coarse: int, fine: int, seed: int) -> None:
    group = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    group = group[torch.randperm(len(group), generator=torch.Generator().manual_seed(seed))][None]
    points = normal((1, group.shape[1], 3), seed)
    check(
        NestedTransform.from_points(points, group, (coarse, fine)), normal((1, group.shape[1], 3), seed + 1)
    )


@by_chance
@given(st.integers(3, 12), st.integers(2, 4), st.integers(1, 12), seeds, precisions)
def test_partial_graph(nodes: int, n_shells: int, modes: int, seed: int, dtype: torch.dtype) -> None:
    points = normal((2, nodes, 3), seed, dtype)
    transform = PartialGraphTransform.from_points(points, n_shells, modes, neighbours=nodes // 2 + 1)
    check(transform, normal((2, nodes, 3), seed + 1, dtype))


def public(node: ast.AST, trail: str = "") -> Iterator[tuple[str, str]]:
    """Names and docstrings of what is public."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef | ast.FunctionDef) and not child.name.startswith("_"):
            yield f"{trail}{child.name}", ast.get_docstring(child) or ""
            if isinstance(child, ast.ClassDef):
                yield from public(child, f"{trail}{child.name}.")


def test_every_public_docstring_shows_a_use_that_runs() -> None:
    folder = Path(base.__file__).parent
    missing = [
        f"{path.name}: {name}"
        for path in sorted(folder.glob("*.py"))
        for name, text in public(ast.parse(path.read_text(encoding="utf-8")))
        if text and ">>>" not in text
    ]
    assert not missing, missing


EXAMPLES = {
    "fourier": lambda: (FourierTransform((4, 3), 3), (2, 2, 4, 3)),
    "wavelet": lambda: (WaveletTransform((4, 4), "db2", 2), (2, 1, 4, 4)),
    "pca": lambda: (PCATransform.fit(normal((30, 6), 0), 3, dtype=torch.float64), (2, 6)),
    "truncated pca": lambda: (PCATransform.fit(normal((30, 6), 0), 3, rank=4, dtype=torch.float64), (2, 6)),
    "graph": lambda: (GraphSpectralTransform.from_points(normal((2, 5, 3), 0), 3), (2, 5, 3)),
    "node pca": lambda: (
        NodePCATransform(*NodePCATransform.fit(normal((30, 5, 3), 0)), 2, torch.arange(5).expand(2, -1)),
        (2, 5, 3),
    ),
    "partial graph": lambda: (
        PartialGraphTransform.from_points(normal((2, 8, 3), 0), 3, 4, neighbours=4),
        (2, 8, 3),
    ),
    "nested": lambda: (
        NestedTransform.from_points(normal((2, 6, 3), 0), torch.tensor([[0, 0, 1, 1, 1, 2]] * 2), (2, 1)),
        (2, 6, 3),
    ),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_all_promises_with_gradients_and_compiled_graphs(name: str) -> None:
    transform, shape = EXAMPLES[name]()
    assert_transform(transform, normal(shape, 3))


@pytest.mark.parametrize("name", EXAMPLES)
def test_scales_rise_and_dimensions_sum_to_the_size(name: str) -> None:
    transform, _ = EXAMPLES[name]()
    size = {"fourier": 12, "wavelet": 16, "graph": 5, "node pca": 5, "partial graph": 8}.get(name, 6)
    assert bool((transform.scale.diff() > 0).all())
    assert set(transform.dimension.reshape(-1, transform.n_shells).sum(1).tolist()) == {size}


@pytest.mark.parametrize("name", ["fourier", "wavelet", "pca", "truncated pca"])
def test_a_batch_of_grids_equals_its_samples(name: str) -> None:
    transform, shape = EXAMPLES[name]()
    w = torch.tensor([0.9, 0.5, 0.2], dtype=torch.float64)
    x = normal((5, *shape[1:]), 4)
    assert_batch_equals_singles(lambda y: transform.filter(y, w.expand(len(y), -1)), x)


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_sample_of_nan_harms_no_other_sample(name: str) -> None:
    transform, shape = EXAMPLES[name]()
    x, w = normal(shape, 5), torch.ones(2, transform.n_shells, dtype=torch.float64)
    clean = transform.filter(x, w)
    x[1] = float("nan")
    assert torch.equal(transform.filter(x, w)[0], clean[0])
    assert torch.equal(transform.energy(x)[0], transform.energy(torch.nan_to_num(x))[0])


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_transform_moves_to_another_device_and_says_when_data_are_elsewhere(name: str) -> None:
    transform, shape = EXAMPLES[name]()
    elsewhere = transform.to("meta")
    y = elsewhere.filter(
        torch.empty(shape, dtype=torch.float64, device="meta"),
        torch.empty(2, transform.n_shells, device="meta"),
    )
    assert y.shape == shape
    assert y.device.type == "meta"
    assert transform.shell_of.device.type == "cpu"
    with pytest.raises(TransformError, match=r"on cpu, the \w+ on meta: use transform.to"):
        elsewhere.forward(normal(shape, 0))


@pytest.mark.parametrize("name", EXAMPLES)
def test_data_and_weights_that_do_not_fit_are_refused(name: str) -> None:
    transform, shape = EXAMPLES[name]()
    x, shells = normal(shape, 0), transform.n_shells
    with pytest.raises(
        TransformError,
        match=rf"\(2, {shells + 1}\), expected \(2, {shells}\): one weight per sample and shell",
    ):
        transform.filter(x, torch.ones(2, shells + 1))
    with pytest.raises(TransformError, match="one weight per sample and shell"):
        transform.filter(x, torch.ones(shells))
    with pytest.raises(TransformError, match=rf"shell {shells} does not exist: choose 0 … {shells - 1}"):
        transform.project(x, shells)
    with pytest.raises(TransformError, match="data have shape"):
        transform.filter(x[:, :-1] if x.ndim == 2 else x[..., :-1, :], torch.ones(2, shells))
    if isinstance(transform, GridTransform):
        with pytest.raises(TransformError, match="which is empty: give at least one sample"):
            transform.forward(x[:0])
    with pytest.raises(TransformError, match=r"data are torch.int64"):
        transform.forward(x.long())
    with pytest.raises(TransformError, match=r"data are torch.float16|the basis torch.float64"):
        transform.forward(x.half())
