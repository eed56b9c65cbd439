"""The way from an event loop to the engine: its blocking calls run in threads of their own, never on the loop."""

from __future__ import annotations

import asyncio
import errno
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from contextvars import copy_context
from typing import TypeVar, cast

import anyio

from synpose.calibrated import Calibrated
from synpose.errors import DeadlineExceeded, Draining, InvalidInput, Overloaded
from synpose.options import Options
from synpose.pose import Frame, PoseHeader
from synpose.rig import Rig
from synpose_server.admission import Admission
from synpose_server.calibrate.estimate import CalibrationRequest
from synpose_server.cores import step_back
from synpose_server.engine import Engine, Estimation
from synpose_server.job import Cancelled, Job
from synpose_server.lifecycle import Lifecycle
from synpose_server.live import Sessions
from synpose_server.observe import told
from synpose_server.pace import Place
from synpose_server.sources import Source

__all__ = ["Bridge", "Running"]

T = TypeVar("T")

_STOPPED = "the server had to stop before the clip was done; send it again"
_MOST_WAITING = 32  # requests that may wait for a place; each holds its body, on disk where it is large
_CONVERTED = 2  # answers written in another format at a time; each takes several times its body in memory


class Running(AsyncIterator[Frame]):
    """An estimate under way: its `header`, and its frames as they are computed, until its job's deadline."""

    def __init__(self, estimation: Estimation, job: Job, threads: ThreadPoolExecutor, lifecycle: Lifecycle) -> None:
        self.header: PoseHeader = estimation.header
        self._estimation, self._job, self._threads, self._lifecycle = estimation, job, threads, lifecycle
        self._step: Future[Frame | None] | None = None

    async def __anext__(self) -> Frame:
        if self._lifecycle.stopping.is_set():
            raise Draining(_STOPPED)
        self._step = self._threads.submit(copy_context().run, lambda: next(self._estimation, None))
        frame = await _in_time(asyncio.wrap_future(self._step), self._job)
        if frame is None:
            raise StopAsyncIteration
        return frame

    async def aclose(self) -> None:
        """Stop the estimate; when this returns, no thread is at work on it and its sources may be closed."""
        self._job.cancel()
        with anyio.CancelScope(shield=True):
            await asyncio.wrap_future(self._threads.submit(self._estimation.close))
            if self._step is not None and not self._step.cancelled():
                with suppress(Exception):  # whoever awaited the step has had its error
                    await asyncio.wrap_future(self._step)


async def _in_time(work: Awaitable[T], job: Job) -> T:
    """The result of `work`; raises `DeadlineExceeded` when it is not there before the deadline of `job`."""
    limit = asyncio.timeout(None if math.isinf(job.remaining) else job.remaining)
    try:
        async with limit:
            return await work
    except TimeoutError:
        if limit.expired():
            job.expire()
        job.check()
        raise


class Bridge:
    """Runs the calls of one engine in threads, and bounds what comes in; all doors share one."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        settings = engine.settings
        self.admission = Admission(settings.max_clips, _MOST_WAITING, settings.queue_seconds, engine.stats)
        # a running estimate needs a thread to compute and one to be closed from
        self._threads = ThreadPoolExecutor(2 * settings.max_clips, "synpose-estimate", step_back)
        self._converters = ThreadPoolExecutor(_CONVERTED, "synpose-convert", step_back)
        self._conversions = asyncio.Semaphore(_CONVERTED)
        self._uploads = 0
        self.lifecycle = Lifecycle(self._unready, engine.settings.stall_seconds)
        self.live = Sessions(engine)

    @property
    def ready(self) -> bool:
        """Whether the engine has loaded its models."""
        return bool(self.engine.models)

    def _unready(self) -> str | None:
        """What keeps the next estimate from being taken up, if anything does."""
        if not self.ready:
            return "the models are not loaded yet"
        if self.admission.is_full:
            return f"{self.admission.waiting} requests are waiting already"
        return None

    @contextmanager
    def receiving(self, job: Job | None = None, *, estimates: bool = False) -> Iterator[None]:
        """Counts a request while its body is read; `estimates`: it asks for an estimate, which needs a place.

        Raises as `Job.check`, and `Overloaded` when `max_uploads` are under way already, or when an estimate could not
        be let in anyway, or when the disk has no room for the body.
        """
        job = Job() if job is None else job
        if estimates:
            self.admission.check(job)
        job.check()
        if self._uploads >= self.engine.settings.max_uploads:
            raise Overloaded(f"{self._uploads} requests are being sent already; try again later")
        self._uploads += 1
        try:
            yield
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise Overloaded(
                "the server has no room on its disk for this upload; try again later, or have its folder for temporary"
                " files (TMPDIR) emptied or moved"
            ) from error
        finally:
            self._uploads -= 1

    async def in_time(self, parts: AsyncIterator[T], job: Job | None = None) -> AsyncIterator[T]:
        """The parts of a body; raises `InvalidInput` when none comes for `upload_seconds`, or as `Job.check`."""
        seconds = self.engine.settings.upload_seconds
        job, end = Job() if job is None else job, object()
        while True:
            hurried = job.remaining < seconds
            try:
                async with asyncio.timeout(min(seconds, job.remaining)):
                    part = await anext(parts, end)
            except TimeoutError:
                if hurried:
                    job.expire()
                job.check()
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
        job: Job | None = None,
    ) -> AsyncIterator[Running]:
        """`engine.estimate` for `async with`, when its turn comes; leaving the block, also by cancellation, closes it.

        Raises as `Admission.place`, and `DeadlineExceeded` when that of `job` passes.
        """
        job = Job() if job is None else job
        async with self._place(sources, options.model, job) as place:
            estimation = await self._start(lambda: self.engine.estimate(rig, sources, options, timestamps, place), job)
            running = Running(estimation, job, self._threads, self.lifecycle)
            try:
                yield running
            finally:
                await running.aclose()

    async def answer(
        self,
        rig: Rig,
        sources: Mapping[str, Source],
        options: Options,
        timestamps: Sequence[float] | None,
        job: Job,
        write: Callable[[PoseHeader, list[Frame]], T],
    ) -> T:
        """What `write` makes of a whole estimate, when its turn comes, all in one thread; raises as `estimate`."""
        opened: list[Estimation] = []

        def work(place: Place) -> T:
            with self.engine.estimate(rig, sources, options, timestamps, place) as estimation:
                opened.append(estimation)
                frames: list[Frame] = []
                while True:
                    if job.cancelled:
                        raise Cancelled
                    if self.lifecycle.stopping.is_set():
                        raise Draining(_STOPPED)
                    if (frame := next(estimation, None)) is None:
                        return write(estimation.header, frames)
                    frames.append(frame)

        async with self._place(sources, options.model, job) as place:
            return await self._whole(lambda: work(place), job, opened)

    async def calibrate(
        self,
        request: CalibrationRequest,
        job: Job | None = None,
        progress: Callable[[int, int | None], None] = lambda done, total: None,
    ) -> Calibrated:
        """`engine.calibrate` when its turn comes; once this returns, also by cancellation, no thread is at work on it.

        `progress` is called in another thread. Raises as `estimate`.
        """
        job = Job() if job is None else job
        async with self._place(request.sources, request.options.model, job):
            return await self._whole(lambda: self.engine.calibrate(request, job, progress), job)

    async def convert(self, work: Callable[[], T], job: Job, held: ExitStack) -> T:
        """The result of `work`, when its turn comes, in one of the few threads for it.

        Raises `DeadlineExceeded` at the deadline of `job`, which is over when this returns. A thread cannot be stopped:
        what `held` holds is given back once none is at work on it, though nobody waits for it any more.
        """
        try:
            await _in_time(self._conversions.acquire(), job)
            held.callback(self._conversions.release)
            call = self._converters.submit(copy_context().run, work)
            kept, loop = held.pop_all(), asyncio.get_running_loop()
            call.add_done_callback(lambda _: loop.call_soon_threadsafe(kept.close))
            return await _in_time(asyncio.wrap_future(call), job)
        finally:
            job.cancel()

    @asynccontextmanager
    async def _place(self, sources: Mapping[str, Source], model: str, job: Job) -> AsyncIterator[Place]:
        """`Admission.place`, once the models are there; raises `NotFound` for a model that is none of them."""
        if not self.ready:
            raise Overloaded("the models are not loaded yet")
        model = self.engine.name_of(model)  # admission remembers a name, which must not be any text
        frame_sets = max((len(source) for source in sources.values() if isinstance(source, Sequence)), default=None)
        came = time.perf_counter()
        async with self.admission.place(job, len(sources), frame_sets, model) as place:
            told("queue", came)
            yield place

    async def _whole(self, work: Callable[[], T], job: Job, opened: Sequence[Estimation] = ()) -> T:
        """The result of `work` in a thread; once this returns, none is at work on it: what it has opened is closed."""
        call = self._threads.submit(copy_context().run, work)
        try:
            return await _in_time(asyncio.wrap_future(call), job)
        finally:
            job.cancel()
            if not call.done():
                with anyio.CancelScope(shield=True), suppress(Exception):
                    for estimation in opened:
                        await asyncio.wrap_future(self._threads.submit(estimation.close))
                    await asyncio.wrap_future(call)

    async def _start(self, call: Callable[[], Estimation], job: Job) -> Estimation:
        started = self._threads.submit(copy_context().run, call)
        try:
            return await _in_time(asyncio.wrap_future(started), job)
        except (asyncio.CancelledError, DeadlineExceeded):
            # The thread cannot be stopped; wait for it, so that what it opens is closed before its place is free.
            job.cancel()
            with anyio.CancelScope(shield=True), suppress(Exception):
                if not started.cancelled():
                    estimation = await asyncio.wrap_future(started)
                    await asyncio.wrap_future(self._threads.submit(estimation.close))
            raise

    def close(self) -> None:
        """Wait for the calls under way and end the threads; live streams are given up."""
        self.live.close()
        self._threads.shutdown()
        self._converters.shutdown()
