"""Where a server stands between its start and its end, and so what its probes say.

Startup: both doors listen. Liveness: the event loop turns, and no thread is stuck in a stage of the work. Readiness: a
request that comes now would be taken up. Only a failed liveness calls for a restart.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from synpose.errors import Draining, Overloaded
from synpose_server import observe

__all__ = ["Lifecycle"]

_AGAIN = "the server is about to stop; send this again, to another or when it is back"


class Lifecycle:
    """Used from one event loop. `can_take` says what keeps a request from being taken up, if anything does."""

    def __init__(self, can_take: Callable[[], str | None], stall_seconds: float) -> None:
        self.started = True  # a door that is used alone; `serve` waits for both
        self.draining = asyncio.Event()
        """Set when the server is about to stop: long-lived streams end what they have begun, and say goodbye."""
        self.stopping = asyncio.Event()
        """Set when the time for that is over: what still runs is broken off."""
        self._can_take, self._stall_seconds = can_take, stall_seconds
        self._running = 0
        self._changed = asyncio.Event()

    def check_startup(self) -> None:
        """Raise `Overloaded` until both doors listen."""
        if not self.started:
            raise Overloaded("the server is starting")

    def check_liveness(self) -> None:
        """Raise `Overloaded` when a thread has been at one image or graph run for `stall_seconds`."""
        longest = observe.longest()
        if longest is not None and longest[1] > self._stall_seconds:
            raise Overloaded(f"a thread is stuck: {longest[0]} has been running for {longest[1]:.0f} s")

    def check_readiness(self) -> None:
        """Raise `Draining` before the end, and `Overloaded` while nothing can be taken up."""
        if self.draining.is_set():
            raise Draining(_AGAIN)
        self.check_startup()
        if (reason := self._can_take()) is not None:
            raise Overloaded(reason)

    @property
    def is_alive(self) -> bool:
        """Whether `check_liveness` raises nothing."""
        return _passes(self.check_liveness)

    @property
    def is_ready(self) -> bool:
        """Whether `check_readiness` raises nothing."""
        return _passes(self.check_readiness)

    @contextmanager
    def request(self) -> Iterator[None]:
        """Counts a request, which is waited for at the end; raises `Draining` for one that comes too late."""
        if self.draining.is_set():
            raise Draining(_AGAIN)
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1
            self._changed.set()

    async def drain(self, seconds: float) -> bool:
        """Take up nothing more and wait until what runs is done; False if `seconds` were too few for it."""
        self.draining.set()
        try:
            async with asyncio.timeout(seconds):
                while self._running:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return False
        finally:
            self.stopping.set()
        return True


def _passes(check: Callable[[], None]) -> bool:
    try:
        check()
    except Overloaded:
        return False
    return True
