"""The world that people expect: z up from the floor, metres, the origin under where the person was."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from synpose_server.calibrate.body import ANKLE_HEIGHT, ANKLES, middle
from synpose_server.calibrate.bundle_adjustment import Views

__all__ = ["to_world", "upwards"]

Array = NDArray[np.float64]

_ROUNDS = 10
_LOWEST = 5  # per cent of the ankles' heights: feet that stand


def upwards(points: Array) -> Array:
    """The direction `(3,)` in which the person of `points` `(T, K, 3)` stands: the usual one, ankles to shoulders."""
    up = middle(points, "shoulder") - middle(points, "ankle")
    up = up[np.isfinite(up).all(-1)]
    if not len(up):  # no feet in sight
        up = middle(points, "shoulder") - middle(points, "hip")
        up = up[np.isfinite(up).all(-1)]
    up = up / np.linalg.norm(up, axis=-1, keepdims=True)
    usual: Array = up.mean(0)
    for _ in range(_ROUNDS):  # Weiszfeld: someone who bends down does not tilt the floor
        weight = 1 / np.maximum(np.linalg.norm(up - usual, axis=-1), 1e-3)
        usual = (up * weight[:, None]).sum(0) / weight.sum()
    return np.asarray(usual / np.linalg.norm(usual))


def to_world(views: Views, points: Array, up: Array, metres: float) -> tuple[Views, Array]:
    """Views and points `(T, K, 3)` of statures in the world, in metres (`metres` a stature).

    z is up, y ahead of the first camera, x to its right; the origin is on the floor below the middle of the motion.
    """
    ahead = _across(views.R[0][2], up)
    if np.linalg.norm(ahead) < 1e-3:  # a camera that looks straight down: the top of its image is ahead
        ahead = _across(-views.R[0][1], up)
    ahead = ahead / np.linalg.norm(ahead)
    turn = np.stack((np.cross(ahead, up), ahead, up))
    turned = points @ turn.T
    everything = turned[np.isfinite(turned).all(-1)]
    feet = turned[:, ANKLES, 2]
    feet = feet[np.isfinite(feet)]
    floor = np.percentile(feet, _LOWEST) - ANKLE_HEIGHT if len(feet) else everything[:, 2].min()
    origin = np.array((*np.median(everything[:, :2], axis=0), floor))
    R = views.R @ turn.T
    t = (views.t + np.einsum("vij,j->vi", R, origin)) * metres
    return replace(views, R=R, t=t), (turned - origin) * metres


def _across(direction: Array, up: Array) -> Array:
    return np.asarray(direction - (direction @ up) * up)
