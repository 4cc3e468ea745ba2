"""The lowest Laplacian modes of large sparse graphs.

The one idea: inverse Lanczos iterations find them in a fraction of the time of a full decomposition, but may miss
members of a degenerate space. The number of negative pivots of ``L − θ`` is the number of eigenvalues below θ, so it
proves that none was missed; if one was, the full decomposition is taken. Parts that no edge joins are solved alone.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from scipy.linalg import eigh
from scipy.sparse import csgraph, csr_matrix, diags
from scipy.sparse.linalg import eigsh, splu
from scipy.spatial import cKDTree

from kflow_sci.errors import TransformError
from kflow_sci.transforms.shells import RESOLUTION

# Up to this size a full decomposition is faster than Lanczos iterations.
_DENSE = 300
_TIE = 1e-5  # as in affinity.knn_weights


def sparse_neighbours(points: Float[np.ndarray, "nodes 3"], neighbours: int) -> csr_matrix:
    """``affinity.knn_weights`` of one cloud as a sparse matrix, in memory that grows with the nodes.

    Raises:
        TransformError: points that are not finite, or fewer than one neighbour.

    Example:
        >>> line = np.array([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [3.0, 0.0, 0.0]])
        >>> sparse_neighbours(line, 1).toarray().tolist()
        [[0.0, 1.0, 0.0], [1.0, 0.0, 1.0], [0.0, 1.0, 0.0]]
    """
    if neighbours < 1:
        raise TransformError(f"{neighbours} neighbours asked for, but at least 1 is needed")
    if not np.isfinite(points).all():
        raise TransformError("points must be finite: check them for NaN")
    nodes = len(points)
    if nodes < 2:
        return csr_matrix((nodes, nodes))
    tree = cKDTree(points)
    last = min(neighbours, nodes - 1)
    reach = tree.query(points, k=[last + 1])[0][:, 0] * (1.0 + _TIE)
    near = tree.query_ball_point(points, reach)
    row = np.repeat(np.arange(nodes), [len(found) for found in near])
    column = np.concatenate([np.asarray(found, dtype=np.int64) for found in near])
    apart = row != column
    graph = csr_matrix((np.ones(apart.sum()), (row[apart], column[apart])), shape=(nodes, nodes))
    return graph.maximum(graph.T).tocsr()


def low_modes(
    graph: csr_matrix | Float[np.ndarray, "nodes nodes"], modes: int
) -> tuple[Float[np.ndarray, " found"], Float[np.ndarray, "nodes found"]]:
    """The lowest modes of the Laplacian of one graph, rising, whole spaces of equal eigenvalues only.

    Parts that no edge joins are solved one by one, so that many equal molecules are no difficulty.

    Args:
        graph: Symmetric non-negative weights; the diagonal is ignored.
        modes: How many modes to return at most.

    Raises:
        TransformError: weights that are no graph, fewer than one mode, or a lowest space larger than ``modes``.

    Example:
        >>> values, basis = low_modes(np.ones((4, 4)), modes=2)  # eigenvalues 0, 4, 4, 4
        >>> values.round(6).tolist(), basis.shape
        ([0.0], (4, 1))
    """
    weights = _checked(graph)
    if modes < 1:
        raise TransformError(f"{modes} modes asked for, but at least 1 is needed")
    nodes = weights.shape[0]
    laplacian = (diags(np.asarray(weights.sum(1)).ravel()) - weights).tocsr()
    parts, part_of = csgraph.connected_components(weights, directed=False)
    values, rows, vectors = [], [], []
    for part in range(parts):
        member = np.flatnonzero(part_of == part)
        # One more than asked for shows where the last space ends.
        value, vector = _solve(laplacian[member][:, member], min(modes + 1, len(member)))
        values.append(value)
        rows.append(member)
        vectors.append(vector)
    owner = np.repeat(np.arange(parts), [len(v) for v in values])
    place = np.concatenate([np.arange(len(v)) for v in values])
    merged = np.concatenate(values)
    order = np.argsort(merged, kind="stable")[: modes + 1]
    merged = np.maximum(merged[order], 0.0)
    keep = _whole_spaces(merged, modes, nodes, 2.0 * float(laplacian.diagonal().max(initial=0.0)))
    basis = np.zeros((nodes, keep))
    for column, k in enumerate(order[:keep]):
        basis[rows[owner[k]], column] = vectors[owner[k]][:, place[k]]
    return merged[:keep], basis


def _checked(graph: csr_matrix | Float[np.ndarray, "nodes nodes"]) -> csr_matrix:
    weights = csr_matrix(graph, dtype=np.float64)
    if weights.shape[0] != weights.shape[1] or weights.shape[0] == 0:
        raise TransformError(
            f"weights have shape {weights.shape}, expected (nodes, nodes) with at least one node"
        )
    if not np.isfinite(weights.data).all() or (weights.data < 0).any():
        raise TransformError("edge weights must be finite and >= 0: check the points for NaN")
    if abs(weights - weights.T).max() > 1e-6:
        raise TransformError("edge weights are asymmetric: use (W + Wᵀ)/2")
    weights = (weights - diags(weights.diagonal())).tocsr()
    weights.eliminate_zeros()
    return weights


def _whole_spaces(values: np.ndarray, modes: int, nodes: int, largest: float) -> int:
    """How many of the values to keep: at most ``modes``, ending where the next value is another one."""
    if len(values) <= modes:
        return len(values)
    opens = (
        np.flatnonzero(np.diff(values) > RESOLUTION[torch.float64] * max(largest, np.finfo(float).tiny)) + 1
    )
    if not len(opens):
        raise TransformError(
            f"the lowest space of equal eigenvalues has more than {modes} of {nodes} dimensions: ask for more modes"
        )
    return int(opens[-1])


def _solve(laplacian: csr_matrix, wanted: int) -> tuple[np.ndarray, np.ndarray]:
    """The lowest modes of one connected part."""
    size = laplacian.shape[0]
    if size > _DENSE and wanted < size // 4:
        shift = 1e-3 * float(laplacian.diagonal().mean())
        start = np.random.default_rng(0).standard_normal(size)
        # A few more than wanted, so that the last wanted ones have converged and a gap can be found behind them.
        ask = min(wanted + 8, size - 1)
        values, vectors = eigsh(laplacian.tocsc(), k=ask, sigma=-shift, v0=start, tol=0)
        order = np.argsort(values)
        values, vectors = values[order], vectors[:, order]
        if _none_missed(laplacian, values, wanted):
            return values[:wanted], vectors[:, :wanted]
    # Small, or a single start vector has missed members of a degenerate space.
    return eigh(laplacian.toarray(), subset_by_index=[0, wanted - 1])


def _none_missed(laplacian: csr_matrix, values: np.ndarray, wanted: int) -> bool:
    """Whether the number of eigenvalues below a gap is the number found there (Sylvester's law of inertia)."""
    gaps = np.diff(values[wanted - 1 :])
    widest = wanted - 1 + int(np.argmax(gaps))
    middle = 0.5 * (values[widest] + values[widest + 1])
    shifted = (laplacian - middle * diags(np.ones(laplacian.shape[0]))).tocsc()
    # Without exchange of rows the factor is L D Lᵀ and the signs of D are those of the eigenvalues.
    factor = splu(shifted, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
    if not np.array_equal(factor.perm_r, factor.perm_c):
        return False
    return int((factor.U.diagonal() < 0).sum()) == widest + 1
