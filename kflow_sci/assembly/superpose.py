"""Rigid superposition: the rotation that lays points on points.

The one idea: all that superposition needs of the points is their 3 × 3 cross matrix, so whoever has that (as a sum over
many molecules, or as a matrix that is almost a rotation already) can ask for the rotation too.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float


def best_rotation(
    cross: Float[np.ndarray, "*batch 3 3"], sign: int = 1
) -> tuple[Float[np.ndarray, "*batch 3 3"], Float[np.ndarray, "*batch"]]:
    """Orthogonal matrices Q of determinant ``sign`` that maximise ``Σ Q ∘ cross``, and the maxima.

    Args:
        cross: ``Σ target sourceᵀ`` over the points, column vectors. For a matrix that is a rotation but for rounding
            the answer is the nearest rotation.
        sign: 1 for rotations, −1 for improper operations.

    Source:
        Kabsch, Acta Cryst. A32 (1976) 922.
    """
    u, singular, vt = np.linalg.svd(cross)
    hand = np.where(np.linalg.det(u) * np.linalg.det(vt) * sign < 0, -1.0, 1.0)
    u[..., 2] *= hand[..., None]
    singular[..., 2] *= hand
    return u @ vt, singular.sum(axis=-1)


def superpose(
    source: Float[np.ndarray, "*batch n 3"], target: Float[np.ndarray, "*batch n 3"], sign: int = 1
) -> Float[np.ndarray, "*batch 3 3"]:
    """Orthogonal Q of determinant ``sign`` that minimises ``Σ |target − Q source|²``.

    Args:
        source: Points about their centre.
        target: The same points elsewhere, about their centre; ``target ≈ source @ Qᵀ`` for rows.
        sign: 1 for rotations, −1 for improper operations.
    """
    return best_rotation(np.swapaxes(target, -1, -2) @ source, sign)[0]


def superpose_either_hand(
    source: Float[np.ndarray, "n 3"], target: Float[np.ndarray, "n 3"], margin: float = 1e-3
) -> tuple[int, Float[np.ndarray, "3 3"], Float[np.ndarray, " n"]]:
    """Best rigid motion of centred points onto centred points, mirror image allowed.

    The mirror image is taken only if its RMSD is lower by more than ``margin`` Å, so that molecules that are their own
    mirror image stay with the proper motion.

    Returns:
        Parity, proper rotation R with ``target ≈ parity * source @ Rᵀ``, and the distance left at each point, Å.
    """
    fits = []
    for parity in (1, -1):
        rotation = superpose(source, parity * target)
        fits.append((parity, rotation, np.linalg.norm(target - parity * source @ rotation.T, axis=1)))
    rmsd = [float(np.sqrt((left**2).mean())) for *_, left in fits]
    return fits[1] if rmsd[1] < rmsd[0] - margin else fits[0]
