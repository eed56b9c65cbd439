"""How long an estimate takes, learned from those that ran, and one estimate as admission sees it."""

from __future__ import annotations

import math
import time
from typing import Literal

from synpose.errors import Overloaded
from synpose_server.job import Job

__all__ = ["Pace", "Place"]

_GAIN = 0.1  # of a new value in the running estimate
_TRIAL_GAIN = 0.5  # of the value of a trial, in an estimate that is old
_OLD = 1.0  # seconds without a new value
_FORGOTTEN = 30.0  # seconds that a company was not seen, others being seen
_DOUBT = 2.0  # mean deviations by which a deadline is to be met


class _Mean:
    """An exponentially weighted mean and mean deviation, as TCP estimates round trips; 0 while nothing is known."""

    def __init__(self) -> None:
        self.mean = self.deviation = 0.0
        self.is_known = False

    def add(self, value: float, gain: float = _GAIN) -> None:
        if not self.is_known:
            self.mean, self.deviation, self.is_known = value, value / 2, True
            return
        self.deviation += gain * (abs(value - self.mean) - self.deviation)
        self.mean += gain * (value - self.mean)


class _Level:
    """The pace beside so many others: of the first frame set of an estimate, and of a later one."""

    def __init__(self) -> None:
        self.first, self.later = _Mean(), _Mean()
        self.learned = -math.inf  # time.monotonic

    @property
    def is_old(self) -> bool:
        return time.monotonic() - self.learned > _OLD


class Pace:
    """Seconds an image of the first frame set of an estimate, which opens sources and finds people, and of a later.

    Learned apart for each number of other estimates beside: how much of the cores one leaves to others differs from
    machine to machine. On two cores two at once take nearly twice as long as one.
    """

    def __init__(self) -> None:
        self._levels: dict[int, _Level] = {}  # by how many others ran beside
        self.fewest = 1  # images of a frame set, of all that ran

    @property
    def is_known(self) -> bool:
        """Whether anything was learned yet."""
        return bool(self._levels)

    @property
    def is_old(self) -> bool:
        """Whether nothing was learned lately: a pace that refuses everybody would never hear that it is wrong."""
        return all(level.is_old for level in self._levels.values())

    def seconds(self, images: int, first: int, later: int, beside: int = 0) -> float:
        """For so many first and later frame sets of `images` images, `beside` so many other estimates."""
        of_first, _ = self._at("first", beside)
        of_later, _ = self._at("later", beside)
        return images * (first * of_first + later * of_later)

    def doubt(self, images: int, first: int, later: int, beside: int = 0) -> float:
        """By how much `seconds` is usually wrong."""
        return images * math.hypot(
            first * self._at("first", beside)[1], math.sqrt(later) * self._at("later", beside)[1]
        )

    def _at(self, which: Literal["first", "later"], beside: int) -> tuple[float, float]:
        """Mean and mean deviation in that company, or what the nearest says of it.

        Who has more company is taken not to be hindered, and who has less to be quicker in proportion, until it was
        seen: both are tried rather than ruled out. What was not seen for long is not known any more.
        """
        newest = max((level.learned for level in self._levels.values()), default=0.0)
        fresh = {n: level for n, level in self._levels.items() if newest - level.learned < _FORGOTTEN}
        known = {n: mean for n, level in fresh.items() if (mean := getattr(level, which)).is_known}
        if not known:
            return 0.0, 0.0
        nearest = max((n for n in known if n <= beside), default=min(known))
        scale, mean = min(1.0, (beside + 1) / (nearest + 1)), known[nearest]
        return scale * mean.mean, scale * mean.deviation

    def add(self, images: int, is_first: bool, seconds: float, beside: float = 0.0) -> None:
        """Learn what a frame set has taken, with so many others beside it in the mean."""
        self.fewest = min(self.fewest, images) if self.is_known else images
        company = round(beside)
        if company not in self._levels:  # another thread may be reading them
            self._levels = {**self._levels, company: _Level()}
        level = self._levels[company]
        gain = _TRIAL_GAIN if level.is_old else _GAIN
        (level.first if is_first else level.later).add(seconds / images, gain)
        level.learned = time.monotonic()


class Place:
    """One estimate that runs or waits: its job, how much there is to do and how far it is.

    `frame_sets` None is a length that is not known yet. Written by the thread that computes, read by the event loop.
    """

    def __init__(self, job: Job, cameras: int, frame_sets: int | None = None, pace: Pace | None = None) -> None:
        self.job = job
        self.is_trial = False  # let in though it will probably be late, to learn whether that is still so
        self._cameras, self._pace = cameras, Pace() if pace is None else pace
        self._frame_sets = 1 if frame_sets is None else frame_sets
        self._done = 0
        self._since: float | None = None  # of the frame set under way
        self._beside = 0  # other estimates
        self._shared = self._since_shared = 0.0  # seconds times those beside in this frame set, and until when

    def share(self, beside: int) -> None:
        """From now on it has, or is to have, so many other estimates beside it."""
        self._count()
        self._beside = beside

    def _count(self) -> None:
        now = time.monotonic()
        self._shared += self._beside * (now - self._since_shared)
        self._since_shared = now

    def seconds(self, beside: int | None = None) -> float:
        """What is still to be computed, as far as the pace is known: of what should be done by now, the usual error.

        `beside` so many others; without, those that it has.
        """
        needed = self._pace.seconds(self._cameras, *self._left, self._beside if beside is None else beside)
        if self._since is None:
            return needed
        return max(needed - (time.monotonic() - self._since), min(needed, self.doubt(beside)))

    def doubt(self, beside: int | None = None) -> float:
        """By how much `seconds` is usually wrong."""
        return self._pace.doubt(self._cameras, *self._left, self._beside if beside is None else beside)

    def bears(self, beside: int) -> bool:
        """Whether it would surely be in time with so many others beside it."""
        return self.seconds(beside) + _DOUBT * self.doubt(beside) <= self.job.remaining

    @property
    def is_doubtful(self) -> bool:
        """Whether its pace is too old to refuse it."""
        return self._pace.is_old

    @property
    def _left(self) -> tuple[int, int]:
        """First and later frame sets that are not done."""
        first = 0 if self._done else 1
        return first, max(self._frame_sets - self._done - first, 0)

    def check(self, wait: float = 0.0, doubt: float | None = None) -> None:
        """Raise as `Job.check`, or `Overloaded` if what is left, begun in `wait` seconds, would probably be late.

        With `doubt`, by which `wait` is usually wrong, already if it might be: better told at once than at its turn,
        as there are others to make use of the place.
        """
        self.job.check()
        if self.is_trial:
            return
        margin = 0.0 if doubt is None else _DOUBT * math.hypot(doubt, self.doubt())
        needed = wait + self.seconds() + margin
        if needed > self.job.remaining:
            late = f"the answer would take {needed:.2g} s, longer than its deadline allows"
            raise Overloaded(late, retry_after=wait or None)  # without a line nobody knows what waiting would change

    def expect(self, frame_sets: int | None) -> None:
        """The length has become known; raises as `check`."""
        if frame_sets is not None:
            self._frame_sets = frame_sets
        self.check()

    def begin(self) -> None:
        """A frame set is begun: the first one already when its sources are opened."""
        if self._since is None:
            self._since = self._since_shared = time.monotonic()
            self._shared = 0.0

    def end(self) -> None:
        """The frame set that was begun is done."""
        if self._since is not None:
            self._count()
            seconds = self._since_shared - self._since
            self._pace.add(self._cameras, not self._done, seconds, self._shared / seconds if seconds else self._beside)
        self._done, self._since = self._done + 1, None
