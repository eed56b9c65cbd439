"""From images of single cameras to frame sets: pure logic, which is told the time and never looks at a clock."""

from __future__ import annotations

import itertools
import operator
import statistics
from bisect import insort
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from synpose.live import StreamPolicy

__all__ = ["Assembler", "PendingSet"]

_FPS = 30.0  # until the images tell
_MOST_PENDING = 32  # frame sets that wait for images; the oldest of more goes on
_REMEMBERED = 256  # timestamps of a camera that are known again
_GONE_ON = 2  # later images after which a camera will not send an earlier one: their order may be off by one
_INTERVALS, _ENOUGH = 32, 5
_GAP = 1.5  # intervals after which an instant seems to be on its way still
_FAR = 10  # intervals that the next set lies ahead at most, unless most cameras say so
_SENDING = 16  # times as many images as there are cameras; a camera without one among the last so many sends no more
_LATE = 8  # late images in a row, each after the other, that show a clock to have stepped backwards


@dataclass(eq=False)
class PendingSet:
    """Images that belong together, `time` being that of the first that came.

    `received` and `assembled` are when its first image came and when it was closed, in the seconds of whoever tells
    the assembler the time. `starts_over`: the cameras' clocks stepped backwards before it, so its time is before that
    of a set that came out earlier.
    """

    time: float
    received: float
    images: dict[str, bytes] = field(default_factory=dict)
    times: dict[str, float] = field(default_factory=dict)
    sealed: bool = False
    assembled: float = 0.0
    starts_over: bool = False

    @property
    def skew(self) -> float:
        """Seconds between the first and the last image."""
        return max(self.times.values()) - min(self.times.values()) if self.times else 0.0

    @property
    def size(self) -> int:
        """Bytes of its images."""
        return sum(map(len, self.images.values()))


class Assembler:
    """Pairs the images of `cameras` by their timestamps; closed sets come out in the order of their times.

    Two kinds of clocks that go wrong are the exception. A set that lies far ahead and lacks images comes out, but what
    is earlier is not late because of it, unless most of the cameras that still send are as far. And where all of them
    have sent several images that were late, one after the other, their clocks have stepped backwards: what follows is
    taken in again.

    An image joins the nearest set within the sync window that has none of its camera. A set is closed when all sets
    before it are, and it is complete, sealed, waited for long enough, or every camera that it lacks has gone on. In
    mode `every` a set also waits where an instant before it seems to be missing, as the way here may have turned them
    round. What comes for a set that was closed is late, and what was seen before is a duplicate: both are counted and
    left out. `fps` is the rate of the cameras where it is known.
    """

    def __init__(self, cameras: Sequence[str], policy: StreamPolicy, fps: float | None = None) -> None:
        self._cameras, self._policy, self._fps = tuple(cameras), policy, fps
        self._pending: list[PendingSet] = []
        self._last: PendingSet | None = None  # that was closed
        self._seen: dict[str, deque[float]] = {camera: deque(maxlen=_REMEMBERED) for camera in cameras}
        self._intervals: dict[str, float] = {}  # seconds that are usual between the images of a camera
        self._newest: dict[str, float] = {}  # time of the image of a camera that came last
        self._came: deque[str] = deque(maxlen=_SENDING * len(self._cameras))  # cameras of the images that came last
        self._late_runs: dict[str, int] = {}  # how many images of a camera were late since one was not
        self._starts_over = False
        self.late = self.duplicates = self.missing = self.dropped = self.closed = 0

    @property
    def window(self) -> float:
        """Seconds within which images belong together."""
        if self._policy.sync_window is not None:
            return self._policy.sync_window
        return 0.5 * self._interval

    @property
    def _interval(self) -> float:
        return min(self._intervals.values(), default=1 / _FPS) if self._fps is None else 1 / self._fps

    @property
    def _reach(self) -> float:
        """Seconds after the set before it in which the next one is to be expected."""
        return max(self._policy.max_wait, _FAR * self._interval)

    @property
    def size(self) -> int:
        """Bytes of the images that wait."""
        return sum(pending.size for pending in self._pending)

    @property
    def due(self) -> float | None:
        """When the first set will have waited for long enough."""
        return self._pending[0].received + self._policy.max_wait if self._pending else None

    def add(self, camera: str, time: float, image: bytes, now: float) -> None:
        """Take in the image of a camera, taken at `time`."""
        if self._is_known(camera, time):
            return
        is_late = self._comes_late(camera, time)
        self._note(camera, time, is_late=is_late)
        if is_late:
            self._start_over_if_all_are_late(now)
            return
        near = [
            s for s in self._pending if not s.sealed and camera not in s.images and abs(s.time - time) <= self.window
        ]
        place = min(near, key=lambda s: abs(s.time - time), default=None)
        if place is None:
            place = PendingSet(time, now)
            insort(self._pending, place, key=lambda s: s.time)
        place.images[camera], place.times[camera] = image, time

    def add_set(self, time: float, images: Mapping[str, bytes], now: float) -> None:
        """Take in all images that there are of a frame set, none or more."""
        new = {camera: image for camera, image in images.items() if not self._is_known(camera, time)}
        if images and not new:
            return
        is_late = self._last is not None and time <= self._last.time
        for camera in new:
            self._note(camera, time, is_late=is_late)
        if is_late:
            self._start_over_if_all_are_late(now)
            return
        insort(self._pending, PendingSet(time, now, new, dict.fromkeys(new, time), sealed=True), key=lambda s: s.time)

    def take(self, now: float) -> list[PendingSet]:
        """The sets that are closed by now."""
        taken = []
        while self._pending and self._is_closed(self._pending[0], now):
            taken += self._close(now)
        return taken

    def force(self, now: float) -> list[PendingSet]:
        """Close the oldest set as it is."""
        return self._close(now) if self._pending else []

    def flush(self, now: float) -> list[PendingSet]:
        """Close all sets as they are: nothing follows."""
        return [closed for _ in range(len(self._pending)) for closed in self._close(now)]

    def _is_known(self, camera: str, time: float) -> bool:
        seen = self._seen[camera]
        if time in seen:
            self.duplicates += 1
            return True
        seen.append(time)
        last = sorted(itertools.islice(reversed(seen), _INTERVALS + 1))
        if len(last) > _ENOUGH:
            self._intervals[camera] = statistics.median(map(operator.sub, last[1:], last))
        return False

    def _comes_late(self, camera: str, time: float) -> bool:
        last = self._last
        if last is None or time > last.time + self.window:
            return False
        return time <= last.time or camera not in last.images

    def _note(self, camera: str, time: float, *, is_late: bool) -> None:
        ascends = time > self._newest.get(camera, time)
        self._came.append(camera)
        self._newest[camera] = time
        self.late += is_late
        self._late_runs[camera] = 0 if not is_late else self._late_runs[camera] + 1 if ascends else 1

    def _start_over_if_all_are_late(self, now: float) -> None:
        """Let in what comes after the newest late images, if nothing but such has come for a while."""
        sending = set(self._came)
        if not sending or any(self._late_runs[camera] < _LATE for camera in sending):
            return
        times = [self._newest[camera] for camera in sending]
        middle = statistics.median_low(times)
        self._last = PendingSet(max(time for time in times if time <= middle + self._reach), now)
        for seen in self._seen.values():
            seen.clear()
        self._late_runs = dict.fromkeys(self._late_runs, 0)
        self._starts_over = True

    def _is_closed(self, first: PendingSet, now: float) -> bool:
        absent = [camera for camera in self._cameras if camera not in first.images]
        if len(self._pending) > _MOST_PENDING or now - first.received >= self._policy.max_wait:
            return True
        if self._follows_a_gap(first) and not all(self._has_gone_on(camera) for camera in self._cameras):
            return False
        if first.sealed or not absent:
            return True
        return self._policy.on_missing != "wait" and all(self._has_gone_on(camera) for camera in absent)

    def _follows_a_gap(self, first: PendingSet) -> bool:
        """Whether, in mode `every`, one more instant would fit between `first` and the set before it."""
        if self._policy.mode != "every" or self._last is None or not self._intervals:
            return False
        return first.time - self._last.time > _GAP * min(self._intervals.values())

    def _has_gone_on(self, camera: str) -> bool:
        return sum(camera in later.images for later in self._pending[1:]) >= _GONE_ON

    def _close(self, now: float) -> list[PendingSet]:
        """The oldest set, or nothing where it lacks images and such ones are dropped."""
        first = self._pending.pop(0)
        if not self._is_astray(first):
            self._last = first
        first.assembled = now
        absent = len(self._cameras) - len(first.images)
        self.closed += 1
        self.missing += absent
        if absent and self._policy.on_missing == "drop":
            self.dropped += 1
            return []
        first.starts_over, self._starts_over = self._starts_over, False
        return [first]

    def _is_astray(self, first: PendingSet) -> bool:
        """Whether `first` lies far ahead, lacks images, and no more than half of the cameras that send are as far."""
        if self._last is None or first.time <= self._last.time + self._reach:
            return False
        sending = {camera for camera in self._came if camera not in first.images}
        all_there = len(first.images) + len(sending)
        as_far = len(first.images) + sum(self._newest[camera] > first.time - self._reach for camera in sending)
        return len(first.images) < len(self._cameras) and 0 < all_there >= 2 * as_far
