"""What a request brings for one camera, before anything of it is decoded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, TypeAlias

__all__ = ["Source"]

Source: TypeAlias = Path | BinaryIO | Sequence[Path | bytes | None]
"""A video file, a seekable upload of one, or encoded images (files or bytes) with None for one that is missing."""
