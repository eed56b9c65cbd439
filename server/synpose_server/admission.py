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
    """`places` estimates at a time at most; `most` more may wait, up to `patience` seconds. Of one event loop."""

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
            if not self._waiting and len(self._running) < self._together(place):
                self._enter(place)
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
        wait, doubt = self._wait(place)
        if self.is_full:
            raise Overloaded(f"{len(self._waiting)} requests are waiting already; try again later", retry_after=wait)
        place.is_trial = not self._running and place.is_doubtful
        if math.isinf(place.job.remaining):  # cannot be late
            place.job.check()
        else:
            place.check(wait, doubt)

    def _together(self, place: Place) -> int:
        """How many may run at once, `place` among them, so that all are in time; 1 if none can be helped.

        Of those that run count those that will be done before `place` would be: the others, which are long, may not
        keep the rest of the cores for themselves.
        """
        short = [running for running in self._running if running.seconds() <= place.seconds(0)]
        for n in range(self._places, 1, -1):
            if all(some.bears(n - 1) for some in (place, *short)):
                return n
        return 1

    def _wait(self, place: Place) -> tuple[float, float | None]:
        """Seconds until newcomer `place` would begin, in the company in which it would be done first.

        And by how much that is usually wrong; None where its turn is free at once, and would else be nobody's.
        """
        most = self._together(place)
        if not self._waiting and len(self._running) < most:
            place.share(len(self._running))
            return 0.0, None
        waits = {n: self._line(n) for n in range(1, most + 1)}
        n = min(waits, key=lambda n: waits[n][0] + place.seconds(n - 1))
        place.share(n - 1)
        return waits[n]

    def _line(self, turns: int) -> tuple[float, float]:
        """Seconds until one of so many turns is free, after all who run and wait, and the doubt of it."""
        free = sorted((running.seconds(), running.doubt()) for running in self._running)[-turns:]
        free = [*[(0.0, 0.0)] * (turns - len(free)), *free]
        for waiting, _ in self._waiting:
            seconds, doubt = free[0]
            heapq.heapreplace(free, (seconds + waiting.seconds(), math.hypot(doubt, waiting.doubt())))
        return free[0]

    def _enter(self, place: Place) -> None:
        self._running.add(place)
        self._share()

    def _share(self) -> None:
        for place in self._running:
            place.share(len(self._running) - 1)

    async def _turn(self, place: Place) -> None:
        turn: _Turn = asyncio.get_running_loop().create_future()
        self._waiting.append((place, turn))
        try:
            async with asyncio.timeout(min(self._patience, place.job.remaining)):
                await turn
        except BaseException as error:
            self._waiting = deque(entry for entry in self._waiting if entry[1] is not turn)
            self._leave(place)  # for those behind it, and in case that its turn came together with the end of the wait
            if not isinstance(error, TimeoutError):
                raise
            place.job.check()
            busy = "the server is busy with other clips; try again later"
            raise Overloaded(busy, retry_after=self._wait(place)[0]) from None

    def _leave(self, place: Place) -> None:
        self._running.discard(place)
        self._share()
        self._go_on()

    def _go_on(self) -> None:
        """Let in those who are first in line, while there is room; who cannot be answered in time any more is told."""
        while self._waiting:
            following, turn = self._waiting[0]
            if not turn.done():
                if len(self._running) >= self._together(following):
                    return
                following.share(len(self._running))
                try:
                    following.check()
                except (Overloaded, DeadlineExceeded) as error:
                    turn.set_exception(error)
                else:
                    self._enter(following)
                    turn.set_result(None)
            self._waiting.popleft()

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
