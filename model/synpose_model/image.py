"""One camera's decoded image, as its codec left it, and the crops that the networks see.

A video frame stays in its planes (Y, U, V): only the pixels of a crop are ever turned into RGB, which costs a small
part of converting whole frames (256² of 1080×1920 pixels: 3 %).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["Image"]

# a crop is too little work to share: on two cores OpenCV's threads took 1.55 times the CPU time
cv2.setNumThreads(1)

_LUMA_WEIGHTS = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722), "bt2020": (0.2627, 0.0593)}  # red, blue


@dataclass(frozen=True, eq=False)
class Image:
    """Planes of uint8: one `(H, W, 3)` RGB plane, one `(H, W)` grey plane, or Y, U, V, these two often smaller.

    `turns` is the number of quarter turns anticlockwise that bring the stored picture upright, as phones note in their
    files; `size` and every crop are of the upright image. `standard` and `full_range` say how Y, U, V mean colours.
    """

    planes: tuple[NDArray[np.uint8], ...]
    turns: int = 0
    standard: str = "bt601"
    full_range: bool = False

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the upright image."""
        height, width = self.planes[0].shape[:2]
        return (height, width) if self.turns % 2 else (width, height)

    def crop(self, transform: NDArray[np.float64], side: tuple[int, int]) -> NDArray[np.uint8]:
        """RGB `(height, width, 3)` of `side` (width, height), black outside the image.

        `transform` `(2, 3)` takes crop pixels to image pixels. Shrinking averages: first by whole numbers over areas,
        then bilinearly.
        """
        to_stored = self._upright_to_stored() @ np.vstack((transform, (0, 0, 1)))
        height, width = self.planes[0].shape[:2]
        black = 0.0 if self.full_range or len(self.planes) == 1 else 16.0
        parts = []
        for planes, border in ((self.planes[:1], black), (self.planes[1:], 128.0)):
            if planes:
                scale = np.array((planes[0].shape[1] / width, planes[0].shape[0] / height))
                to_plane = to_stored[:2] * scale[:, None]
                to_plane[:, 2] += (scale - 1) / 2  # pixel centres sit at whole numbers
                parts += _warp(planes, to_plane, side, border)
        if len(parts) == 3:
            return np.asarray(cv2.transform(cv2.merge(parts), self._to_rgb()), dtype=np.uint8)
        return parts[0] if parts[0].ndim == 3 else np.repeat(parts[0][..., None], 3, -1)

    def _upright_to_stored(self) -> NDArray[np.float64]:
        """Upright pixels to stored pixels, homogeneous `(3, 3)`."""
        height, width = self.planes[0].shape[:2]
        return np.array(
            {
                0: ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
                1: ((0, -1, width - 1), (1, 0, 0), (0, 0, 1)),
                2: ((-1, 0, width - 1), (0, -1, height - 1), (0, 0, 1)),
                3: ((0, 1, 0), (-1, 0, height - 1), (0, 0, 1)),
            }[self.turns % 4],
            dtype=np.float64,
        )

    def _to_rgb(self) -> NDArray[np.float64]:
        """`(3, 4)`: Y, U, V, 1 to R, G, B (ITU-T H.273)."""
        red, blue = _LUMA_WEIGHTS[self.standard]
        green = 1 - red - blue
        luma, chroma, black = (1.0, 1.0, 0.0) if self.full_range else (255 / 219, 255 / 224, 16.0)
        u, v = 2 * (1 - blue) * chroma, 2 * (1 - red) * chroma
        matrix = np.array(
            ((luma, 0, v, 0), (luma, -u * blue / green, -v * red / green, 0), (luma, u, 0, 0)), dtype=np.float64
        )
        matrix[:, 3] = -matrix[:, :3] @ (black, 128.0, 128.0)
        return matrix


def _warp(
    planes: Sequence[NDArray[np.uint8]], transform: NDArray[np.float64], side: tuple[int, int], border: float
) -> list[NDArray[np.uint8]]:
    """Sample `planes` of one shape at `transform` (crop to plane pixels); reads no more of them than the crop needs."""
    corners = (
        np.array(((0, 0), (side[0], 0), (0, side[1]), side), dtype=np.float64) @ transform[:, :2].T + transform[:, 2]
    )
    (a, b), (c, d) = transform[:, :2].tolist()
    shrink = max(1, int(math.sqrt(abs(a * d - b * c)) + 1e-6))
    # clipped as floats first: the crop of a point near the camera's plane may be astronomically far away
    limit = np.array(planes[0].shape[1::-1])
    low = np.clip(np.floor(corners.min(0)) - 2 * shrink, 0, limit).astype(int)
    high = np.clip(np.ceil(corners.max(0)) + 2 * shrink, 0, limit).astype(int)
    high -= (high - low) % shrink  # whole blocks only: OpenCV averages other ratios many times slower
    if (high - low < 1).any():
        return [np.full((side[1], side[0], *plane.shape[2:]), border, dtype=np.uint8) for plane in planes]
    local = transform.copy()
    local[:, 2] -= low
    local[:, 2] += (1 - shrink) / 2  # pixel centres sit at whole numbers
    local /= shrink
    size = tuple((high - low) // shrink)
    warped = []
    for plane in planes:
        region = plane[low[1] : high[1], low[0] : high[0]]
        if shrink > 1:
            region = cv2.resize(region, size, interpolation=cv2.INTER_AREA)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        warped.append(np.asarray(cv2.warpAffine(region, local, side, flags=flags, borderValue=(border,) * 3), np.uint8))
    return warped
