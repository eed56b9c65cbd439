"""Square crops around a person, upright in the crop whichever way the camera or the person is tilted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from synpose_model.image import Image

__all__ = ["IN_VIEW", "MARGIN", "NOWHERE", "Crop", "letterbox", "nowhere"]

MARGIN = 1.3
"""Width of a crop over the extent of the person's joints, in training as in the server."""

IN_VIEW = 0.3
"""Least share of a crop that must lie inside the image for it to be read."""

NOWHERE = -9.0
"""In shares of a crop a place that is far outside of it: where a joint is expected of which nobody knows."""

Array = NDArray[np.float64]

_GRID = (np.stack(np.meshgrid(np.arange(9), np.arange(9)), -1).reshape(-1, 2) + 0.5) / 9


@dataclass(frozen=True, eq=False)
class Crop:
    """A square of `side` pixels that shows part of an image; `transform` `(2, 3)` takes its pixels to the image's."""

    transform: Array
    side: int

    @classmethod
    def around(cls, points: Array, side: int, margin: float, up: Array | None = None) -> Crop:
        """The square around image points `(N, 2)`, `margin` times their extent wide, with `up` `(2,)` pointing up."""
        angle = 0.0 if up is None else float(np.arctan2(up[0], -up[1]))
        turn = np.array(((np.cos(angle), -np.sin(angle)), (np.sin(angle), np.cos(angle))))
        inside = points @ turn  # in the axes of the crop
        low, high = inside.min(0), inside.max(0)
        scale = max(float((high - low).max()) * margin, 8.0) / side
        centre = turn @ ((low + high) / 2)
        matrix = turn * scale
        return cls(np.column_stack((matrix, centre - matrix @ ((side - 1) / 2, (side - 1) / 2))), side)

    def at(self, side: int) -> Crop:
        """The same square in `side` pixels."""
        scale = self.side / side
        shift = (scale - 1) / 2  # the middle of a larger pixel
        matrix = self.transform[:, :2]
        return Crop(np.column_stack((matrix * scale, self.transform[:, 2] + matrix @ (shift, shift))), side)

    @property
    def unit(self) -> Array:
        """The transform `(2, 3)` of the square's shares to the image's pixels: 0 and 1 are its outer edges."""
        return np.column_stack((self.transform[:, :2] * self.side, self.transform @ (-0.5, -0.5, 1.0)))

    def read(self, image: Image) -> NDArray[np.uint8]:
        """The crop's RGB pixels `(side, side, 3)`."""
        return image.crop(self.transform, (self.side, self.side))

    def to_image(self, keypoints: Array) -> Array:
        """Keypoints `(K, 3)` of the crop as keypoints of the image."""
        out = keypoints.copy()
        out[:, :2] = keypoints[:, :2] @ self.transform[:, :2].T + self.transform[:, 2]
        return out

    def from_image(self, points: Array) -> Array:
        """Points `(N, 2)` of the image as points of the crop."""
        return np.asarray((points - self.transform[:, 2]) @ np.linalg.inv(self.transform[:, :2]).T)

    def shares(self, points: Array) -> Array:
        """Points `(N, 2)` of the image in shares of the crop: 0 and 1 are its outer edges."""
        return np.asarray((self.from_image(points) + 0.5) / self.side)

    def overlap(self, size: tuple[int, int]) -> float:
        """About which share of the crop lies inside an image of `size`: that of a 9×9 grid of its points."""
        points = _GRID * self.side @ self.transform[:, :2].T + self.transform[:, 2]
        return float(((points >= 0) & (points < size)).all(-1).mean())


def nowhere(crops: NDArray[np.uint8], joints: int) -> NDArray[np.float32]:
    """What a spatial graph that expects is told of `crops` `(N, side, side, 3)` by who knows nothing, `(N, joints, 2)`.

    In pixels of the crops.
    """
    return np.full((len(crops), joints, 2), NOWHERE * crops.shape[1], np.float32)


def letterbox(size: tuple[int, int], long_side: int, multiple: int = 32) -> tuple[Array, tuple[int, int]]:
    """The transform `(2, 3)` and size (width, height) that fit a whole image to `long_side` plus padding."""
    scale = max(size) / long_side
    width, height = (int(np.ceil(s / scale / multiple)) * multiple for s in size)
    return np.array(((scale, 0, (scale - 1) / 2), (0, scale, (scale - 1) / 2))), (width, height)
