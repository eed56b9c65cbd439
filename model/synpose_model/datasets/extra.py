"""The packages that read the formats of the datasets; they come with the extra `datasets`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from synpose.errors import InvalidInput, ServerError, SynposeError

__all__ = ["reader", "reading"]


def reader(name: str) -> Any:
    """The module `name`; `ServerError` with the line that installs it if it is not there."""
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        raise ServerError(f"{error.name} is not installed: pip install 'synpose[datasets]'") from error


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn whatever goes wrong on the way into `InvalidInput` about the annotations in `path`."""
    try:
        yield
    except SynposeError:
        raise
    except Exception as error:  # of a broken file each reader raises what it happens to stumble over
        raise InvalidInput(f"cannot read {path}: {error!r:.200}", field="joints") from error
