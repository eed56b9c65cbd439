"""Who of two groups is who: the nearest pairs first."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["nearest_pairs"]


def nearest_pairs(costs: NDArray[np.float64]) -> list[tuple[int, int]]:
    """Pairs (row, column) of `costs`, each row and each column in one at most; infinite or NaN: no pair."""
    left = np.where(np.isfinite(costs), costs, np.inf)
    pairs = []
    while left.size and np.isfinite(best := left.min()):
        row, column = (int(i) for i in np.argwhere(left == best)[0])
        pairs.append((row, column))
        left[row], left[:, column] = np.inf, np.inf
    return pairs
