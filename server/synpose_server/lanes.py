"""How many threads a run of a graph gets: all while nothing else runs, fewer while others do.

The threads of one run wait for each other, runs of one thread do not. On two cores, four images for the detector and
four crops for the spatial graph of `fast`: 4.7 to 5.2 times a second one after the other on two threads, 5.5 to 5.8
two at once on two threads each, 6.2 to 6.3 two at once on one thread each (three rounds).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["Lanes"]

_STEP = 4  # from one width to the next


class Lanes:
    """The runs that are under way on `threads` cores; `widths`, descending, are the threads that one of them may get.

    Thread-safe. A run that begins while others are under way gets its share of the cores, or less.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        narrower = [1]
        while narrower[-1] * _STEP < threads:
            narrower.append(narrower[-1] * _STEP)
        self.widths = tuple(sorted({threads, *narrower}, reverse=True))
        self._running = 0
        self._lock = threading.Lock()

    @contextmanager
    def run(self) -> Iterator[int]:
        """The threads of the run that is made meanwhile."""
        with self._lock:
            self._running += 1
            share = max(1, self.threads // self._running)
        try:
            yield next(width for width in self.widths if width <= share)
        finally:
            with self._lock:
                self._running -= 1
