"""What a caller sends of images, taken in as it comes and never more than the server's limits."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import ExitStack
from tempfile import SpooledTemporaryFile
from types import TracebackType
from typing import BinaryIO, Self, cast

from synpose.calibration import read_calibration
from synpose.errors import InvalidInput, LimitExceeded
from synpose.options import Options
from synpose.rig import Rig
from synpose.v1 import pose_pb2 as pb
from synpose.wire import MAX_CHUNK_BYTES, calibration_from_message, options_from_message
from synpose_server.settings import MIB, Settings
from synpose_server.sources import Source

__all__ = ["ClipUpload", "check_length", "read_rig", "sources_of", "timestamps_of"]


class ClipUpload:
    """The upload of one `EstimateClip` call; close it when the estimate is done.

    Videos are spooled, one unnamed temporary file a camera, so that no name from outside ever becomes a path.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._size = 0
        self._files = ExitStack()
        self._videos: dict[str, SpooledTemporaryFile[bytes]] = {}
        self._frame_sets: list[pb.FrameSet] = []
        self._rig: Rig | None = None
        self._timestamps: list[float] = []
        self.options = Options()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._files.close()

    @property
    def rig(self) -> Rig:
        """The rig of `start`; raises `InvalidInput` when nothing has come."""
        if self._rig is None:
            raise InvalidInput("nothing was sent; the first message must be `start`", field="start")
        return self._rig

    @property
    def sources(self) -> dict[str, Source]:
        """What was sent for each camera that anything was sent for."""
        if self._frame_sets:
            return sources_of(self.rig, self._frame_sets)
        for video in self._videos.values():
            video.seek(0)
        return {camera: cast(BinaryIO, video) for camera, video in self._videos.items()}

    @property
    def timestamps(self) -> list[float] | None:
        """Capture times of the frame sets in seconds, where they are given."""
        return self._timestamps or timestamps_of(self._frame_sets)

    async def take(self, request: pb.EstimateClipRequest) -> None:
        """Take in one message; raises `InvalidInput` or `LimitExceeded` where it cannot be used."""
        self._size += request.ByteSize()
        if self._size > self._settings.max_body_bytes:
            limit = self._settings.max_body_bytes / MIB
            raise LimitExceeded(f"this upload is larger than the {limit:g} MiB that this server accepts")
        part = request.WhichOneof("part")
        if part == "start":
            await self._begin(request.start)
        elif part is None:
            raise InvalidInput("a message is empty: it needs `start`, `chunk` or `frame_set`")
        elif self._rig is None:
            raise InvalidInput(f"`{part}` came before `start`", field=part)
        elif part == "chunk":
            await self._add_chunk(request.chunk, self._rig)
        else:
            self._add_frame_set(request.frame_set)

    async def _begin(self, start: pb.EstimateClipRequest.Start) -> None:
        if self._rig is not None:
            raise InvalidInput("`start` came a second time", field="start")
        self.options = options_from_message(start.options)
        self._timestamps = list(start.timestamps)
        self._rig = await read_rig(start.calibration, self.options, self._settings)

    async def _add_chunk(self, chunk: pb.EstimateClipRequest.Chunk, rig: Rig) -> None:
        if self._frame_sets:
            raise InvalidInput("a request holds videos or images, not both", field="chunk")
        if chunk.camera not in rig.names:
            raise _no_such_camera(chunk.camera, rig, "chunk")
        if len(chunk.data) > MAX_CHUNK_BYTES:
            raise LimitExceeded("a chunk may hold 1 MiB at most", field="chunk", camera=chunk.camera)
        if chunk.camera not in self._videos:
            spool: SpooledTemporaryFile[bytes] = SpooledTemporaryFile(max_size=MAX_CHUNK_BYTES)  # noqa: SIM115 - below
            self._videos[chunk.camera] = self._files.enter_context(spool)
        await asyncio.to_thread(self._videos[chunk.camera].write, chunk.data)  # a disk must not hold up the loop

    def _add_frame_set(self, frame_set: pb.FrameSet) -> None:
        if self._videos:
            raise InvalidInput("a request holds videos or images, not both", field="frame_set")
        if self._timestamps:
            raise InvalidInput("frame sets bring their own timestamps", field="start.timestamps")
        check_length(len(self._frame_sets) + 1, self._settings)
        self._frame_sets.append(frame_set)


async def read_rig(message: pb.Calibration, options: Options, settings: Settings) -> Rig:
    """The rig of a calibration message; raises `InvalidInput`, or `LimitExceeded` for too many cameras."""
    files = calibration_from_message(message)
    rig = await asyncio.to_thread(read_calibration, files, units=options.units)
    if len(rig) > settings.max_cameras:
        raise LimitExceeded(
            f"the calibration holds {len(rig)} cameras, and this server accepts {settings.max_cameras}",
            field="calibration",
        )
    return rig


def check_length(length: int, settings: Settings) -> None:
    """Raise `LimitExceeded` for more frame sets than the server accepts."""
    if length > settings.max_frames:
        raise LimitExceeded(f"this server accepts {settings.max_frames} frame sets at most", field="frame_sets")


def sources_of(rig: Rig, frame_sets: Sequence[pb.FrameSet]) -> dict[str, Source]:
    """Each camera's images in order, None where a frame set has none of it."""
    images: dict[str, list[bytes | None]] = {}
    for index, frame_set in enumerate(frame_sets):
        for image in frame_set.images:
            if image.camera not in rig.names:
                raise _no_such_camera(image.camera, rig, "frame_sets")
            sequence = images.setdefault(image.camera, [None] * len(frame_sets))
            if sequence[index] is not None:
                raise InvalidInput(
                    f"frame set {index} holds two images of this camera", field="frame_sets", camera=image.camera
                )
            sequence[index] = image.data
    return dict(images)


def timestamps_of(frame_sets: Sequence[pb.FrameSet]) -> list[float] | None:
    """The capture times, or None where none is given; raises `InvalidInput` where only some are."""
    given = [frame_set.HasField("timestamp") for frame_set in frame_sets]
    if not any(given):
        return None
    if not all(given):
        raise InvalidInput("give every frame set a timestamp, or none", field="frame_sets")
    return [frame_set.timestamp for frame_set in frame_sets]


def _no_such_camera(camera: str, rig: Rig, field: str) -> InvalidInput:
    known = ", ".join(rig.names)
    return InvalidInput(f"the calibration has no such camera; it has {known}", field=field, camera=camera)
