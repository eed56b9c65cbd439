"""Encoded images of an upload, kept in a file until the engine asks for them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import BinaryIO, NamedTuple, overload

__all__ = ["StoredImage", "StoredImages"]


class StoredImage(NamedTuple):
    """Where the bytes of one image lie in the file of images."""

    offset: int
    size: int


class StoredImages(Sequence[bytes | None]):
    """The images of one camera, each read when it is asked for, None for a missing one; usable from several threads."""

    def __init__(self, file: BinaryIO, images: Sequence[StoredImage | None]) -> None:
        self._file = file
        self._images = images

    def __len__(self) -> int:
        return len(self._images)

    @overload
    def __getitem__(self, index: int) -> bytes | None: ...
    @overload
    def __getitem__(self, index: slice) -> StoredImages: ...
    def __getitem__(self, index: int | slice) -> bytes | StoredImages | None:
        if isinstance(index, slice):
            return StoredImages(self._file, self._images[index])
        image = self._images[index]
        return os.pread(self._file.fileno(), image.size, image.offset) if image else None
