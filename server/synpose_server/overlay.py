"""The video to look at before believing: every view side by side with the answer projected back into it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from synpose.pose import Frame, PoseSequence
from synpose.rig import Camera, Rig
from synpose.skeleton import Skeleton
from synpose_model.image import Image
from synpose_server.settings import Settings
from synpose_server.sources import Source
from synpose_server.synchronise import FrameSets

__all__ = ["write_overlay"]

_HEIGHT = 640  # of one view in the video
_COLOURS = {"left": (80, 220, 100), "right": (255, 120, 40), "": (240, 240, 240)}  # RGB, by side of the body


def write_overlay(
    path: Path,
    rig: Rig,
    sources: Mapping[str, Source],
    sequence: PoseSequence,
    settings: Settings,
    progress: Callable[[Frame], None] = lambda frame: None,
) -> None:
    """Write an H.264 file of all views, side by side, with the people of `sequence`; views that were not used are dim.

    `rig` is the calibration; `sources` are the videos that were sent, which began together. Raises as `FrameSets` for
    videos that cannot be read.
    """
    frame_sets = FrameSets(sources, settings.max_pixels, sequence.header.fps)
    try:
        cameras = [rig[reader.camera].resized(reader.size) for reader in frame_sets.readers]
        widths = [max(2, round(_HEIGHT * camera.size[0] / camera.size[1] / 2) * 2) for camera in cameras]
        with av.open(str(path), "w") as container:
            rate = Fraction(sequence.header.fps).limit_denominator(1001)
            stream = container.add_stream("libx264", rate=rate, options={"crf": "22", "preset": "veryfast"})
            stream.width, stream.height, stream.pix_fmt = sum(widths), _HEIGHT, "yuv420p"
            for frame, frame_set in zip(sequence.frames, frame_sets, strict=False):
                views = [
                    _draw(camera, image, width, frame, sequence.header.skeleton)
                    for camera, image, width in zip(cameras, frame_set.images, widths, strict=True)
                ]
                picture = av.VideoFrame.from_ndarray(np.hstack(views), format="rgb24")
                container.mux(stream.encode(picture))
                progress(frame)
            container.mux(stream.encode())
    finally:
        frame_sets.close()


def _draw(camera: Camera, image: Image | None, width: int, frame: Frame, skeleton: Skeleton) -> NDArray[np.uint8]:
    scale = camera.size[1] / _HEIGHT
    shrink = np.array(((scale, 0, (scale - 1) / 2), (0, scale, (scale - 1) / 2)))
    pixels = np.zeros((_HEIGHT, width, 3), np.uint8) if image is None else image.crop(shrink, (width, _HEIGHT))
    used = {view for person in frame.people for view in person.views}
    if camera.name not in used:
        pixels = (pixels // 2).astype(np.uint8)
    pixels = np.ascontiguousarray(pixels)
    for person in frame.people:
        points = (camera.project(person.joints) - shrink[:, 2]) / scale
        for a, b in skeleton.bones:
            ends = points[[a, b]]
            if np.isfinite(ends).all() and np.abs(ends).max() < 1e4:
                side = skeleton.joints[b].partition("_")[0]
                start, stop = (tuple(int(v) for v in np.rint(end)) for end in ends)
                cv2.line(pixels, start, stop, _COLOURS.get(side, _COLOURS[""]), 2, cv2.LINE_AA)
    cv2.putText(
        pixels, f"{camera.name}  {frame.index}", (8, 22), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (0, 0, 0), 4, cv2.LINE_AA
    )
    cv2.putText(
        pixels, f"{camera.name}  {frame.index}", (8, 22), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (255,) * 3, 1, cv2.LINE_AA
    )
    return pixels
