"""What the work tells of itself: how long its stages take, and what it counts.

Whoever computes says `with stage("spatial"):` or `count("frame_sets")` and knows nothing of metrics or traces;
whoever wants to know subscribes. Without subscribers a stage costs about a microsecond. Names are those of `STAGES` and
`COUNTS`, and a camera is told by its place in the rig, so that what is told stays few.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Literal, Protocol, TypeAlias, TypeVar

__all__ = [
    "COUNTS",
    "STAGES",
    "Count",
    "Listener",
    "Measure",
    "Stage",
    "count",
    "longest",
    "measure",
    "stage",
    "staged",
    "subscribe",
    "told",
]

T = TypeVar("T")

STAGES = {
    "queue": "waiting for a free place",
    "decode": "the next image of a camera",
    "detect": "a run of the detector graph on the images of a frame set",
    "spatial": "a run of the spatial graph on the crops of a frame set",
    "relation": "a run of the relation graph on the window of a person",
    "format": "writing an answer",
}
COUNTS = {
    "frame_sets": "Frame sets that were answered",
    "people": "People in the frame sets that were answered",
    "missing_views": "Images that were missing or unreadable in a frame set",
    "dropped_frame_sets": "Frame sets that were left out because newer ones came",
    "late_frame_sets": "Images of live streams, and whole frame sets, that came after their frame set was closed",
    "expired_requests": "Requests whose deadline passed before they were computed",
}
Stage: TypeAlias = Literal["queue", "decode", "detect", "spatial", "relation", "format"]
Count: TypeAlias = Literal[
    "frame_sets", "people", "missing_views", "dropped_frame_sets", "late_frame_sets", "expired_requests"
]
Measure: TypeAlias = Literal["skew"]
"""What is told as it comes: the seconds between the first and the last image of a frame set."""


class Listener(Protocol):
    """Is told what happens, in the thread where it happens; it must be quick and raise nothing."""

    def stage(self, name: Stage, began: float, ended: float, camera: int | None) -> None:
        """A stage is over; times are those of `time.perf_counter`."""

    def count(self, name: Count, n: int, camera: int | None) -> None:
        """`n` more of something."""

    def measure(self, name: Measure, value: float) -> None:
        """One value of something that is measured."""


_listeners: tuple[Listener, ...] = ()
_running: dict[int, tuple[Stage, float]] = {}  # by thread; stages do not nest


def subscribe(listener: Listener) -> None:
    """Tell `listener` from now on; does nothing the second time."""
    global _listeners
    if listener not in _listeners:
        _listeners = (*_listeners, listener)


@contextmanager
def stage(name: Stage, camera: int | None = None) -> Iterator[None]:
    """Times the block as one stage; also as a decorator."""
    thread, began = threading.get_ident(), time.perf_counter()
    _running[thread] = name, began
    try:
        yield
    finally:
        del _running[thread]
        told(name, began, camera)


def told(name: Stage, began: float, camera: int | None = None) -> None:
    """A stage that began at `began` (`time.perf_counter`) is over; for what is waited for on an event loop."""
    ended = time.perf_counter()
    for listener in _listeners:
        listener.stage(name, began, ended, camera)


def staged(name: Stage, items: Iterable[T], camera: int | None = None) -> Iterator[T]:
    """The items; getting each of them is timed as one stage."""
    iterator, end = iter(items), object()
    while True:
        with stage(name, camera):
            item = next(iterator, end)
        if item is end:
            return
        yield item  # type: ignore[misc]


def count(name: Count, n: int = 1, camera: int | None = None) -> None:
    """Count `n` more."""
    for listener in _listeners:
        listener.count(name, n, camera)


def measure(name: Measure, value: float) -> None:
    """Tell one value."""
    for listener in _listeners:
        listener.measure(name, value)


def longest() -> tuple[Stage, float] | None:
    """The stage that has been going on longest in any thread, and for how many seconds; waiting does not count."""
    now = time.perf_counter()
    ages = [(now - began, name) for name, began in list(_running.values()) if name != "queue"]
    return max(((name, age) for age, name in ages), key=lambda pair: pair[1], default=None)
