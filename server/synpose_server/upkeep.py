"""What a server does now and then beside its requests."""

from __future__ import annotations

import asyncio
import ctypes
import sys

from synpose_server.engine import Engine

__all__ = ["upkeep"]

_TRIM_SECONDS = 10


async def upkeep(engine: Engine) -> None:
    """Until cancelled: look for new models, and give memory that nothing uses back to the system."""
    every = engine.settings.models_poll_seconds
    await asyncio.gather(_trim(_TRIM_SECONDS), *([engine.served.watch(every)] if every else []))


async def _trim(seconds: float) -> None:
    """Images of all sizes leave glibc's heaps full of holes, which it keeps until it is told not to.

    After two hundred bad requests (`tests/e2e/test_bad_input.py`) 230 of 930 MiB were such holes; to give them back
    took 15 ms, and half a millisecond where there was nothing to give. Fewer heaps (`MALLOC_ARENA_MAX`) held as much.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    while trim is not None:  # other C libraries have none
        await asyncio.sleep(seconds)
        await asyncio.to_thread(trim, 0)
