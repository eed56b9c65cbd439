"""A live stream from the client's side: captures go up, poses come down, and a broken connection is made anew."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterable, Iterator, Mapping
from contextlib import aclosing
from itertools import islice
from types import TracebackType
from typing import Any, Self, TypeVar

from synpose.errors import InvalidInput, LimitExceeded, NotFound, ServerError
from synpose.live import Ack, Capture, End, Ended, FromServer, LivePose, Opened, Received, Resume, Start, ToServer
from synpose.live import StreamCounters as Counters
from synpose.pose import PoseHeader
from synpose.transports.base import Disconnected, Transport

__all__ = ["AsyncLiveStream", "LiveStream"]

T = TypeVar("T")

log = logging.getLogger(__name__)

RECONNECT = 30.0
"""Seconds for which a stream is tried again after its connection broke, if there is no answer."""

_MOST_UNCONFIRMED = 256  # captures that are kept until the server says that they came
_MOST_UNREAD = 64  # results that were received and not yet taken
_MOST_BYTES = (32 << 20) - (64 << 10)  # of the images of a capture: what a message holds, less what is said of them
_PAUSE = 0.2  # seconds before the next try


class _Backlog:
    """Captures that were not confirmed yet, numbered as the server counts them."""

    def __init__(self, *, keeps: bool) -> None:
        self.keeps = keeps  # what was sent, until it is confirmed
        self.first = 0
        self.captures: deque[Capture] = deque()

    @property
    def end(self) -> int:
        return self.first + len(self.captures)

    def confirm(self, count: int) -> None:
        """The first `count` have come."""
        while self.captures and self.first < count:
            self.captures.popleft()
            self.first += 1


class AsyncLiveStream:
    """An open live stream: `send` captures and iterate over the poses; in an `async with` block.

    `header` says what the poses share, `counters` what happened to the captures (newest known). `restarts` counts how
    often the server had lost the stream, so that a new one was begun: people then get new ids, and sequence numbers
    begin at 0; results on their way are lost. A connection that breaks and comes back within `RECONNECT` seconds loses
    nothing in mode `every`.
    """

    header: PoseHeader

    def __init__(self, transport: Transport, start: Start) -> None:
        self.restarts = 0
        self.counters = Counters()
        self.calibration_hash = ""
        self._transport, self._start = transport, start
        self._backlog = _Backlog(keeps=start.policy.mode == "every")
        self._token = ""
        self._last: int | None = None  # sequence number received
        self._read: int | None = None  # and taken
        self._results: asyncio.Queue[tuple[int, LivePose]] = asyncio.Queue(_MOST_UNREAD)  # with `restarts` of then
        self._wake, self._room, self._opened = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._come = asyncio.Event()  # there is a result, or there will be none
        self._ending = self._over = False
        self._error: BaseException | None = None
        self._broken: float | None = None  # since when there is no connection, `time.monotonic`

    async def __aenter__(self) -> Self:
        self._running = asyncio.create_task(self._run())
        opened = asyncio.create_task(self._opened.wait())
        try:
            await asyncio.wait((self._running, opened), return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            await self.aclose()
            raise
        finally:
            opened.cancel()
        if self._error is not None:
            raise self._error
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def send(self, timestamp: float, images: Mapping[str, bytes]) -> None:
        """Send the frame set of an instant (seconds): all images that there are of it, by camera.

        Waits while the server is behind, in mode `every`; then someone else must read the poses meanwhile.
        """
        await self._put(Capture(_seconds(timestamp), _encoded(images), whole=True))

    async def send_image(self, camera: str, timestamp: float, image: bytes) -> None:
        """Send one camera's image, taken at `timestamp` seconds; the server finds those that belong together."""
        await self._put(Capture(_seconds(timestamp), _encoded({camera: image})))

    async def end(self) -> None:
        """Say that nothing follows: what is on its way is answered, and iteration ends."""
        self._ending = True
        self._wake.set()

    async def follow(
        self, frame_sets: Iterable[tuple[float, Mapping[str, bytes]]] | AsyncIterator[tuple[float, Mapping[str, bytes]]]
    ) -> AsyncGenerator[LivePose, None]:
        """Send frame sets, (timestamp, images by camera), as they come and yield the poses; then the stream is over.

        An iterable that blocks is read in a thread.
        """

        async def feed() -> None:
            async for timestamp, images in _async(frame_sets):
                await self.send(timestamp, images)
            await self.end()

        feeding = asyncio.create_task(feed())
        feeding.add_done_callback(self._fed)
        try:
            async for pose in self:
                yield pose
        finally:
            feeding.cancel()
            await asyncio.wait([feeding])

    def __aiter__(self) -> AsyncIterator[LivePose]:
        return self

    async def __anext__(self) -> LivePose:
        while self._results.empty():
            if self._over:
                if self._error is not None:
                    raise self._error
                raise StopAsyncIteration
            await self._come.wait()
            self._come.clear()
        restarts, pose = self._results.get_nowait()
        if restarts == self.restarts:  # else the server has lost the stream that this is of
            self._read = pose.sequence
            self._wake.set()
        return pose

    async def aclose(self) -> None:
        """Leave the stream; the server forgets it after a while."""
        self._running.cancel()
        await asyncio.wait([self._running])

    async def _put(self, capture: Capture) -> None:
        if self._ending:
            raise InvalidInput("the stream was ended")
        while self._backlog.keeps and len(self._backlog.captures) >= _MOST_UNCONFIRMED and self._error is None:
            self._room.clear()
            await self._room.wait()
        if self._error is not None:
            raise self._error
        self._backlog.captures.append(capture)
        if len(self._backlog.captures) > _MOST_UNCONFIRMED:
            self._backlog.confirm(self._backlog.first + 1)  # the newest wins
        self._wake.set()

    def _fed(self, feeding: asyncio.Task[None]) -> None:
        """Whoever feeds the stream is done; if that was an error, it is what the reader gets."""
        if not feeding.cancelled() and (error := feeding.exception()) is not None and self._error is None:
            self._error = error
            self._running.cancel()

    async def _run(self) -> None:
        try:
            await self._connect_until_ended()
        except asyncio.CancelledError:
            self._error = self._error or ServerError("the live stream was left")
            raise
        except Exception as error:  # crosses to those who send and read
            self._error = error
        finally:
            self._over = True
            self._room.set()
            self._come.set()

    async def _connect_until_ended(self) -> None:
        """Connect, and connect again where the connection breaks, until everything is answered."""
        first: Start | Resume = self._start
        while True:
            try:
                await self._connect(first)
                return
            except Disconnected as error:
                now = time.monotonic()
                self._broken = now if self._broken is None else self._broken
                if not self._token or now - self._broken > RECONNECT:
                    raise
                again = isinstance(first, Resume) and first.last_sequence == self._last
                log.log(logging.DEBUG if again else logging.WARNING, "the live stream broke off (%s)", error)
            except NotFound:
                if not isinstance(first, Resume):
                    raise
                log.warning("the server has lost the live stream; a new one is begun")
                self.restarts += 1
                self._token, self._last, self._read, self._backlog.first = "", None, None, 0
                first = self._start
                continue
            await asyncio.sleep(_PAUSE)
            first = Resume(self._token, self._last)

    async def _connect(self, first: Start | Resume) -> None:
        """One connection, until the stream is over."""
        opened: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        async with (
            aclosing(self._messages(first, opened)) as messages,
            aclosing(self._transport.live(messages, self._token)) as answers,
        ):
            async for answer in answers:
                self._broken = None
                await self._take(answer, opened)
                if isinstance(answer, Ended):
                    return
        raise Disconnected("the server ended the live stream")

    async def _take(self, answer: FromServer, opened: asyncio.Future[int]) -> None:
        match answer:
            case Opened(token, header, next_capture, digest):
                self._token, self.header, self.calibration_hash = token, header, digest
                if self._backlog.keeps:
                    self._confirm(next_capture)
                opened.set_result(self._backlog.first)
                self._opened.set()
            case LivePose(counters=counters):
                self._confirm(counters.captures)
                self.counters = counters
                if self._last is None or answer.sequence > self._last:
                    self._last = answer.sequence
                    await self._results.put((self.restarts, answer))
                    self._come.set()
            case Received(captures):
                self._confirm(captures)
            case Ended(counters):
                self.counters = counters

    def _confirm(self, captures: int) -> None:
        if self._backlog.keeps:
            self._backlog.confirm(captures)
            self._room.set()

    async def _messages(self, first: Start | Resume, opened: asyncio.Future[int]) -> AsyncGenerator[ToServer, None]:
        """What is said over one connection: the greeting, then what is to be said as it comes up."""
        yield first
        at = await asyncio.shield(opened)
        told, ended = self._read, False
        while True:
            at = max(at, self._backlog.first)
            if self._read is not None and self._read != told:
                told = self._read
                yield Ack(told)
            elif at < self._backlog.end:
                capture = self._backlog.captures[at - self._backlog.first]
                at += 1
                if not self._backlog.keeps:
                    self._backlog.confirm(at)
                yield capture
            elif self._ending and not ended:
                ended = True
                yield End()
            else:
                self._wake.clear()
                await self._wake.wait()


class LiveStream(Iterator[LivePose]):
    """`AsyncLiveStream` without `await`. Usable from two threads: one that sends, one that reads the poses."""

    def __init__(self, stream: AsyncLiveStream, run: Callable[[Coroutine[Any, Any, Any]], Any]) -> None:
        self._stream, self._run = stream, run

    @property
    def header(self) -> PoseHeader:
        return self._stream.header

    @property
    def counters(self) -> Counters:
        return self._stream.counters

    @property
    def restarts(self) -> int:
        return self._stream.restarts

    @property
    def calibration_hash(self) -> str:
        return self._stream.calibration_hash

    def send(self, timestamp: float, images: Mapping[str, bytes]) -> None:
        """As `AsyncLiveStream.send`."""
        self._run(self._stream.send(timestamp, images))

    def send_image(self, camera: str, timestamp: float, image: bytes) -> None:
        """As `AsyncLiveStream.send_image`."""
        self._run(self._stream.send_image(camera, timestamp, image))

    def end(self) -> None:
        """As `AsyncLiveStream.end`."""
        self._run(self._stream.end())

    def follow(self, frame_sets: Iterable[tuple[float, Mapping[str, bytes]]]) -> Iterator[LivePose]:
        """As `AsyncLiveStream.follow`."""
        poses = self._stream.follow(frame_sets)
        try:
            while (pose := self._run(_next(poses))) is not None:
                yield pose
        finally:
            self._run(poses.aclose())

    def __next__(self) -> LivePose:
        pose = self._run(_next(self._stream))
        if pose is None:
            raise StopIteration
        return pose  # type: ignore[no-any-return]


async def _next(poses: AsyncIterator[LivePose]) -> LivePose | None:
    return await anext(poses, None)


async def _async(items: Iterable[T] | AsyncIterator[T]) -> AsyncIterator[T]:
    """The items, of which a blocking iterable gives each in a thread."""
    if isinstance(items, AsyncIterator):
        async for item in items:
            yield item
        return
    source = iter(items)

    def take() -> list[T]:
        return list(islice(source, 1))

    while taken := await asyncio.to_thread(take):
        yield taken[0]


def _seconds(timestamp: float) -> float:
    if not math.isfinite(timestamp):
        raise InvalidInput("a timestamp must be a finite number of seconds", field="timestamp")
    return float(timestamp)


def _encoded(images: Mapping[str, bytes]) -> dict[str, bytes]:
    """`images`, or what holds their bytes as OpenCV's encoder gives it, as bytes; raises `InvalidInput` for others.

    And `LimitExceeded` for more than a message holds. Told here, as the task that sends them has nobody to tell, and a
    message that is too large breaks the connection anew whenever it is sent again.
    """
    encoded = {}
    for camera, image in images.items():
        if not isinstance(camera, str):
            raise InvalidInput(f"a camera's name is text, not {camera!r:.40}", field="capture.images")
        try:
            encoded[camera] = image if isinstance(image, bytes) else bytes(memoryview(image))
        except TypeError:
            raise InvalidInput(
                f"an image is the bytes of a JPEG or PNG file, not {type(image).__name__}; leave out a camera without",
                field="capture.images",
                camera=camera,
            ) from None
    if (size := sum(map(len, encoded.values()))) > _MOST_BYTES:
        raise LimitExceeded(
            f"the images of a capture have {size} bytes; at most {_MOST_BYTES} can be sent at once",
            field="capture.images",
        )
    return encoded
