"""The closed-form intersection of rays, in numpy, for the torch-free side.

`synpose_model.triangulation` is the same in torch, for training and export; a parity test holds the two together.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["intersect_rays", "ray_distances"]

Array = NDArray[np.float64]


def intersect_rays(origins: Array, directions: Array, weights: Array) -> Array:
    """The points nearest to weighted rays: argmin over x of Σ w ‖(I − d dᵀ)(x − o)‖².

    `origins` `(V, 3)` or `(..., V, 3)` metres, `directions` `(..., V, 3)` unit, `weights` `(..., V)` ≥ 0, all in the
    world frame; answers `(..., 3)`, NaN where fewer than two rays count or all are parallel. A ray that is NaN, where a
    lens has no inverse, does not count.
    """
    weights = np.where(np.isfinite(directions).all(-1), weights, 0.0)
    directions = np.where(weights[..., None] > 0, directions, 0.0)
    across = np.eye(3) - directions[..., :, None] * directions[..., None, :]  # (..., V, 3, 3)
    across = across * weights[..., None, None]
    A = across.sum(-3)
    b = (across @ np.broadcast_to(origins, directions.shape)[..., None]).sum(-3)[..., 0]
    known = (weights > 0).sum(-1) >= 2
    # parallel rays leave the common direction free: the smallest eigenvalue of A vanishes against the others
    scale = np.trace(A, axis1=-2, axis2=-1) / 3
    known &= np.linalg.det(A) > 1e-4 * scale**3
    A = np.where(known[..., None, None], A, np.eye(3))
    return np.where(known[..., None], np.linalg.solve(A, b[..., None])[..., 0], np.nan)


def ray_distances(origins: Array, directions: Array, points: Array) -> Array:
    """Distances `(..., V)` in metres from `points` `(..., 3)` to the rays, infinite for points behind their camera."""
    offset = points[..., None, :] - origins
    along = (offset * directions).sum(-1)
    distance = np.linalg.norm(offset - along[..., None] * directions, axis=-1)
    return np.where(along > 0, distance, np.inf)
