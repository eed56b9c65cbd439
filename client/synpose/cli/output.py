"""Files that are there whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from synpose.errors import OptionsError

__all__ = ["whole_file"]


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write that takes the place of `path` when the block ends well, and is removed otherwise.

    It lies beside `path`, so that putting it in place is one step. Raises `OptionsError` where it cannot be made.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        file = part.open("xb")
    except OSError as error:
        raise OptionsError(f"cannot write {path}: {error.strerror}", field="output") from None
    try:
        with file:
            yield file
        part.replace(path)
    except OSError as error:
        raise OptionsError(f"cannot write {path}: {error.strerror}", field="output") from error
    finally:
        part.unlink(missing_ok=True)
