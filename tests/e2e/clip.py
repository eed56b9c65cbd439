"""A short clip of the balancing man, cut from the example and made smaller, and what can be made of it."""

from __future__ import annotations

import io
from collections.abc import Iterable
from fractions import Fraction
from functools import cache
from itertools import islice
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from synpose.calibration import read_calibration, write_calibration
from synpose.rig import Rig

__all__ = ["CALIBRATION", "CAMERAS", "FPS", "FRAMES", "RIG", "SIZE", "encoded", "frames", "jpegs", "video"]

Pixels = NDArray[np.uint8]

_EXAMPLE = Path(__file__).parents[2] / "examples" / "balancing"
_FULL = (1088, 1920)  # of the calibration; the videos of two cameras were trimmed to 1080

SIZE = (408, 720)
FRAMES = 8
FPS = 60
RIG = Rig(tuple(camera.resized(SIZE) for camera in read_calibration(_EXAMPLE / "Calib.qca.txt")))
CAMERAS = RIG.names
CALIBRATION = write_calibration(RIG).encode()


@cache
def frames(camera: str) -> Pixels:
    """The first frames of a camera `(FRAMES, height, width, 3)`, RGB, at `SIZE`."""
    with av.open(str(_EXAMPLE / f"{camera}.mp4")) as container:
        images = [frame.to_ndarray(format="rgb24") for frame in islice(container.decode(video=0), FRAMES)]
    padded = [np.pad(image, ((0, 0), (0, _FULL[0] - image.shape[1]), (0, 0))) for image in images]
    return np.stack([cv2.resize(image, SIZE, interpolation=cv2.INTER_AREA) for image in padded])


def encoded(
    images: Iterable[Pixels], *, container: str = "mp4", codec: str = "libx264", fps: int = FPS, gop: int = 4
) -> bytes:
    """A video of RGB images, in a quality that loses next to nothing."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        stream = None
        for image in images:
            if stream is None:
                options = {"crf": "12", "preset": "ultrafast"} if codec == "libx264" else {}
                stream = output.add_stream(codec, Fraction(fps), options=options)
                stream.height, stream.width = image.shape[:2]
                stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
                stream.gop_size = gop
                stream.bit_rate = 8_000_000  # for codecs that know no quality
            output.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        if stream is not None:
            output.mux(stream.encode())
    return file.getvalue()


@cache
def video(camera: str) -> bytes:
    """The clip of a camera as H.264 in MP4."""
    return encoded(frames(camera))


@cache
def jpegs(camera: str) -> tuple[bytes, ...]:
    """The clip of a camera as JPEG images."""
    return tuple(
        cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes() for image in frames(camera)
    )
