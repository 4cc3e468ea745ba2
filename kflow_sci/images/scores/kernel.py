"""The kernel distance between two sets of features; of Inception features it is the KID.

The one idea: the mean of a kernel over pairs within and between the sets, without the pairs of an image with itself,
has no bias at any number of images. All pairs are used, so no seed enters; averaging over random subsets, as is often
done, estimates the same with more scatter.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from kflow_sci.images.scores.estimate import Estimate, standard_error
from kflow_sci.images.scores.frechet import Features, as_array, same_dimension

_AT_ONCE = 2**24  # values of the kernel held at a time


def kernel_distance(samples: Features, reference: Features) -> Estimate:
    """Squared maximum mean discrepancy with the kernel ``(x·y / dimension + 1)³``, unbiased.

    Args:
        samples: Features of generated images, at least two.
        reference: Features of real images, at least two, by the same extractor.

    Returns:
        The value, about 0 and of either sign for sets from one source, and its standard error.

    Raises:
        ImageError: too few images, features of different dimension, values that are not finite.

    Source:
        Bińkowski et al., ICLR 2018, equation 4; Gretton et al., J. Mach. Learn. Res. 13 (2012) 723.

    Example:
        >>> a, b = np.array([[0.0], [1.0]]), np.array([[1.0], [2.0]])
        >>> kernel_distance(a, b).value  # 1 + 27 − 2 · (1 + 1 + 8 + 27) / 4
        9.5
    """
    same_dimension(samples, reference)
    x, y = as_array(samples), as_array(reference)
    n, m = len(x), len(y)
    within_x, within_y = _row_sums(x, x, alone=True), _row_sums(y, y, alone=True)
    from_x, from_y = _row_sums(x, y), _row_sums(y, x)
    value = within_x.sum() / (n * (n - 1)) + within_y.sum() / (m * (m - 1)) - 2.0 * from_x.sum() / (n * m)
    one = 2.0 * (within_x / (n - 1) - from_x / m)
    two = 2.0 * (within_y / (m - 1) - from_y / n)
    return Estimate(float(value), standard_error(one, two))


def _row_sums(
    x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "m d"], *, alone: bool = False
) -> Float[np.ndarray, " n"]:
    """Sum of the kernel of each x with all y, or with all other x."""
    rows = max(1, _AT_ONCE // len(y))
    sums = [((x[i : i + rows] @ y.T / x.shape[1] + 1.0) ** 3).sum(1) for i in range(0, len(x), rows)]
    total = np.concatenate(sums)
    return total - (np.square(x).sum(1) / x.shape[1] + 1.0) ** 3 if alone else total
