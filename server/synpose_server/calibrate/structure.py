"""From tracks to cameras: the best pair first, then one view after the other, adjusted each time.

The usual road of structure from motion (Schönberger and Frahm, Structure-from-Motion Revisited, 2016), with one person
in the place of a scene. What the first views are wrong about, the focal lengths above all, is tried from several
guesses, and the one that explains the images best is kept.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import cv2
import numpy as np
from numpy.typing import NDArray

from synpose.errors import CalibrationError
from synpose_server.calibrate.body import BONES, KINDS, STATURE
from synpose_server.calibrate.bundle_adjustment import Adjusted, Free, Views, adjust
from synpose_server.calibrate.epipolar import Pair, relative_pose, triangulate
from synpose_server.calibrate.tracks import Tracks

__all__ = ["reconstruct"]

Array = NDArray[np.float64]

_GUESSES = (0.75, 0.95, 1.25, 1.7)  # focal lengths in long sides: phones, action cameras, webcams, longer lenses
_LEAST = 60  # joints already placed that a further view must see
_STARTS = 3  # pairs that are tried
_ROUNDS = 30  # of adjustment after each view
_WHILE_GROWING = 80  # instants
_AT_LAST = 300


def reconstruct(tracks: Tracks, names: tuple[str, ...], focal: Array, clock: Array, free: Free) -> Adjusted:
    """Views and joints of `tracks`, in the frame of the first view and in statures.

    `focal` `(V,)` in long sides, not regarded where it is free; `clock` `(V,)` the frames that each view is ahead of
    the first. Raises `CalibrationError` that names the view that cannot be joined.
    """
    few = tracks.thinned(_WHILE_GROWING)
    still = np.zeros(len(names), np.bool_)
    growing = replace(free, radial=still, clock=still)
    grown: list[Adjusted] = []
    failure: CalibrationError | None = None
    for guess in _GUESSES if free.focal.any() else (1.0,):
        start = _Start(few, names, np.where(free.focal, guess, focal), clock, growing)
        for pair in start.best_pairs():
            try:
                grown.append(start.grow(*pair))
            except CalibrationError as error:
                failure = error
    if not grown:
        raise failure or CalibrationError(
            "no two cameras see enough of the same motion; film one person who walks about where all cameras see them",
            field="video",
        )
    best = min(grown, key=lambda adjusted: adjusted.cost)
    tracks = tracks.thinned(_AT_LAST)
    return adjust(tracks, best.views, _placed(tracks, best.views), free, rounds=60)


class _Start:
    """Views that see `tracks` with focal lengths `focal`, none of them placed yet."""

    def __init__(self, tracks: Tracks, names: tuple[str, ...], focal: Array, clock: Array, free: Free) -> None:
        self._tracks, self._names, self._focal, self._clock, self._free = tracks, names, focal, clock, free
        seen, _, self._weight = tracks.at(clock)
        self._plane = seen / focal[:, None, None]  # (T, V, K, 2)
        self._spread = tracks.spread / focal
        self._pairs: dict[tuple[int, int], Pair] = {}
        for i, j in combinations(range(len(names)), 2):
            both = (self._weight[:, i] > 0) & (self._weight[:, j] > 0)
            spread = float(np.hypot(self._spread[i], self._spread[j]) / np.sqrt(2))
            pair = relative_pose(self._plane[:, i][both], self._plane[:, j][both], spread)
            if pair is not None:
                self._pairs[i, j] = pair

    def best_pairs(self) -> list[tuple[int, int]]:
        """The pairs of views that most correspondences and the widest angles speak for."""
        return sorted(self._pairs, key=lambda pair: -self._pairs[pair].merit)[:_STARTS]

    def grow(self, first: int, second: int) -> Adjusted:
        """All views, from this pair on; raises `CalibrationError` for one that cannot be joined."""
        V, pair = len(self._names), self._pairs[first, second]
        R, t = np.tile(np.eye(3), (V, 1, 1)), np.zeros((V, 3))
        R[second], t[second] = pair.R, pair.t
        joined = [first, second]
        views, adjusted = self._settled(Views(R, t, self._focal.copy(), np.zeros(V), self._clock), joined)
        while len(joined) < V:
            there = np.isfinite(adjusted.points[..., 0])
            counts = {v: int((there & (self._weight[:, v] > 0)).sum()) for v in range(V) if v not in joined}
            new = max(counts, key=lambda v: counts[v])
            plane = self._plane[:, new] * self._focal[new] / views.focal[new]
            placed = _resect(adjusted.points, plane, self._weight[:, new], float(self._spread[new]))
            if placed is None:
                raise CalibrationError(
                    f"it sees too little of the person together with the others ({counts[new]} joints shared); let"
                    " them walk where this camera and another both see them",
                    field="video",
                    camera=self._names[new],
                )
            views.R[new], views.t[new] = placed
            joined.append(new)
            views, adjusted = self._settled(views, joined)
        return _in_first(adjusted)

    def _settled(self, views: Views, joined: list[int]) -> tuple[Views, Adjusted]:
        """All views with those that are `joined` adjusted, and how."""
        rows = np.array(sorted(joined))
        own, some = self._tracks.subset(rows), views.subset(rows)
        points = _placed(own, some)
        size = _stature(points)
        start = replace(some, t=some.t / size)
        adjusted = adjust(own, start, points / size, self._free.subset(rows), rounds=_ROUNDS)
        R, t, focal = views.R.copy(), views.t.copy(), views.focal.copy()
        R[rows], t[rows], focal[rows] = adjusted.views.R, adjusted.views.t, adjusted.views.focal
        if self._free.same_lens:
            alike = rows[self._free.focal[rows]]
            focal[self._free.focal] = focal[alike].mean() if len(alike) else self._focal[self._free.focal]
        return replace(views, R=R, t=t, focal=focal), adjusted


def _placed(tracks: Tracks, views: Views) -> Array:
    """The joints `(T, K, 3)` that `views` see."""
    seen, _, weight = tracks.at(views.clock)
    plane = seen / views.focal[:, None, None]
    r2 = (plane**2).sum(-1, keepdims=True)
    plane = plane / (1 + views.radial[:, None, None] * r2)  # near enough for a start
    return triangulate(views.R, views.t, np.moveaxis(plane, 1, 2), np.moveaxis(weight, 1, 2))


def _stature(points: Array) -> float:
    ends = points[:, BONES.ends]
    lengths = np.linalg.norm(ends[:, :, 0] - ends[:, :, 1], axis=-1)  # (T, B)
    known = [lengths[:, BONES.kinds == kind] for kind in range(len(KINDS))]
    usual = np.array([np.median(own[np.isfinite(own)]) if np.isfinite(own).any() else 0.0 for own in known])
    return max(float(STATURE @ usual), 1e-6)


def _resect(points: Array, plane: Array, weight: Array, spread: float) -> tuple[Array, Array] | None:
    """`R`, `t` of the view that sees `points` `(T, K, 3)` at `plane` `(T, K, 2)`; None where too few agree."""
    use = np.isfinite(points[..., 0]) & (weight > 0)
    if use.sum() < _LEAST:
        return None
    cv2.setRNGSeed(0)
    ok, turn, t, inliers = cv2.solvePnPRansac(
        points[use], plane[use], np.eye(3), None, iterationsCount=1000, reprojectionError=4 * spread, confidence=0.9999
    )
    if not ok or inliers is None or len(inliers) < _LEAST:
        return None
    turn, t = cv2.solvePnPRefineLM(points[use][inliers.ravel()], plane[use][inliers.ravel()], np.eye(3), None, turn, t)
    return cv2.Rodrigues(turn)[0], t.ravel()


def _in_first(adjusted: Adjusted) -> Adjusted:
    """The same, in the frame of the first view."""
    views = adjusted.views
    turn, shift = views.R[0], views.t[0]
    R = views.R @ turn.T
    t = views.t - np.einsum("vij,j->vi", R, shift)
    points = adjusted.points @ turn.T + shift
    return replace(adjusted, views=replace(views, R=R, t=t), points=points)
