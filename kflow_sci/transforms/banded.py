"""Products with the matrices of periodised filters: dense while they are small, in blocks when they are large.

The one idea: such a matrix repeats one block of rows, shifted and wrapped round. Cutting the data into overlapping
windows, one per block, leaves a single small matrix for all of them, so the work grows with the size of the data and
not with its square, and is still one matrix product.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

# Below this many columns the copy into windows costs more than it saves (measured on two cores).
_DENSE = 128
_BLOCK = 16  # outputs per block at half rate; wider blocks do more idle work, narrower ones copy more


class Band(NamedTuple):
    """One block of a matrix that repeats; a single block is the whole matrix.

    Attributes:
        block: ``(rows, window)``.
        start: Column at which the window of the first block begins; it may wrap round the end.
        step: By how many columns the windows of neighbouring blocks are apart.
        blocks: How many there are.

    Example:
        >>> band_of(torch.eye(3)).blocks
        1
    """

    block: Float[Tensor, "rows window"]
    start: int
    step: int
    blocks: int


def band_of(matrix: Float[Tensor, "rows columns"]) -> Band:
    """The repeating block of a matrix whose rows (or columns) shift by two columns (or rows) from one to the next.

    Args:
        matrix: Half a periodised filter bank, ``(n/2, n)``, or its transpose, ``(n, n/2)``.

    Example:
        >>> haar = torch.kron(torch.eye(64), torch.tensor([[1.0, 1.0]]))
        >>> band_of(haar).block.shape, band_of(haar).blocks
        (torch.Size([16, 32]), 4)
    """
    rows, columns = matrix.shape
    wide = columns > rows
    high, step = (_BLOCK, 2 * _BLOCK) if wide else (2 * _BLOCK, _BLOCK)
    blocks = rows // high
    if max(rows, columns) < _DENSE or rows % high:
        return Band(matrix.contiguous(), 0, columns, 1)
    used = (matrix[:high] != 0).any(0).nonzero().flatten().tolist()
    # The window is all but the widest circular run of columns that the block does not use.
    gaps = [
        (following - column - 1) % columns
        for column, following in zip(used, used[1:] + used[:1], strict=True)
    ]
    widest = max(range(len(used)), key=lambda i: gaps[i])
    start, width = used[(widest + 1) % len(used)], columns - gaps[widest]
    if 2 * width > columns:
        return Band(matrix.contiguous(), 0, columns, 1)
    window = (start + torch.arange(width)) % columns
    return Band(matrix[:high][:, window].contiguous(), start, step, blocks)


def along_last(band: Band, x: Float[Tensor, "... columns"]) -> Float[Tensor, "... rows"]:
    """The product along the last axis.

    Example:
        >>> along_last(band_of(torch.tensor([[1.0, 2.0]])), torch.tensor([[3.0, 4.0]]))
        tensor([[11.]])
    """
    if band.blocks == 1:
        return x @ band.block.T
    window = band.block.shape[1]
    cut = _wrapped(band, x, -1).unfold(-1, window, band.step)
    # Copied into rows here: the product of overlapping views takes a path many times slower.
    return (cut.reshape(-1, window) @ band.block.T).view(*x.shape[:-1], -1)


def along_first(band: Band, x: Float[Tensor, "... columns inner"]) -> Float[Tensor, "... rows inner"]:
    """The product along the last axis but one.

    Example:
        >>> along_first(band_of(torch.tensor([[1.0, 2.0]])), torch.tensor([[3.0], [4.0]]))
        tensor([[11.]])
    """
    if band.blocks == 1:
        return band.block @ x
    cut = _wrapped(band, x, -2).unfold(-2, band.block.shape[1], band.step)
    return (band.block @ cut.transpose(-1, -2)).flatten(-3, -2)


def _wrapped(band: Band, x: Tensor, axis: int) -> Tensor:
    """The data from where the first window begins to where the last one ends."""
    size = x.shape[axis]
    length = (band.blocks - 1) * band.step + band.block.shape[1]
    if band.start == 0 and length == size:
        return x
    left = (size - band.start) % size
    parts = [x.narrow(axis, band.start, left), x, x.narrow(axis, 0, length - left - size)]
    return torch.cat([part for part in parts if part.shape[axis]], dim=axis)
