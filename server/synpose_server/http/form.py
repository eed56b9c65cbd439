"""Multipart bodies, taken apart as they arrive: small fields stay in memory, videos and many images go to files.

The files have no names, so nothing that a client sends can choose one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from tempfile import TemporaryFile
from types import TracebackType
from typing import BinaryIO, NamedTuple, Self

from multipart import MultipartError, MultipartSegment, PushMultipartParser, parse_options_header

from synpose.errors import InvalidInput, LimitExceeded
from synpose_server.requests import SMALL_BYTES
from synpose_server.spooled import Spool, StoredImage

__all__ = ["Field", "Form", "Image", "Video", "read_form"]

_FIELD_BYTES = 4 << 20  # of a calibration, options or timestamps
_FIELDS = 16
_MANY = 65_536  # images that may be of any size
_MANY_BYTES = 1 << 10  # of each of more, on average: bookkeeping costs some 300, the shortest part of a form 70
_WRITE_BYTES = 1 << 20  # a hand-over to a writing thread costs more than a smaller write
_FEW = 64  # images


class Field(NamedTuple):
    """A small part; `filename` is "" where the client gives none."""

    name: str
    filename: str
    content: bytes


class Video(NamedTuple):
    """A file part in a temporary file of its own."""

    name: str
    filename: str
    file: BinaryIO


class Image(NamedTuple):
    """A `frame` part, whose bytes lie in the form's spool."""

    filename: str
    stored: StoredImage


@dataclass
class Form:
    """The parts of a form by kind, in order of arrival; closing it deletes its files."""

    fields: list[Field] = field(default_factory=list)
    videos: list[Video] = field(default_factory=list)
    images: list[Image] = field(default_factory=list)
    spool: Spool = field(default_factory=Spool)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.spool.__exit__(kind, error, trace)
        for video in self.videos:
            video.file.close()

    @property
    def is_small(self) -> bool:
        """Whether reading it costs less than a thread that does it: little, and all of it in memory."""
        fields = sum(len(content) for _, _, content in self.fields)
        return self.spool.in_memory and not self.videos and len(self.images) <= _FEW and fields <= SMALL_BYTES


async def read_form(
    body: AsyncIterator[bytes], content_type: str, form: Form, *, most_videos: int, most_images: int = _MANY
) -> None:
    """Fill `form` from a multipart/form-data body; raises `InvalidInput` or `LimitExceeded`.

    More than 65,536 images must have 1 KiB each on average, as bookkeeping takes memory. A part with a file name is an
    image if its field is `frame` and a video unless its field is one of the small ones; every other part is small.
    """
    _, parameters = parse_options_header(content_type)
    reader = _Reader(form, most_videos, most_images)
    try:
        with PushMultipartParser(parameters.get("boundary", "")) as parser:
            async for chunk in body:
                if not chunk:  # which would say that nothing follows
                    continue
                if parser.closed:
                    break
                for event in parser.parse(chunk):
                    if isinstance(event, MultipartSegment):
                        reader.begin(event)
                    elif event is None:
                        reader.end()
                    else:
                        reader.add(event)
                if reader.must_write:
                    await asyncio.to_thread(reader.flush)
    except MultipartError as error:
        raise InvalidInput(f"the multipart body is broken: {error.args[0]}", field="body") from None
    if form.videos or not form.spool.in_memory:
        await asyncio.to_thread(reader.flush)
        for video in form.videos:
            video.file.seek(0)


class _Reader:
    """Where the bytes of the current part go."""

    def __init__(self, form: Form, most_videos: int, most_images: int) -> None:
        self.form = form
        self._most_videos, self._most_images = most_videos, most_images
        self._pending: list[tuple[BinaryIO, bytes]] = []  # to be written to videos
        self._pending_bytes = 0

    @property
    def must_write(self) -> bool:
        """Whether `flush` is due."""
        return self._pending_bytes >= _WRITE_BYTES or self.form.spool.is_full

    def flush(self) -> None:
        """Write what is pending; blocks."""
        for file, data in self._pending:
            file.write(data)
            file.flush()
        self._pending.clear()
        self._pending_bytes = 0
        if self.form.spool.is_full or not self.form.spool.in_memory:
            self.form.spool.flush()

    def begin(self, part: MultipartSegment) -> None:
        """A part begins."""
        if not part.name:
            raise InvalidInput("a part of the form has no field name", field="body")
        self._name, self._filename = part.name, part.filename or ""
        self._memory = bytearray()
        self._start = self.form.spool.size
        self._file: BinaryIO | Spool | None = None
        if not self._filename or self._name in ("calibration", "options", "timestamps"):
            if len(self.form.fields) >= _FIELDS:
                raise LimitExceeded(f"a form may have at most {_FIELDS} fields beside its files", field="body")
        elif self._name == "frame":
            images = len(self.form.images)
            if images >= self._most_images:
                raise LimitExceeded(f"a form may have at most {self._most_images} images", field="frame")
            if images >= _MANY and images * _MANY_BYTES > self.form.spool.size:
                raise LimitExceeded(
                    f"more than {_MANY} images must have {_MANY_BYTES} bytes each on average; send videos",
                    field="frame",
                )
            self._file = self.form.spool
        else:
            if len(self.form.videos) >= self._most_videos:
                raise LimitExceeded(f"at most {self._most_videos} cameras are accepted", field="video")
            video = TemporaryFile()  # noqa: SIM115 - the form closes it
            self.form.videos.append(Video(self._name, self._filename, video))
            self._file = video

    def add(self, data: bytes) -> None:
        """Bytes of the part."""
        if self._file is None:
            if len(self._memory) + len(data) > _FIELD_BYTES:
                raise LimitExceeded(f"the field is larger than {_FIELD_BYTES >> 20} MiB", field=self._name)
            self._memory += data
        elif isinstance(self._file, Spool):
            self._file.add(data)
        else:
            self._pending.append((self._file, data))
            self._pending_bytes += len(data)

    def end(self) -> None:
        """The part is over."""
        if self._file is None:
            self.form.fields.append(Field(self._name, self._filename, bytes(self._memory)))
        elif isinstance(self._file, Spool):
            stored = StoredImage(self._start, self._file.size - self._start)
            self.form.images.append(Image(self._filename, stored))
