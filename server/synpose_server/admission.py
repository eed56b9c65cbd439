"""Who may begin: places for estimates, and a line before them that only those join who will be answered in time.

From the pace of the models and the work that runs and waits follows when a newcomer would be answered. Who would be too
late is told so at once, which costs microseconds, instead of making everybody late.
"""

from __future__ import annotations

import asyncio
import heapq
import math
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TypeAlias

from synpose.errors import DeadlineExceeded, Overloaded
from synpose_server.job import Job
from synpose_server.pace import Pace, Place
from synpose_server.stats import Stats

__all__ = ["Admission"]

_Turn: TypeAlias = "asyncio.Future[None]"


class Admission:
    """`places` estimates at a time; `most` more may wait, up to `patience` seconds. Belongs to one event loop."""

    def __init__(self, places: int, most: int, patience: float, stats: Stats) -> None:
        self._places, self._most, self._patience, self._stats = places, most, patience, stats
        self._paces: defaultdict[str, Pace] = defaultdict(Pace)  # by bundle
        self._running: set[Place] = set()
        self._waiting: deque[tuple[Place, _Turn]] = deque()

    @property
    def running(self) -> int:
        """Estimates that have a place."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """Estimates that wait for one."""
        return len(self._waiting)

    def check(self, job: Job) -> None:
        """Raise at once for a job that could not be let in, were it the smallest of all that came so far.

        To be asked before its body is read.
        """
        learned = (pace for pace in self._paces.values() if pace.is_known)
        quickest = min(learned, key=lambda pace: pace.seconds(pace.fewest, 1, 0), default=Pace())
        with self._counted():
            self._check(Place(job, quickest.fewest, pace=quickest))

    @asynccontextmanager
    async def place(
        self, job: Job, cameras: int, frame_sets: int | None = None, model: str = "default"
    ) -> AsyncIterator[Place]:
        """A place for the length of the block. `model` is the name of a bundle, whose pace is kept.

        Raises `Overloaded` when the line is full, when no place comes free for `patience` seconds, and as soon as it is
        plain that the answer cannot come before the deadline; `DeadlineExceeded` when that has passed.
        """
        place = Place(job, cameras, frame_sets, self._paces[model])
        with self._counted():
            self._check(place)
            if len(self._running) < self._places:
                self._running.add(place)
            else:
                await self._turn(place)
            try:
                yield place
            finally:
                self._leave(place)
            self._stats.count("admission", "executed")

    @property
    def is_full(self) -> bool:
        """Whether one more could not even wait."""
        return len(self._running) >= self._places and len(self._waiting) >= self._most

    def _check(self, place: Place) -> None:
        if self.is_full:
            wait, _ = self._wait()
            raise Overloaded(f"{len(self._waiting)} requests are waiting already; try again later", retry_after=wait)
        place.is_trial = not self._running and place.is_doubtful
        if math.isinf(place.job.remaining):  # cannot be late
            place.job.check()
        else:
            place.check(*self._wait())

    def _wait(self) -> tuple[float, float | None]:
        """Seconds until a newcomer would begin, after all who wait, each of whom takes the place that is free first.

        And by how much that is usually wrong; None where a place is free, which would else do nothing.
        """
        if len(self._running) < self._places:
            return 0.0, None
        free = [(place.seconds, place.doubt) for place in self._running]
        heapq.heapify(free)
        for place, _ in self._waiting:
            seconds, doubt = free[0]
            heapq.heapreplace(free, (seconds + place.seconds, math.hypot(doubt, place.doubt)))
        return free[0]

    async def _turn(self, place: Place) -> None:
        turn: _Turn = asyncio.get_running_loop().create_future()
        self._waiting.append((place, turn))
        try:
            async with asyncio.timeout(min(self._patience, place.job.remaining)):
                await turn
        except BaseException as error:
            if place in self._running:  # the turn came together with the end of the wait
                self._leave(place)
            self._waiting = deque(entry for entry in self._waiting if entry[1] is not turn)
            if not isinstance(error, TimeoutError):
                raise
            place.job.check()
            busy = "the server is busy with other clips; try again later"
            raise Overloaded(busy, retry_after=self._wait()[0]) from None

    def _leave(self, place: Place) -> None:
        """Give the place to the first in line who can still be answered in time."""
        self._running.discard(place)
        while self._waiting and len(self._running) < self._places:
            following, turn = self._waiting.popleft()
            if turn.done():
                continue
            try:
                following.check()
            except (Overloaded, DeadlineExceeded) as error:
                turn.set_exception(error)
            else:
                self._running.add(following)
                turn.set_result(None)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        """Counts what ends in the block."""
        try:
            yield
        except Overloaded:
            self._stats.count("admission", "rejected")
            raise
        except DeadlineExceeded:
            self._stats.count("admission", "expired")
            raise
        except (asyncio.CancelledError, GeneratorExit):
            self._stats.count("admission", "cancelled")
            raise
