"""The deadline that an HTTP caller sets."""

from __future__ import annotations

from collections.abc import Mapping

from synpose.errors import OptionsError
from synpose_server.job import Job

__all__ = ["HEADER", "job_of"]

HEADER = "x-request-timeout"
"""Seconds, with or without decimals, that count from when the server has read the headers."""

_MOST = 86_400.0


def job_of(headers: Mapping[str, str]) -> Job:
    """The job of a request, with the deadline of its `X-Request-Timeout`; raises `OptionsError` for no such number."""
    given = headers.get(HEADER)
    if given is None:
        return Job()
    try:
        seconds = float(given)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds <= _MOST:
        raise OptionsError(
            f"X-Request-Timeout is a number of seconds, above 0 and at most a day, not {given[:40]!r}",
            field="X-Request-Timeout",
        )
    return Job(seconds)
