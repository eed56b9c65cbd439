"""What a request brings for one camera, before anything of it is decoded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, TypeAlias

__all__ = ["Source"]

Source: TypeAlias = Path | BinaryIO | Sequence[bytes | None]
"""A video file or a folder of numbered images (`Path`), a seekable upload, or encoded images with None for missing."""
