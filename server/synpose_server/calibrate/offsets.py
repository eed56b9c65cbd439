"""By how many frames each view is ahead of the first, from the motion: whole frames here, parts in the adjustment.

Two views that look at the same instants agree with some epipolar geometry; shifted against each other, they agree with
none. No geometry has to be known, so every shift of every pair can be tried, and the shifts that please all pairs
together win.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from synpose.errors import CalibrationError
from synpose_server.calibrate.epipolar import discord
from synpose_server.calibrate.tracks import Tracks

__all__ = ["find_clocks"]

Array = NDArray[np.float64]

_INSTANTS = 120
_SWEEPS = 20
_OVERLAP = 0.3  # least share of the clip that two shifted views must share


def find_clocks(tracks: Tracks, names: tuple[str, ...], most: int) -> Array:
    """Whole frames `(V,)` by which the views are ahead of the first, at most `most` to either side.

    Raises `CalibrationError` for a view whose shift its images do not tell.
    """
    V = len(names)
    most = min(most, int(len(tracks.keypoints) * (1 - _OVERLAP)))
    curves = {pair: _curve(tracks, *pair, 2 * most) for pair in combinations(range(V), 2)}
    contrast = {pair: _contrast(curve) for pair, curve in curves.items()}
    tried = np.arange(-most, most + 1)
    clocks, placed = np.zeros(V, np.int64), [0]
    while len(placed) < V:  # the surest first
        pair = max((p for p in curves if (p[0] in placed) != (p[1] in placed)), key=lambda p: contrast[p])
        new = pair[1] if pair[0] in placed else pair[0]
        if not contrast[pair] > 0:
            raise CalibrationError(
                "its images do not tell when they were taken: it sees too little of the motion that others see",
                field="video",
                camera=names[new],
            )
        clocks[new] = tried[np.argmin(_discords(curves, clocks, new, placed, tried))]
        placed.append(new)
    for _ in range(_SWEEPS):
        before = clocks.copy()
        for v in range(1, V):
            clocks[v] = tried[np.argmin(_discords(curves, clocks, v, placed, tried))]
        if (clocks == before).all():
            break
    return clocks.astype(np.float64)


def _discords(
    curves: Mapping[tuple[int, int], Array],
    clocks: NDArray[np.int64],
    view: int,
    others: Sequence[int],
    tried: NDArray[np.int64],
) -> Array:
    """How badly `view` agrees with `others` when it is ahead by each of `tried`; who cannot be compared says 1."""
    total = np.zeros(len(tried))
    for other in others:
        if other != view:
            i, j = min(view, other), max(view, other)
            shift = tried - clocks[other] if j == view else clocks[other] - tried
            total += np.minimum(curves[i, j][shift + len(curves[i, j]) // 2], 1.0)
    return total


def _curve(tracks: Tracks, i: int, j: int, most: int) -> Array:
    """How badly view `j` agrees with view `i` when it is taken to be ahead by −`most` to `most` frames."""
    shifts = np.arange(-most, most + 1)
    a, b = tracks.keypoints[:, i], tracks.keypoints[:, j]
    spread = float(np.sqrt(tracks.spread[i] * tracks.spread[j]))
    count = len(a)
    costs = np.full(len(shifts), np.inf)
    for row, shift in enumerate(shifts.tolist()):
        start, stop = max(0, -shift), min(count, count - shift)
        if stop - start < _OVERLAP * count:
            continue
        times = np.unique(np.linspace(start, stop - 1, _INSTANTS).astype(int))
        one, other = a[times], b[times + shift]
        weight = np.minimum(one[..., 2], other[..., 2])
        use = weight > 0
        costs[row] = discord(one[use][:, :2], other[use][:, :2], weight[use], spread)
    return costs


def _contrast(curve: Array) -> float:
    known = curve[np.isfinite(curve)]
    return float(np.median(known) - known.min()) if len(known) > 2 else 0.0
