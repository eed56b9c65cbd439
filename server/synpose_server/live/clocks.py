"""How far the clocks of cameras are apart, as the arrival of their images tells."""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Sequence

__all__ = ["Clocks"]

_SEEN = 64  # images of a camera that are looked at
_ENOUGH = 8


class Clocks:
    """Constant offsets between the clocks of `cameras`, from each camera's quickest images.

    What an image needs from its capture to its arrival is never less than the way takes, and jitter only adds to it: so
    the least of many differences between arrival and timestamp is that way plus the offset of the clock (the minimum
    filter of NTP, RFC 5905 section 10). Ways that differ in length count as offsets, too.
    """

    def __init__(self, cameras: Sequence[str]) -> None:
        self._delays: dict[str, deque[float]] = {camera: deque(maxlen=_SEEN) for camera in cameras}

    def see(self, camera: str, timestamp: float, received: float) -> None:
        """Take in an image; both in seconds, `received` by one clock for all cameras."""
        self._delays[camera].append(received - timestamp)

    @property
    def known(self) -> bool:
        """Whether every camera has sent enough to go by."""
        return all(len(delays) >= _ENOUGH for delays in self._delays.values())

    @property
    def begun(self) -> bool:
        """Whether some camera has sent enough to go by."""
        return any(len(delays) >= _ENOUGH for delays in self._delays.values())

    def offsets(self) -> dict[str, float]:
        """Seconds by which the clock of each camera is ahead of the middle one; nothing of cameras that sent little."""
        least = {camera: min(delays) for camera, delays in self._delays.items() if len(delays) >= _ENOUGH}
        if not least:
            return {}
        middle = statistics.median_low(least.values())
        return {camera: middle - delay for camera, delay in least.items()}
