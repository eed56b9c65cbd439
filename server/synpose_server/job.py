"""The work of one caller: until when it is worth doing, and whether anybody still waits for it."""

from __future__ import annotations

import math
import time

from synpose.errors import DeadlineExceeded

__all__ = ["Cancelled", "Job"]


class Cancelled(Exception):
    """Raised in the threads that work for a caller who went away; nobody reads it."""


class Job:
    """Carried from a door through decoding and queues to the graphs; each of them drops the work of a job that is over.

    Jobs take turns at the graphs: one of a clip or a live session, however many calls it makes, is one among others.
    `deadline` is a time of `time.monotonic`, infinite where the caller named none; a session may move it from frame
    set to frame set. Thread-safe.
    """

    def __init__(self, seconds: float | None = None) -> None:
        self.deadline = math.inf if seconds is None else time.monotonic() + seconds
        self.cancelled = False

    @property
    def remaining(self) -> float:
        """Seconds until the deadline: infinite without one, negative after it."""
        return self.deadline - time.monotonic()

    @property
    def over(self) -> bool:
        """Whether there is no use in going on."""
        return self.cancelled or self.remaining <= 0

    @property
    def end(self) -> Cancelled | DeadlineExceeded | None:
        """Why there is no use in going on, if there is none."""
        if self.cancelled:
            return Cancelled()
        return DeadlineExceeded("the deadline passed before the answer was computed") if self.over else None

    def expire(self) -> None:
        """Its deadline is now; for timers whose clock runs a little ahead of `time.monotonic`."""
        self.deadline = min(self.deadline, time.monotonic())

    def cancel(self) -> None:
        """Nobody waits any more: what has not begun never will."""
        self.cancelled = True

    def check(self) -> None:
        """Raise `Cancelled` or `DeadlineExceeded` if there is no use in going on."""
        if (end := self.end) is not None:
            raise end
