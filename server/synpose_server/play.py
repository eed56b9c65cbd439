"""Videos as cameras give their images: one JPEG after another, at the pace of the clip."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping

import numpy as np
import simplejpeg

from synpose_model.image import Image
from synpose_server.settings import Settings
from synpose_server.sources import Source
from synpose_server.synchronise import FrameSets

__all__ = ["play"]

_QUALITY = 90
_UNTURNED = np.eye(2, 3)


def play(
    sources: Mapping[str, Source], settings: Settings, fps: float | None = None
) -> Iterator[tuple[float, dict[str, bytes]]]:
    """(Unix time in seconds, JPEG images by camera) of each frame set, when its time has come.

    Blocks until then; where decoding and encoding are slower than the clip, each comes as soon as it can. Raises as
    `FrameSets` for videos that cannot be read.
    """
    frame_sets = FrameSets(sources, settings.max_pixels, fps)
    try:
        start: float | None = None
        for frame_set in frame_sets:
            images = {
                reader.camera: _jpeg(image)
                for reader, image in zip(frame_sets.readers, frame_set.images, strict=True)
                if image is not None
            }
            start = time.time() if start is None else start
            due = start + frame_set.index / frame_sets.fps
            time.sleep(max(0.0, due - time.time()))
            yield due, images
    finally:
        frame_sets.close()


def _jpeg(image: Image) -> bytes:
    pixels = image.crop(_UNTURNED, image.size)
    return bytes(simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), quality=_QUALITY, colorspace="RGB"))
