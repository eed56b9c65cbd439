"""People who are followed side by side, kept apart: whose keypoints are whose, and which tracks are one person.

Where two people are close together in an image, the crop of one shows the other as well and the network may read the
wrong one. Where it read whom is told by where each is expected.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["strangers", "twins"]

Array = NDArray[np.float64]

_OFF = 0.05  # of the person's extent in the image: a keypoint nearer than this to where it is expected is believed
_BETTER = 0.5  # how much nearer to someone else's place a keypoint must be to be theirs
_TWINS = 0.2  # metres: the median joint distance within which two tracks are one person


def strangers(keypoints: Array, expected: Array, mirror: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which keypoints of which person are someone else's, `(N, V, K)`.

    `keypoints` `(N, V, K, 2)` as they were read for each person and `expected` `(N, V, K, 2)` where they were to be, in
    pixels, NaN where a camera cannot see that; `mirror` `(K,)` exchanges left and right, as networks do.
    """
    extent = np.ptp(expected, axis=2).max(-1)[..., None]  # (N, V, 1), NaN where it is not known
    own = np.linalg.norm(keypoints - expected, axis=-1) / extent  # (N, V, K)
    others = np.fmin(_gaps(keypoints, expected), _gaps(keypoints, expected[:, :, mirror])) / extent[:, None]
    others[np.diag_indices(len(others))] = np.inf
    return np.asarray((own > _OFF) & (np.fmin.reduce(others, axis=1) < _BETTER * own))


def twins(joints: Array) -> NDArray[np.bool_]:
    """Which pairs of people, `(N, N)`, stand where only one can: `joints` `(N, J, 3)`, metres."""
    gaps = np.median(np.linalg.norm(joints[:, None] - joints[None], axis=-1), axis=-1)
    return np.asarray(np.triu(gaps < _TWINS, 1))


def _gaps(a: Array, b: Array) -> Array:
    """The distance of each point of each of `a` from that of each of `b` `(N, V, K, 2)`: `(N, N, V, K)`."""
    return np.asarray(np.linalg.norm(a[:, None] - b[None], axis=-1))
