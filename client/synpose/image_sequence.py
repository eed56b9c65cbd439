"""Numbered images of several cameras, put on one axis of frame sets."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from synpose.errors import InvalidInput, LimitExceeded, VideoError

__all__ = ["align_folders", "align_images", "camera_of"]

T = TypeVar("T")

_SUFFIXES = (".jpg", ".jpeg", ".png")
_MOST = 1 << 20  # of a folder, by number; a server's own limit is lower


def camera_of(path: Path) -> str:
    """The camera whose video or folder of images `path` is: of `.` the folder's own name, of a link the link's.

    Raises `VideoError` for a path that the system does not take, one that is too long, say.
    """
    try:
        return Path(os.path.abspath(path)).name if path.is_dir() else path.stem  # `resolve` would follow links
    except OSError as error:
        raise VideoError(f"{path} cannot be looked up: {error.strerror}", field="video", camera=path.stem) from None


def align_folders(folders: Mapping[str, Path]) -> dict[str, list[Path | None]]:
    """The JPEG and PNG files in each camera's folder by frame set, as `align_images` does; other files are passed over.

    Raises `VideoError` for a folder without images.
    """
    cameras: dict[str, list[tuple[str, Path]]] = {}
    for camera, folder in folders.items():
        files = sorted(file for file in folder.iterdir() if file.suffix.lower() in _SUFFIXES)
        if not files:
            raise VideoError(f"the folder {folder} holds no JPEG or PNG images", field="video", camera=camera)
        cameras[camera] = [(file.stem, file) for file in files]
    return align_images(cameras, most=_MOST)


def align_images(
    cameras: Mapping[str, Sequence[tuple[str, T]]], *, first: int | None = None, most: int
) -> dict[str, list[T | None]]:
    """The images of each camera by frame set, from (name, image) pairs; None where one is missing.

    The number at the end of a name (without suffix) is its frame set, the same for all cameras, counted from
    `first` or else from the smallest one. Names without a number are in the order given. Raises `InvalidInput`, naming
    the camera, for numbers that are doubled, negative, before `first` or beside names without one, and
    `LimitExceeded` for more than `most` frame sets, before anything of that length is made.
    """
    numbered = {camera: _numbers(camera, [name for name, _ in images]) for camera, images in cameras.items()}
    bare = [camera for camera, numbers in numbered.items() if numbers is None]
    if bare and len(bare) < len(numbered):
        raise InvalidInput("its images have no numbers, those of other cameras do", field="frame_sets", camera=bare[0])
    if bare:
        numbered = {camera: list(range(len(images))) for camera, images in cameras.items()}
        first = 0
    indices = {camera: numbers or [] for camera, numbers in numbered.items()}
    start = first if first is not None else min((n for numbers in indices.values() for n in numbers), default=0)
    stop = max((n + 1 for numbers in indices.values() for n in numbers), default=start)
    if stop - start > most:
        raise LimitExceeded(
            f"the images are numbered from {start} to {stop - 1}; at most {most} frame sets are accepted",
            field="frame_sets",
        )
    aligned: dict[str, list[T | None]] = {camera: [None] * (stop - start) for camera in cameras}
    for camera, images in cameras.items():
        for number, (_, image) in zip(indices[camera], images, strict=True):
            if number < start:
                raise InvalidInput(f"image {number} lies before {start}", field="frame_sets", camera=camera)
            if aligned[camera][number - start] is not None:
                raise InvalidInput(f"image {number} is there twice", field="frame_sets", camera=camera)
            aligned[camera][number - start] = image
    return aligned


def _numbers(camera: str, names: Sequence[str]) -> list[int] | None:
    """The numbers at the end of all names, or None when none has one."""
    for name in names:
        if re.search(r"(^|/)-[0-9]+$", name):
            raise InvalidInput(f"image {name!r:.80}: numbers begin at 0", field="frame_sets", camera=camera)
    found = [re.search(r"([0-9]{1,18})$", name) for name in names]
    if not any(found):
        return None
    if not all(found):
        bare = names[found.index(None)]
        raise InvalidInput(f"image {bare!r:.80} has no number at its end, others do", field="frame_sets", camera=camera)
    return [int(match[1]) for match in found if match]
