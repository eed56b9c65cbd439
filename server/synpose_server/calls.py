"""One call through a door: its id, who makes it and how it ends, told to the log, the metrics and the trace."""

from __future__ import annotations

import logging
import random
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from synpose_server import metrics, tracing

__all__ = ["REQUEST_ID", "Call", "call", "current_call"]

REQUEST_ID = "x-request-id"

_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")  # what may stand in a log as it came

_ids = random.Random()  # nobody is kept out by them, and the operating system takes its time
current_call: ContextVar[Call | None] = ContextVar("synpose_call", default=None)

log = logging.getLogger("synpose.access")


@dataclass
class Call:
    """`method` is the route or the gRPC method, `status` how it ended, `reason` the type of problem if it is one."""

    door: str
    method: str
    id: str
    peer: str
    key: str | None = None
    status: str = "unknown"
    reason: str | None = None
    began: float = field(default_factory=time.perf_counter)
    ended: float | None = None  # where the answer was complete before the call is over


@contextmanager
def call(door: str, method: str, headers: Mapping[str, str], peer: str) -> Iterator[Call]:
    """A call for the length of the block; the caller's `x-request-id` becomes its id, if it can stand in a log."""
    given = headers.get(REQUEST_ID, "")
    current = Call(door, method, given if _ID.fullmatch(given) else f"{_ids.getrandbits(128):032x}", peer)
    current_call.set(current)
    with tracing.call_span(door, headers) as span, metrics.in_flight(door):
        try:
            yield current
        finally:
            seconds = (current.ended or time.perf_counter()) - current.began
            metrics.observe_call(door, current.method, current.status, current.reason, seconds)
            span.end(current)
            quiet = current.method in ("/healthz", "/readyz", "/startupz", "/metrics") or "Health/" in current.method
            level = logging.DEBUG if quiet else logging.INFO
            if log.isEnabledFor(level):
                log.log(
                    level,
                    "%s %s %s in %.3f s",
                    door,
                    current.method,
                    current.status,
                    seconds,
                    extra={
                        "door": door,
                        "method": current.method,
                        "status": current.status,
                        "seconds": round(seconds, 6),
                        "peer": peer,
                        "key": current.key,
                        "reason": current.reason,
                    },
                )
