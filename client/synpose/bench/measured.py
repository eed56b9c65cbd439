"""What a load measured: each request's end, and the figures that sum them up."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Answer", "Report", "percentile"]

_PERCENTILES = (50, 90, 99)


@dataclass(frozen=True)
class Answer:
    """One frame set: `due` seconds after the start of the load, `seconds` until its end, and how that was called.

    `status` is the HTTP status, the name of the gRPC code, or of a stream `OK`, `DROPPED` or `LOST`.
    """

    due: float
    seconds: float
    status: str

    @property
    def is_good(self) -> bool:
        return self.status in ("200", "OK")

    @property
    def is_refusal(self) -> bool:
        """Whether the server said that it is busy."""
        return self.status in ("429", "503", "RESOURCE_EXHAUSTED", "UNAVAILABLE")


@dataclass(frozen=True)
class Report:
    """The answers of one load that went on for `seconds`, and the `deadline` that they were measured against."""

    answers: Sequence[Answer]
    seconds: float
    deadline: float | None = None

    @property
    def throughput(self) -> float:
        """Frame sets a second that were answered."""
        return sum(answer.is_good for answer in self.answers) / self.seconds

    @property
    def goodput(self) -> float:
        """Frame sets a second that were answered within the deadline."""
        return sum(a.is_good and a.seconds <= self._limit for a in self.answers) / self.seconds

    @property
    def late(self) -> int:
        """Frame sets that were answered after the deadline."""
        return sum(a.is_good and a.seconds > self._limit for a in self.answers)

    @property
    def latencies(self) -> list[float]:
        """Seconds of those that were answered."""
        return [answer.seconds for answer in self.answers if answer.is_good]

    @property
    def refusals(self) -> list[float]:
        """Seconds until the server said that it is busy."""
        return [answer.seconds for answer in self.answers if answer.is_refusal]

    @property
    def statuses(self) -> dict[str, int]:
        """How many ended how."""
        return dict(Counter(answer.status for answer in self.answers).most_common())

    @property
    def _limit(self) -> float:
        return float("inf") if self.deadline is None else self.deadline

    def record(self) -> dict[str, Any]:
        """As JSON; times in milliseconds, None where nothing was measured."""
        return {
            "seconds": self.seconds,
            "sent": len(self.answers),
            "throughput": self.throughput,
            "deadline_ms": None if self.deadline is None else self.deadline * 1e3,
            "goodput": self.goodput,
            "late": self.late,
            "latency_ms": _milliseconds(self.latencies),
            "refusal_ms": _milliseconds(self.refusals),
            "statuses": self.statuses,
        }


def percentile(values: Sequence[float], percent: int) -> float:
    """The value that `percent` of `values`, of which there must be some, do not exceed; between two it is weighed."""
    if len(values) == 1:
        return values[0]
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def _milliseconds(values: Sequence[float]) -> dict[str, float] | None:
    if not values:
        return None
    return {f"p{percent}": percentile(values, percent) * 1e3 for percent in _PERCENTILES} | {"max": max(values) * 1e3}
