"""Encoded images of an upload, kept until the engine asks for them: a few in memory, many in a file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from tempfile import TemporaryFile
from types import TracebackType
from typing import BinaryIO, NamedTuple, Self, overload

__all__ = ["Spool", "StoredImage"]

_MEMORY_BYTES = 1 << 20  # a frame set of some cameras; a file, and a thread that writes it, would cost more


class StoredImage(NamedTuple):
    """Where the bytes of one image lie in its spool."""

    offset: int
    size: int


class Spool:
    """Images one behind the other: in memory, or once they are too many in one file that has no name.

    All images of a request share it: a clip has thousands of them, and a process may open only so many files.
    """

    def __init__(self) -> None:
        self._memory = bytearray()
        self._file: BinaryIO | None = None
        self._size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    @property
    def size(self) -> int:
        """Bytes that were added."""
        return self._size

    @property
    def in_memory(self) -> bool:
        """Whether no file is needed so far."""
        return self._file is None

    @property
    def is_full(self) -> bool:
        """Whether more waits in memory than should; `flush` is due."""
        return len(self._memory) >= _MEMORY_BYTES

    def add(self, data: bytes) -> None:
        """Append to the last image, or begin one."""
        self._memory += data
        self._size += len(data)

    def flush(self) -> None:
        """Write what is in memory to the file; blocks."""
        if self._file is None:
            self._file = TemporaryFile()  # noqa: SIM115 - closed with the spool
        self._file.write(self._memory)
        self._file.flush()
        self._memory.clear()

    def images(self, stored: Sequence[StoredImage | None]) -> Sequence[bytes | None]:
        """The images of one camera, None for a missing one; usable from several threads, as long as none is added.

        What lies in a file is read when it is asked for.
        """
        if self._file is None:
            return [bytes(self._memory[i.offset : i.offset + i.size]) if i else None for i in stored]
        if self._memory:
            self.flush()
        return _InFile(self._file, stored)


class _InFile(Sequence[bytes | None]):
    def __init__(self, file: BinaryIO, images: Sequence[StoredImage | None]) -> None:
        self._file = file
        self._images = images

    def __len__(self) -> int:
        return len(self._images)

    @overload
    def __getitem__(self, index: int) -> bytes | None: ...
    @overload
    def __getitem__(self, index: slice) -> _InFile: ...
    def __getitem__(self, index: int | slice) -> bytes | _InFile | None:
        if isinstance(index, slice):
            return _InFile(self._file, self._images[index])
        image = self._images[index]
        return os.pread(self._file.fileno(), image.size, image.offset) if image else None
