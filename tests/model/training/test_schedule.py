"""The learning rate over a run."""

from __future__ import annotations

from itertools import pairwise

import pytest

from synpose_model.training.config import Schedule
from synpose_model.training.schedule import share_of_peak


def test_warm_up_and_cosine() -> None:
    """Linear to the peak, half of it midway, down to the floor after the last step, and never up again."""
    schedule = Schedule(steps=110, warmup=10)
    shares = [share_of_peak(schedule, step) for step in range(111)]
    assert shares[:10] == pytest.approx([0.1 * n for n in range(1, 11)])
    assert shares[10] == 1.0
    assert shares[60] == pytest.approx(0.5)
    assert 0 < shares[109] < 0.001
    assert shares[110] == pytest.approx(0.0, abs=1e-12)
    assert all(after <= before for before, after in pairwise(shares[10:]))


def test_floor_and_no_warm_up() -> None:
    """Without warm-up the first step has the peak; the cosine ends at the floor."""
    schedule = Schedule(steps=10, warmup=0, floor=0.2)
    assert share_of_peak(schedule, 0) == 1.0
    assert share_of_peak(schedule, 10) == pytest.approx(0.2)


def test_shorter_than_its_warm_up() -> None:
    """A trial that ends before its warm-up does grows all the way."""
    schedule = Schedule(steps=5, warmup=10)
    assert [share_of_peak(schedule, step) for step in range(5)] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])
