"""The buffered 14-7 well of MMFF94, written once for numbers, arrays, tensors and the compiler.

The one idea: plain arithmetic means the same to all of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

Share = TypeVar("Share", float, np.ndarray, "Tensor")


def buffered_14_7(x: Share) -> tuple[Share, Share]:
    """A contact in units of its depth, at a share of its distance of least energy, and its slope.

    Source:
        Halgren, J. Am. Chem. Soc. 114 (1992) 7827; J. Comput. Chem. 17 (1996) 490 and 520.
    """
    square = x * x
    sixth = square * square * square
    outer, inner = 1.07 / (x + 0.07), 1.0 / (sixth * x + 0.12)
    outer_square = outer * outer
    front = outer_square * outer_square * outer_square * outer
    back = 1.12 * inner - 2.0
    return front * back, front * (-7.0 / 1.07 * outer * back - 7.84 * sixth * inner * inner)
