"""From a camera's source to its images, one by one: videos, and lists of encoded images.

A reader holds one image at a time. Whatever a file claims to be, FFmpeg is let loose on containers and codecs of video
only (no playlists, no network), and an image's size is checked before its pixels are allocated.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import simplejpeg

from synpose.errors import LimitExceeded, VideoError
from synpose_model.image import Image
from synpose_server.sources import Source
from synpose_server.timeline import Timeline, frame_rate

__all__ = ["Reader", "open_source", "read_image"]

_CONTAINERS = "mov,mp4,m4a,3gp,matroska,webm,avi,mpegts,mpeg,mpegvideo,h264,hevc,ivf,flv,asf,ogg,mjpeg,mxf"
# What cameras and editors write; decoders of rare codecs are seldom looked after.
_CODECS = (
    "h264,hevc,vp8,vp9,av1,mjpeg,mpeg4,mpeg2video,mpeg1video,prores,dnxhd,h263,h263p,flv1,theora,vc1,dvvideo,"
    "msmpeg4v1,msmpeg4v2,msmpeg4v3,wmv1,wmv2,wmv3"
)
_DECODERS = _CODECS + ",libdav1d,libvpx,libvpx-vp9,flv,msmpeg4"  # some decoders have names of their own
_SCAN = b"\xff\xda"  # JPEG's start of scan
_MOST_SCANS = 100  # of one JPEG; each costs a pass over the whole image, and no camera writes more than some ten
_PLANAR = {"yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuv444p", "yuvj444p"}
_STANDARDS = {1: "bt709", 5: "bt601", 6: "bt601", 9: "bt2020", 10: "bt2020"}  # ITU-T H.273, matrix coefficients
_AHEAD, _AHEAD_BYTES = 64, 16_000_000  # packets, and bytes of them, whose times are read before any is decoded
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_CHUNKS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")  # what makes the pixels
_MOST_CHUNKS = 65_536  # of one PNG; their usual size makes that half a gigabyte


class Reader(ABC):
    """The images of one camera in order; None where one is missing or unreadable.

    `size` (width, height) of the first image; `fps` of the source or None; `count` the number of frames that it claims,
    or None; `problem` is set when the source ended before its time or holds what cannot be read. `skip`, set before the
    images are asked for, is how many of the first ones nobody wants: what comes in their places may be None.
    """

    camera: str
    size: tuple[int, int]
    fps: float | None = None
    count: int | None = None
    problem: str | None = None
    skip: int = 0

    @abstractmethod
    def __iter__(self) -> Iterator[Image | None]: ...

    @abstractmethod
    def close(self) -> None: ...


def open_source(camera: str, source: Source, max_pixels: int) -> Reader:
    """A reader for `source`; raises `VideoError` or `LimitExceeded`, naming the camera, for what cannot be read."""
    if isinstance(source, Sequence):
        return ImageReader(camera, source, max_pixels)
    return VideoReader(camera, source, max_pixels)


class VideoReader(Reader):
    """A video file, or a seekable upload of one.

    Images come in the places that their time stamps give them, with None in every hole. Streams without a container,
    and reordered frames in AVI, have no time stamps to go by: there, one packet that cannot be decoded is one hole.
    """

    def __init__(self, camera: str, source: Any, max_pixels: int) -> None:
        self.camera = camera
        if isinstance(source, Path) and not source.is_file():
            raise VideoError(f"no such file: {source}", field="video", camera=camera)
        try:
            self._container = av.open(
                f"file:{source}" if isinstance(source, Path) else source,  # a name may hold a colon
                mode="r",  # not what the upload's own `mode` says: a spooled one was made for writing
                options={"format_whitelist": _CONTAINERS, "codec_whitelist": _DECODERS, "protocol_whitelist": "file"},
                # FFmpeg decodes a first frame while it opens: it, too, must refuse a giant picture
                container_options={"max_pixels": str(max_pixels)},
                timeout=(10.0, 10.0),
            )
        except (av.FFmpegError, OSError, ValueError) as error:
            raise VideoError(f"not a video that can be read ({_reason(error)})", field="video", camera=camera) from None
        streams = [s for s in self._container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]
        try:
            if not streams:
                raise VideoError("the file holds no video", field="video", camera=camera)
            self._stream = streams[0]
            context = self._stream.codec_context
            if context is None:
                raise VideoError("its codec is not supported", field="video", camera=camera)
            name = context.codec.canonical_name
            if name not in _CODECS.split(","):
                raise VideoError(f"the codec {name} is not supported", field="video", camera=camera)
            if context.width * context.height > max_pixels:
                raise _too_large(camera, (context.width, context.height), max_pixels)
            context.thread_count = 1  # cameras are decoded in parallel already
            context.options = {"max_pixels": str(max_pixels)}
            packets = self._container.demux(self._stream)
            ahead = self._look_ahead(packets)
            self._timeline = self._measure(ahead)
            self.count = self._claimed_frames()
            frames = self._decode(chain(ahead, packets))
            begin: list[av.VideoFrame | None] = []  # up to the first image; what is missing before it keeps its place
            for frame in frames:
                begin.append(frame)
                if frame is not None:
                    break
            else:
                reason = f" ({self.problem})" if self.problem else ""
                raise VideoError(f"no frame of the video can be decoded{reason}", field="video", camera=camera)
            self.size = _from_frame(frame).size
            self._frames = chain(begin, frames)
        except BaseException:
            self._container.close()
            raise

    def __iter__(self) -> Iterator[Image | None]:
        for place, frame in enumerate(self._frames):
            image = None if frame is None or place < self.skip else _from_frame(frame)
            if image is not None and image.size != self.size:  # no intrinsics hold for both
                raise _resized(self.camera, image.size, self.size)
            yield image

    def close(self) -> None:
        self._container.close()

    def _look_ahead(self, packets: Iterator[av.Packet]) -> list[av.Packet]:
        ahead: list[av.Packet] = []
        try:
            while len(ahead) < _AHEAD and sum(packet.size for packet in ahead) < _AHEAD_BYTES:
                ahead.append(next(packets))
        except StopIteration:
            pass
        except av.FFmpegError as error:
            self.problem = _reason(error)
        return ahead

    def _measure(self, ahead: Sequence[av.Packet]) -> Timeline | None:
        """Set `fps`; the timeline, or None where time stamps were made up: counted by FFmpeg, or in decoding order."""
        stream, form = self._stream, self._container.format
        average = float(stream.average_rate) if stream.average_rate else None
        stated = [float(rate) for rate in (stream.guessed_rate, stream.base_rate) if rate]
        self.fps = average or next(iter(stated), None)
        reordered = form.name == "avi" and stream.codec_context.has_b_frames
        if reordered or form.flags & av.format.Flags.no_timestamps.value:
            return None
        shown = [packet for packet in ahead if not packet.is_discard]  # others precede an edit list's start
        times = [time for packet in shown if (time := _time(packet)) is not None]
        rate = frame_rate(times, average, stated)
        if not times or rate is None:
            return None
        self.fps = rate
        return Timeline(rate, start=times[0])

    def _claimed_frames(self) -> int | None:
        """MP4 counts frames that an edit list hides, but not in the duration."""
        stream = self._stream
        edits = self._container.format.name.startswith("mov")  # in AVI, the duration is what a cut file still has
        if not edits or stream.duration is None or stream.time_base is None or self.fps is None:
            return stream.frames or None
        return min(stream.frames, max(1, round(float(stream.duration * stream.time_base) * self.fps))) or None

    def _decode(self, packets: Iterator[av.Packet]) -> Iterator[av.VideoFrame | None]:
        end = last = 0.0  # of the container, and the last time at which an image is due
        while True:
            try:
                packet = next(packets)
                if (time := _time(packet)) is not None and packet.time_base is not None:
                    end = max(end, time + float((packet.duration or 0) * packet.time_base))
                    last = last if packet.is_discard else max(last, time)
            except StopIteration:
                break
            except av.FFmpegError as error:
                self.problem = _reason(error)
                break
            try:
                frames = packet.decode()
            except av.EOFError:
                break
            except av.FFmpegError as error:
                self.problem = _reason(error)
                if self._timeline is None:
                    yield None
                continue
            for frame in frames:
                yield from self._place(frame)
        if self.problem is None:
            self._check_end(end)
        elif self._timeline is not None and not self._timeline.jumps:
            yield from repeat(None, self._timeline.steps_to(last))  # lost at the very end

    def _place(self, frame: av.VideoFrame) -> Iterator[av.VideoFrame | None]:
        """The holes before a frame and itself; nothing for a frame that repeats the last."""
        steps = 1
        if self._timeline is not None:
            steps = self._timeline.steps_to(_time(frame))
            if self._timeline.jumps:
                self.problem = self.problem or "its time stamps jump"
        yield from repeat(None, steps - 1)
        if frame.is_corrupt:  # FFmpeg painted over what it could not read
            self.problem = self.problem or "frames that are partly unreadable"
        if steps:
            yield None if frame.is_corrupt else frame

    def _check_end(self, end: float) -> None:
        """Matroska and others tell no number of frames, and FFmpeg no error where such a file was cut."""
        claimed = (self._container.duration or 0) / av.time_base
        if self.count is None and end < 0.9 * claimed:  # sound may go on a little longer
            self.problem = f"it ends after {end:.3g} of {claimed:.3g} seconds"


class ImageReader(Reader):
    """Encoded images in order: files, or bytes with None for one that is missing; a broken one counts as missing.

    The pixels come as they are stored: a note of orientation (EXIF) is ignored, in JPEG and PNG alike.
    """

    def __init__(self, camera: str, images: Sequence[Path | bytes | None], max_pixels: int) -> None:
        self.camera, self._images, self._max_pixels = camera, images, max_pixels
        self.count = len(images)
        self._begin: list[Image | None] = []  # up to the first that can be read, whose size all others must have
        for image in self._read(images):
            self._begin.append(image)
            if image is not None:
                self.size = image.size
                return
        reason = f" ({self.problem})" if self.problem else ""
        raise VideoError(f"there is no image of this camera that can be read{reason}", field="video", camera=camera)

    def __iter__(self) -> Iterator[Image | None]:
        begin, self._begin = self._begin, []
        yield from begin
        passed = max(len(begin), self.skip)
        yield from repeat(None, passed - len(begin))
        for image in self._read(self._images[passed:]):
            if image is not None and image.size != self.size:
                raise _resized(self.camera, image.size, self.size)
            yield image

    def close(self) -> None:
        pass

    def _read(self, images: Sequence[Path | bytes | None]) -> Iterator[Image | None]:
        for image in images:
            try:
                content = image.read_bytes() if isinstance(image, Path) else image
            except OSError as error:
                message = f"the image {error.filename} cannot be read ({_reason(error)})"
                raise VideoError(message, field="video", camera=self.camera) from None
            yield None if content is None else self._decode(content)

    def _decode(self, content: bytes) -> Image | None:
        image = read_image(self.camera, content, self._max_pixels)
        if image is None:
            self.problem = "an image that is no JPEG or PNG, or a broken one"
        return image


def read_image(camera: str, content: bytes, max_pixels: int) -> Image | None:
    """A JPEG or PNG image; None for what is broken.

    Raises `LimitExceeded`, naming the camera, for one that is too large: its size is checked from the header alone,
    before pixels are allocated.
    """
    is_png = content.startswith(_PNG_SIGNATURE) and len(content) > 24
    try:
        if is_png:
            size = int.from_bytes(content[16:20], "big"), int.from_bytes(content[20:24], "big")
        else:
            height, width, _, _ = simplejpeg.decode_jpeg_header(content)
            size = width, height
        if size[0] * size[1] > max_pixels:
            raise _too_large(camera, size, max_pixels)
        if is_png:
            flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
            pixels = cv2.imdecode(np.frombuffer(_plain_png(content), np.uint8), flags)
            if pixels is None:
                raise ValueError("a broken PNG")
            return Image((np.asarray(pixels, dtype=np.uint8),))
        if content.count(_SCAN) > _MOST_SCANS:
            raise LimitExceeded("a JPEG image has too many scans", field="video", camera=camera)
        return Image((simplejpeg.decode_jpeg(content, colorspace="RGB"),))
    except (ValueError, cv2.error):
        return None


def _plain_png(content: bytes) -> bytes:
    """The PNG with nothing in it but its pixels; raises `ValueError` for chunks that go beyond its end.

    OpenCV allocates as many bytes as a chunk claims to have before it reads one of them, and knows animations, whose
    pictures have sizes of their own.
    """
    kept: list[bytes] = []
    at, plain = len(_PNG_SIGNATURE), True
    for _ in range(_MOST_CHUNKS):
        end = at + 12 + int.from_bytes(content[at : at + 4], "big")
        kind = content[at + 4 : at + 8]
        if end > len(content) or (kind == b"IHDR") != (not kept):
            raise ValueError("a broken PNG")
        if kind in _PNG_CHUNKS:
            kept.append(content[at:end])
        else:
            plain = False
        at = end
        if kind == b"IEND":
            return content if plain else _PNG_SIGNATURE + b"".join(kept)
    raise ValueError("a PNG of too many chunks")


def _from_frame(frame: av.VideoFrame) -> Image:
    if frame.format.name not in _PLANAR:
        frame = frame.reformat(format="yuv420p")
    planes = tuple(
        np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: plane.height, : plane.width]
        for plane in frame.planes
    )
    full_range = frame.format.name.startswith("yuvj") or frame.color_range == 2
    standard = _STANDARDS.get(int(frame.colorspace), "bt709" if frame.height >= 720 else "bt601")
    return Image(planes, turns=round(frame.rotation / 90) % 4, standard=standard, full_range=full_range)


def _time(item: av.Packet | av.VideoFrame) -> float | None:
    """When a packet or frame is shown, in seconds; None if it does not say."""
    return None if item.pts is None or item.time_base is None else float(item.pts * item.time_base)


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)


def _resized(camera: str, size: tuple[int, int], first: tuple[int, int]) -> VideoError:
    return VideoError(
        f"images of different sizes: {size[0]}×{size[1]} after {first[0]}×{first[1]}", field="video", camera=camera
    )


def _too_large(camera: str, size: tuple[int, int], limit: int) -> LimitExceeded:
    return LimitExceeded(
        f"an image of {size[0]}×{size[1]} pixels is above this server's limit of {limit / 1e6:g} megapixels",
        field="video",
        camera=camera,
    )
