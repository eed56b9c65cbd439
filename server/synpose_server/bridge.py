"""The way from an event loop to the engine: its blocking calls run in threads of their own, never on the loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from contextvars import copy_context
from typing import TypeVar, cast

import anyio

from synpose.errors import Draining, InvalidInput, Overloaded
from synpose.options import Options
from synpose.pose import Frame, PoseHeader
from synpose.rig import Rig
from synpose_server.engine import Engine, Estimation
from synpose_server.lifecycle import Lifecycle
from synpose_server.sources import Source

__all__ = ["Bridge", "Running"]

T = TypeVar("T")

_MOST_WAITING = 32  # requests that may wait for a place; each holds a thread while it does


class Running(AsyncIterator[Frame]):
    """An estimate under way: its `header`, and its frames as they are computed."""

    def __init__(self, estimation: Estimation, threads: ThreadPoolExecutor, lifecycle: Lifecycle) -> None:
        self.header: PoseHeader = estimation.header
        self._estimation = estimation
        self._threads = threads
        self._lifecycle = lifecycle
        self._step: Future[Frame | None] | None = None

    async def __anext__(self) -> Frame:
        if self._lifecycle.stopping.is_set():
            raise Draining("the server had to stop before the clip was done; send it again")
        self._step = self._threads.submit(copy_context().run, lambda: next(self._estimation, None))
        frame = await asyncio.wrap_future(self._step)
        if frame is None:
            raise StopAsyncIteration
        return frame

    async def aclose(self) -> None:
        """Stop the estimate; when this returns, no thread is at work on it and its sources may be closed."""
        with anyio.CancelScope(shield=True):
            await asyncio.wrap_future(self._threads.submit(self._estimation.close))
            if self._step is not None and not self._step.cancelled():
                with suppress(Exception):  # whoever awaited the step has had its error
                    await asyncio.wrap_future(self._step)


class Bridge:
    """Runs the calls of one engine in threads, and bounds what comes in; all doors share one."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        # A running estimate needs a thread to compute and one to be closed from; those that wait for a place block
        # theirs, so they have a pool of their own and can never keep a running one from going on.
        self._running = ThreadPoolExecutor(2 * engine.settings.max_clips, "synpose-estimate")
        self._starting = ThreadPoolExecutor(_MOST_WAITING, "synpose-start")
        self._waiting = 0
        self._uploads = 0
        self.lifecycle = Lifecycle(self._unready, engine.settings.stall_seconds)

    @property
    def ready(self) -> bool:
        """Whether the engine has loaded its models."""
        return bool(self.engine.models)

    def _unready(self) -> str | None:
        """What keeps the next estimate from being taken up, if anything does."""
        if not self.ready:
            return "the models are not loaded yet"
        if self._waiting >= _MOST_WAITING:
            return f"{self._waiting} requests are waiting already"
        return None

    @contextmanager
    def receiving(self) -> Iterator[None]:
        """Counts a request while its body is read; raises `Overloaded` when `max_uploads` are under way already."""
        if self._uploads >= self.engine.settings.max_uploads:
            raise Overloaded(f"{self._uploads} requests are being sent already; try again later")
        self._uploads += 1
        try:
            yield
        finally:
            self._uploads -= 1

    async def in_time(self, parts: AsyncIterator[T]) -> AsyncIterator[T]:
        """The parts of a body; raises `InvalidInput` when none comes for `upload_seconds`."""
        seconds = self.engine.settings.upload_seconds
        end = object()
        while True:
            try:
                async with asyncio.timeout(seconds):
                    part = await anext(parts, end)
            except TimeoutError:
                raise InvalidInput(f"nothing of the body came for {seconds:g} s", field="body") from None
            if part is end:
                return
            yield cast(T, part)

    @asynccontextmanager
    async def estimate(
        self,
        rig: Rig,
        sources: Mapping[str, Source],
        options: Options,
        timestamps: Sequence[float] | None = None,
    ) -> AsyncIterator[Running]:
        """`engine.estimate` for `async with`; leaving the block, also by cancellation, closes the estimate."""
        if (reason := self._unready()) is not None:
            raise Overloaded(f"{reason}; try again later")
        self._waiting += 1
        try:
            estimation = await self._start(lambda: self.engine.estimate(rig, sources, options, timestamps))
        finally:
            self._waiting -= 1
        running = Running(estimation, self._running, self.lifecycle)
        try:
            yield running
        finally:
            await running.aclose()

    async def _start(self, call: Callable[[], Estimation]) -> Estimation:
        started = self._starting.submit(copy_context().run, call)
        try:
            return await asyncio.wrap_future(started)
        except asyncio.CancelledError:
            # The thread cannot be stopped; wait for it, so that the place it may yet get is given back.
            with anyio.CancelScope(shield=True), suppress(Exception):
                if not started.cancelled():
                    estimation = await asyncio.wrap_future(started)
                    await asyncio.wrap_future(self._running.submit(estimation.close))
            raise

    def close(self) -> None:
        """Wait for the calls under way and end the threads."""
        self._starting.shutdown(cancel_futures=True)
        self._running.shutdown()
