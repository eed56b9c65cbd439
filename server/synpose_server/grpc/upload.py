"""What a caller sends of images, taken in as it comes and never more than the server's limits."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack, suppress
from tempfile import SpooledTemporaryFile
from types import TracebackType
from typing import BinaryIO, Self, cast

from synpose.errors import InvalidInput, LimitExceeded
from synpose.options import Options
from synpose.rig import Rig
from synpose.v1 import pose_pb2 as pb
from synpose.wire import MAX_CHUNK_BYTES, calibration_from_message, options_from_message
from synpose_server.requests import SMALL_BYTES, check_sent, match_sources, match_timestamps, no_image, read_rig
from synpose_server.settings import MIB, Settings
from synpose_server.sources import Source
from synpose_server.spooled import Spool, StoredImage

__all__ = ["ClipUpload", "check_length", "check_size", "images_of", "start_of", "timestamp_of"]


class ClipUpload:
    """The upload of one `EstimateClip` call; close it when the estimate is done.

    Videos are spooled to an unnamed temporary file a camera, images to one `Spool`, so that an upload costs little
    memory and no name from outside ever becomes a path.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._size = 0
        self._files = ExitStack()
        self._videos: dict[str, SpooledTemporaryFile[bytes]] = {}
        self._spool = self._files.enter_context(Spool())
        self._images: dict[str, list[StoredImage | None]] = {}
        self._rig: Rig | None = None
        self._timestamps: list[float | None] = []
        self.options = Options()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):  # what is thrown away need not find room on the disk any more
            self._files.close()

    @property
    def rig(self) -> Rig:
        """The rig of `start`; raises `InvalidInput` when nothing has come."""
        if self._rig is None:
            raise InvalidInput("nothing was sent; the first message must be `start`", field="start")
        return self._rig

    def sources(self) -> dict[str, Source]:
        """What was sent for each camera of the rig; raises `InvalidInput` where that is nothing."""
        sources: dict[str, Source] = {}
        for camera, video in self._videos.items():
            video.seek(0)
            sources[camera] = cast(BinaryIO, video)
        if self._timestamps:
            if not self._images:
                raise no_image(self.rig)
            sources = {camera: self._spool.images(stored) for camera, stored in self._images.items()}
        return match_sources(self.rig, sources, self._settings)

    def timestamps(self) -> tuple[float, ...] | None:
        """Capture times of the frame sets in seconds, where they are given; raises `InvalidInput` where some are."""
        return match_timestamps(self._timestamps, len(self._timestamps))

    async def take(self, request: pb.EstimateClipRequest) -> None:
        """Take in one message; raises `InvalidInput` or `LimitExceeded` where it cannot be used."""
        self._size += request.ByteSize()
        check_size(self._size, self._settings)
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
            await self._add_frame_set(request.frame_set, self._rig)

    async def _begin(self, start: pb.EstimateClipRequest.Start) -> None:
        if self._rig is not None:
            raise InvalidInput("`start` came a second time", field="start")
        self._rig, self.options = await start_of(start.calibration, start.options)

    async def _add_chunk(self, chunk: pb.EstimateClipRequest.Chunk, rig: Rig) -> None:
        if self._timestamps:
            raise InvalidInput("a request holds videos or images, not both", field="chunk")
        check_sent(rig, [*self._videos.keys() - {chunk.camera}, chunk.camera], "video", self._settings)
        if len(chunk.data) > MAX_CHUNK_BYTES:
            raise LimitExceeded("a chunk may hold 1 MiB at most", field="chunk", camera=chunk.camera)
        if chunk.camera not in self._videos:
            spool: SpooledTemporaryFile[bytes] = SpooledTemporaryFile(max_size=MAX_CHUNK_BYTES)  # noqa: SIM115 - closed with the upload
            self._videos[chunk.camera] = self._files.enter_context(spool)
        await asyncio.to_thread(self._videos[chunk.camera].write, chunk.data)  # a disk must not hold up the loop

    async def _add_frame_set(self, frame_set: pb.FrameSet, rig: Rig) -> None:
        if self._videos:
            raise InvalidInput("a request holds videos or images, not both", field="frame_set")
        check_length(len(self._timestamps) + 1, self._settings)
        images = images_of(frame_set)
        check_sent(rig, {**self._images, **images}, "frame_sets", self._settings)
        places: dict[str, StoredImage] = {}
        for camera, data in images.items():
            places[camera] = StoredImage(self._spool.size, len(data))
            self._spool.add(data)
        if self._spool.is_full:
            await asyncio.to_thread(self._spool.flush)  # a disk must not hold up the loop
        for camera in images:
            self._images.setdefault(camera, [None] * len(self._timestamps))
        for camera, stored in self._images.items():
            stored.append(places.get(camera))
        self._timestamps.append(timestamp_of(frame_set))


async def start_of(calibration: pb.Calibration, options: pb.Options) -> tuple[Rig, Options]:
    """The rig and the options that a request begins with; raises what is wrong with them."""
    read_options, files = options_from_message(options), calibration_from_message(calibration)
    small = calibration.ByteSize() <= SMALL_BYTES
    rig = read_rig(files, read_options) if small else await asyncio.to_thread(read_rig, files, read_options)
    return rig, read_options


def check_size(size: int, settings: Settings) -> None:
    """Raise `LimitExceeded` for a request of more bytes than the server accepts."""
    if size > settings.max_body_bytes:
        limit = settings.max_body_bytes / MIB
        raise LimitExceeded(f"this request is larger than the {limit:g} MiB that this server accepts", field="body")


def check_length(length: int, settings: Settings) -> None:
    """Raise `LimitExceeded` for more frame sets than the server accepts."""
    if length > settings.max_frames:
        raise LimitExceeded(f"this server accepts {settings.max_frames} frame sets at most", field="frame_sets")


def images_of(frame_set: pb.FrameSet) -> dict[str, bytes]:
    """The images by camera; raises `InvalidInput` where a camera has two."""
    images: dict[str, bytes] = {}
    for image in frame_set.images:
        if image.camera in images:
            raise InvalidInput("a frame set holds two images of this camera", field="frame_sets", camera=image.camera)
        images[image.camera] = image.data
    return images


def timestamp_of(frame_set: pb.FrameSet) -> float | None:
    """The capture time in seconds, where one is given."""
    return frame_set.timestamp if frame_set.HasField("timestamp") else None
