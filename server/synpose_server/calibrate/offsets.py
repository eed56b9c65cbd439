"""By how many frames each view is ahead of the first, from the motion: whole frames here, parts in the adjustment.

Two views that look at the same instants agree with some epipolar geometry; shifted against each other, they agree with
none. No geometry has to be known, so every shift of every pair can be tried, and the shifts that please all pairs
together win.
"""

from __future__ import annotations

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
    shifts = np.arange(-2 * most, 2 * most + 1)
    curves = {pair: _curve(tracks, *pair, shifts) for pair in combinations(range(V), 2)}
    contrast = {pair: _contrast(curve) for pair, curve in curves.items()}
    clocks, placed = np.zeros(V, int), [0]
    while len(placed) < V:  # the surest pairs first
        pair = max((p for p in curves if (p[0] in placed) != (p[1] in placed)), key=lambda p: contrast[p])
        if not contrast[pair] > 0:
            new = pair[1] if pair[0] in placed else pair[0]
            raise CalibrationError(
                "its images do not tell when they were taken: it sees too little of the motion that others see",
                field="video",
                camera=names[new],
            )
        shift = int(shifts[np.argmin(curves[pair])])
        if pair[0] in placed:
            clocks[pair[1]] = clocks[pair[0]] + shift
            placed.append(pair[1])
        else:
            clocks[pair[0]] = clocks[pair[1]] - shift
            placed.append(pair[0])
    for _ in range(_SWEEPS):
        before = clocks.copy()
        for v in range(1, V):
            tried = np.arange(-most, most + 1)
            clocks[v] = tried[np.argmin([_total(curves, _with(clocks, v, c), 2 * most) for c in tried])]
        if (clocks == before).all():
            break
    return clocks.astype(np.float64)


def _curve(tracks: Tracks, i: int, j: int, shifts: NDArray[np.int64]) -> Array:
    """How badly view `j` agrees with view `i` when it is taken to be ahead by each of `shifts`."""
    a, b = tracks.keypoints[:, i], tracks.keypoints[:, j]
    spread = float(np.sqrt(tracks.spread[i] * tracks.spread[j]))
    count = len(a)
    costs = np.full(len(shifts), np.inf)
    for row, shift in enumerate(shifts):
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


def _with(clocks: NDArray[np.int64], view: int, clock: int) -> NDArray[np.int64]:
    changed = clocks.copy()
    changed[view] = clock
    return changed


def _total(curves: dict[tuple[int, int], Array], clocks: NDArray[np.int64], middle: int) -> float:
    """The discord of all pairs; a pair that cannot be compared says 1, as if nothing agreed."""
    return float(sum(min(curve[clocks[j] - clocks[i] + middle], 1.0) for (i, j), curve in curves.items()))
