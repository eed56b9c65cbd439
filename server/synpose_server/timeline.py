"""Which place of a clip each image of a video belongs to, by the time stamps that the file gives its images.

Cameras are paired by their place in the clip, so an image that was dropped or cannot be decoded must leave a hole:
without it, every later image would be paired with the wrong instant.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["Timeline", "frame_rate"]

_LONGEST_GAP = 10.0  # seconds; a longer one is a jump of the clock or a cut, not that many lost images
_JITTER = 0.1  # frames above a half by which an interval may be late before it counts as one more
_FASTEST = 1000.0  # frames a second; time stamps that claim more are no camera's
_SAME_RATE = 0.05  # a stated rate this near to the measured one is the exact value of it


def frame_rate(times: Sequence[float], average: float | None, stated: Sequence[float]) -> float | None:
    """Frames a second at which a video was taken, whether or not some are missing; None where its times do not tell.

    `times` are those of the first packets in seconds, in any order; `average` is the file's average rate, which is too
    low where images are missing; `stated` are rates that the file or FFmpeg claims. What is usual between neighbours
    decides, and the nearest stated rate gives its exact value. A rate far above the average is that of fields, which
    some files store in packets of their own.
    """
    moments = np.unique(np.asarray(times, dtype=float))
    if len(moments) < 0.75 * len(times):
        return None
    claims = [rate for rate in (average, *stated) if rate]
    if len(moments) < 3:
        return claims[0] if claims and claims[0] <= _FASTEST else None
    intervals = np.diff(moments)
    usual = intervals[np.abs(intervals / np.median(intervals) - 1) < 0.5]
    measured = float(1 / usual.mean())
    if average and measured > 1.5 * average:
        return average
    nearest = min(claims, key=lambda rate: abs(rate / measured - 1), default=measured)
    rate = nearest if abs(nearest / measured - 1) < _SAME_RATE else measured
    return rate if rate <= _FASTEST else None


class Timeline:
    """Counts the places between one image and the next at `rate` frames a second.

    Phones take images at intervals that jitter, at a rate that is not quite the stated one: so it is the interval that
    counts, not the time since the start. `jumps` counts the times that the clock went backwards or more than ten
    seconds ahead.
    """

    def __init__(self, rate: float, start: float) -> None:
        """`start` is the time in seconds at which the first image is due."""
        self._rate = rate
        self._last = start - 1 / rate
        self.jumps = 0

    def steps_to(self, time: float | None) -> int:
        """Places from the last image to the one at `time` (seconds, None if unknown): 1 is next, 0 the same again."""
        if time is None:
            self._last += 1 / self._rate
            return 1
        interval, self._last = (time - self._last) * self._rate, time
        if interval < -0.01 or interval > _LONGEST_GAP * self._rate:
            self.jumps += 1
            return 1
        if interval < 0.01:
            return 0
        return max(1, round(interval - _JITTER))
