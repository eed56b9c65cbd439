"""The gRPC wire: every estimate is one `EstimateClip` call of `synpose.v1.PoseService`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from urllib.parse import urlsplit

import grpc
import grpc.aio

from synpose import live_wire
from synpose.calibrated import Calibrated
from synpose.calibration_options import CalibrationOptions
from synpose.errors import InvalidInput, LimitExceeded, ServerError, SynposeError, VideoError, from_problem
from synpose.live import FromServer, ToServer
from synpose.options import Options
from synpose.pose import Frame, PoseHeader, ServedModel
from synpose.skeleton import Skeleton
from synpose.transports.base import CalibrationProgress, CalibrationUploads, Credentials, Disconnected, Upload
from synpose.v1 import pose_pb2 as pb
from synpose.v1 import pose_pb2_grpc as pb_grpc
from synpose.wire import (
    ACCEPTED_HEADER,
    MAX_CHUNK_BYTES,
    PROBLEM_TRAILER,
    calibration_to_message,
    frame_from_message,
    header_from_message,
    options_to_message,
    skeleton_from_message,
)

__all__ = ["GrpcTransport"]

# One question to the health service, whose messages are too small to need the package that holds them.
_CHECK = "/grpc.health.v1.Health/Check"
_SERVING = b"\x08\x01"  # HealthCheckResponse(status=SERVING)

# live streams come back soon after their server does; gRPC itself would wait for up to two minutes
_RECONNECTING = (("grpc.initial_reconnect_backoff_ms", 200), ("grpc.max_reconnect_backoff_ms", 2000))


class GrpcTransport:
    """A `Transport` over gRPC to `grpc://host:port`, or `grpcs://host:port` with TLS.

    The connection is made by the first call and belongs to that call's event loop.
    """

    def __init__(self, url: str, credentials: Credentials | None = None) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("grpc", "grpcs") or not parts.netloc or parts.path.strip("/"):
            raise InvalidInput(
                f"the address of a gRPC server looks like grpc://127.0.0.1:8001, not {url!r}", field="url"
            )
        self.url = url
        self._secure = parts.scheme == "grpcs"
        self._target = parts.netloc
        self._credentials = credentials or Credentials()

    @cached_property
    def _channel(self) -> grpc.aio.Channel:
        if self._secure:
            ca, pair = self._credentials.ca, self._credentials.cert
            chain, key = (path.read_bytes() for path in pair) if pair else (None, None)
            trusted = grpc.ssl_channel_credentials(ca.read_bytes() if ca else None, key, chain)
            return grpc.aio.secure_channel(self._target, trusted, _RECONNECTING)
        return grpc.aio.insecure_channel(self._target, _RECONNECTING)

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What goes with every call."""
        key = self._credentials.api_key
        return (("authorization", f"Bearer {key}"),) if key else ()

    @cached_property
    def stub(self) -> pb_grpc.PoseServiceAsyncStub:
        """The service's methods as they are."""
        return pb_grpc.PoseServiceStub(self._channel)

    async def estimate(
        self,
        calibration_files: Mapping[str, bytes],
        uploads: Mapping[str, Upload],
        options: Options,
        timestamps: Sequence[float] | None = None,
    ) -> AsyncGenerator[PoseHeader | Frame, None]:
        """As `Transport.estimate`: sends everything, then yields the header and the frames as they come."""
        videos = {camera: upload for camera, upload in uploads.items() if isinstance(upload, Path | bytes)}
        images = {camera: upload for camera, upload in uploads.items() if not isinstance(upload, Path | bytes)}
        if videos and timestamps is not None:
            raise InvalidInput("timestamps go with images; a video has its own", field="timestamps")
        start = pb.EstimateClipRequest.Start(
            calibration=calibration_to_message(calibration_files),
            options=options_to_message(options),
        )
        parts = _frame_sets(images, timestamps) if images else _chunks(videos)
        call = self.stub.EstimateClip(metadata=self.metadata)
        try:
            with self._errors():
                responses = aiter(call)
                try:
                    await call.write(pb.EstimateClipRequest(start=start))
                    if ACCEPTED_HEADER in dict(await call.initial_metadata()) or await _is_accepted(responses):
                        async for part in parts:
                            await call.write(part)
                        await call.done_writing()
                except asyncio.InvalidStateError:
                    pass  # the server has ended the call; reading tells why
                async for response in responses:
                    if response.HasField("header"):
                        yield header_from_message(response.header)
                    elif response.HasField("frame"):
                        yield frame_from_message(response.frame)
        finally:
            call.cancel()

    async def calibrate(
        self, uploads: CalibrationUploads, options: CalibrationOptions
    ) -> AsyncGenerator[CalibrationProgress | Calibrated, None]:
        """As `Transport.calibrate`, which gRPC does not have."""
        raise InvalidInput(
            "servers calibrate over HTTP alone: connect to the HTTP port (http://...:8000) for it", field="url"
        )
        yield  # makes it the generator that it is elsewhere

    async def live(self, messages: AsyncGenerator[ToServer, None], token: str = "") -> AsyncGenerator[FromServer, None]:
        """As `Transport.live`."""
        route = (("session_id", token),) if token else ()
        call = self.stub.StreamPoses(metadata=(*self.metadata, *route))
        sending = asyncio.create_task(_send(call, messages))
        told: SynposeError | None = None
        try:
            async for answer in call:
                if answer.HasField("problem"):
                    told = live_wire.problem_from_message(answer)
                elif answer.ListFields():
                    yield live_wire.from_server(answer)
        except grpc.aio.AioRpcError as error:
            if told is None and any(key == PROBLEM_TRAILER for key, _ in error.trailing_metadata() or ()):
                told = self._error(error)  # of a proxy, or of what guards the method
            raise (told or Disconnected(self._error(error).message)) from error
        else:
            if told is not None:  # what lies between may have lost the status
                raise told
        finally:
            sending.cancel()
            await asyncio.wait([sending])
            call.cancel()

    async def models(self) -> tuple[ServedModel, ...]:
        """The models of the server."""
        with self._errors():
            answer = await self.stub.ListModels(pb.ListModelsRequest(), metadata=self.metadata)
        return tuple(
            ServedModel(model.name, model.version, model.description, tuple(model.skeletons), model.is_default)
            for model in answer.models
        )

    async def skeletons(self) -> tuple[Skeleton, ...]:
        """The skeletons that the server can answer in."""
        with self._errors():
            answer = await self.stub.ListSkeletons(pb.ListSkeletonsRequest(), metadata=self.metadata)
        return tuple(skeleton_from_message(skeleton) for skeleton in answer.skeletons)

    async def ready(self) -> bool:
        """Whether the server's health service says SERVING; False when it cannot be reached."""
        check: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = self._channel.unary_unary(_CHECK)
        try:
            return await check(b"", timeout=5) == _SERVING
        except grpc.aio.AioRpcError:
            return False

    async def aclose(self) -> None:
        """Close the connection; calls under way are cancelled."""
        if "_channel" in vars(self):
            await self._channel.close()
            await asyncio.sleep(0.05)  # what is left of ended calls comes late, and raises once the loop is closed

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except grpc.aio.AioRpcError as error:
            raise self._error(error) from error

    def _error(self, error: grpc.aio.AioRpcError) -> SynposeError:
        for key, value in error.trailing_metadata() or ():
            if key == PROBLEM_TRAILER:
                return from_problem(json.loads(value))
        code, reason = error.code(), error.details() or error.code().name
        if code is grpc.StatusCode.RESOURCE_EXHAUSTED:  # gRPC itself refused a message
            return LimitExceeded(f"a frame set is too large for the server: {reason}", field="frame_sets")
        if code is grpc.StatusCode.UNAVAILABLE:
            return ServerError(
                f"no answer from {self.url}: check that `synpose serve` runs there and that this is its gRPC port"
                f" ({reason})"
            )
        return ServerError(f"{self.url} broke off: {code.name}: {reason}")


async def _is_accepted(responses: AsyncIterator[pb.EstimateClipResponse]) -> bool:
    """Whether an empty response says that the start was accepted, as behind a proxy that passes on no headers."""
    response = await anext(responses, None)
    return response is not None and not response.ListFields()


async def _send(
    call: grpc.aio.StreamStreamCall[pb.StreamPosesRequest, pb.StreamPosesResponse], messages: AsyncIterator[ToServer]
) -> None:
    with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):  # the call has ended; reading tells why
        async for message in messages:
            await call.write(live_wire.to_server(message))


async def _chunks(videos: Mapping[str, Path | bytes]) -> AsyncIterator[pb.EstimateClipRequest]:
    """The cameras' videos, one after the other."""
    for camera, video in videos.items():
        if isinstance(video, bytes):
            for begin in range(0, max(len(video), 1), MAX_CHUNK_BYTES):  # an empty one is a chunk, too: it was sent
                yield _chunk(camera, video[begin : begin + MAX_CHUNK_BYTES])
        else:
            with _unreadable(camera), await asyncio.to_thread(video.open, "rb") as file:
                yield _chunk(camera, await asyncio.to_thread(file.read, MAX_CHUNK_BYTES))
                while data := await asyncio.to_thread(file.read, MAX_CHUNK_BYTES):
                    yield _chunk(camera, data)


def _chunk(camera: str, data: bytes) -> pb.EstimateClipRequest:
    return pb.EstimateClipRequest(chunk=pb.EstimateClipRequest.Chunk(camera=camera, data=data))


async def _frame_sets(
    uploads: Mapping[str, Sequence[Path | bytes | None]], timestamps: Sequence[float] | None
) -> AsyncIterator[pb.EstimateClipRequest]:
    """The cameras' images, one frame set a message."""
    length = max(map(len, uploads.values()))
    for index in range(length):
        frame_set = pb.FrameSet(timestamp=None if timestamps is None else timestamps[index])
        for camera, images in uploads.items():
            image = images[index]
            if isinstance(image, Path):
                with _unreadable(camera):
                    image = await asyncio.to_thread(image.read_bytes)
            if image is not None:
                frame_set.images.add(camera=camera, data=image)
        yield pb.EstimateClipRequest(frame_set=frame_set)


@contextmanager
def _unreadable(camera: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise VideoError(f"cannot be read: {error.strerror}: {error.filename}", field="video", camera=camera) from error
