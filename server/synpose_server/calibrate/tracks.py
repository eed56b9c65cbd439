"""What every view saw of the person over the clip, read at any instant of the first view's clock."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

__all__ = ["Tracks"]

Array = NDArray[np.float64]

_SURE = 0.3  # score from which a keypoint is believed
_SPREAD = 0.008  # of a usual keypoint of a pose network, as a share of the person's extent in the image
_TRUST, _MOST = 8, 2.0  # a keypoint's weight goes with this power of its score, up to so much; see `Tracks.of`


@dataclass(frozen=True, eq=False)
class Tracks:
    """`keypoints` `(N, V, K, 3)` of N images a view: x, y around the principal point in units of the image's long side,
    without the lens, and a weight, 0 for what is not believed. `instants` `(T,)` are the images of the first view
    that are looked at; `extent` `(V,)` is the usual size of the person in long sides.
    """

    keypoints: Array
    instants: NDArray[np.int64]
    extent: Array

    @classmethod
    def of(cls, keypoints: Array) -> Tracks:
        """Of keypoints `(N, V, K, 3)` with scores; every image is an instant.

        A keypoint of the usual score weighs 1. Weights fall steeply with the score because errors rise so: on rendered
        clips `default` is off by 0.7 % of the person's extent in the median where its score is above 0.9, by 1.2, 2.4,
        4.5 and 12 % where it is above 0.8, 0.7, 0.5 and 0.3.
        """
        keypoints = keypoints.copy()
        scores = keypoints[..., 2]
        sure = (scores >= _SURE) & np.isfinite(keypoints).all(-1)
        if sure.any():
            scores[sure] = np.minimum((scores[sure] / np.median(scores[sure])) ** _TRUST, _MOST)
        keypoints[~sure] = 0.0
        shown = np.where(sure[..., None], keypoints[..., :2], np.nan)
        extents = np.full(keypoints.shape[:2], np.nan)
        enough = sure.sum(-1) >= 5
        extents[enough] = (np.nanmax(shown[enough], 1) - np.nanmin(shown[enough], 1)).max(-1)
        extent = np.array([np.median(own[np.isfinite(own)]) if np.isfinite(own).any() else 1.0 for own in extents.T])
        return cls(keypoints, np.arange(len(keypoints)), np.maximum(extent, 0.02))

    @cached_property
    def spread(self) -> Array:
        """The usual error `(V,)` of a keypoint, in long sides."""
        return _SPREAD * self.extent

    def subset(self, rows: NDArray[np.int64]) -> Tracks:
        """The views `rows` alone."""
        return replace(self, keypoints=self.keypoints[:, rows], extent=self.extent[rows])

    def thinned(self, most: int) -> Tracks:
        """At most so many instants, evenly over the clip."""
        count = len(self.instants)
        if count <= most:
            return self
        return replace(self, instants=self.instants[np.linspace(0, count - 1, most).round().astype(int)])

    @cached_property
    def _slopes(self) -> Array:
        return np.gradient(self.keypoints[..., :2], axis=0) if len(self.keypoints) > 1 else self.keypoints[..., :2] * 0

    def at(self, clock: Array) -> tuple[Array, Array, Array]:
        """At each instant, in views that are `clock` `(V,)` frames ahead of the first: positions `(T, V, K, 2)`, their
        change a frame `(T, V, K, 2)`, and weights `(T, V, K)`, 0 where nothing is known.
        """
        times = self.instants[:, None] + clock  # (T, V)
        before = np.floor(times).astype(int)
        share = (times - before)[..., None, None]
        after = before + (share[..., 0, 0] > 0)
        last = len(self.keypoints) - 1
        inside = (before >= 0) & (after <= last)
        views = np.arange(self.keypoints.shape[1])
        rows, others = before.clip(0, last), after.clip(0, last)
        a, b = self.keypoints[rows, views], self.keypoints[others, views]
        slopes = self._slopes[rows, views] * (1 - share) + self._slopes[others, views] * share
        weight = np.where(inside[..., None], np.minimum(a[..., 2], b[..., 2]), 0.0)
        return a[..., :2] * (1 - share) + b[..., :2] * share, slopes, weight
