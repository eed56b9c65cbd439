"""Frame sets out of a camera's readers: decoded in parallel, paired by their place in the clip."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from typing import TypeAlias

from synpose.errors import OptionsError, VideoError
from synpose.pose import Notice
from synpose_model.image import Image
from synpose_server.decode import Reader, open_source
from synpose_server.job import Job
from synpose_server.observe import staged
from synpose_server.sources import Source

__all__ = ["FrameSet", "FrameSets", "skips"]

_AHEAD = 2  # decoded images that wait per camera: enough to keep decoding busy, little enough for 16 cameras in 4K
_DEFAULT_FPS = 30.0
_END = object()
_Handed: TypeAlias = tuple[object, str | None]  # an image, None, _END or an exception, with the reader's problem so far


@dataclass(frozen=True, eq=False)
class FrameSet:
    """The images of all cameras at one instant, in the rig's order; None where a camera has none."""

    index: int
    images: tuple[Image | None, ...]
    notices: tuple[Notice, ...] = ()
    is_last: bool = False


class FrameSets(Iterator[FrameSet]):
    """Opens every source, then gives frame sets until the shortest camera ends; `close` stops the decoding threads.

    Frames are paired by index: the first frames of all cameras were taken together, or, with `offsets`, the first ones
    that are left of each after what its reader has to `skip`; all at one frame rate: `fps`, `assumed` where neither the
    caller nor a video says it. `count` is how many frame sets the sources promise, None where none does. The last frame
    set carries the notices about cameras that had more, or that broke off. A camera of which nothing is left is an
    `OptionsError`, at the first frame set at the latest. Once `job` is over nothing is decoded any more, and the next
    frame set is its error.
    """

    def __init__(
        self,
        sources: Mapping[str, Source],
        max_pixels: int,
        fps: float | None = None,
        job: Job | None = None,
        offsets: Mapping[str, float] | None = None,
    ) -> None:
        self.readers: tuple[Reader, ...] = ()
        self._job = Job() if job is None else job
        self._job.check()
        self._closed = threading.Event()
        self._threads: list[threading.Thread] = []
        with ThreadPoolExecutor(max(1, min(8, len(sources)))) as pool:
            opening = [pool.submit(open_source, camera, source, max_pixels) for camera, source in sources.items()]
        failed = [future.exception() for future in opening if future.exception() is not None]
        self.readers = tuple(future.result() for future in opening if future.exception() is None)
        try:
            if failed:
                raise failed[0]  # type: ignore[misc]
            left_out = skips(sources, offsets)
            for reader in self.readers:
                reader.skip = left_out[reader.camera]
                if reader.count is not None and reader.count <= reader.skip:
                    raise _nothing_left(reader)
            rate = fps or _common_rate(self.readers)
        except BaseException:
            for reader in self.readers:
                reader.close()
            raise
        self.fps, self.assumed = rate or _DEFAULT_FPS, rate is None
        counts = [reader.count - reader.skip for reader in self.readers if reader.count is not None]
        self.count = min(counts) if counts else None
        self._queues: list[queue.Queue[_Handed]] = [queue.Queue(_AHEAD) for _ in self.readers]
        self._frames = self._assemble()
        for view, (reader, images) in enumerate(zip(self.readers, self._queues, strict=True)):
            thread = threading.Thread(
                target=copy_context().run,  # the request's, whose trace tells of decoding
                args=(self._read, view, reader, images),
                name=f"decode-{reader.camera}",
                daemon=True,
            )
            self._threads.append(thread)
            thread.start()

    def __next__(self) -> FrameSet:
        return next(self._frames)

    def close(self) -> None:
        """Stop decoding; returns when every thread has let go of its file."""
        self._closed.set()
        for images in self._queues:
            with contextlib.suppress(queue.Empty):
                while True:
                    images.get_nowait()
        for thread in self._threads:
            thread.join()
        for reader in self.readers:
            reader.close()

    def _read(self, view: int, reader: Reader, images: queue.Queue[_Handed]) -> None:
        try:
            for place, image in enumerate(staged("decode", reader, view)):
                if self._job.over or self._closed.is_set():
                    return
                if place >= reader.skip and not self._put(images, (image, reader.problem)):
                    return
            self._put(images, (_END, reader.problem))
        except Exception as error:  # crosses to the thread that asks for the frame set
            self._put(images, (error, None))

    def _put(self, images: queue.Queue[_Handed], item: _Handed) -> bool:
        while not self._closed.is_set():
            with contextlib.suppress(queue.Full):
                images.put(item, timeout=0.1)
                return True
        return False

    def _take(self, images: queue.Queue[_Handed]) -> _Handed:
        while not self._closed.is_set():
            self._job.check()
            with contextlib.suppress(queue.Empty):
                return images.get(timeout=0.1)
        return _END, None

    def _assemble(self) -> Iterator[FrameSet]:
        previous: FrameSet | None = None
        problems: list[str | None] = []
        index = 0
        while True:
            handed = [self._take(images) for images in self._queues]
            if self._closed.is_set():  # nothing ended: who closes early must not be told that something did
                return
            taken, told = [item for item, _ in handed], [problem for _, problem in handed]
            for item in taken:
                if isinstance(item, Exception):
                    raise item
            if any(item is _END for item in taken):
                break
            if previous is not None:
                yield previous
            views = tuple(item if isinstance(item, Image) else None for item in taken)
            previous = FrameSet(index, views)
            problems = told
            index += 1
        ended = [item is _END for item in taken]
        if previous is None:
            for reader, end in zip(self.readers, ended, strict=True):
                if end and reader.skip:
                    raise _nothing_left(reader)
        else:
            problems = [now if end else then for end, now, then in zip(ended, told, problems, strict=True)]
            notices = self._closing_notices(index, ended, problems)
            yield FrameSet(previous.index, previous.images, notices, is_last=True)

    def _closing_notices(self, count: int, ended: Sequence[bool], problems: Sequence[str | None]) -> tuple[Notice, ...]:
        """`problems` are those up to the last image that was used: of what was only read ahead, nothing is told."""
        notices = []
        for reader, end, problem in zip(self.readers, ended, problems, strict=True):
            if problem is not None:
                message = f"the video is damaged ({problem}); what could be read of it was used"
                notices.append(Notice("damaged-video", message, reader.camera))
            elif end and reader.count is not None and reader.count > reader.skip + count:
                message = f"the video ends after {reader.skip + count} of the {reader.count} frames that it claims"
                notices.append(Notice("truncated-video", message, reader.camera))
        if not all(ended):
            short = [r.camera for r, end in zip(self.readers, ended, strict=True) if end]
            longer = [r.camera for r, end in zip(self.readers, ended, strict=True) if not end]
            without = " without what the offsets leave out" if any(reader.skip for reader in self.readers) else ""
            message = (
                f"the clips are of unequal length{without}: {', '.join(short)} ended after {count} frames while "
                f"{', '.join(longer)} went on; the {count} frames that all cameras have were used"
            )
            notices.append(Notice("unequal-lengths", message, short[0] if len(short) == 1 else None))
        return tuple(notices)


def skips(cameras: Iterable[str], offsets: Mapping[str, float] | None) -> dict[str, int]:
    """How many of its first images each camera leaves out, so that the clip begins where all of them have images.

    `offsets` are by how many frames the images of a camera are ahead, 0 where it is not named.
    """
    ahead = {camera: (offsets or {}).get(camera, 0.0) for camera in cameras}
    least = min(ahead.values(), default=0.0)
    return {camera: round(frames - least) for camera, frames in ahead.items()}


def _nothing_left(reader: Reader) -> OptionsError:
    return OptionsError(
        f"with these offsets its first {reader.skip} images precede those of another camera, and it has no more: check"
        " the offsets, and their signs",
        field="options.offsets",
        camera=reader.camera,
    )


def _common_rate(readers: Sequence[Reader]) -> float | None:
    """The frame rate that all videos share, None where nothing says one.

    Raises `VideoError` naming the first camera that differs by over 2 %.
    """
    rates = [(reader.camera, reader.fps) for reader in readers if reader.fps]
    if not rates:
        return None
    first, fps = rates[0]
    for camera, other in rates[1:]:
        if abs(other / fps - 1) > 0.02:
            raise VideoError(
                f"its frame rate is {other:.4g} but that of {first} is {fps:.4g}; bring all videos to one rate, "
                "or pass the option fps if their frames do belong together one by one",
                field="video",
                camera=camera,
            )
    return fps
