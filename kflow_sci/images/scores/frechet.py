"""The Fréchet distance between two sets of features; of Inception features it is the FID.

The one idea: two sets are compared as two Gaussians with their means and covariances. The distance falls with every
sample more, since the covariance of few samples is off, so a number is only comparable with its counts; the floor,
real images against real images, says what is left of it for a perfect generator.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from torch import Tensor

from kflow_sci.errors import ImageError
from kflow_sci.images.scores.estimate import Estimate, standard_error

FEW = 2048
"""Samples below which a Fréchet distance is mostly bias; of features of at most so many dimensions."""

Features = Float[Tensor, "images dimension"] | Float[np.ndarray, "images dimension"]


class Gaussian(NamedTuple):
    """Mean and covariance (divided by n − 1) of features, float64.

    Attributes:
        mean: Over the images.
        covariance: Symmetric.
    """

    mean: Float[np.ndarray, " dimension"]
    covariance: Float[np.ndarray, "dimension dimension"]


def gaussian_of(features: Features) -> Gaussian:
    """The Gaussian that stands for a set of features.

    Raises:
        ImageError: fewer than two images, another shape, or values that are not finite.
    """
    x = as_array(features)
    mean = x.mean(0)
    off = x - mean
    return Gaussian(mean, off.T @ off / (len(x) - 1))


def gaussian_distance(a: Gaussian, b: Gaussian) -> float:
    """Squared 2-Wasserstein distance of two Gaussians, ``|μₐ − μ_b|² + tr(Σₐ + Σ_b − 2 (Σₐ Σ_b)^½)``.

    The trace of the root is the sum of the singular values of ``Σₐ^½ Σ_b^½``, so covariances that are singular (fewer
    images than features) need no special care and no complex number appears.

    Source:
        Dowson and Landau, J. Multivariate Anal. 12 (1982) 450; Heusel et al., NeurIPS 2017.
    """
    overlap = np.linalg.svd(_root(a.covariance) @ _root(b.covariance), compute_uv=False).sum()
    return _distance(a, b, float(overlap))


def frechet_distance(samples: Features, reference: Features) -> float:
    """Fréchet distance between features of samples and of reference images, in squared units of the features.

    Args:
        samples: Features of generated images.
        reference: Features of real images, by the same extractor.

    Returns:
        At least 0; 0 for equal means and covariances.

    Raises:
        ImageError: see ``gaussian_of``; features of different dimension.

    Source:
        Heusel et al., NeurIPS 2017; with Inception features it is their FID.

    Example:
        >>> low, high = np.array([[0.0], [2.0]]), np.array([[3.0], [7.0]])  # means 1 and 5, variances 2 and 8
        >>> round(frechet_distance(low, high), 9)  # 4² + (√8 − √2)²
        18.0
    """
    same_dimension(samples, reference)
    return gaussian_distance(gaussian_of(samples), gaussian_of(reference))


class Influenced(NamedTuple):
    """A Fréchet distance and what each image does to it; see ``scores.estimate``.

    Attributes:
        value: The distance.
        samples: Influence of each sample; all NaN where there are no more samples than features.
        reference: Influence of each reference image; likewise.
    """

    value: float
    samples: Float[np.ndarray, " samples"]
    reference: Float[np.ndarray, " reference"]


def frechet_influence(samples: Features, reference: Features) -> Influenced:
    """The Fréchet distance, and the influence of every image on it.

    With ``A = Σᵣ^½ W Σₛ^-½`` (W the rotation that brings the two roots together) the linear part of the map that
    carries the one Gaussian to the other, a sample x at ``u = x − μₛ`` has the influence
    ``2 (μₛ − μᵣ)·u + uᵀ(1 − A)u`` less its mean.

    Raises:
        ImageError: as ``frechet_distance``.
    """
    same_dimension(samples, reference)
    a, b = gaussian_of(samples), gaussian_of(reference)
    root_a, root_b = _root(a.covariance), _root(b.covariance)
    left, values, right = np.linalg.svd(root_a @ root_b)
    turn = right.T @ left.T
    one = _influence(as_array(samples), a.mean, b.mean, root_b @ turn, root_a)
    two = _influence(as_array(reference), b.mean, a.mean, root_a @ turn.T, root_b)
    return Influenced(_distance(a, b, float(values.sum())), one, two)


def frechet_estimate(samples: Features, reference: Features) -> Estimate:
    """The Fréchet distance with its standard error; none where there are no more images than features.

    Raises:
        ImageError: as ``frechet_distance``.
    """
    found = frechet_influence(samples, reference)
    return Estimate(found.value, standard_error(found.samples, found.reference), least=0.0)


def _influence(
    x: np.ndarray, mean: np.ndarray, other: np.ndarray, to: np.ndarray, root: np.ndarray
) -> np.ndarray:
    if len(x) <= x.shape[1]:
        return np.full(len(x), np.nan)
    u = x - mean
    # to · root⁻¹; a feature that never moves has no root, and no influence by it either.
    carried = to @ np.linalg.pinv(root, rcond=1e-8, hermitian=True)
    found = (
        2.0 * u @ (mean - other)
        + np.square(u).sum(1)
        - np.einsum("ni,ij,nj->n", u, carried, u, optimize=True)
    )
    return found - found.mean()


def same_dimension(samples: Features, reference: Features) -> None:
    """Refuse features of different extractors.

    Raises:
        ImageError: the dimensions differ.
    """
    a, b = samples.shape[-1], reference.shape[-1]
    if samples.ndim == 2 and reference.ndim == 2 and a != b:
        raise ImageError(
            f"features of samples have {a} dimensions, those of the reference {b}: use one extractor"
        )


def as_array(features: Features, least: int = 2) -> Float[np.ndarray, "images dimension"]:
    """Features as float64, checked.

    Args:
        features: Any float type and device.
        least: Images that are needed.

    Raises:
        ImageError: another shape, too few images, or values that are not finite.
    """
    x = features.detach().cpu().numpy() if isinstance(features, Tensor) else np.asarray(features)
    if x.ndim != 2:
        raise ImageError(f"features have shape {x.shape}: expected (images, dimension)")
    if len(x) < least:
        raise ImageError(f"features of {len(x)} image{'s' * (len(x) != 1)}: at least {least} are needed")
    x = x.astype(np.float64)
    if not np.isfinite(x).all():
        bad = int((~np.isfinite(x).all(1)).sum())
        raise ImageError(f"features of {bad} of {len(x)} images are not finite: look at the images")
    return x


def too_few(n: int, dimension: int) -> str | None:
    """One line for counts at which a Fréchet distance is mostly bias; None where they suffice.

    Example:
        >>> too_few(5000, 64), too_few(500, 64)
        (None, '500 images are fewer than 2,048: their Fréchet distance is too large, the more so the fewer')
    """
    need, why = (dimension + 1, f" that {dimension:,} features need") if n <= dimension else (FEW, "")
    if n >= need:
        return None
    return f"{n:,} images are fewer than {need:,}{why}: their Fréchet distance is too large, the more so the fewer"


def _distance(a: Gaussian, b: Gaussian, overlap: float) -> float:
    """From the trace of the root of the product of the covariances; not below 0, where rounding may lead."""
    apart = np.square(a.mean - b.mean).sum() + np.trace(a.covariance) + np.trace(b.covariance) - 2.0 * overlap
    return max(float(apart), 0.0)


def _root(covariance: Float[np.ndarray, "d d"]) -> Float[np.ndarray, "d d"]:
    values, vectors = np.linalg.eigh(covariance)
    return (vectors * np.sqrt(np.clip(values, 0.0, None))) @ vectors.T
