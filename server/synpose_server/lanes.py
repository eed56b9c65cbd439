"""How many threads a run of a graph gets: all while nothing else runs, fewer while others do; its items side by side.

The threads of one run wait for each other, runs of one thread do not. On two cores, four images for the detector and
four crops for the spatial graph of `fast`: 4.7 to 5.2 times a second one after the other on two threads, 5.5 to 5.8
two at once on two threads each, 6.2 to 6.3 two at once on one thread each (three rounds). And four crops for that of
`default`: 86 ms and 162 ms of CPU time in one run on two threads, 79 and 150 as two runs of two crops on one thread
each; for that of `accurate` 86 and 166, 71 and 134 (medians of five rounds, by a script that was not kept).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple, TypeVar

from synpose_server.cores import step_back

__all__ = ["Lanes", "Round"]

_STEP = 4  # from one width to the next

_S = TypeVar("_S")
_T = TypeVar("_T")


class Round(NamedTuple):
    """The `parts` of a run's items that are run at once, each on `width` threads."""

    width: int
    parts: list[slice]


class Lanes:
    """The runs that are under way on `threads` cores; `widths`, descending, are the threads that a session may have.

    Thread-safe. A run that begins while others are under way gets its share of the cores.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        narrower = [1]
        while narrower[-1] * _STEP < threads:
            narrower.append(narrower[-1] * _STEP)
        self.widths = tuple(sorted({threads, *narrower}, reverse=True))
        self._running = 0
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(threads, "lane", step_back)

    @contextmanager
    def run(self) -> Iterator[int]:
        """The threads of the run that is made meanwhile."""
        with self._lock:
            self._running += 1
            share = max(1, self.threads // self._running)
        try:
            yield share
        finally:
            with self._lock:
                self._running -= 1

    def rounds(self, items: int, share: int) -> list[Round]:
        """What a run of `items` on `share` threads is made of, one round after the other.

        As many items as fill the threads one thread each, then what is left on more.
        """
        rounds, start = [], 0
        widths = [width for width in reversed(self.widths) if width <= share]
        for width in widths:
            at_once = share // width
            if size := (items - start) // at_once:
                rounds.append(_round(width, start, size, at_once))
                start += size * at_once
        if start < items:  # no session has all of the share
            rounds.append(_round(widths[-1], start, 1, items - start))
        return rounds

    def each(self, call: Callable[[_S], _T], items: Sequence[_S]) -> list[_T]:
        """What `call` returns of each of `items`, side by side as far as threads are free."""
        with self.run() as share:
            size = max(1, -(-len(items) // share))
            parts = [items[k : k + size] for k in range(0, len(items), size)]
            answers = self.together([partial(_each, call, part) for part in parts]) if parts else []
        return [answer for part in answers for answer in part]

    def together(self, calls: Sequence[Callable[[], _T]]) -> list[_T]:
        """What `calls` return, all made at once, the last one here; raises what the first that fails raised."""
        *others, last = calls
        answers = [self._pool.submit(call) for call in others]
        try:
            own = last()
        finally:
            wait(answers)
        return [*(answer.result() for answer in answers), own]


def _each(call: Callable[[_S], _T], items: Sequence[_S]) -> list[_T]:
    return [call(item) for item in items]


def _round(width: int, start: int, size: int, parts: int) -> Round:
    return Round(width, [slice(k, k + size) for k in range(start, start + size * parts, size)])
