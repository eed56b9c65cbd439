"""Who of two groups is who."""

from __future__ import annotations

import numpy as np

from synpose_server.assignment import nearest_pairs


def test_the_nearest_pairs_come_first_and_nobody_twice() -> None:
    """Infinite and unknown costs make no pair; more rows than columns leave some alone."""
    costs = np.array([[3.0, 1.0], [1.5, 0.5], [np.nan, np.inf]])
    assert nearest_pairs(costs) == [(1, 1), (0, 0)]
    assert nearest_pairs(np.full((2, 2), np.inf)) == []
    assert nearest_pairs(np.zeros((0, 3))) == []
