"""A distorted view out of an undistorted one: draw with a margin, then move every pixel to where the lens puts it."""

from __future__ import annotations

from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from synpose.rig import Camera

__all__ = ["Lens"]

_WIDEST = 2.0  # how far from the axis (tangent of the angle) a drawn view may reach: beyond, a plane wastes pixels


class Lens:
    """How `camera` bends an ideal view: `ideal` is the pinhole camera to draw with, `bend` gives the camera's image.

    `usable` is false where the distortion has no inverse somewhere in the image, or needs too wide a margin.
    """

    def __init__(self, camera: Camera) -> None:
        self.camera = camera
        width, height = camera.size
        coarse = np.stack(np.meshgrid(np.linspace(0, width - 1, 81), np.linspace(0, height - 1, 61)), -1)
        plane = camera.undistort(coarse)
        self.usable = bool(np.isfinite(plane).all() and np.abs(plane).max() < _WIDEST and _keeps_order(plane))
        if not self.usable:
            return
        low, high = plane.min((0, 1)), plane.max((0, 1))
        focal = np.array((camera.K[0, 0], camera.K[1, 1]))
        size = np.ceil((high - low) * focal).astype(int) + 5  # two pixels of margin for the interpolation
        center = 2 - low * focal
        K = np.array(((focal[0], 0, center[0]), (0, focal[1], center[1]), (0, 0, 1)))
        self.ideal = Camera(camera.name, (int(size[0]), int(size[1])), K, camera.R, camera.t)

    @cached_property
    def _map(self) -> NDArray[np.float32]:
        """Where in the ideal image each pixel comes from, `(height, width, 2)`."""
        width, height = self.camera.size
        # the lens is smooth: between every fourth pixel straight lines are right to 0.01 pixels, 0.2 in a corner
        (columns, across), (rows, down) = _every_fourth(width), _every_fourth(height)
        coarse = self.camera.undistort(np.stack(np.meshgrid(columns, rows), -1))
        plane = np.einsum("yr,rcp,xc->yxp", down, coarse, across, optimize=True)
        K = self.ideal.K
        return np.asarray(plane * (K[0, 0], K[1, 1]) + K[:2, 2], dtype=np.float32)

    def bend(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The camera's image `(height, width, 3)` from the ideal camera's."""
        return np.asarray(cv2.remap(image, self._map, None, cv2.INTER_LINEAR), dtype=np.uint8)


def _every_fourth(size: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Places `(n,)` from 0 to `size` − 1, about four apart, and weights `(size, n)` that read all pixels off them."""
    places = np.linspace(0, size - 1, size // 4 + 2)
    weights = 1 - np.abs(np.arange(size)[:, None] - places) / (places[1] - places[0])
    return places, np.maximum(weights, 0)


def _keeps_order(plane: NDArray[np.float64]) -> bool:
    """Whether no part of the image is folded over: areas keep their sign."""
    right, down = np.diff(plane, axis=1)[:-1], np.diff(plane, axis=0)[:, :-1]
    return bool((right[..., 0] * down[..., 1] - right[..., 1] * down[..., 0] > 0).all())
