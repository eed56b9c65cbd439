"""Commands need packages that the bare client does not bring."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from synpose.errors import ServerError

__all__ = ["needs_extra"]


@contextmanager
def needs_extra(extra: str) -> Iterator[None]:
    """Turn an import that fails for want of a package into the line that installs it."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "synpose":
            raise
        raise ServerError(f"{error.name} is not installed: pip install 'synpose[{extra}]'") from error
