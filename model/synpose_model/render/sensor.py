"""What a camera's sensor adds: its own exposure and white balance, the softness of its lens, and noise."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["Sensor"]


class Sensor:
    """The lasting character of one camera, drawn from `rng`; every image gets noise of its own."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._gain = rng.uniform(0.8, 1.15) * rng.uniform(0.94, 1.06, 3)
        self._blur = rng.uniform(0.45, 0.9)
        self._noise = rng.normal(0, rng.uniform(0.5, 6), (640, 640, 3)).astype(np.float32)

    def __call__(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """`image` `(H, W, 3)`, at most 640 high and wide, as this sensor records it."""
        height, width = image.shape[:2]
        out = cv2.GaussianBlur(image, (0, 0), self._blur) * self._gain.astype(np.float32)
        row, column = self._rng.integers(0, 640, 2)  # fresh noise for every pixel would take longer than the drawing
        noise = np.roll(self._noise, (row, column), (0, 1))[:height, :width]
        return np.asarray(np.clip(out + noise + 0.5, 0, 255), dtype=np.uint8)
