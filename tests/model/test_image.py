"""Crops out of planes: the right pixels, the right colours, whichever way the picture is stored."""

from __future__ import annotations

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from synpose_model.image import Image
from synpose_server.decode import _from_frame

IDENTITY = np.array(((1.0, 0, 0), (0, 1.0, 0)))


def gradient(width: int = 160, height: int = 96) -> NDArray[np.uint8]:
    """A smooth RGB picture that differs in every corner."""
    y, x = np.mgrid[:height, :width]
    return np.stack((40 + 170 * x / width, 40 + 170 * y / height, 200 - 120 * x / width), -1).astype(np.uint8)


def test_identity_crop_of_rgb_is_the_image() -> None:
    """A crop that covers the image is the image."""
    rgb = gradient()
    assert np.array_equal(Image((rgb,)).crop(IDENTITY, (160, 96)), rgb)


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv422p", "yuv444p", "yuvj420p", "nv12", "rgb24", "gray"])
def test_planes_become_the_colours_that_ffmpeg_makes(pixel_format: str) -> None:
    """A frame's planes give the same RGB as FFmpeg's own conversion, within rounding."""
    rgb = gradient()
    frame = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format=pixel_format)
    expected = frame.to_ndarray(format="rgb24").astype(int)
    actual = _from_frame(frame).crop(IDENTITY, (160, 96)).astype(int)
    assert np.abs(actual - expected)[2:-2, 2:-2].max() <= 6
    assert np.abs(actual - expected)[2:-2, 2:-2].mean() < 2


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_turned_pictures_come_upright(turns: int) -> None:
    """`turns` quarter turns anticlockwise bring a stored picture upright, in size and in every crop."""
    upright = gradient()
    stored = np.ascontiguousarray(np.rot90(upright, -turns))
    image = Image((stored,), turns=turns)
    assert image.size == (160, 96)
    assert np.array_equal(image.crop(IDENTITY, (160, 96)), upright)


def test_shrinking_averages() -> None:
    """Fine stripes shrink to their mean instead of aliasing."""
    stripes = np.zeros((400, 400), np.uint8)
    stripes[:, ::2] = 200
    small = Image((stripes,)).crop(np.array(((4.0, 0, 1.5), (0, 4.0, 1.5))), (100, 100))
    assert np.abs(small[2:-2, 2:-2].astype(int) - 100).max() <= 2


def test_rotated_shrunken_crop_shows_the_right_place() -> None:
    """A dot lands where the inverse transform says, also where the crop is shrunk and turned."""
    picture = np.zeros((600, 800), np.uint8)
    cv2.circle(picture, (500, 300), 9, 255, -1)
    angle, scale = 0.4, 3.3
    matrix = scale * np.array(((np.cos(angle), -np.sin(angle)), (np.sin(angle), np.cos(angle))))
    transform = np.column_stack((matrix, np.array((420.0, 260.0)) - matrix @ (50, 50)))
    crop = Image((picture,)).crop(transform, (100, 100))[..., 0].astype(float)
    found = (np.stack(np.meshgrid(np.arange(100), np.arange(100)), -1) * crop[..., None]).sum((0, 1)) / crop.sum()
    expected = np.linalg.solve(matrix, np.array((500, 300)) - transform[:, 2])
    assert np.abs(found - expected).max() < 0.15


@pytest.mark.parametrize("offset", [(-5000.0, 0.0), (0.0, 1e12), (1e30, -1e30)])
def test_crops_outside_the_image_are_black(offset: tuple[float, float]) -> None:
    """A crop beside the picture, however far, is black and costs nothing."""
    frame = av.VideoFrame.from_ndarray(gradient(), format="rgb24").reformat(format="yuv420p")
    assert _from_frame(frame).crop(np.column_stack((np.eye(2), offset)), (32, 32)).max() <= 1
