"""Two views of one moving person: their relative pose, and how well their images agree with any.

Correspondences need no search: a joint is the same joint in both. They are many, and each is off by a percent or
two of the person's size, so fits are robust over all rather than exact over few.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import cv2
import numpy as np
from numpy.typing import NDArray

from synpose_model.rays import intersect_rays

__all__ = ["Pair", "discord", "relative_pose", "triangulate"]

Array = NDArray[np.float64]

_LEAST = 50  # correspondences
_THRESHOLD = 2.5  # standard deviations from the epipolar line within which a correspondence supports a pose
_CONFIDENCE, _TRIALS = 0.9999, 2000
_ROUNDS = 6


@dataclass(frozen=True, eq=False)
class Pair:
    """The second of two views from the first: `R` `(3, 3)`, `t` `(3,)` of length 1. `angle` (radians) is the median
    angle between rays that meet, `inliers` how many correspondences agree, `merit` how well both fix a structure.
    """

    R: Array
    t: Array
    angle: float
    inliers: int

    @property
    def merit(self) -> float:
        return float(self.inliers * np.sin(self.angle))


def relative_pose(a: Array, b: Array, spread: float) -> Pair | None:
    """The pose that explains correspondences `a`, `b` `(N, 2)` of the planes z = 1, whose errors are `spread`.

    RANSAC over the five-point essential matrix (Nistér 2004); None where too few agree with any.
    """
    if len(a) < _LEAST:
        return None
    cv2.setRNGSeed(0)  # the same videos give the same calibration
    found, agree = cv2.findEssentialMat(a, b, np.eye(3), cv2.RANSAC, _CONFIDENCE, _THRESHOLD * spread, _TRIALS)
    if found is None or agree is None or len(found) < 3:
        return None
    a, b = (points[agree.ravel() > 0] for points in (a, b))
    best: Pair | None = None
    for start in range(0, len(found) - 2, 3):
        one, other, towards = cv2.decomposeEssentialMat(found[start : start + 3])
        for R, t in product((one, other), (towards.ravel(), -towards.ravel())):
            both = np.stack((np.eye(3), R)), np.stack((np.zeros(3), t))
            met = np.isfinite(triangulate(*both, np.stack((a, b), 1), np.ones((len(a), 2)))[:, 0])
            if met.sum() >= _LEAST and (best is None or met.sum() > best.inliers):
                angle = np.arccos(np.clip((_rays(a[met]) * (_rays(b[met]) @ R)).sum(-1), -1, 1))
                angle = np.minimum(angle, np.pi - angle)  # rays that face each other fix no place along them
                best = Pair(R, t, float(np.median(angle)), int(met.sum()))
    return best


def discord(a: Array, b: Array, weight: Array, spread: float) -> float:
    """How badly correspondences `a`, `b` `(N, 2)` agree with any epipolar geometry: the mean robust cost of Sampson's
    distance in standard deviations, from 0 to 1; infinite where there are too few.

    The eight-point algorithm (Hartley 1997), reweighted.
    """
    if (weight > 0).sum() < _LEAST:
        return float("inf")
    to_a, to_b = _normalising(a, weight), _normalising(b, weight)
    p, q = _lifted(a) @ to_a.T, _lifted(b) @ to_b.T
    rows = (q[:, :, None] * p[:, None, :]).reshape(-1, 9)
    own, cost = weight, float("inf")
    for _ in range(_ROUNDS):
        _, vectors = np.linalg.eigh((rows * own[:, None]).T @ rows)
        F = vectors[:, 0].reshape(3, 3)
        U, S, Vt = np.linalg.svd(F)
        F = to_b.T @ (U * (S * (1, 1, 0))) @ Vt @ to_a
        line_b, line_a = _lifted(a) @ F.T, _lifted(b) @ F
        steep = (line_b[:, :2] ** 2).sum(-1) + (line_a[:, :2] ** 2).sum(-1)
        steep = np.maximum(steep, 1e-12 * steep.max())
        square = (_lifted(b) * line_b).sum(-1) ** 2 / steep / spread**2
        share = 1 / (1 + square / 4)
        cost = float((weight * square * share).sum() / weight.sum() / 4)
        own = weight * share**2 / steep * steep.mean()
    return cost


def triangulate(R: Array, t: Array, plane: Array, weight: Array) -> Array:
    """Points `(..., 3)` in the world of cameras `R` `(V, 3, 3)`, `t` `(V, 3)` from points `(..., V, 2)` of their planes
    z = 1 with weights `(..., V)`; NaN where fewer than two views see one, or where it is behind one that does.
    """
    directions = np.einsum("...vi,vij->...vj", _rays(plane), R)
    centers = -np.einsum("vij,vi->vj", R, t)
    points: Array = intersect_rays(centers, directions, weight)
    depth = np.einsum("vj,...j->...v", R[:, 2], points) + t[:, 2]
    return np.asarray(np.where(((depth <= 0) & (weight > 0)).any(-1)[..., None], np.nan, points))


def _lifted(points: Array) -> Array:
    return np.concatenate((points, np.ones_like(points[..., :1])), -1)


def _rays(points: Array) -> Array:
    lifted = _lifted(points)
    return np.asarray(lifted / np.linalg.norm(lifted, axis=-1, keepdims=True))


def _normalising(points: Array, weight: Array) -> Array:
    """The similarity `(3, 3)` that brings `points` to mean 0 and distance √2 (Hartley)."""
    mean = (points * weight[:, None]).sum(0) / weight.sum()
    size = np.sqrt(2) / max(float((np.linalg.norm(points - mean, axis=-1) * weight).sum() / weight.sum()), 1e-9)
    return np.array(((size, 0, -size * mean[0]), (0, size, -size * mean[1]), (0, 0, 1)))
