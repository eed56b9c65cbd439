"""What the scheduler did, counted; whoever publishes it takes the counts or listens."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from typing import Literal, Protocol, TypeAlias

__all__ = ["Observer", "Outcome", "Stats"]

Outcome: TypeAlias = Literal["executed", "failed", "expired", "cancelled", "rejected"]


class Observer(Protocol):
    """Told of every outcome and batch as it happens, by any thread; it must be quick and must not raise."""

    def counted(self, where: str, outcome: Outcome) -> None:
        """A call at `where`, a graph such as `default.spatial` or `admission`, has ended so."""

    def batch(self, graph: str, size: int, waited: Sequence[float], seconds: float) -> None:
        """A run of `seconds` over `size` items, for calls that had waited so many seconds each."""


class Stats:
    """`counts` by place and outcome, and the `observers` that are told, too.

    A call is counted once: `executed` or `failed` when its graph ran (at `admission`: when it was let in), `expired`
    and `cancelled` when its job was over before that, `rejected` when admission refused it.
    """

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, Outcome]] = Counter()
        self.observers: list[Observer] = []
        self._lock = threading.Lock()

    def count(self, where: str, outcome: Outcome) -> None:
        """Count one call."""
        with self._lock:
            self.counts[where, outcome] += 1
        for observer in self.observers:
            observer.counted(where, outcome)

    def batch(self, graph: str, size: int, waited: Sequence[float], seconds: float) -> None:
        """Tell the observers of a run."""
        for observer in self.observers:
            observer.batch(graph, size, waited, seconds)
