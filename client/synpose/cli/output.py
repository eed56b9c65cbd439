"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from synpose.errors import OptionsError

__all__ = ["whole_file"]


@contextmanager
def whole_file(path: Path) -> Iterator[Callable[[bytes], None]]:
    """Writes a file that takes the place of `path` when the block ends well, and is removed otherwise.

    It lies beside `path`, so that putting it in place is one step. Raises `OptionsError` where it cannot be made,
    written or put in place, and leaves errors of the block as they are.
    """
    with _told(path):
        handle, name = tempfile.mkstemp(".part", f".{path.name[:100]}.", path.parent)
    part = Path(name)
    try:
        with os.fdopen(handle, "wb", buffering=0) as file:  # a buffer's last bytes would fail only when it is closed

            def write(content: bytes) -> None:
                left = memoryview(content)
                with _told(path):
                    while left:
                        left = left[file.write(left) :]

            yield write
        with _told(path):
            part.chmod(0o666 & ~_umask())  # a temporary file is its owner's alone
            part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OptionsError(f"cannot write {path}: {error.strerror}", field="output") from error


def _umask() -> int:
    """The process's mask of permissions, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
