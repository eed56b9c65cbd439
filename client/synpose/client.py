"""The Python client: `AsyncClient`, and `Client`, which is the same without `await`."""

from __future__ import annotations

import asyncio
import math
import os
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeAlias, TypedDict, TypeVar, Unpack, cast
from urllib.parse import urlsplit

from synpose.calibrated import Calibrated
from synpose.calibration import read_calibration, read_lenses, write_calibration
from synpose.calibration_options import CalibrationOptions
from synpose.errors import InvalidInput, ServerError, VideoError
from synpose.image_sequence import align_folders, camera_of
from synpose.live import Start, StreamPolicy
from synpose.live_client import AsyncLiveStream, LiveStream
from synpose.options import Options
from synpose.pose import Frame, PoseHeader, PoseSequence, ServedModel
from synpose.rig import Rig
from synpose.skeleton import Skeleton
from synpose.transports.base import CalibrationUploads, Credentials, Transport, Upload

__all__ = ["AsyncClient", "AsyncPoseStream", "Client", "Hash", "PoseStream"]

T = TypeVar("T")

StrPath: TypeAlias = str | os.PathLike[str]
Videos: TypeAlias = Mapping[str, StrPath | bytes] | Sequence[StrPath] | StrPath
Calibration: TypeAlias = StrPath | Mapping[str, bytes] | Rig
Progress: TypeAlias = Callable[[int, int | None], None]


@dataclass(frozen=True)
class Hash:
    """The hash of a calibration that the server was sent before."""

    value: str


TIMEOUT = 600.0
"""Seconds that a server may take for the next part of an answer; for the first one, sending the clip included."""


class OptionFields(TypedDict, total=False):
    """The fields of `synpose.options.Options`, as keyword arguments."""

    model: str
    skeleton: str
    max_people: int
    units: Literal["m", "cm", "mm"] | None
    fps: float | None
    offsets: Mapping[str, float] | None


class CalibrationFields(TypedDict, total=False):
    """The fields of `synpose.calibration_options.CalibrationOptions`, as keyword arguments."""

    model: str
    height: float | None
    baseline: tuple[str, str, float] | None
    max_offset: float
    same_lens: bool
    board: str | None
    gravity: tuple[str, float, float, float] | None
    fps: float | None


class AsyncClient:
    """A Synpose server, used from one event loop: `http(s)://host:port` or `grpc(s)://host:port`.

    `videos` is a mapping of camera to file or bytes, or a sequence of files whose stems are the cameras' names; a
    folder holds the numbered images of its camera. `calibration` is a file of any format that `read_calibration`
    reads, or a rig. `timeout` is in seconds for each part of an answer. `api_key` goes with every call; `ca` (PEM)
    vouches for the server where the system's certificates do not, and `cert` is the client's own: one PEM file with its
    key, or the two files. All methods raise the exceptions of
    `synpose.errors`, the same that the engine raised on the server.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: float | None = TIMEOUT,
        api_key: str | None = None,
        ca: StrPath | None = None,
        cert: StrPath | tuple[StrPath, StrPath] | None = None,
    ) -> None:
        self._transport = _transport(url, Credentials.of(api_key, ca, cert))
        self._timeout = timeout

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def estimate(self, videos: Videos, calibration: Calibration, **options: Unpack[OptionFields]) -> PoseSequence:
        """The people in the clip that the cameras' videos show."""
        async with self.stream(videos, calibration, **options) as stream:
            return PoseSequence(stream.header, tuple([frame async for frame in stream]))

    async def estimate_frames(
        self,
        frame_sets: Sequence[Mapping[str, bytes]],
        calibration: Calibration,
        timestamps: Sequence[float] | None = None,
        **options: Unpack[OptionFields],
    ) -> PoseSequence:
        """The people in frame sets of JPEG or PNG images by camera; a camera may be missing in a frame set.

        `timestamps` are their capture times in seconds; without them they are a frame of `fps` (or 30) apart.
        """
        times = None if timestamps is None else _times(timestamps, len(frame_sets))
        cameras = dict.fromkeys(camera for images in frame_sets for camera in images)
        uploads = {camera: [images.get(camera) for images in frame_sets] for camera in cameras}
        async with self._stream(uploads, calibration, times, options) as stream:
            return PoseSequence(stream.header, tuple([frame async for frame in stream]))

    def stream(self, videos: Videos, calibration: Calibration, **options: Unpack[OptionFields]) -> AsyncPoseStream:
        """As `estimate`, frame by frame: `async with client.stream(...) as stream: async for frame in stream: ...`.

        Leaving the block early stops the estimate on the server.
        """
        return self._stream(_uploads(videos), calibration, None, options)

    def live(
        self, calibration: Calibration | Hash, policy: StreamPolicy | None = None, **options: Unpack[OptionFields]
    ) -> AsyncLiveStream:
        """A live stream: send images as cameras take them, and iterate over the poses as they are computed.

        `async with client.live(rig) as stream: async for pose in stream.follow(frame_sets): ...`. `calibration` may be
        the hash of one that the server has, as `Hash`. `policy` says what is done about time and missing images.
        """
        if isinstance(calibration, Hash):
            return AsyncLiveStream(
                self._transport, Start(calibration.value, Options.from_mapping(options), policy or StreamPolicy())
            )
        files, checked = _rig_and_options(calibration, options)
        return AsyncLiveStream(self._transport, Start(files, checked, policy or StreamPolicy()))

    async def calibrate(
        self,
        videos: Videos,
        *,
        intrinsics: Calibration | None = None,
        boards: Videos | None = None,
        progress: Progress | None = None,
        **options: Unpack[CalibrationFields],
    ) -> Calibrated:
        """The cameras that filmed one moving person: their `rig`, for `estimate`, and a `report` on each.

        `options` are those of `synpose.calibration_options.CalibrationOptions`; `height`, the person's in metres, or
        `baseline` is needed. `intrinsics` is a calibration whose lenses are used (its places are not), `boards` are
        videos of the board that the option `board` describes, named like their cameras. `progress` is called with
        how many frame sets were seen and how many there are (None: not known); when both are equal, the cameras are
        computed. Servers do it over HTTP. Raises `CalibrationError`, naming the camera, where the motion does not
        suffice.
        """
        checked = CalibrationOptions.from_mapping(options)
        lenses = intrinsics if intrinsics is None or isinstance(intrinsics, Rig) else read_lenses(intrinsics)
        uploads = CalibrationUploads(_videos(videos, "video"), _videos(boards or {}, "board"), lenses)
        async with aclosing(self._transport.calibrate(uploads, checked)) as parts:
            while (part := await _within(self._timeout, anext(parts, None))) is not None:
                if isinstance(part, Calibrated):
                    return part
                if progress is not None:
                    progress(part.done, part.total)
        raise ServerError("the server's answer is empty")

    async def models(self) -> tuple[ServedModel, ...]:
        """The models of the server."""
        return await _within(self._timeout, self._transport.models())

    async def skeletons(self) -> tuple[Skeleton, ...]:
        """The skeletons that the server can answer in."""
        return await _within(self._timeout, self._transport.skeletons())

    async def ready(self) -> bool:
        """Whether the server can answer estimates now; False when it cannot be reached or does not answer in 10 s."""
        try:
            return await _within(10.0, self._transport.ready())
        except ServerError:
            return False

    async def aclose(self) -> None:
        """Close the connection."""
        await self._transport.aclose()

    def _stream(
        self,
        uploads: Mapping[str, Upload],
        calibration: Calibration,
        timestamps: Sequence[float] | None,
        options: OptionFields,
    ) -> AsyncPoseStream:
        files, checked = _rig_and_options(calibration, options)
        parts = self._transport.estimate(files, uploads, checked, timestamps)
        return AsyncPoseStream(parts, self._timeout)


class AsyncPoseStream:
    """An answer under way: in its `async with` block it has a `header` and yields frames as they are computed."""

    header: PoseHeader

    def __init__(self, parts: AsyncGenerator[PoseHeader | Frame, None], timeout: float | None) -> None:
        self._parts = parts
        self._timeout = timeout
        self._turn = asyncio.Lock()  # a generator can be closed only while it does not run

    async def __aenter__(self) -> Self:
        header = await self._next()
        if not isinstance(header, PoseHeader):
            raise ServerError("the server's answer is empty")
        self.header = header
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        async with self._turn:
            await self._parts.aclose()

    def __aiter__(self) -> AsyncIterator[Frame]:
        return self

    async def __anext__(self) -> Frame:
        frame = await self._next()
        if frame is None:
            raise StopAsyncIteration
        return cast(Frame, frame)

    async def _next(self) -> PoseHeader | Frame | None:
        async with self._turn:
            return await _within(self._timeout, anext(self._parts, None))


class Client:
    """`AsyncClient` without `await`: the same methods, run on an event loop in a thread of its own.

    Usable from several threads. Close it, or use it in a `with` block.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: float | None = TIMEOUT,
        api_key: str | None = None,
        ca: StrPath | None = None,
        cert: StrPath | tuple[StrPath, StrPath] | None = None,
    ) -> None:
        self._client = AsyncClient(url, timeout=timeout, api_key=api_key, ca=ca, cert=cert)
        self._loop = asyncio.new_event_loop()
        # a daemon: a program that forgets to close its client can still end
        self._thread = threading.Thread(target=self._loop.run_forever, name="synpose-client", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def estimate(self, videos: Videos, calibration: Calibration, **options: Unpack[OptionFields]) -> PoseSequence:
        """As `AsyncClient.estimate`."""
        return self._run(self._client.estimate(videos, calibration, **options))

    def estimate_frames(
        self,
        frame_sets: Sequence[Mapping[str, bytes]],
        calibration: Calibration,
        timestamps: Sequence[float] | None = None,
        **options: Unpack[OptionFields],
    ) -> PoseSequence:
        """As `AsyncClient.estimate_frames`."""
        return self._run(self._client.estimate_frames(frame_sets, calibration, timestamps, **options))

    @contextmanager
    def stream(self, videos: Videos, calibration: Calibration, **options: Unpack[OptionFields]) -> Iterator[PoseStream]:
        """As `AsyncClient.stream`: `with client.stream(...) as stream: for frame in stream: ...`."""
        stream = self._client.stream(videos, calibration, **options)
        try:
            yield PoseStream(self._run(stream.__aenter__()).header, self._frames(stream))
        finally:
            self._run(stream.__aexit__(None, None, None))

    @contextmanager
    def live(
        self, calibration: Calibration | Hash, policy: StreamPolicy | None = None, **options: Unpack[OptionFields]
    ) -> Iterator[LiveStream]:
        """As `AsyncClient.live`: `with client.live(rig) as stream: for pose in stream.follow(frame_sets): ...`."""
        stream = self._run(self._open(calibration, policy, options))
        try:
            yield LiveStream(stream, self._run)
        finally:
            self._run(stream.aclose())

    def calibrate(
        self,
        videos: Videos,
        *,
        intrinsics: Calibration | None = None,
        boards: Videos | None = None,
        progress: Progress | None = None,
        **options: Unpack[CalibrationFields],
    ) -> Calibrated:
        """As `AsyncClient.calibrate`; `progress` is called in the client's thread."""
        return self._run(
            self._client.calibrate(videos, intrinsics=intrinsics, boards=boards, progress=progress, **options)
        )

    def models(self) -> tuple[ServedModel, ...]:
        """As `AsyncClient.models`."""
        return self._run(self._client.models())

    def skeletons(self) -> tuple[Skeleton, ...]:
        """As `AsyncClient.skeletons`."""
        return self._run(self._client.skeletons())

    def ready(self) -> bool:
        """As `AsyncClient.ready`."""
        return self._run(self._client.ready())

    def close(self) -> None:
        """Close the connection and end the thread; does nothing the second time.

        What other threads still wait for raises `ServerError`.
        """
        if self._loop.is_closed():
            return
        self._run(self._leave())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _leave(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        if others:
            await asyncio.wait(others)
        await self._client.aclose()

    async def _open(
        self, calibration: Calibration | Hash, policy: StreamPolicy | None, options: OptionFields
    ) -> AsyncLiveStream:
        return await self._client.live(calibration, policy, **options).__aenter__()

    def _frames(self, stream: AsyncPoseStream) -> Iterator[Frame]:
        while (frame := self._run(stream._next())) is not None:
            yield cast(Frame, frame)

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except CancelledError:
            raise ServerError("the client was closed before the server had answered") from None
        finally:
            future.cancel()  # does nothing unless Ctrl-C ended the wait


class PoseStream(Iterator[Frame]):
    """An answer under way: its `header`, and its frames as they are computed."""

    def __init__(self, header: PoseHeader, frames: Iterator[Frame]) -> None:
        self.header = header
        self._frames = frames

    def __next__(self) -> Frame:
        return next(self._frames)


def _rig_and_options(calibration: Calibration, options: OptionFields) -> tuple[dict[str, bytes], Options]:
    """The calibration's file as it is sent, and the options that are still needed with it."""
    checked = Options.from_mapping(options)
    if not isinstance(calibration, Rig):
        calibration = read_calibration(calibration, units=checked.units)
        checked = Options.from_mapping({**options, "units": None})  # what is sent is in metres
    return {"calibration.json": write_calibration(calibration).encode()}, checked


def _transport(url: str, credentials: Credentials) -> Transport:
    """The transport of the URL's scheme; raises `InvalidInput` for an address that is none."""
    try:
        scheme = urlsplit(url).scheme
    except ValueError as error:
        raise InvalidInput(f"{url!r} is no address of a server: {error}", field="url") from None
    # each wire's library is imported only where it is used
    if scheme in ("http", "https"):
        from synpose.transports.http import HttpTransport

        return HttpTransport(url, credentials)
    if scheme in ("grpc", "grpcs"):
        from synpose.transports.grpc import GrpcTransport

        return GrpcTransport(url, credentials)
    raise InvalidInput(f"a server's address begins with http, https, grpc or grpcs, not {url!r}", field="url")


def _times(timestamps: Iterable[float], length: int) -> tuple[float, ...]:
    """The capture times of `length` frame sets; raises `InvalidInput` for anything else."""
    try:
        times = tuple(map(float, timestamps))
    except (TypeError, ValueError, OverflowError):
        raise InvalidInput("timestamps must be numbers of seconds", field="timestamps") from None
    if len(times) != length:
        raise InvalidInput(f"there are {len(times)} timestamps for {length} frame sets", field="timestamps")
    if not all(map(math.isfinite, times)):
        raise InvalidInput("a timestamp must be a finite number of seconds", field="timestamps")
    return times


async def _within(timeout: float | None, step: Coroutine[Any, Any, T]) -> T:
    try:
        async with asyncio.timeout(timeout):
            return await step
    except TimeoutError:
        raise ServerError(
            f"the server gave no answer within {timeout:g} s; it may be busy, or the client's timeout too short"
        ) from None


def _videos(videos: Videos, field: str) -> dict[str, Path | bytes]:
    """As `_uploads`, but folders of images are refused: a calibration takes videos."""
    uploads = _uploads(videos)
    for camera, upload in uploads.items():
        if not isinstance(upload, Path | bytes):
            raise InvalidInput("a server calibrates from videos, not folders of images", field=field, camera=camera)
    return cast(dict[str, Path | bytes], uploads)


def _uploads(videos: Videos) -> dict[str, Upload]:
    """What is sent for each camera; raises `InvalidInput` or `VideoError`, naming the camera."""
    named: list[tuple[str, StrPath | bytes]]
    if isinstance(videos, Mapping):
        named = list(videos.items())
    else:
        paths = [Path(video) for video in ([videos] if isinstance(videos, str | os.PathLike) else videos)]
        named = [(camera_of(path), path) for path in paths]
    uploads: dict[str, Upload] = {}
    folders: dict[str, Path] = {}
    for camera, video in named:
        try:
            camera.encode()
        except UnicodeEncodeError:
            raise InvalidInput("a name that is not UTF-8 cannot be sent", field="video", camera=ascii(camera)) from None
        if camera in uploads or camera in folders:
            raise InvalidInput("two videos have this name", field="video", camera=camera)
        if isinstance(video, bytes):
            uploads[camera] = video
        elif (path := Path(video)).is_dir():
            folders[camera] = path
        elif path.is_file():
            uploads[camera] = path
        else:
            raise VideoError(f"there is no file {path}", field="video", camera=camera)
    if uploads and folders:
        raise InvalidInput("send videos or folders of images, not both", field="video", camera=next(iter(folders)))
    return uploads or dict(align_folders(folders))
