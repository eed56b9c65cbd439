"""Videos as cameras give their images: one JPEG after another, at the pace of the clip."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from itertools import islice

import cv2
import numpy as np
import simplejpeg

from synpose.rig import Rig
from synpose_model.image import Image
from synpose_server.settings import Settings
from synpose_server.sources import Source
from synpose_server.synchronise import FrameSets

__all__ = ["first_frame_sets", "play"]

_QUALITY = 90
_UNTURNED = np.eye(2, 3)


def play(frame_sets: FrameSets) -> Iterator[tuple[float, dict[str, bytes]]]:
    """(Unix time in seconds, JPEG images by camera) of each frame set, when its time has come.

    Blocks until then; where decoding and encoding are slower than the clip, each comes as soon as it can. Raises what
    `frame_sets` do.
    """
    start: float | None = None
    for frame_set in frame_sets:
        images = {
            reader.camera: _jpeg(image, image.size)
            for reader, image in zip(frame_sets.readers, frame_set.images, strict=True)
            if image is not None
        }
        start = time.time() if start is None else start
        due = start + frame_set.index / frame_sets.fps
        time.sleep(max(0.0, due - time.time()))
        yield due, images


def first_frame_sets(
    rig: Rig, sources: Mapping[str, Source], settings: Settings, count: int, width: int | None = None
) -> tuple[Rig, list[dict[str, bytes]]]:
    """The JPEG images by camera of the first `count` instants, scaled to `width` pixels where that is given, and their
    rig.

    Raises as `FrameSets` for videos that cannot be read.
    """
    frame_sets = FrameSets(sources, settings.max_pixels)
    try:
        sizes = {reader.camera: reader.size for reader in frame_sets.readers}
        scaled = {camera: size if width is None else _of_width(size, width) for camera, size in sizes.items()}
        fitted = (rig[camera].resized(size).resized(scaled[camera]) for camera, size in sizes.items())
        encoded = []
        for frame_set in islice(frame_sets, count):
            views = zip(scaled.items(), frame_set.images, strict=True)
            encoded.append({camera: _jpeg(image, size) for (camera, size), image in views if image is not None})
        return Rig(tuple(fitted)), encoded
    finally:
        frame_sets.close()


def _of_width(size: tuple[int, int], width: int) -> tuple[int, int]:
    return width, max(1, round(width * size[1] / size[0]))


def _jpeg(image: Image, size: tuple[int, int]) -> bytes:
    pixels = image.crop(_UNTURNED, image.size)
    if size != image.size:
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
    return bytes(simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), quality=_QUALITY, colorspace="RGB"))
