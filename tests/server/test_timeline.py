"""Timelines: holes are found, jitter and drift invent none."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import numpy as np
import pytest

from synpose_server.timeline import Timeline, frame_rate


def places(times: Sequence[float], rate: float) -> list[int]:
    """The place of every image; a repeated image has that of the one before."""
    timeline = Timeline(rate, times[0])
    return [place - 1 for place in accumulate(timeline.steps_to(time) for time in times)]


def test_holes_keep_their_places() -> None:
    """Images 3, 7 and 8 of 20 are missing: the others are in their places, to a millisecond's rounding."""
    kept = [k for k in range(20) if k not in (3, 7, 8)]
    assert places([k / 30 for k in kept], 30) == kept
    assert places([round(k / 30, 3) for k in kept], 30) == kept


@pytest.mark.parametrize(("kind", "most"), [("intervals", 0.4), ("moments", 0.29)])
def test_jitter_is_no_hole(kind: str, most: float) -> None:
    """Ten minutes at 29.8 frames a second called 30, every interval or moment off by up to `most`, have no hole."""
    jitter = np.random.default_rng(0).uniform(-most, most, 18000)
    times = (np.cumsum(1 + jitter) if kind == "intervals" else np.arange(18000) + jitter) / 29.8
    assert places(times.tolist(), 30.0) == list(range(18000))


def test_repeats_and_jumps() -> None:
    """A repeated image takes no place; a clock that jumps back or far ahead opens no hole, and is counted."""
    assert places([0.0, 0.1, 0.1, 0.2], 10) == [0, 1, 1, 2]
    timeline = Timeline(10, 5.0)
    assert [timeline.steps_to(time) for time in (5.0, 5.1, 0.0, 0.1, 3600.0, 3600.1)] == [1] * 6
    assert timeline.jumps == 2
    assert timeline.steps_to(None) == 1
    assert timeline.steps_to(3600.4) == 2


def test_missing_start() -> None:
    """What is missing before the first image that can be decoded is a hole, too."""
    assert Timeline(10, 0.0).steps_to(0.3) == 4


@pytest.mark.parametrize(("rate", "stated"), [(30000 / 1001, 30000 / 1001), (30.0, 90.0), (60.0, 60.0)])
def test_rate_where_images_are_missing(rate: float, stated: float) -> None:
    """Every tenth image missing lowers the average rate, not the rate that is found."""
    times = [round(k / rate, 4) for k in range(64) if k % 10 != 4]
    assert frame_rate(times, 0.9 * rate, [stated]) == pytest.approx(rate, rel=1e-3)


def test_rates_that_times_do_not_tell() -> None:
    """Packets of fields count half; stuck clocks and absurd rates give none; too few times give what is stated."""
    assert frame_rate([k / 50 for k in range(64)], 25.0, [50.0]) == 25.0
    assert frame_rate([0.0] * 64, 30.0, []) is None
    assert frame_rate([k * 1e-6 for k in range(64)], None, []) is None
    assert frame_rate([0.0], 25.0, [25.0]) == 25.0
    assert frame_rate([], None, []) is None
