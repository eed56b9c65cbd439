"""A calibration as it goes: how far it is, a line at a time, and at last its answer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import suppress

import orjson

from synpose.errors import SynposeError
from synpose.formats import FORMATS
from synpose_server.bridge import Bridge
from synpose_server.calibrate.estimate import CalibrationRequest
from synpose_server.http.problems import problem_of
from synpose_server.job import Job

__all__ = ["LINES", "calibration_lines"]

LINES = FORMATS["ndjson"].media_type

_EVERY = 0.25  # seconds between two lines: more than an eye can follow would only cost

log = logging.getLogger(__name__)


async def calibration_lines(bridge: Bridge, request: CalibrationRequest, job: Job) -> AsyncGenerator[bytes, None]:
    """Lines of progress, then the answer; an error is the last line, or is raised where it would be the first.

    Closing the generator, also by cancellation, ends the work.
    """
    loop, told = asyncio.get_running_loop(), asyncio.Event()
    progress: tuple[int, int | None] = (0, None)

    def tell(done: int, total: int | None) -> None:
        nonlocal progress
        progress = done, total
        loop.call_soon_threadsafe(told.set)

    work = asyncio.create_task(bridge.calibrate(request, job, tell))
    begun = False
    try:
        while not work.done():
            news = asyncio.create_task(told.wait())
            try:
                await asyncio.wait((work, news), return_when=asyncio.FIRST_COMPLETED)
            finally:
                news.cancel()
            if work.done():
                break
            told.clear()
            done, total = progress
            yield orjson.dumps({"progress": {"done": done, "total": total}}) + b"\n"
            begun = True
            await asyncio.wait((work,), timeout=_EVERY)
        try:
            line = orjson.dumps(work.result().to_record())
        except Exception as error:
            if not begun:
                raise
            if not isinstance(error, SynposeError):
                log.exception("a calibration failed")
            line = orjson.dumps({"error": problem_of(error)})
        yield line + b"\n"
    finally:
        work.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await work
