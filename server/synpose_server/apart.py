"""People who are followed side by side, kept apart: whose keypoints are whose, and which tracks are one person.

Where two people are close together in an image, the crop of one shows the other as well and the network may read the
wrong one. Where it read whom is told by where each is expected.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["strangers", "twins"]

Array = NDArray[np.float64]

_OFF = 0.1  # of the person's extent in the image: keypoints nearer than this to where they are expected are believed
_BETTER = 0.5  # how much nearer to someone else's place keypoints must be to be theirs
_SAME = 0.06  # of the extent, within which two readings are of one person
_SLACK = 0.02  # of the extent, by which one of two people is the nearer owner for certain
_TWINS = 0.2  # metres: the median joint distance within which two tracks are one person


def strangers(keypoints: Array, expected: Array, sure: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """In which views the keypoints of which person are someone else's, `(N, V)`.

    `keypoints` `(N, V, K, 2)` as they were read for each person and `expected` `(N, V, K, 2)` where they were to be, in
    pixels, NaN where a camera cannot see that; `sure` `(N, V, K)` which of them the network is sure of.
    """
    extent = np.ptp(expected, axis=2).max(-1)  # (N, V), NaN where it is not known
    own = _median(np.linalg.norm(keypoints - expected, axis=-1), sure) / extent
    others = _between(keypoints, expected, sure) / extent[:, None]  # (N, N, V)
    others[np.diag_indices(len(others))] = np.inf
    foreign = (own > _OFF) & (np.nanmin(np.nan_to_num(others, nan=np.inf), axis=1) < _BETTER * own)
    # two readings of one person: whoever is expected farther from there was hidden, or out of the crop
    same = _between(keypoints, keypoints, sure) / extent[:, None] < _SAME
    same[np.diag_indices(len(same))] = False
    farther = own[:, None] > own[None] + _SLACK
    return np.asarray(foreign | (same & farther & ~foreign[None]).any(1))


def twins(joints: Array) -> NDArray[np.bool_]:
    """Which pairs of people, `(N, N)`, stand where only one can: `joints` `(N, J, 3)`, metres."""
    gaps = np.median(np.linalg.norm(joints[:, None] - joints[None], axis=-1), axis=-1)
    return np.asarray(np.triu(gaps < _TWINS, 1))


def _between(a: Array, b: Array, sure: NDArray[np.bool_]) -> Array:
    """The median distance of the sure points of each of `a` from those of each of `b` `(N, V, K, 2)`: `(N, N, V)`."""
    gaps = np.linalg.norm(a[:, None] - b[None], axis=-1)
    return _median(gaps, np.broadcast_to(sure[:, None], gaps.shape))


def _median(values: Array, use: NDArray[np.bool_]) -> Array:
    """Over the last axis, of the values to `use`; infinite where there is none."""
    known = use & np.isfinite(values)
    ordered = np.sort(np.where(known, values, np.inf), axis=-1)
    middle = np.maximum(known.sum(-1, keepdims=True) - 1, 0) // 2
    return np.take_along_axis(ordered, middle, -1)[..., 0]
